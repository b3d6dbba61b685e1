//! A fog in virtual time: what happens in order, and the allocator that lives, is killed and begins again in the midst of it.

use super::{
    device::{Device, Doing},
    line::SimLine,
    net::{Net, What},
    script::Incident,
};
use crate::{
    act::Actor,
    api,
    clock::Clock,
    line::{Line, same},
    registry::PROBE,
    session,
    start::{AllocatorConfig, Shared, make_invite},
};
use fogbank_model::{DeviceId, DurationMs, UnixMs};
use fogbank_wire::{Coming, Enrol, NodeReply, NodeRequest, Report, Roles};
use futures_util::FutureExt as _;
use iroh::SecretKey;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tempfile::TempDir;

/// And so soon after something has happened.
const SETTLE_MS: u64 = 5;
/// A silent connection is given up after this (QUIC's limit).
const SILENCE_MS: u64 = 3_000;
/// Mixes tell their further keys this often.
const KEYS_MS: u64 = 30 * 60_000;

/// How often there is something to do while nothing happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The allocator looks. The real one does four times a second, and when something has happened, as here; what waits for a time waits seconds.
    pub(super) idle_ms: u64,
    /// Devices report: each half minute in the real one.
    pub(super) heartbeat_ms: u64,
}

/// A running allocator.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    actor: Actor,
}

/// A fog.
pub(super) struct Fog {
    pub(super) net: Arc<Net>,
    pub(super) rng: StdRng,
    pub(super) allocator: Option<Running>,
    key: SecretKey,
    folder: TempDir,
    lines: u64,
    /// Deaths of the allocator.
    pub(super) deaths: u32,
    /// When the allocator looks.
    looks: BTreeSet<u64>,
    pace: Pace,
    /// Something may be otherwise than at the last check.
    changed: bool,
}

impl Fog {
    pub(super) async fn begin(seed: u64, pace: Pace, said: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let key = SecretKey::from_bytes(&rng.random());
        // In memory where there is such a place: what is measured is not the disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut fog = Self {
            net: Arc::new(Net::new(said)),
            rng,
            allocator: None,
            key,
            folder,
            lines: 0,
            deaths: 0,
            looks: BTreeSet::new(),
            pace,
            changed: false,
        };
        fog.start().await;
        fog
    }

    /// What has happened so far, in short: alike for runs that went alike.
    pub(super) fn trace(&self) -> blake3::Hash {
        self.net.lock().so_far()
    }

    /// Whether a step has been taken in which something may have changed, since this was asked last.
    pub(super) fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn at(&self) -> u64 {
        self.net.ms()
    }

    pub(super) fn now(&self) -> UnixMs {
        self.net.hands.now()
    }

    /// Starts the allocator, from what its store holds.
    async fn start(&mut self) {
        self.net.cut.after(u64::MAX);
        let path = self.folder.path().join("fog.db");
        let mut config = AllocatorConfig::new(path, self.key.clone(), "simulated".to_owned(), true);
        config.heartbeat = DurationMs(i64::try_from(self.pace.heartbeat_ms).unwrap());
        let (clock, chance) = (Clock::of(self.net.hands.clone()), StdRng::seed_from_u64(self.rng.random()));
        let store = fogbank_store::Store::open_until(&config.store, self.net.cut.clone()).await.unwrap();
        let shared = Shared::over(store, config, clock, chance).await.unwrap();
        self.allocator = Some(Running { actor: Actor::new(shared.clone()), shared });
        self.looks.clear();
        self.look(0);
    }

    fn look(&mut self, delay: u64) {
        let at = self.at();
        if self.looks.insert(at + delay) {
            self.net.lock().after(at, delay, What::Round);
        }
    }

    /// The allocator is killed after so many further writes.
    pub(super) fn kill_after(&self, writes: u64) {
        self.net.cut.after(writes);
    }

    /// Whether the allocator is dead; if it has just died, what follows from that begins.
    async fn dead(&mut self) -> bool {
        if self.net.cut.is_off()
            && let Some(Running { shared, actor }) = self.allocator.take()
        {
            drop(actor);
            shared.store.close().await;
            self.deaths += 1;
            let at = self.at();
            let mut state = self.net.lock();
            state.trace(at, format_args!("the allocator is killed"));
            let ids: Vec<DeviceId> = state.devices.keys().copied().collect();
            for id in ids {
                let line = state.devices.get_mut(&id).and_then(|d| d.line.take());
                if let Some(device) = state.devices.get_mut(&id).filter(|_| line.is_some()) {
                    let pause = device.rng.random_range(100..11_000);
                    state.after(at, pause, What::Connect(id));
                }
            }
            let rest = self.rng.random_range(500..30_000);
            state.after(at, rest, What::Begins);
        }
        self.allocator.is_none()
    }

    /// Lets a device into the fog at this moment, and then whatever it does.
    pub(super) fn add(&mut self, device: Device) -> DeviceId {
        let (id, at) = (device.id(), self.at());
        let mut state = self.net.lock();
        let life = device.life;
        let relays = device.mix.is_some();
        state.devices.insert(id, device);
        state.after(at, 0, What::Connect(id));
        state.after(at, self.pace.heartbeat_ms, What::Beat(id, life));
        if relays {
            state.after(at, KEYS_MS, What::Keys(id));
        }
        id
    }

    /// The next thing that happens, if it happens before this time; `None` when time is over.
    pub(super) async fn step(&mut self, until: u64) -> Option<Option<Incident>> {
        let next = self.net.lock().next(until);
        let Some((at, what)) = next else {
            self.net.hands.move_to(until);
            return None;
        };
        self.net.hands.move_to(at);
        self.net.step.store(self.at(), Relaxed);
        let mut befell = None;
        match what {
            What::Round => self.round(at).await,
            What::Begins => self.start().await,
            What::Befalls(incident) => befell = Some(incident),
            What::Connect(id) => self.connect(id).await,
            What::Silent(id, line) => self.silent(id, &line),
            What::Beat(id, life) => self.beat(id, life).await,
            What::Keys(id) => self.keys(id).await,
            What::Does(id, life, doing) => self.goes_on(id, life, &doing).await,
            What::Arrives(id, request) => {
                let (at, now) = (self.at(), self.now());
                let mut state = self.net.lock();
                if let Some(device) = state.devices.get_mut(&id).filter(|d| !d.away()) {
                    let (reply, doings) = device.handle(&request, now);
                    state.trace(at, format_args!("{} late {reply:?}", id.short()));
                    state.do_later(at, id, doings);
                }
            }
            What::Reports(id, number, report) => self.reported(id, number, *report).await,
        }
        // Tasks that tell devices something come to their end before the next step.
        tokio::task::yield_now().await;
        self.dead().await;
        Some(befell)
    }

    async fn round(&mut self, due: u64) {
        // Those that are due by now are one.
        if !self.looks.contains(&due) {
            return;
        }
        self.looks = self.looks.split_off(&(self.at() + 1));
        let Some(running) = &mut self.allocator else { return };
        let looked = running.actor.round().await;
        self.changed = true;
        if self.dead().await {
            return;
        }
        looked.expect("the store fails only when it is cut off");
        let woken = self.allocator.as_ref().is_some_and(|r| r.shared.wake.notified().now_or_never().is_some());
        if woken {
            self.look(SETTLE_MS);
        } else if self.looks.is_empty() {
            self.look(self.pace.idle_ms);
        }
    }

    /// Something has reached the allocator.
    fn wake(&mut self) {
        if self.looks.first().is_none_or(|next| *next > self.at() + SETTLE_MS) {
            self.look(SETTLE_MS);
        }
    }

    /// Asks the allocator as a member.
    pub(super) async fn ask(&mut self, id: DeviceId, request: NodeRequest) -> Option<NodeReply> {
        let running = self.allocator.as_ref()?;
        let (_, line) = self.net.lock().devices.get(&id).filter(|d| !d.away())?.line.clone()?;
        // On another connection than the allocator's nobody listens any more.
        let member = running.shared.registry.member(id).filter(|member| same(&member.line, &line))?;
        let reply = api::answer(&running.shared, &member, request).await;
        self.changed = true;
        self.wake();
        (!self.dead().await).then_some(reply)
    }

    async fn connect(&mut self, id: DeviceId) {
        let (at, now) = (self.at(), self.now());
        let (enrol, joins) = {
            let state = self.net.lock();
            let Some(device) = state.devices.get(&id).filter(|d| d.on && d.line.is_none()) else { return };
            let relays = device.mix.is_some();
            let enrol = Enrol {
                certificate: device.certificate(),
                name: device.name.clone(),
                roles: Roles { agent: true, mixnode: relays, publisher: true, admin: false },
                mix: device.mix_info(now),
                addrs: Vec::new(),
                comes: Coming::Back,
            };
            (enrol, !device.member)
        };
        let again = |fog: &Self| {
            let mut state = fog.net.lock();
            let Some(device) = state.devices.get_mut(&id) else { return };
            let pause = device.rng.random_range(1_000..10_000);
            state.after(at, pause, What::Connect(id));
        };
        let parted = self.net.lock().devices.get(&id).is_some_and(|d| d.parted);
        let Some(Running { shared, .. }) = self.allocator.as_ref().filter(|_| !parted) else { return again(self) };
        let shared = shared.clone();
        let mut enrol = enrol;
        if joins {
            let roles = Roles { admin: false, ..Roles::ALL };
            let ticket = make_invite(&shared, roles, DurationMs::from_s(3_600), Vec::new()).await;
            let Ok(ticket) = ticket else { return again(self) };
            enrol.comes = Coming::Joins(ticket.secret);
        }
        self.lines += 1;
        let line: Arc<dyn Line> = Arc::new(SimLine { device: id, number: self.lines, net: self.net.clone() });
        let seen = Some(std::net::IpAddr::from([10, 0, id.0[0], 1]));
        let entered = session::enter(&shared, id, line.clone(), seen, enrol).await;
        if self.dead().await {
            return again(self);
        }
        match entered {
            Ok(_) => {
                let number = self.lines;
                let mut state = self.net.lock();
                state.trace(at, format_args!("{} connects", id.short()));
                let Some(device) = state.devices.get_mut(&id) else { return };
                (device.member, device.line) = (true, Some((number, line)));
                state.do_later(at, id, vec![(1, Doing::Say)]);
                drop(state);
                self.wake();
            }
            Err(refusal) => {
                let mut state = self.net.lock();
                state.trace(at, format_args!("{} is refused: {refusal}", id.short()));
                drop(state);
                again(self);
            }
        }
    }

    /// A device's connection dies: its allocator notices after a while, and so does the device if it still runs.
    pub(super) fn break_line(&mut self, id: DeviceId) {
        let at = self.at();
        let mut state = self.net.lock();
        let Some(device) = state.devices.get_mut(&id) else { return };
        if let Some((_, line)) = device.line.take() {
            state.after(at, SILENCE_MS, What::Silent(id, line));
            state.after(at, SILENCE_MS, What::Connect(id));
        }
    }

    fn silent(&mut self, id: DeviceId, line: &Arc<dyn Line>) {
        if let Some(Running { shared, .. }) = &self.allocator {
            shared.registry.left(id, line, shared.instant());
            self.wake();
            // And once more when it has had its time to come back.
            self.look(u64::try_from(PROBE.as_millis()).unwrap() + SETTLE_MS);
        }
    }

    async fn beat(&mut self, id: DeviceId, life: u64) {
        let (at, now) = (self.at(), self.now());
        let news = {
            let mut state = self.net.lock();
            let Some(device) = state.devices.get_mut(&id).filter(|d| d.on && d.life == life) else { return };
            let news = device.tick(now);
            state.after(at, self.pace.heartbeat_ms, What::Beat(id, life));
            news
        };
        // Without news it changes nothing that a look would have to be taken at once for.
        let (looks, changed) = (self.looks.clone(), self.changed);
        self.say(id).await;
        if !news && self.allocator.is_some() {
            (self.looks, self.changed) = (looks, changed);
        }
    }

    async fn keys(&mut self, id: DeviceId) {
        let (at, now) = (self.at(), self.now());
        let mix = {
            let mut state = self.net.lock();
            state.after(at, KEYS_MS, What::Keys(id));
            state.devices.get(&id).filter(|d| !d.away()).and_then(|d| d.mix_info(now))
        };
        if let Some(mix) = mix {
            self.ask(id, NodeRequest::Relays { mix: Box::new(mix), probes: Vec::new(), clients: 0 }).await;
        }
    }

    async fn goes_on(&mut self, id: DeviceId, life: u64, doing: &Doing) {
        let (at, now) = (self.at(), self.now());
        {
            let mut state = self.net.lock();
            let stumbles = state.stumbles;
            let Some(device) = state.devices.get_mut(&id).filter(|d| d.on && d.life == life) else { return };
            if *doing == Doing::Say {
                device.saying = false;
            } else {
                let doings = device.go_on(doing, now, stumbles);
                state.do_later(at, id, doings);
                return;
            }
        }
        self.say(id).await;
    }

    /// A device reports, over a line on which reports are late or doubled too; one that is lost ends the connection, as QUIC would.
    async fn say(&mut self, id: DeviceId) {
        let at = self.at();
        let (report, number, drawn) = {
            let mut state = self.net.lock();
            let faults = state.faults;
            let Some(device) = state.devices.get_mut(&id).filter(|d| !d.away()) else { return };
            let Some((number, _)) = device.line else { return };
            let drawn = (device.rng.random_range(0..1_000), device.rng.random_range(10..8_000));
            (device.report(), number, (drawn, faults))
        };
        let ((drawn, delay), faults) = drawn;
        if drawn < faults.lost {
            return self.break_line(id);
        }
        if drawn < faults.lost + faults.late + faults.doubled {
            self.net.lock().after(at, delay, What::Reports(id, number, Box::new(report.clone())));
        }
        if drawn < faults.lost + faults.late {
            return;
        }
        self.reported(id, number, report).await;
    }

    async fn reported(&mut self, id: DeviceId, number: u64, report: Report) {
        if self.net.lock().devices.get(&id).is_some_and(|d| d.speaks_on(number)) {
            self.ask(id, NodeRequest::Report(report)).await;
        }
    }
}
