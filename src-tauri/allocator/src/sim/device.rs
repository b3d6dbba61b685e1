//! A simulated device: the agent's own table of reservations, and around it what a device does in time.

use crate::line::Line;
use fogbank_agent::table::{Claim, Confirmed, Table};
use fogbank_betanet::{epoch, lease::Lease};
use fogbank_model::{BundleId, DurationMs, Image, InstanceId, InstanceState, Resources, UnixMs};
use fogbank_wire::{
    Assignment, DeviceReply, DeviceRequest, MixInfo, Offer, OwnerCertificate, PacketKeys, Power, Refusal, RefusalKind, Report,
};
use iroh::SecretKey;
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// An instance without a lease ends by itself after this, as the agent's do.
const LEASE_WAIT: DurationMs = DurationMs::from_s(10 * 60);

/// What a device does some time after it was told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    /// The content of an instance is there.
    Fetched(InstanceId),
    /// Introduction points know it.
    Registered(InstanceId),
    /// They have forgotten it.
    Stumbled(InstanceId),
    /// Nothing is open any more.
    Drained(InstanceId),
    /// A copy of a bundle is whole.
    Kept(BundleId),
    /// Something is to be reported.
    Say,
}

/// What a device is asked that can go wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reserve(InstanceId),
    Confirm(InstanceId),
    Release(InstanceId),
    Lease(InstanceId),
    Drain(InstanceId),
    End(InstanceId),
    Keep,
    Forget,
}

impl Kind {
    /// `None` for what is a mix's matter.
    pub(super) fn of(request: &DeviceRequest) -> Option<Self> {
        Some(match request {
            DeviceRequest::Reserve { instance, .. } => Self::Reserve(*instance),
            DeviceRequest::Confirm(assignment) => Self::Confirm(assignment.instance),
            DeviceRequest::Release(instance) => Self::Release(*instance),
            DeviceRequest::Lease { instance, .. } => Self::Lease(*instance),
            DeviceRequest::Drain { instance, .. } => Self::Drain(*instance),
            DeviceRequest::End(instance) => Self::End(*instance),
            DeviceRequest::Keep { .. } => Self::Keep,
            DeviceRequest::Forget(_) => Self::Forget,
            DeviceRequest::Ping
            | DeviceRequest::Measure { .. }
            | DeviceRequest::Directory(_)
            | DeviceRequest::PutDescriptor(_)
            | DeviceRequest::Revoke(_) => return None,
        })
    }
}

/// A lease that a device holds, and since when it waits for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leased {
    pub(super) until: Option<UnixMs>,
    since: UnixMs,
}

/// A device.
pub(super) struct Device {
    pub(super) key: SecretKey,
    pub(super) owner: SecretKey,
    pub(super) name: String,
    pub(super) mix: Option<SecretKey>,
    /// What it has.
    pub(super) has: Resources,
    /// What it says that it lends, more than it has if it boasts.
    pub(super) says: Resources,
    pub(super) table: Table,
    pub(super) leases: BTreeMap<InstanceId, Leased>,
    pub(super) bundles: BTreeSet<BundleId>,
    pub(super) drain: Option<String>,
    pub(super) power: Power,
    /// Switched on.
    pub(super) on: bool,
    /// Nothing comes through, in neither direction.
    pub(super) parted: bool,
    /// Its connection, while it has one, and which that is.
    pub(super) line: Option<(u64, Arc<dyn Line>)>,
    /// A member that comes back shows no invite.
    pub(super) member: bool,
    /// Rises when its process restarts: what was under way is over.
    pub(super) life: u64,
    /// A report is on its way already.
    pub(super) saying: bool,
    pub(super) rng: StdRng,
}

impl Device {
    /// Whether nothing that is sent to it arrives.
    pub(super) const fn away(&self) -> bool {
        !self.on || self.parted
    }

    /// Whether this is its connection.
    pub(super) fn speaks_on(&self, number: u64) -> bool {
        self.line.as_ref().is_some_and(|(known, _)| *known == number)
    }

    pub(super) fn id(&self) -> fogbank_model::DeviceId {
        fogbank_model::DeviceId(*self.key.public().as_bytes())
    }

    pub(super) fn certificate(&self) -> OwnerCertificate {
        OwnerCertificate::issue(&self.owner, self.id()).unwrap()
    }

    /// Its mix with keys for the coming hours.
    pub(super) fn mix_info(&self, now: UnixMs) -> Option<MixInfo> {
        // Of no small order, and of nobody's use here.
        let mut packet_key = [0; 32];
        packet_key[0] = 9;
        let keys = PacketKeys { first: epoch::at(now).0, keys: vec![packet_key; 13] };
        let addr = ([10, 0, self.key.public().as_bytes()[0], 1], 4_000).into();
        self.mix
            .as_ref()
            .map(|key| MixInfo::new(key, self.id(), [u8::try_from(self.life % 256).unwrap(); 8], keys, vec![addr]).unwrap())
    }

    /// Its process begins anew, and knows nothing of before but the bundles on its disk.
    pub(super) fn restart(&mut self) {
        self.life += 1;
        self.table = Table::default();
        self.leases.clear();
        self.line = None;
        self.saying = false;
    }

    fn closed(&self) -> Option<String> {
        self.drain.clone()
    }

    pub(super) fn report(&self) -> Report {
        let closed = self.closed();
        let offer = Offer {
            capacity: self.says,
            lent: self.says,
            open: closed.is_none(),
            why: closed.unwrap_or_else(|| "lends".to_owned()),
        };
        Report {
            offer,
            power: self.power,
            instances: self.table.reports(),
            bundles: self.bundles.iter().copied().collect(),
            drain: self.drain.clone(),
        }
    }

    /// Answers its allocator as the agent does; what it does later of itself, after so many milliseconds.
    pub(super) fn handle(&mut self, request: &DeviceRequest, now: UnixMs) -> (DeviceReply, Vec<(u64, Doing)>) {
        let mut doings = Vec::new();
        let reply = match self.answer(request, now, &mut doings) {
            Ok(()) => DeviceReply::Done,
            Err(refusal) => DeviceReply::Refused(refusal),
        };
        doings.push((self.rng.random_range(2..60), Doing::Say));
        (reply, doings)
    }

    fn answer(&mut self, request: &DeviceRequest, now: UnixMs, doings: &mut Vec<(u64, Doing)>) -> Result<(), Refusal> {
        let not_here = || Refusal::new(RefusalKind::NotFound, "there is no such instance here");
        match request {
            DeviceRequest::Reserve { instance, container, given, expires, epoch } => {
                let claim = Claim { instance: *instance, container: *container, given: *given, expires: *expires, epoch: *epoch };
                self.table.reserve(&claim, &self.has, self.closed(), now)
            }
            DeviceRequest::Confirm(assignment) => self.confirm(assignment, now, doings),
            DeviceRequest::Release(instance) => {
                self.table.release(*instance);
                Ok(())
            }
            DeviceRequest::Lease { instance, leases } => {
                let key = self.table.get(*instance).and_then(|s| s.introduction_key).ok_or_else(not_here)?;
                let ends = leases.iter().filter_map(|bytes| Lease::open_own(bytes, *instance, &key, now).ok());
                let until = ends.map(|lease| lease.said.expires).max().ok_or_else(not_here)?;
                let leased = self.leases.get_mut(instance).ok_or_else(not_here)?;
                leased.until = Some(until);
                doings.push((self.rng.random_range(300..2_000), Doing::Registered(*instance)));
                Ok(())
            }
            DeviceRequest::Drain { instance, .. } => {
                self.leases.get(instance).ok_or_else(not_here)?;
                // One that does not serve yet ends at once.
                if !self.table.step(*instance, InstanceState::Draining, "sends visitors elsewhere") {
                    self.end(*instance, "drained before it served");
                } else {
                    doings.push((self.rng.random_range(3_000..40_000), Doing::Drained(*instance)));
                }
                Ok(())
            }
            DeviceRequest::End(instance) => {
                self.leases.remove(instance);
                self.table.forget(*instance);
                Ok(())
            }
            DeviceRequest::Keep { bundle, .. } => {
                doings.push((self.rng.random_range(500..20_000), Doing::Kept(*bundle)));
                Ok(())
            }
            DeviceRequest::Forget(bundle) => {
                self.bundles.remove(bundle);
                Ok(())
            }
            DeviceRequest::Measure { instance, on } => {
                self.table.measure(*instance, *on);
                Ok(())
            }
            DeviceRequest::Ping | DeviceRequest::Directory(_) | DeviceRequest::PutDescriptor(_) | DeviceRequest::Revoke(_) => {
                Ok(())
            }
        }
    }

    fn confirm(&mut self, assignment: &Assignment, now: UnixMs, doings: &mut Vec<(u64, Doing)>) -> Result<(), Refusal> {
        let instance = assignment.instance;
        if let Some(why) = self.closed()
            && self.table.get(instance).is_some_and(|slot| slot.state == InstanceState::Reserved)
        {
            self.table.release(instance);
            return Err(Refusal::new(RefusalKind::WrongState, format!("this device takes nothing new: {why}")));
        }
        let Image::Site { bundle, bytes, .. } = assignment.spec.image;
        if self.table.confirm(assignment, bytes, now)? == Confirmed::Already {
            return Ok(());
        }
        let mut key = [0; 32];
        self.rng.fill(&mut key);
        self.table.introduce(instance, key);
        self.table.step(instance, InstanceState::Fetching, "fetching the content");
        self.leases.insert(instance, Leased { until: None, since: now });
        // At one to eight megabytes a second.
        let transfer = if self.bundles.contains(&bundle) { 0 } else { bytes / self.rng.random_range(1_000..8_000) };
        self.bundles.insert(bundle);
        doings.push((200 + transfer, Doing::Fetched(instance)));
        Ok(())
    }

    fn end(&mut self, instance: InstanceId, why: &str) {
        self.leases.remove(&instance);
        self.table.step(instance, InstanceState::Ended, why);
    }

    /// Does what it set itself to do.
    pub(super) fn go_on(&mut self, doing: &Doing, now: UnixMs, stumbles: bool) -> Vec<(u64, Doing)> {
        let mut doings = Vec::new();
        let state = |table: &Table, instance| table.get(instance).map(|slot| slot.state);
        match doing {
            Doing::Fetched(instance) => {
                self.table.step(*instance, InstanceState::Starting, "waiting to be found by visitors");
            }
            Doing::Registered(instance) => {
                let leased = self.leases.get(instance).is_some_and(|l| l.until.is_some_and(|until| until > now));
                let able = matches!(state(&self.table, *instance), Some(InstanceState::Starting | InstanceState::Unready));
                if leased && able {
                    self.table.step(*instance, InstanceState::Ready, "serves");
                    if stumbles && self.rng.random_range(0..20) == 0 {
                        doings.push((self.rng.random_range(1_000..600_000), Doing::Stumbled(*instance)));
                    }
                }
            }
            Doing::Stumbled(instance) => {
                if state(&self.table, *instance) == Some(InstanceState::Ready) {
                    self.table.step(*instance, InstanceState::Unready, "visitors can't find it");
                    doings.push((self.rng.random_range(1_000..30_000), Doing::Registered(*instance)));
                }
            }
            Doing::Drained(instance) => {
                if state(&self.table, *instance) == Some(InstanceState::Draining) {
                    self.end(*instance, "drained: nothing was open any more");
                }
            }
            Doing::Kept(bundle) => {
                self.bundles.insert(*bundle);
            }
            Doing::Say => return doings,
        }
        doings.push((self.rng.random_range(2..60), Doing::Say));
        doings
    }

    /// What the agent does as time passes: reservations end, and instances whose leases have.
    pub(super) fn tick(&mut self, now: UnixMs) -> bool {
        let mut changed = self.table.expire(now);
        let over: Vec<InstanceId> = self
            .leases
            .iter()
            .filter(|(_, leased)| match leased.until {
                Some(until) => until <= now,
                None => now.since(leased.since) >= LEASE_WAIT,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.end(id, "its leases ended and no new ones came");
            changed = true;
        }
        changed
    }
}
