//! Who is connected, and what each member last said. Lives in memory only: after a restart members come back and say it again.

use crate::line::{Line, same};
use fogbank_betanet::directory::mix_id;
use fogbank_model::{DeviceId, MixId, OwnerId, Resources};
use fogbank_wire::{MixInfo, Report, Roles};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A lost connection is a loss of the device when it has not come back within this: one probe's time. With the 3 s after which QUIC gives
/// a silent peer up, a killed device is known to be lost within 5 s.
pub(crate) const PROBE: Duration = Duration::from_millis(1_500);

/// A connected member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) device: DeviceId,
    pub(crate) owner: OwnerId,
    pub(crate) name: String,
    /// What it plays now.
    pub(crate) roles: Roles,
    pub(crate) mix: Option<MixInfo>,
    /// What its mix measured of others: the share of probes through each that came back, per mille.
    pub(crate) probes: Vec<(MixId, u16)>,
    /// How many clients it says are connected to its mix.
    pub(crate) clients: u32,
    pub(crate) addrs: Vec<SocketAddr>,
    /// From where it connected; `None` when over a relay.
    pub(crate) seen: Option<IpAddr>,
    pub(crate) line: Arc<dyn Line>,
    pub(crate) report: Option<(Report, Instant)>,
    /// Held while a report of it is taken, so that they are taken one after another; what the store knows it to lend since it connected.
    pub(crate) reporting: Arc<tokio::sync::Mutex<Option<Resources>>>,
    pub(crate) connected: Instant,
}

impl Member {
    /// When it was heard last.
    pub(crate) fn heard(&self) -> Instant {
        self.report.as_ref().map_or(self.connected, |(_, at)| self.connected.max(*at))
    }
}

/// A member that was connected, and since when it is not.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    pub(crate) since: Instant,
    pub(crate) last: Member,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Inner {
    pub(crate) here: HashMap<DeviceId, Member>,
    pub(crate) gone: HashMap<DeviceId, Gone>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member connected; returns the line that it replaces.
    pub(crate) fn arrived(&self, mut member: Member) -> Option<Arc<dyn Line>> {
        let mut inner = self.lock();
        let before = inner.gone.remove(&member.device).map(|g| g.last).or_else(|| inner.here.get(&member.device).cloned());
        // What it last said holds until it says something else, so that a short interruption moves nothing.
        if member.report.is_none() {
            member.report = before.as_ref().and_then(|b| b.report.clone());
        }
        (member.probes, member.clients) = before.map(|b| (b.probes, b.clients)).unwrap_or_default();
        inner.here.insert(member.device, member).map(|old| old.line)
    }

    /// A connection ended. A newer one of the same member stays.
    pub(crate) fn left(&self, device: DeviceId, line: &Arc<dyn Line>, now: Instant) {
        let mut inner = self.lock();
        let same = inner.here.get(&device).is_some_and(|m| same(&m.line, line));
        if same && let Some(last) = inner.here.remove(&device) {
            inner.gone.insert(device, Gone { since: now, last });
        }
    }

    /// A member left for good, and is not waited for.
    pub(crate) fn ended(&self, device: DeviceId) {
        let mut inner = self.lock();
        inner.here.remove(&device);
        inner.gone.remove(&device);
    }

    /// A member reported; whether it said anything else than before.
    pub(crate) fn reported(&self, device: DeviceId, report: Report, now: Instant) -> bool {
        let mut inner = self.lock();
        let Some(member) = inner.here.get_mut(&device) else { return false };
        let news = member.report.as_ref().is_none_or(|(before, _)| *before != report);
        member.report = Some((report, now));
        news
    }

    /// A member's mix has further packet keys, measured others, and counted its clients.
    pub(crate) fn relays(&self, device: DeviceId, mix: MixInfo, probes: Vec<(MixId, u16)>, clients: u32) {
        if let Some(member) = self.lock().here.get_mut(&device) {
            (member.mix, member.probes, member.clients) = (Some(mix), probes, clients);
        }
    }

    /// A connected member.
    pub(crate) fn member(&self, device: DeviceId) -> Option<Member> {
        self.lock().here.get(&device).cloned()
    }

    /// The mixes whose devices are connected. Looked at each round, so nothing else is copied for it.
    pub(crate) fn mixes_here(&self) -> HashSet<MixId> {
        self.lock().here.values().filter_map(|m| Some(mix_id(&m.mix.as_ref()?.key))).collect()
    }

    /// Everything as it is now, and forgets those who are long gone.
    pub(crate) fn snapshot(&self, now: Instant) -> Inner {
        let mut inner = self.lock();
        // Their instances are lost and their mixes out of the directory by then.
        inner.gone.retain(|_, g| now.duration_since(g.since) < 10 * PROBE);
        inner.clone()
    }
}

impl Inner {
    /// Members whose mix may be listed: connected, or away for less than a probe.
    pub(crate) fn mixes(&self, now: Instant) -> Vec<&Member> {
        let waiting = self.gone.values().filter(|g| now.duration_since(g.since) < PROBE).map(|g| &g.last);
        self.here.values().chain(waiting).filter(|m| m.roles.mixnode && m.mix.is_some()).collect()
    }

    /// Where a mix's device is connected.
    pub(crate) fn by_mix(&self, id: MixId) -> Option<&Member> {
        self.here.values().find(|m| m.mix.as_ref().is_some_and(|mix| mix_id(&mix.key) == id))
    }
}
