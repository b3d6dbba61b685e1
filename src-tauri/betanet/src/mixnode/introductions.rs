//! The introduction point: live leases of instances, and the SURBs by which introductions reach them. Pure: time comes in.
//!
//! It can drop introductions and count instances; it can't steer visitors (they choose by the signed leases) nor read what it passes on.
//!
//! Invariants: a service passes no more than its own rate, so that a flood at one starves that one alone; beyond a rate, whoever spends
//! the most work is passed first ([`crate::puzzle`]); a registration needs a lease that holds, and, when places run low, work. Anyone can
//! make services and leases of their own, and mixes hide who asks: so neither number of services nor of askers is a limit here, work is.

use super::{
    gate::Gate,
    mailboxes::{Answer, left},
    revoked::Revoked,
};
use crate::{
    lease::{Lease, Revocation, opens},
    message::{FromMix, ToMix},
    puzzle::{LEAST_EFFORT, SEED_LIFE, Seeds, Task, Work, table_effort},
};
use fogbank_model::{ContainerSpec, InstanceId, MixId, UnixMs};
use fogbank_sphinx::Geometry;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Registrations at a point: with 40 SURBs of 360 bytes and a lease each, 30 MB. Of 1,000 containers with two copies under two periods at
/// three points each, seven mixes have 1,700 each.
const MAX_REGISTRATIONS: usize = 2_048;
/// Registrations of one service: all copies, and as many on their way out.
const MAX_OF_SERVICE: usize = 2 * ContainerSpec::MAX_INSTANCES as usize;
/// SURBs of one registration: what an instance leaves at most, twice.
const MAX_STOCK: usize = 40;
/// SURBs that only ask for more.
const RESERVE: usize = 2;
/// With so few left beyond the reserve, an instance is as good as flooded: they are for those who work.
const SCARCE: usize = 4;
/// Introductions of one service a second: what one instance's SURBs, renewed twice a second, carry.
const SERVICE_RATE: u32 = 32;
/// Introductions of all services a second: a tenth of what a mix on a slow laptop unwraps and seals.
const POINT_RATE: u32 = 512;
/// Introductions that wait for one service: two seconds of its rate.
const MAX_WAITING: usize = 2 * SERVICE_RATE as usize;
/// Introductions that wait in all: 4 MB of first messages and SURBs at most.
const MAX_WAITING_IN_ALL: usize = 1_024;
/// The visitor has given up by then.
const WAIT: Duration = Duration::from_millis(2_500);
/// Leases in one answer: those that fit a packet.
const MAX_LEASES_BYTES: usize = Geometry::REPLY_PAYLOAD_BYTES;
/// An instance that has been silent for three of its beats has gone or lost its way here.
const QUIET: Duration = Duration::from_secs(60);
/// Tasks remembered of one seed's life: all that can be let in within it.
const MAX_USED: usize = POINT_RATE as usize * SEED_LIFE.as_secs() as usize + MAX_WAITING_IN_ALL;
/// The gate of registrations, for its puzzles.
const REGISTRATIONS: &[u8] = b"registrations";

struct Registration {
    lease: Vec<u8>,
    lock: Option<[u8; 16]>,
    expires: UnixMs,
    stock: VecDeque<Vec<u8>>,
    asked: bool,
    heard: Instant,
    spent: u32,
}

struct Waiting {
    effort: u32,
    since: Instant,
    task: Task,
    instance: InstanceId,
    hello: Vec<u8>,
    surb: Vec<u8>,
}

struct Service {
    instances: HashMap<InstanceId, Registration>,
    gate: Gate,
    waiting: Vec<Waiting>,
}

/// Somebody introduces themself.
pub(crate) struct Knock {
    pub(crate) blinded: [u8; 32],
    pub(crate) instance: InstanceId,
    pub(crate) hello: Vec<u8>,
    pub(crate) work: Option<Work>,
    pub(crate) surb: Vec<u8>,
}

/// All registrations of an introduction point.
pub(crate) struct Introductions {
    point: MixId,
    services: HashMap<[u8; 32], Service>,
    registrations: usize,
    waiting: usize,
    gate: Gate,
    seeds: Seeds,
    /// Tasks let in for work: since the last turn, and of the two lives of a seed before.
    used: [HashSet<Task>; 3],
    used_since: Instant,
    revoked: Revoked,
}

impl Introductions {
    pub(crate) fn new(point: MixId, now: Instant) -> Self {
        Self {
            point,
            services: HashMap::new(),
            registrations: 0,
            waiting: 0,
            gate: Gate::new(POINT_RATE, now),
            seeds: Seeds::new(now, &mut rand::rng()),
            used: Default::default(),
            used_since: now,
            revoked: Revoked::default(),
        }
    }

    /// An instance registers or brings more SURBs.
    pub(crate) fn register(
        &mut self,
        clock: Instant,
        now: UnixMs,
        lease: &[u8],
        surbs: Vec<Vec<u8>>,
        flush: bool,
        work: Option<Work>,
    ) -> Option<Answer> {
        let under = match Lease::open_at(lease, self.point, now) {
            Ok(under) => under,
            Err(error) => {
                tracing::debug!(%error, "a registration was not believed");
                return None;
            }
        };
        let (blinded, instance) = (under.blinded, under.said.instance);
        let mut surbs = VecDeque::from(surbs);
        if self.revoked.contains(&blinded, instance) {
            return surbs.pop_front().map(|surb| (surb, FromMix::Refused("the lease was taken back".to_owned())));
        }
        let fresh = self.services.get(&blinded).is_none_or(|s| !s.instances.contains_key(&instance));
        let mut spent = 0;
        if fresh {
            match self.place(clock, now, &blinded, lease, work) {
                Ok(paid) => spent = paid,
                Err(answer) => return surbs.pop_front().map(|surb| (surb, answer)),
            }
        }
        let expires = under.said.expires;
        let service = self.services.entry(blinded).or_insert_with(|| Service {
            instances: HashMap::new(),
            gate: Gate::new(SERVICE_RATE, clock),
            waiting: Vec::new(),
        });
        let registration = service.instances.entry(instance).or_insert_with(|| {
            self.registrations += 1;
            Registration { lease: Vec::new(), lock: None, expires, stock: VecDeque::new(), asked: false, heard: clock, spent }
        });
        if registration.expires <= expires {
            (registration.lease, registration.lock, registration.expires) = (under.public, under.lock, expires);
        }
        if flush {
            registration.stock.clear();
        }
        registration.heard = clock;
        registration.asked = registration.asked && surbs.is_empty();
        registration.stock.extend(surbs);
        registration.stock.truncate(MAX_STOCK);
        if fresh || flush {
            let surb = registration.stock.pop_front()?;
            return Some((surb, FromMix::Registered { stock: left(&registration.stock) }));
        }
        None
    }

    /// Makes room for one more registration, and says what was spent on it; or what to answer.
    fn place(
        &mut self,
        clock: Instant,
        now: UnixMs,
        blinded: &[u8; 32],
        lease: &[u8],
        work: Option<Work>,
    ) -> Result<u32, FromMix> {
        let quiet = |r: &Registration| r.expires <= now || clock.saturating_duration_since(r.heard) >= QUIET;
        if let Some(service) = self.services.get(blinded)
            && service.instances.len() >= MAX_OF_SERVICE
        {
            let gone = service.instances.iter().find(|(_, r)| quiet(r)).map(|(id, _)| *id);
            let gone = gone.ok_or_else(|| FromMix::Refused("too many instances of this service are here".to_owned()))?;
            self.remove(blinded, gone);
        }
        let asked = table_effort(self.registrations, MAX_REGISTRATIONS);
        let task = ToMix::registration_task(lease);
        let spent = work.filter(|w| self.seeds.paid(REGISTRATIONS, &task, *w, clock)).map_or(0, |w| w.effort);
        if spent < asked {
            return Err(FromMix::Puzzle(self.seeds.puzzle(REGISTRATIONS, asked, clock)));
        }
        if self.registrations >= MAX_REGISTRATIONS {
            // First who has gone, then who spent the least; among equals whoever is here stays.
            let all =
                self.services.iter().flat_map(|(b, s)| s.instances.iter().map(move |(id, r)| (!quiet(r), r.spent, *b, *id)));
            match all.min() {
                Some((here, theirs, service, id)) if !here || theirs < spent => self.remove(&service, id),
                _ => return Err(FromMix::Puzzle(self.seeds.puzzle(REGISTRATIONS, asked, clock))),
            }
        }
        Ok(spent)
    }

    fn remove(&mut self, blinded: &[u8; 32], instance: InstanceId) {
        let Some(service) = self.services.get_mut(blinded) else { return };
        if service.instances.remove(&instance).is_some() {
            self.registrations -= 1;
        }
        if service.instances.is_empty()
            && let Some(service) = self.services.remove(blinded)
        {
            self.waiting -= service.waiting.len();
        }
    }

    /// An instance leaves.
    pub(crate) fn unregister(&mut self, now: UnixMs, lease: &[u8]) {
        if let Ok(under) = Lease::open_at(lease, self.point, now) {
            self.remove(&under.blinded, under.said.instance);
        }
    }

    /// The allocator takes leases back; how many older revocations were forgotten for it.
    ///
    /// # Errors
    /// When the revocation is not signed for what it names.
    pub(crate) fn revoke(&mut self, now: UnixMs, bytes: &[u8]) -> Result<u64, crate::proof::ProofError> {
        let under = Revocation::open(bytes, now)?;
        let mut forgotten = 0;
        for instance in under.said.instances {
            self.remove(&under.blinded, instance);
            forgotten += self.revoked.insert(now, under.blinded, instance, under.said.at);
        }
        Ok(forgotten)
    }

    /// The live leases of a service, as many as fit, beginning anywhere.
    pub(crate) fn leases(&self, now: UnixMs, blinded: &[u8; 32], unlock: Option<&[u8; 16]>, offset: usize) -> FromMix {
        let instances = self.services.get(blinded).into_iter().flat_map(|s| s.instances.values());
        let live: Vec<&Registration> = instances.filter(|r| r.expires > now && opens(r.lock.as_ref(), unlock)).collect();
        let mut chosen: Vec<Vec<u8>> = Vec::new();
        for i in 0..live.len() {
            let lease = &live[(i + offset) % live.len()].lease;
            let lengths = chosen.iter().map(Vec::len).chain([lease.len()]);
            if FromMix::leases_bytes(lengths) > MAX_LEASES_BYTES {
                break;
            }
            chosen.push(lease.clone());
        }
        FromMix::Leases(chosen)
    }

    /// Passes an introduction on, lets it wait, or asks for work: what to send, to the instance and to who asked.
    pub(crate) fn introduce(&mut self, clock: Instant, now: UnixMs, knock: Knock) -> Vec<Answer> {
        let refused = |surb, why: &str| vec![(surb, FromMix::Refused(why.to_owned()))];
        let Knock { blinded, instance, hello, work, surb } = knock;
        self.turn(clock);
        let Some(service) = self.services.get_mut(&blinded) else { return refused(surb, "not registered here") };
        let Some(registration) = service.instances.get(&instance).filter(|r| r.expires > now) else {
            return refused(surb, "not registered here");
        };
        let stock = registration.stock.len();
        let task = ToMix::introduction_task(&blinded, instance, &hello);
        let spent = work.filter(|w| self.seeds.paid(&blinded, &task, *w, clock)).map_or(0, |w| w.effort);
        if spent > 0 && self.used.iter().any(|used| used.contains(&task)) {
            // Asked again because the answer was lost: it has been passed on or waits.
            return vec![(surb, FromMix::Introduced)];
        }
        // Counted only now, so that knocking at doors that are not there shuts no other. Both gates take note.
        let enough = service.gate.knock(spent, clock) & self.gate.knock(spent, clock);
        let scarce = if stock <= RESERVE + SCARCE { LEAST_EFFORT } else { 0 };
        let asked = service.gate.effort().max(self.gate.effort()).max(scarce);
        let puzzle = |effort: u32| FromMix::Puzzle(self.seeds.puzzle(&blinded, effort.max(LEAST_EFFORT), clock));
        if !enough || spent < asked {
            return vec![(surb, puzzle(asked))];
        }
        let waiting = Waiting { effort: spent, since: clock, task, instance, hello, surb };
        if service.waiting.is_empty() && stock > RESERVE && service.gate.open(clock) && self.gate.open(clock) {
            self.used[0].extend((spent > 0).then_some(task));
            self.gate.pass();
            return pass(service, waiting);
        }
        if spent == 0 || self.waiting >= MAX_WAITING_IN_ALL || self.used[0].len() >= MAX_USED {
            return vec![(waiting.surb, puzzle(asked))];
        }
        let mut answers = Vec::new();
        if service.waiting.len() >= MAX_WAITING {
            let least = service.waiting.iter().enumerate().min_by_key(|(_, w)| (w.effort, std::cmp::Reverse(w.since)));
            match least.map(|(at, w)| (at, w.effort)) {
                Some((at, effort)) if effort < spent => {
                    let outbid = service.waiting.swap_remove(at);
                    self.waiting -= 1;
                    for used in &mut self.used {
                        used.remove(&outbid.task);
                    }
                    answers.push((outbid.surb, puzzle(effort.saturating_mul(2))));
                }
                _ => return vec![(waiting.surb, puzzle(spent.saturating_mul(2)))],
            }
        }
        self.used[0].insert(task);
        service.waiting.push(waiting);
        self.waiting += 1;
        answers
    }

    /// Whether introductions wait.
    pub(crate) fn crowded(&self) -> bool {
        self.waiting > 0
    }

    /// Passes on what has waited, while the gates are open: of each service whoever spent the most.
    pub(crate) fn drain(&mut self, clock: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.waiting == 0 {
            return answers;
        }
        for service in self.services.values_mut().filter(|s| !s.waiting.is_empty()) {
            let before = service.waiting.len();
            service.waiting.retain(|w| clock.saturating_duration_since(w.since) < WAIT);
            service.waiting.sort_by_key(|w| (w.effort, std::cmp::Reverse(w.since)));
            while service.gate.open(clock) && self.gate.open(clock) {
                let reachable = |w: &Waiting| service.instances.get(&w.instance).is_some_and(|r| r.stock.len() > RESERVE);
                let Some(at) = service.waiting.iter().rposition(reachable) else { break };
                let next = service.waiting.remove(at);
                self.gate.pass();
                answers.extend(pass(service, next));
            }
            self.waiting -= before - service.waiting.len();
        }
        answers
    }

    /// Forgets what has ended.
    pub(crate) fn sweep(&mut self, now: UnixMs) {
        let mut gone = 0;
        for service in self.services.values_mut() {
            let before = service.instances.len();
            service.instances.retain(|_, r| r.expires > now);
            gone += before - service.instances.len();
        }
        self.registrations -= gone;
        self.services.retain(|_, s| !s.instances.is_empty());
        self.waiting = self.services.values().map(|s| s.waiting.len()).sum();
        self.revoked.sweep(now);
    }

    /// Tasks are remembered as long as their solutions hold.
    fn turn(&mut self, clock: Instant) {
        if clock.saturating_duration_since(self.used_since) >= SEED_LIFE {
            self.used.rotate_right(1);
            self.used[0].clear();
            self.used_since = clock;
        }
    }
}

/// To the instance the introduction, to who asked that it is on its way.
fn pass(service: &mut Service, waiting: Waiting) -> Vec<Answer> {
    let Waiting { instance, hello, surb: asker, .. } = waiting;
    let Some(registration) = service.instances.get_mut(&instance) else { return Vec::new() };
    let Some(surb) = registration.stock.pop_front() else { return Vec::new() };
    service.gate.pass();
    let mut answers =
        vec![(surb, FromMix::Introduction { hello, stock: left(&registration.stock) }), (asker, FromMix::Introduced)];
    if registration.stock.len() <= RESERVE
        && !registration.asked
        && let Some(surb) = registration.stock.pop_front()
    {
        registration.asked = true;
        answers.push((surb, FromMix::Restock { stock: left(&registration.stock) }));
    }
    answers
}

#[cfg(test)]
#[path = "introductions_tests.rs"]
mod tests;
