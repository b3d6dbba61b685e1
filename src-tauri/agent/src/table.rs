//! The instances of this device and the resources they hold: who may reserve, confirm, and in which state each stands. Pure.
//!
//! Invariants: what live instances hold never exceeds what was lent when the last of them was let in; a reservation ends by itself; a plan older
//! than one seen before for a container is refused (epochs); states move only as the machine allows; what has ended is listed until the
//! allocator has acknowledged it.

use crate::Listed;
use fogbank_model::{ContainerId, Dimension, Instance, InstanceId, InstanceState, Resources, UnixMs};
use fogbank_wire::{Assignment, InstanceReport, Refusal, RefusalKind, Traffic};
use std::collections::{BTreeMap, HashMap};

/// Live instances at once; the allocator knows it, too.
pub(crate) const MAX_LIVE: usize = Instance::MAX_ON_DEVICE;
/// Ended instances that are listed. The allocator acknowledges within moments; while it is away no new ones come.
const MAX_ENDED: usize = 256;
/// Containers whose epoch is remembered: fencing matters within a plan's life, which is minutes.
const MAX_EPOCHS: usize = 4096;
/// A reservation that asks for more holds no longer than this: the allocator confirms within seconds.
const LONGEST_RESERVATION_MS: i64 = 10 * 60 * 1000;

/// An instance as it stands here.
#[derive(Debug, Clone)]
pub struct Slot {
    /// What it is a copy of.
    pub container: ContainerId,
    /// What it holds.
    pub given: Resources,
    /// Where it stands.
    pub state: InstanceState,
    reason: String,
    expires: UnixMs,
    /// By which visitors introduce themselves, once it has one.
    pub introduction_key: Option<[u8; 32]>,
    /// How much visitors ask of it, where that is to be told.
    traffic: Option<Traffic>,
}

/// The instances of a device.
#[derive(Debug, Default)]
pub struct Table {
    slots: BTreeMap<InstanceId, Slot>,
    epochs: HashMap<ContainerId, u64>,
}

/// What to hold for an instance.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Which.
    pub instance: InstanceId,
    /// Of what.
    pub container: ContainerId,
    /// How much.
    pub given: Resources,
    /// It ends by itself then.
    pub expires: UnixMs,
    /// The container's plan that it belongs to.
    pub epoch: u64,
}

/// What a confirmation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// Start it.
    Start,
    /// It was confirmed before.
    Already,
}

impl Table {
    /// Holds resources for an instance. Asking again for the same is answered alike.
    ///
    /// # Errors
    /// When a newer plan is known, the device is closed or full, or the instance is another one here.
    pub fn reserve(&mut self, claim: &Claim, lent: &Resources, closed: Option<String>, now: UnixMs) -> Result<(), Refusal> {
        self.expire(now);
        let refuse = |kind, words: String| Err(Refusal::new(kind, words));
        let newest = self.epochs.get(&claim.container).copied().unwrap_or(0);
        if claim.epoch < newest {
            return refuse(RefusalKind::Expired, format!("plan {} of this container is older than plan {newest}", claim.epoch));
        }
        if claim.expires <= now {
            return refuse(RefusalKind::Expired, "the reservation has ended already".to_owned());
        }
        let expires = claim.expires.min(UnixMs(now.0.saturating_add(LONGEST_RESERVATION_MS)));
        if let Some(slot) = self.slots.get_mut(&claim.instance) {
            if slot.container != claim.container || slot.given != claim.given || !slot.state.is_live() {
                return refuse(RefusalKind::Invalid, "this instance is another one here".to_owned());
            }
            if slot.state == InstanceState::Reserved && closed.is_some() {
                self.slots.remove(&claim.instance);
            } else {
                slot.expires = expires;
                return Ok(());
            }
        }
        if let Some(why) = closed {
            return refuse(RefusalKind::WrongState, format!("this device takes nothing new: {why}"));
        }
        if self.slots.values().filter(|s| s.state.is_live()).count() >= MAX_LIVE {
            return refuse(RefusalKind::Busy, format!("this device runs {MAX_LIVE} instances already"));
        }
        let used = self.used();
        let free = lent.minus(&used);
        if let Some(short) = Dimension::ALL.into_iter().find(|d| claim.given.get(*d) > free.get(*d)) {
            let (asked, free) = (short.show(claim.given.get(short)), short.show(free.get(short)));
            return refuse(RefusalKind::Busy, format!("not enough {short} here: {asked} asked, {free} free"));
        }
        if self.epochs.len() >= MAX_EPOCHS && !self.epochs.contains_key(&claim.container) {
            let live: Vec<ContainerId> = self.slots.values().map(|s| s.container).collect();
            self.epochs.retain(|container, _| live.contains(container));
        }
        self.epochs.insert(claim.container, claim.epoch);
        let slot = Slot {
            container: claim.container,
            given: claim.given,
            state: InstanceState::Reserved,
            reason: "reserved".to_owned(),
            expires,
            introduction_key: None,
            traffic: None,
        };
        self.slots.insert(claim.instance, slot);
        Ok(())
    }

    /// Uses a reservation. `bytes` is what the content takes.
    ///
    /// # Errors
    /// When there is no such reservation, or it does not fit what is to run.
    pub fn confirm(&mut self, assignment: &Assignment, bytes: u64, now: UnixMs) -> Result<Confirmed, Refusal> {
        self.expire(now);
        let Some(slot) = self.slots.get_mut(&assignment.instance) else {
            return Err(Refusal::new(RefusalKind::NotFound, "there is no such reservation here (any more)"));
        };
        if slot.container != assignment.container {
            return Err(Refusal::new(RefusalKind::Invalid, "the reservation is another container's"));
        }
        match slot.state {
            InstanceState::Reserved => {}
            state if state.counts() => return Ok(Confirmed::Already),
            state => return Err(Refusal::new(RefusalKind::WrongState, format!("the instance is {state} here"))),
        }
        if !slot.given.covers(&assignment.spec.minimum()) || slot.given.storage_mb.saturating_mul(1_000_000) < bytes {
            return Err(Refusal::new(RefusalKind::Invalid, "what was reserved is less than one copy needs"));
        }
        Ok(Confirmed::Start)
    }

    /// Drops a reservation that was not confirmed.
    pub fn release(&mut self, instance: InstanceId) {
        if self.slots.get(&instance).is_some_and(|s| s.state == InstanceState::Reserved) {
            self.slots.remove(&instance);
        }
    }

    /// Moves an instance; `false` when the machine has no such move. The same state again is a new reason.
    pub fn step(&mut self, instance: InstanceId, to: InstanceState, reason: impl Into<String>) -> bool {
        let Some(slot) = self.slots.get_mut(&instance) else { return false };
        if slot.state != to {
            match slot.state.go(to) {
                Ok(state) => slot.state = state,
                Err(error) => {
                    tracing::debug!(%error, instance = instance.short(), "a step that the machine does not have");
                    return false;
                }
            }
        }
        slot.reason = reason.into();
        self.bound_ended();
        true
    }

    /// Makes the key known under which visitors introduce themselves.
    pub fn introduce(&mut self, instance: InstanceId, key: [u8; 32]) {
        if let Some(slot) = self.slots.get_mut(&instance) {
            slot.introduction_key = Some(key);
        }
    }

    /// Tells from now on how much visitors ask of an instance, or no more. Asking again for the same changes nothing.
    pub fn measure(&mut self, instance: InstanceId, on: bool) {
        if let Some(slot) = self.slots.get_mut(&instance) {
            slot.traffic = on.then(|| slot.traffic.unwrap_or_default());
        }
    }

    /// Whether it is told how much visitors ask of an instance.
    pub fn measures(&self, instance: InstanceId) -> bool {
        self.slots.get(&instance).is_some_and(|slot| slot.traffic.is_some())
    }

    /// What was measured of an instance, if that is to be told.
    pub fn measured(&mut self, instance: InstanceId, take: impl FnOnce(&Resources) -> Traffic) {
        if let Some(slot) = self.slots.get_mut(&instance)
            && slot.traffic.is_some()
        {
            slot.traffic = Some(take(&slot.given));
        }
    }

    /// The allocator knows that it is over.
    pub fn forget(&mut self, instance: InstanceId) {
        self.slots.remove(&instance);
    }

    /// One of them.
    pub fn get(&self, instance: InstanceId) -> Option<&Slot> {
        self.slots.get(&instance)
    }

    /// Drops reservations whose time is over; whether there were any.
    pub fn expire(&mut self, now: UnixMs) -> bool {
        let before = self.slots.len();
        self.slots.retain(|_, s| s.state != InstanceState::Reserved || s.expires > now);
        self.slots.len() != before
    }

    /// When the next reservation ends.
    pub fn next_expiry(&self) -> Option<UnixMs> {
        self.slots.values().filter(|s| s.state == InstanceState::Reserved).map(|s| s.expires).min()
    }

    /// What live instances hold.
    pub fn used(&self) -> Resources {
        self.slots.values().filter(|s| s.state.is_live()).fold(Resources::ZERO, |sum, s| sum.plus(&s.given))
    }

    /// All, as they are reported.
    pub fn reports(&self) -> Vec<InstanceReport> {
        let report = |(instance, slot): (&InstanceId, &Slot)| InstanceReport {
            instance: *instance,
            state: slot.state,
            reason: slot.reason.clone(),
            introduction_key: slot.introduction_key,
            traffic: slot.traffic.filter(|_| slot.state.is_live()),
        };
        self.slots.iter().map(report).collect()
    }

    /// All, as the owner sees them.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |(instance, slot): (&InstanceId, &Slot)| Listed {
            instance: *instance,
            container: slot.container,
            given: slot.given,
            state: slot.state,
            reason: slot.reason.clone(),
        };
        self.slots.iter().map(listed).collect()
    }

    fn bound_ended(&mut self) {
        let ended: Vec<InstanceId> = self.slots.iter().filter(|(_, s)| !s.state.is_live()).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(MAX_ENDED)) {
            self.slots.remove(id);
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
