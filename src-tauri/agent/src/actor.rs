//! The agent's one task: it owns the table of instances, answers requests, starts and ends what runs, and makes the report.

use crate::{
    agent::{AgentConfig, Listed},
    bundle::{Bundles, FetchError, Limits, SILENCE, Sources, Wanted},
    instance::{self, Job, Orders, Told},
    meter::Meter,
    offer::{Share, Stored, Will, offer},
    publish::Publish,
    sensors::{self, Sample},
    table::{Claim, Confirmed, Table},
};
use fogbank_betanet::clock::FogClock;
use fogbank_betanet::{
    lease::Lease,
    service::{MAX_LEASES, MAX_TUNNELS},
    tunnel::IntroductionKey,
};
use fogbank_model::{BundleId, Image, InstanceId, InstanceState, UnixMs};
use fogbank_wire::{
    Assignment, BundlePermit, DeviceReply, DeviceRequest, Offer, Power, Refusal, RefusalKind, Report, Signed, Traffic,
};
use iroh::PublicKey;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The device is looked at this often: disks fill and plugs are pulled within minutes; the allocator drains low batteries.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Words of instances that wait to be read: a few each.
const WAITING_WORDS: usize = 256;
/// Copies being made for others at once. Further ones are refused and asked for again.
const MAX_KEEPING: usize = 8;
/// Bundles in a report: what an allocator takes.
const MAX_LISTED: usize = 4_096;
/// At the end instances get this long to close their connections.
const GOODBYE: Duration = Duration::from_secs(2);
const MB: u64 = 1_000_000;

/// What the task is asked.
pub(crate) enum Ask {
    Handle(Box<DeviceRequest>, oneshot::Sender<DeviceReply>),
    List(oneshot::Sender<Vec<Listed>>),
    Pause(bool),
    Drain(Option<String>),
    Share(Share),
    Power(Power),
    Shutdown(oneshot::Sender<()>),
}

/// An instance's reins.
struct Running {
    /// What it needs: which bundle, of how many bytes.
    bundle: BundleId,
    bytes: u64,
    meter: Arc<Meter>,
    leases: watch::Sender<Vec<Vec<u8>>>,
    leased_until: watch::Sender<Option<UnixMs>>,
    drain: watch::Sender<Option<UnixMs>>,
    end: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) struct Actor<P> {
    config: AgentConfig,
    publish: Arc<P>,
    clock: FogClock,
    table: Table,
    running: HashMap<InstanceId, Running>,
    keeping: JoinSet<(BundleId, Result<(), FetchError>)>,
    kept_now: BTreeMap<BundleId, u64>,
    share: Share,
    will: Will,
    sample: Option<Sample>,
    told_power: Option<Power>,
    report: watch::Sender<Report>,
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
}

impl<P: Publish> Actor<P> {
    pub(crate) fn new(config: AgentConfig, publish: P, report: watch::Sender<Report>) -> Self {
        let (tell, told) = mpsc::channel(WAITING_WORDS);
        Self {
            clock: config.bundles.clock(),
            publish: Arc::new(publish),
            table: Table::default(),
            running: HashMap::new(),
            keeping: JoinSet::new(),
            kept_now: BTreeMap::new(),
            share: config.share,
            will: Will::default(),
            sample: None,
            told_power: None,
            config,
            report,
            tell,
            told,
        }
    }

    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut held = self.config.bundles.held();
        let (looked, mut looks) = mpsc::channel(1);
        let mut windows = interval(Duration::from_millis(Traffic::WINDOW.0.unsigned_abs()));
        windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looking = tokio::spawn(look_again_and_again(self.config.folder.clone(), looked));
        let mut done = None;
        loop {
            let expiry = self.until_expiry();
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => {
                        done = Some(reply);
                        break;
                    }
                    Some(ask) => self.take(ask).await,
                    None => break,
                },
                Some(told) = self.told.recv() => self.note(told),
                Some(sample) = looks.recv() => self.sample = Some(sample),
                Some(kept) = self.keeping.join_next() => self.kept(kept),
                Ok(()) = held.changed() => {}
                _ = windows.tick() => {
                    for (instance, running) in &self.running {
                        self.table.measured(*instance, |given| running.meter.take(given.bandwidth_kbps, MAX_TUNNELS));
                    }
                }
                () = sleep(expiry) => {
                    self.table.expire(self.clock.now());
                }
            }
            self.say();
        }
        looking.abort();
        self.end_all().await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    async fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Handle(request, reply) => {
                let answer = match self.handle(*request).await {
                    Ok(()) => DeviceReply::Done,
                    Err(refusal) => {
                        tracing::info!(%refusal, "a request of the allocator was refused");
                        DeviceReply::Refused(refusal)
                    }
                };
                // What was done is in the report before it is answered.
                self.say();
                let _ = reply.send(answer);
            }
            Ask::List(reply) => {
                let _ = reply.send(self.table.list());
            }
            Ask::Pause(on) => self.will.paused = on,
            Ask::Drain(why) => self.will.drain = why,
            Ask::Share(share) => self.share = share,
            Ask::Power(power) => self.told_power = Some(power),
            Ask::Shutdown(_) => {}
        }
    }

    async fn handle(&mut self, request: DeviceRequest) -> Result<(), Refusal> {
        let now = self.clock.now();
        match request {
            DeviceRequest::Ping => Ok(()),
            DeviceRequest::Reserve { instance, container, given, expires, epoch } => {
                let offer = self.offer();
                let closed = if offer.open { None } else { Some(offer.why) };
                self.table.reserve(&Claim { instance, container, given, expires, epoch }, &offer.lent, closed, now)
            }
            DeviceRequest::Confirm(assignment) => self.confirm(*assignment, now),
            DeviceRequest::Release(instance) => {
                self.table.release(instance);
                Ok(())
            }
            DeviceRequest::Lease { instance, leases } => self.lease(instance, leases, now),
            DeviceRequest::Drain { instance, deadline } => match self.running.get(&instance) {
                Some(running) => {
                    running.drain.send_replace(Some(deadline));
                    Ok(())
                }
                None => Err(not_here()),
            },
            DeviceRequest::End(instance) => {
                if let Some(running) = self.running.remove(&instance) {
                    running.end.cancel();
                }
                self.table.forget(instance);
                Ok(())
            }
            DeviceRequest::Measure { instance, on } => {
                let running = self.running.get(&instance).ok_or_else(not_here)?;
                if on && !self.table.measures(instance) {
                    // What was asked before is nobody's to know.
                    running.meter.take(0, MAX_TUNNELS);
                }
                self.table.measure(instance, on);
                Ok(())
            }
            DeviceRequest::Keep { bundle, bytes, sources, permit } => self.keep(bundle, bytes, sources, permit, now).await,
            DeviceRequest::Forget(bundle) => self
                .config
                .bundles
                .forget(bundle)
                .await
                .map_err(|error| Refusal::new(RefusalKind::Failed, format!("the bundle could not be forgotten: {error}"))),
            DeviceRequest::Directory(_) | DeviceRequest::PutDescriptor(_) | DeviceRequest::Revoke(_) => {
                Err(Refusal::not_served("that is a mix's matter, not an agent's"))
            }
        }
    }

    fn confirm(&mut self, assignment: Assignment, now: UnixMs) -> Result<(), Refusal> {
        let invalid = |words: String| Refusal::new(RefusalKind::Invalid, words);
        assignment.spec.check().map_err(|e| invalid(e.to_string()))?;
        let Image::Site { bundle, bytes, files } = assignment.spec.image;
        self.check_permit(&assignment.permit, bundle, now)?;
        // The owner's word holds for what was reserved before it, too.
        if let Some(why) = self.will.closed()
            && self.table.get(assignment.instance).is_some_and(|slot| slot.state == InstanceState::Reserved)
        {
            self.table.release(assignment.instance);
            return Err(Refusal::new(RefusalKind::WrongState, format!("this device takes nothing new: {why}")));
        }
        if self.table.confirm(&assignment, bytes, now)? == Confirmed::Already {
            return Ok(());
        }
        let key = IntroductionKey::generate();
        self.table.introduce(assignment.instance, key.public());
        let (leases, leases_seen) = watch::channel(Vec::new());
        let (leased_until, leased_seen) = watch::channel(None);
        let (drain, drain_seen) = watch::channel(None);
        let end = CancellationToken::new();
        let orders = Orders { leases: leases_seen, leased_until: leased_seen, drain: drain_seen, end: end.clone() };
        let limits = Limits { max_bytes: bytes, max_files: files.min(Limits::default().max_files), ..Limits::default() };
        let meter = Arc::<Meter>::default();
        let job = Job {
            instance: assignment.instance,
            level: assignment.spec.level,
            wanted: Wanted { bundle, sources: assignment.sources, permit: assignment.permit, limits, silence: SILENCE },
            key,
            bundles: self.config.bundles.clone(),
            endpoint: self.config.endpoint.clone(),
            clock: self.clock.clone(),
            orders,
            meter: meter.clone(),
        };
        self.table.step(assignment.instance, InstanceState::Fetching, "fetching the content");
        tracing::info!(instance = assignment.instance.short(), onion = %assignment.onion, "an instance begins");
        let task = tokio::spawn(make_room_and_run(job, self.excess(bundle, bytes), self.publish.clone(), self.tell.clone()));
        self.running.insert(assignment.instance, Running { bundle, bytes, meter, leases, leased_until, drain, end, task });
        Ok(())
    }

    fn check_permit(&self, permit: &Signed<BundlePermit>, bundle: BundleId, now: UnixMs) -> Result<(), Refusal> {
        let refuse = |words| Refusal::new(RefusalKind::Invalid, words);
        let key = PublicKey::from_bytes(&self.config.fog.0).map_err(|_| refuse("this node's fog has no key"))?;
        let permit = permit.open(&key, BundlePermit::CONTEXT).map_err(|_| refuse("the permit is not signed by this fog"))?;
        if permit.device != self.config.device || permit.bundle != bundle {
            return Err(refuse("the permit is for another device or bundle"));
        }
        if permit.expires <= now { Err(Refusal::new(RefusalKind::Expired, "the permit has expired")) } else { Ok(()) }
    }

    fn lease(&mut self, instance: InstanceId, leases: Vec<Vec<u8>>, now: UnixMs) -> Result<(), Refusal> {
        let running = self.running.get(&instance).ok_or_else(not_here)?;
        let key = self.table.get(instance).and_then(|s| s.introduction_key).ok_or_else(not_here)?;
        if leases.len() > MAX_LEASES {
            return Err(Refusal::new(RefusalKind::Invalid, format!("{} leases; at most {MAX_LEASES} are taken", leases.len())));
        }
        // One of a period that has not begun may not hold yet; one that holds is enough.
        let ends = leases.iter().filter_map(|bytes| match Lease::open_own(bytes, instance, &key, now) {
            Ok(lease) => Some(lease.said.expires),
            Err(error) => {
                tracing::debug!(%error, "a lease is not believed");
                None
            }
        });
        let until =
            ends.max().ok_or_else(|| Refusal::new(RefusalKind::Invalid, "no lease among these is this instance's and holds"))?;
        running.leased_until.send_replace(Some(until));
        running.leases.send_replace(leases);
        Ok(())
    }

    async fn keep(
        &mut self,
        bundle: BundleId,
        bytes: u64,
        sources: Sources,
        permit: Signed<BundlePermit>,
        now: UnixMs,
    ) -> Result<(), Refusal> {
        self.check_permit(&permit, bundle, now)?;
        if self.kept_now.contains_key(&bundle) {
            return Ok(());
        }
        let offer = self.offer();
        if !offer.open {
            return Err(Refusal::new(RefusalKind::WrongState, format!("this device takes nothing new: {}", offer.why)));
        }
        if self.keeping.len() >= MAX_KEEPING {
            return Err(Refusal::new(RefusalKind::Busy, "this device makes as many copies as it can: ask again soon"));
        }
        let coming: u64 = self.kept_now.values().sum();
        let free = offer.lent.minus(&self.table.used()).storage_mb.saturating_mul(MB).saturating_sub(coming);
        if !self.config.bundles.has(bundle) && bytes > free {
            return Err(Refusal::new(RefusalKind::Busy, format!("the bundle has {bytes} bytes, {free} are free here")));
        }
        let wanted =
            Wanted { bundle, sources, permit, limits: Limits { max_bytes: bytes, ..Limits::default() }, silence: SILENCE };
        let (bundles, endpoint) = (self.config.bundles.clone(), self.config.endpoint.clone());
        let excess = self.excess(bundle, bytes);
        self.kept_now.insert(bundle, bytes);
        self.keeping.spawn(async move {
            let kept = async {
                make_room(&bundles, bundle, excess).await.map_err(|source| FetchError::Store { source })?;
                bundles.keep(&endpoint, &wanted, |_| ()).await.map(|_| ())
            };
            (bundle, kept.await)
        });
        Ok(())
    }

    fn kept(&mut self, kept: Result<(BundleId, Result<(), FetchError>), tokio::task::JoinError>) {
        match kept {
            Ok((bundle, result)) => {
                self.kept_now.remove(&bundle);
                if let Err(error) = result {
                    tracing::warn!(bundle = bundle.short(), %error, "a copy could not be made");
                }
            }
            Err(error) => {
                // Only a bug ends such a task early; without its name all are taken for over, and asked for again.
                tracing::error!(%error, "a copy was not finished");
                self.kept_now.clear();
            }
        }
    }

    /// An instance told where it stands.
    fn note(&mut self, told: Told) {
        if !told.state.is_live() {
            self.running.remove(&told.instance);
        }
        self.table.step(told.instance, told.state, told.reason);
    }

    fn until_expiry(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let left = self.table.next_expiry().map(|at| at.since(self.clock.now()).0);
        // A little later, so that it is over then.
        left.map_or(LONG, |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 5))
    }

    fn offer(&self) -> Offer {
        match &self.sample {
            Some(sample) => offer(sample, &self.share, &self.will, self.stored()),
            None => self.report.borrow().offer.clone(),
        }
    }

    fn stored(&self) -> Stored {
        let held = self.config.bundles.held();
        let held = held.borrow();
        let others = held.values().filter(|h| !h.own);
        let (mut bytes, mut kept) = (0, 0);
        for h in others {
            bytes += h.bytes;
            // What an instance uses counts by what it was given.
            kept += if h.kept && h.uses == 0 { h.bytes } else { 0 };
        }
        Stored { others_mb: bytes / MB, kept_mb: kept.div_ceil(MB) }
    }

    /// Bytes that others' bundles would take beyond what is lent if this one came, and those that are on their way.
    fn excess(&self, bundle: BundleId, bytes: u64) -> u64 {
        let stored = self.stored();
        let fetching =
            |(id, _): &(&InstanceId, &Running)| self.table.get(**id).is_some_and(|s| s.state == InstanceState::Fetching);
        let mut coming = self.kept_now.clone();
        coming.extend(self.running.iter().filter(fetching).map(|(_, r)| (r.bundle, r.bytes)));
        coming.insert(bundle, bytes);
        let coming = coming.into_iter().filter(|(id, _)| !self.config.bundles.has(*id));
        let coming: u64 = coming.map(|(_, bytes)| bytes).fold(0, u64::saturating_add);
        let lent_mb = self.offer().lent.storage_mb + stored.kept_mb;
        (stored.others_mb * MB).saturating_add(coming).saturating_sub(lent_mb * MB)
    }

    /// Makes the report, and lets it be sent when it is another one.
    fn say(&self) {
        let power = self.told_power.or(self.sample.and_then(|s| s.power)).unwrap_or(Power::Mains);
        let fresh = Report {
            offer: self.offer(),
            power,
            instances: self.table.reports(),
            bundles: held_for_others(&self.config.bundles),
            drain: self.will.drain.clone(),
        };
        self.report.send_if_modified(|report| {
            let changed = *report != fresh;
            *report = fresh;
            changed
        });
    }

    async fn end_all(&mut self) {
        self.keeping.abort_all();
        let running: Vec<Running> = self.running.drain().map(|(_, r)| r).collect();
        for instance in &running {
            instance.end.cancel();
        }
        self.told.close();
        for instance in running {
            if timeout(GOODBYE, instance.task).await.is_err() {
                tracing::warn!("an instance did not end in time");
            }
        }
    }
}

/// What a report lists. A publisher's own bundles are left out: the fog has no say in them.
pub(crate) fn held_for_others(bundles: &Bundles) -> Vec<BundleId> {
    let held = bundles.held();
    let held = held.borrow();
    held.iter().filter(|(_, h)| h.for_others()).map(|(id, _)| *id).take(MAX_LISTED).collect()
}

fn not_here() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "there is no such running instance here")
}

/// Lets cached bundles give way before a new one comes.
async fn make_room(bundles: &Bundles, bundle: BundleId, excess: u64) -> std::io::Result<()> {
    if bundles.has(bundle) || excess == 0 { Ok(()) } else { bundles.make_room(excess).await }
}

async fn make_room_and_run<P: Publish>(job: Job, excess: u64, publish: Arc<P>, tell: mpsc::Sender<Told>) {
    if let Err(error) = make_room(&job.bundles, job.wanted.bundle, excess).await {
        tracing::warn!(%error, "room could not be made");
    }
    instance::run(job, publish, tell).await;
}

/// Looks at the device again and again; a disk that hangs holds nothing else up.
async fn look_again_and_again(folder: std::path::PathBuf, looked: mpsc::Sender<Sample>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let folder = folder.clone();
        let Ok(sample) = tokio::task::spawn_blocking(move || sensors::look(&folder)).await else { return };
        if looked.send(sample).await.is_err() {
            return;
        }
    }
}
