//! Seeing and acting: the loop that looks at the fog, decides, and does what was decided, one small idempotent step at a time.

use crate::{
    asking::{Mute, No},
    conduct::MAX_FAILED_ON,
    decide::{Action, decide},
    look::look,
    place::{in_all, snapshot_for, staying},
    serve::Serving,
    signing,
    start::Shared,
    stopped::Stopped,
    telling::send,
    world::{SeenContainer, SeenDevice, SeenInstance, World},
};
use fogbank_model::{
    ContainerId, ContainerSpec, ContainerState, DeviceId, DurationMs, Image, Infeasible, InstanceId, InstanceState, Resources,
    UnixMs,
};
use fogbank_placement::{Outcome, part, plan};
use fogbank_store::{KeptContainer, Reservation, Reserved, StoreError};
use fogbank_wire::{Assignment, BundlePermit, DeviceRequest, Signed};
use futures_util::future::join_all;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Looked at this often even when nothing happens, so that time's work (probes, expiries) is done.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Changes in quick succession are looked at together.
const SETTLE: Duration = Duration::from_millis(5);
/// Between two looks so many times as long passes as one takes, however much happens: in a fog that is too large for four looks a second, they take
/// a fifth of a core.
const LOOK_SHARE: u32 = 4;
/// A reservation is confirmed within moments or not at all.
const RESERVATION: DurationMs = DurationMs::from_s(30);
/// A permit to fetch a bundle: a large one over a slow line, and then it is asked for again.
const PERMIT: DurationMs = DurationMs::from_s(6 * 3600);
/// A drained instance ends by then even with streams open.
const DRAIN: DurationMs = DurationMs::from_s(90);
/// First pause when there is no room; doubled up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_millis(500);
/// A fog that is full is asked again at least this often.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// Devices that are asked to keep a copy get this long before they are asked again.
const KEEP_AGAIN: Duration = Duration::from_secs(5);

/// What is due of how devices have behaved is kept this often.
const KEEP_BOOK: Duration = Duration::from_secs(60);
/// Unknown instances and bundles are ended on one device this often.
const STRAYS_AGAIN: Duration = Duration::from_secs(5);

/// The allocator's one acting task.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    rests: HashMap<ContainerId, (Instant, Duration)>,
    /// What containers lack of which not all fitted when they were planned last.
    lacks: HashMap<ContainerId, String>,
    pub(crate) serving: Serving,
    pub(crate) stopped: Stopped,
    kept_asked: HashMap<(ContainerId, DeviceId), Instant>,
    /// When a device was last asked to end what nobody knows.
    strays: HashMap<DeviceId, Instant>,
    /// Since when there are mixes enough for instances to be found.
    routable: Option<UnixMs>,
    /// How long the last look took.
    look_took: Duration,
    /// When this round began.
    round: Instant,
    /// When how devices have behaved was kept last.
    kept_book: Instant,
    pub(crate) mute: Mute,
}

impl Actor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let clock = shared.instant();
        Self {
            shared,
            rests: HashMap::new(),
            lacks: HashMap::new(),
            serving: Serving::default(),
            stopped: Stopped::default(),
            kept_asked: HashMap::new(),
            strays: HashMap::new(),
            routable: None,
            look_took: Duration::ZERO,
            round: clock,
            kept_book: clock,
            mute: Mute::default(),
        }
    }

    /// Looks and acts until the allocator is shut down.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {}, if !*shared.ready.borrow() => {}
                () = shared.wake.notified() => sleep(SETTLE.max(self.look_took * LOOK_SHARE)).await,
                () = sleep(LOOK_EVERY.max(self.look_took * LOOK_SHARE)) => {}
            }
            match self.round().await {
                Ok(()) => {
                    shared.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
                }
                Err(error) => {
                    tracing::error!(%error, "the fog's store failed; trying again");
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// Looks once, and does what is to be done.
    pub(crate) async fn round(&mut self) -> Result<(), StoreError> {
        self.directory().await?;
        let began = self.shared.instant();
        let mut world = look(&self.shared).await?;
        let clock = self.shared.instant();
        self.look_took = clock.duration_since(began);
        self.round = clock;
        self.shared.hub.expire(self.shared.now());
        let routable = self.shared.merged().is_some_and(|directory| directory.usable(&[]).is_ok());
        self.routable = routable.then(|| self.routable.unwrap_or(world.now));
        world.routable = self.routable;
        self.kept_asked.retain(|_, at| clock.duration_since(*at) < KEEP_AGAIN);
        self.strays.retain(|_, at| clock.duration_since(*at) < STRAYS_AGAIN);
        for container in &mut world.containers {
            container.rests = self.rests.get(&container.container.id).is_some_and(|(until, _)| clock < *until);
            container.lacks = self.lacks.get(&container.container.id).cloned();
            container.told = self.serving.told(&container.container, clock);
        }
        for device in &mut world.devices {
            device.mute = self.is_mute(device.id);
        }
        if clock.duration_since(self.kept_book) >= KEEP_BOOK {
            self.kept_book = clock;
            let (devices, containers) =
                (world.devices.iter().map(|d| d.id).collect(), world.containers.iter().map(|c| c.container.id).collect());
            self.shared.book().retain(&devices, &containers);
            self.shared.keep_book(false).await?;
        }
        self.scale(&mut world).await?;
        let kept: HashMap<ContainerId, KeptContainer> =
            self.shared.store.containers().await?.into_iter().map(|k| (k.container.id, k)).collect();
        for action in decide(&world) {
            if let Err(error) = self.act(&world, &kept, action).await {
                match error {
                    // The world moved on between looking and acting; the next look sees it.
                    StoreError::Move(_) | StoreError::NotFound { .. } => tracing::debug!(%error, "an action came too late"),
                    other => return Err(other),
                }
            }
        }
        self.serve(&world, &kept).await
    }

    /// A new directory when the mixes changed, to everyone who is connected.
    async fn directory(&self) -> Result<(), StoreError> {
        let clock = self.shared.instant();
        let members = self.shared.registry.snapshot(clock);
        let looked = self.shared.signer().look(&members, self.shared.settling(), self.shared.now(), clock);
        signing::tend(&self.shared, looked, clock).await
    }

    async fn act(&mut self, world: &World, kept: &HashMap<ContainerId, KeptContainer>, action: Action) -> Result<(), StoreError> {
        let store = &self.shared.store;
        match action {
            Action::MoveInstance { instance, to, reason } => {
                store.move_instance(instance, to, &reason, self.shared.now()).await?;
                if !to.is_live() {
                    self.revoke(world, kept, &[instance]);
                }
                self.shared.wake.notify_one();
                Ok(())
            }
            Action::MoveContainer { container, to, reason } => {
                store.move_container(container, to, &reason, self.shared.now()).await?;
                tracing::info!(container = container.short(), to = to.name(), reason, "a container moved");
                self.shared.wake.notify_one();
                Ok(())
            }
            Action::Failed { container, device } => {
                self.shared.book().failed(container, device, self.shared.random(), self.shared.now());
                Ok(())
            }
            Action::Explain { container, reason } => store.set_reason(container, &reason).await,
            Action::Place { container } => self.place(world, container).await,
            Action::Start { container, instances } => self.start(world, kept, container, &instances).await,
            Action::Drain { instance, reason } => {
                let Some(device) = instance_device(world, instance) else { return Ok(()) };
                self.revoke(world, kept, &[instance]);
                tracing::info!(instance = instance.short(), reason, "an instance is drained");
                if self.ask(device, DeviceRequest::Drain { instance, deadline: self.shared.now().plus(DRAIN) }).await.is_ok() {
                    store.move_instance(instance, InstanceState::Draining, &reason, self.shared.now()).await?;
                }
                Ok(())
            }
            Action::End { device, instance } if instance_device(world, instance).is_none() => {
                self.clear(device, DeviceRequest::End(instance));
                Ok(())
            }
            Action::LetGo { device, bundle } => {
                self.clear(device, DeviceRequest::Forget(bundle));
                Ok(())
            }
            Action::End { device, instance } => {
                self.revoke(world, kept, &[instance]);
                let ended = self.ask(device, DeviceRequest::End(instance)).await;
                if ended.is_ok() {
                    store.move_instance(instance, InstanceState::Ended, "stopped", self.shared.now()).await?;
                    self.shared.wake.notify_one();
                }
                Ok(())
            }
            Action::Keep { container, device } => {
                let clock = self.shared.instant();
                let recently = self.kept_asked.get(&(container, device)).is_some_and(|at| clock.duration_since(*at) < KEEP_AGAIN);
                if let Some(kept) = kept.get(&container).filter(|_| !recently) {
                    self.kept_asked.insert((container, device), clock);
                    self.keep(world, kept, device).await;
                }
                Ok(())
            }
            Action::Switch { container, revision, reason } => self.switch(world, kept, container, revision, &reason).await,
            Action::Revise { container, revision, to, reason } => {
                store.move_revision(container, revision, to, &reason, self.shared.now()).await?;
                tracing::info!(container = container.short(), to = to.name(), reason, "an update moved");
                self.lacks.remove(&container);
                self.shared.wake.notify_one();
                Ok(())
            }
            Action::Forget { container } => {
                self.serving.forget(container);
                self.rests.remove(&container);
                self.lacks.remove(&container);
                store.forget(container).await
            }
        }
    }

    /// Plans, and holds the places in the store. Where not all that is wanted fits, what fits is placed and what it lacks is remembered:
    /// [`decide`] says so, and asks again.
    async fn place(&mut self, world: &World, id: ContainerId) -> Result<(), StoreError> {
        let Some(seen) = world.containers.iter().find(|c| c.container.id == id) else { return Ok(()) };
        if seen.apart.len() >= MAX_FAILED_ON {
            // On so many devices in a row it is not theirs to come up.
            self.lacks.insert(id, format!("did not come up on the last {MAX_FAILED_ON} devices"));
            self.rest(id);
            return Ok(());
        }
        let (snapshot, policy) = (snapshot_for(world, seen), &self.shared.config.policy);
        let plan = match plan(&snapshot, policy) {
            Outcome::Placed(plan) => {
                self.lacks.remove(&id);
                Some(plan)
            }
            Outcome::Infeasible(why) => {
                self.lacks.insert(id, lacks(&in_all(why, world, seen), world, seen));
                // Where only the hour's outlook is too bad, all further devices together would not mend it.
                let more_likely_only = snapshot.request.instances == 0 && snapshot.request.requirements == Resources::ZERO;
                if more_likely_only { None } else { part(&snapshot, policy) }
            }
        };
        let Some(mut plan) = plan else {
            self.rest(id);
            // Whoever was set aside is tried again as soon as that is over.
            let over = world.devices.iter().filter(|d| d.open).filter_map(|d| Some(d.expected.aside?.1.since(world.now))).min();
            let over = over.and_then(|over| u64::try_from(over.0).ok()).map(Duration::from_millis);
            if let Some((until, _)) = self.rests.get_mut(&id) {
                *until = over.map_or(*until, |over| (*until).min(self.shared.instant() + over));
            }
            return Ok(());
        };
        plan.assignments.truncate(seen.beyond(world, staying(world, seen)));
        let store = &self.shared.store;
        if seen.container.state == ContainerState::Pending {
            store.move_container(id, ContainerState::Allocating, &plan.to_string(), self.shared.now()).await?;
        }
        let reservations: Vec<Reservation> = plan
            .assignments
            .iter()
            .map(|(device, given)| {
                let instance = InstanceId(self.shared.random());
                Reservation { instance, device: *device, given: *given, revision: seen.target().0 }
            })
            .collect();
        let expires = self.shared.now().plus(RESERVATION);
        match store.reserve(id, seen.container.epoch, &reservations, &plan.to_string(), expires, self.shared.now()).await? {
            Reserved::All => {}
            Reserved::Short(device) => {
                tracing::info!(device = device.short(), "a place was taken meanwhile");
                self.rest(id);
            }
            Reserved::Outdated => {}
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Reserves on every device, and only when all say yes lets them start.
    async fn start(
        &mut self,
        world: &World,
        kept: &HashMap<ContainerId, KeptContainer>,
        id: ContainerId,
        instances: &[InstanceId],
    ) -> Result<(), StoreError> {
        let Some(kept) = kept.get(&id) else { return Ok(()) };
        let find = |wanted: &InstanceId| world.containers.iter().flat_map(|c| &c.instances).find(|i| i.instance.id == *wanted);
        let reserved: Vec<&SeenInstance> = instances.iter().filter_map(find).collect();
        // Side by side: one that is silent holds up its own container for no longer than it may be silent.
        let asked = join_all(reserved.iter().map(async |i| {
            let request = DeviceRequest::Reserve {
                instance: i.instance.id,
                container: id,
                given: i.instance.given,
                expires: i.expires,
                epoch: i.instance.epoch,
            };
            (i.instance.device, self.ask(i.instance.device, request).await)
        }));
        let noes: Vec<(DeviceId, No)> =
            asked.await.into_iter().filter_map(|(device, answer)| Some((device, answer.err()?))).collect();
        if let Some((device, No { refusal, .. })) = noes.first() {
            let name = world.device(*device).map_or_else(String::new, |d| d.name.clone());
            tracing::info!(device = name, %refusal, "a device refused a reservation");
            for (device, _) in noes.iter().filter(|(_, no)| no.its_own) {
                // It is set aside, so others are sought at once.
                self.shared.book().refused(*device, self.shared.random(), self.shared.now());
            }
            if noes.iter().any(|(_, no)| !no.its_own) {
                self.rest(id);
            }
            join_all(reserved.iter().map(|i| self.ask(i.instance.device, DeviceRequest::Release(i.instance.id)))).await;
            for i in &reserved {
                let reason = format!("{name} refused: {refusal}");
                self.shared.store.move_instance(i.instance.id, InstanceState::Ended, &reason, self.shared.now()).await?;
            }
            self.shared.wake.notify_one();
            return Ok(());
        }
        if kept.container.state == ContainerState::Allocating {
            let reason = match reserved.len() {
                1 => "1 device said yes".to_owned(),
                more => format!("{more} devices said yes"),
            };
            self.shared.store.move_container(id, ContainerState::Starting, &reason, self.shared.now()).await?;
        }
        let assignments =
            reserved.iter().filter_map(|i| Some((i.instance.id, i.instance.device, self.assignment(world, kept, i)?)));
        let confirmed = join_all(assignments.map(async |(instance, device, assignment)| {
            (instance, device, self.ask(device, DeviceRequest::Confirm(Box::new(assignment))).await)
        }));
        for (instance, device, answer) in confirmed.await {
            let (to, reason) = match answer {
                Ok(()) => {
                    self.shared.book().committed(device, self.shared.now());
                    (InstanceState::Fetching, "fetching the content".to_owned())
                }
                Err(refusal) => {
                    self.shared.book().failed(id, device, self.shared.random(), self.shared.now());
                    (InstanceState::Ended, format!("the device would not start it: {refusal}"))
                }
            };
            self.shared.store.move_instance(instance, to, &reason, self.shared.now()).await?;
        }
        self.rests.remove(&id);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn assignment(&self, world: &World, kept: &KeptContainer, i: &SeenInstance) -> Option<Assignment> {
        let container = world.containers.iter().find(|c| c.container.id == kept.container.id)?;
        Some(Assignment {
            instance: i.instance.id,
            container: kept.container.id,
            onion: kept.container.onion.clone(),
            spec: ContainerSpec { image: container.image_of(i).clone(), ..kept.container.spec.clone() },
            sources: self.sources(world, container, i.instance.device),
            permit: self.permit(container, i.instance.device)?,
        })
    }

    /// Who has the bundle: the publisher first, then other holders.
    fn sources(&self, world: &World, container: &SeenContainer, except: DeviceId) -> Vec<(DeviceId, Vec<std::net::SocketAddr>)> {
        const MOST: usize = 8;
        let bundle = container.bundle();
        let holders = world.devices.iter().filter(|d| d.connected && d.bundles.contains(&bundle)).map(|d| d.id);
        let mut ids = vec![container.publisher];
        ids.extend(holders.filter(|id| *id != container.publisher));
        ids.into_iter()
            .filter(|id| *id != except)
            .filter_map(|id| self.shared.registry.member(id))
            .map(|member| (member.device, member.addrs))
            .take(MOST)
            .collect()
    }

    fn permit(&self, container: &SeenContainer, device: DeviceId) -> Option<Signed<BundlePermit>> {
        let permit = BundlePermit { bundle: container.bundle(), device, expires: self.shared.now().plus(PERMIT) };
        Signed::seal(&self.shared.config.key, BundlePermit::CONTEXT, &permit).ok()
    }

    async fn keep(&self, world: &World, kept: &KeptContainer, device: DeviceId) {
        let Some(container) = world.containers.iter().find(|c| c.container.id == kept.container.id) else { return };
        let Some(permit) = self.permit(container, device) else { return };
        let Image::Site { bytes, .. } = *container.target().1;
        let sources = self.sources(world, container, device);
        let request = DeviceRequest::Keep { bundle: container.bundle(), bytes, sources, permit };
        if let Err(refusal) = self.ask(device, request).await {
            tracing::info!(%refusal, "a device would not keep a copy");
        }
    }

    /// Asks a device to end what nobody knows. Nobody waits for that; it is asked for again as long as it is listed.
    fn clear(&mut self, device: DeviceId, request: DeviceRequest) {
        let clock = self.shared.instant();
        let lately = |at: &Instant| *at != self.round && clock.duration_since(*at) < STRAYS_AGAIN;
        let recently = self.strays.get(&device).is_some_and(lately);
        if !recently && let Some(member) = self.shared.registry.member(device) {
            self.strays.insert(device, self.round);
            send(member, request);
        }
    }

    fn rest(&mut self, id: ContainerId) {
        let last = self.rests.get(&id).map_or(FIRST_REST / 2, |(_, last)| *last);
        let next = (last * 2).min(LONGEST_REST);
        self.rests.insert(id, (self.shared.instant() + next.mul_f64(0.75 + self.shared.random::<f64>() / 2.0), next));
    }
}

/// What a container lacks, for people, and which devices are left out for what they did.
fn lacks(why: &Infeasible, world: &World, container: &SeenContainer) -> String {
    let left_out = |d: &&SeenDevice| d.open && (d.expected.aside.is_some() || container.apart.contains(&d.id));
    match world.devices.iter().filter(left_out).count() {
        0 => why.to_string(),
        1 => format!("{why} (1 device failed lately and is tried again later)"),
        more => format!("{why} ({more} devices failed lately and are tried again later)"),
    }
}

fn instance_device(world: &World, instance: InstanceId) -> Option<DeviceId> {
    let all = world.containers.iter().flat_map(|c| &c.instances);
    all.map(|i| &i.instance).find(|i| i.id == instance && i.state.is_live()).map(|i| i.device)
}
