//! Leases to be taken back, point by point, until each point has said that it did. Pure: time comes in, what to send goes out.
//!
//! Invariants: what a point has not confirmed in its present life is sent again; a container's list is bounded, and one that overflows
//! loses its own oldest; nothing is kept longer than the leases could hold.
//! After a restart of the allocator the list begins with what its store still shows as ended (an hour).
//! Deliberately absent: sending (the actor's) and signing (`service`).

use fogbank_betanet::lease::{LEASE_LIFE, MAX_REVOKED};
use fogbank_model::{ContainerId, ContainerSpec, InstanceId, MixId};
use fogbank_wire::MixLife;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A point that has not confirmed is told again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Instances of one container that are remembered: as many as a point remembers of a service.
const MAX_OF_CONTAINER: usize = 8 * ContainerSpec::MAX_INSTANCES as usize;

/// A mix in its present life: one that restarted has forgotten what it was told.
pub(crate) type Life = (MixId, MixLife);

struct Revoked {
    noted: Instant,
    confirmed: HashMap<MixId, MixLife>,
}

/// Everything that is taken back.
#[derive(Default)]
pub(crate) struct Revoking {
    of: HashMap<ContainerId, HashMap<InstanceId, Revoked>>,
    told: HashMap<(ContainerId, MixId), Instant>,
    /// Instances forgotten before their time, for the log.
    forgotten: u64,
}

/// One statement to one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) container: ContainerId,
    pub(crate) point: Life,
    pub(crate) instances: Vec<InstanceId>,
}

impl Revoking {
    /// An instance serves no more. Saying it again changes nothing; whether it is news.
    pub(crate) fn note(&mut self, container: ContainerId, instance: InstanceId, clock: Instant) -> bool {
        let list = self.of.entry(container).or_default();
        if list.contains_key(&instance) {
            return false;
        }
        if list.len() >= MAX_OF_CONTAINER
            && let Some(oldest) = list.iter().min_by_key(|(_, r)| r.noted).map(|(id, _)| *id)
        {
            list.remove(&oldest);
            self.forgotten += 1;
            tracing::warn!(
                container = container.short(),
                self.forgotten,
                "a container ends copies faster than they can be taken back"
            );
        }
        list.insert(instance, Revoked { noted: clock, confirmed: HashMap::new() });
        true
    }

    /// What to tell these points of a container now.
    pub(crate) fn due(&mut self, container: ContainerId, points: &[Life], clock: Instant) -> Vec<Telling> {
        let Some(list) = self.of.get(&container) else { return Vec::new() };
        let mut tellings = Vec::new();
        for point in points {
            let missing = list.iter().filter(|(_, r)| r.confirmed.get(&point.0) != Some(&point.1));
            let mut instances: Vec<(Instant, InstanceId)> = missing.map(|(id, r)| (r.noted, *id)).collect();
            let told = self.told.get(&(container, point.0)).is_some_and(|at| clock.saturating_duration_since(*at) < AGAIN);
            // What came up since the last telling need not wait for it.
            let news = |noted: &Instant| self.told.get(&(container, point.0)).is_none_or(|at| noted > at);
            if instances.is_empty() || told && !instances.iter().any(|(noted, _)| news(noted)) {
                continue;
            }
            // The newest first: those are still being visited.
            instances.sort_by_key(|(noted, id)| (std::cmp::Reverse(*noted), *id));
            instances.truncate(MAX_REVOKED);
            self.told.insert((container, point.0), clock);
            tellings.push(Telling { container, point: *point, instances: instances.into_iter().map(|(_, id)| id).collect() });
        }
        tellings
    }

    /// A point has done what it was told.
    pub(crate) fn confirmed(&mut self, telling: &Telling) {
        let Some(list) = self.of.get_mut(&telling.container) else { return };
        for instance in &telling.instances {
            if let Some(revoked) = list.get_mut(instance) {
                revoked.confirmed.insert(telling.point.0, telling.point.1);
            }
        }
        self.told.remove(&(telling.container, telling.point.0));
    }

    /// Forgets what has ended by itself, and containers that are gone.
    pub(crate) fn sweep(&mut self, clock: Instant, exists: impl Fn(ContainerId) -> bool) {
        let life = Duration::from_millis(LEASE_LIFE.0.unsigned_abs());
        self.of.retain(|container, list| {
            list.retain(|_, r| clock.saturating_duration_since(r.noted) < life);
            exists(*container) && !list.is_empty()
        });
        let of = &self.of;
        self.told.retain(|(container, _), _| of.contains_key(container));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: ContainerId = ContainerId([1; 16]);
    const A: Life = (MixId([1; 16]), [1; 8]);
    const B: Life = (MixId([2; 16]), [1; 8]);

    fn id(n: usize) -> InstanceId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        InstanceId(id)
    }

    #[test]
    fn a_point_that_was_away_is_told_when_it_is_back_and_until_it_confirms() {
        let began = Instant::now();
        let mut revoking = Revoking::default();
        assert!(revoking.note(SITE, id(1), began) && !revoking.note(SITE, id(1), began));
        let first = revoking.due(SITE, &[A], began);
        assert_eq!(first.len(), 1);
        revoking.confirmed(&first[0]);
        assert!(revoking.due(SITE, &[A], began + AGAIN).is_empty(), "who confirmed is left alone");
        // B comes back an hour later; its first answer is lost.
        let later = began + Duration::from_secs(3600);
        let second = revoking.due(SITE, &[A, B], later);
        assert_eq!(second, [Telling { container: SITE, point: B, instances: vec![id(1)] }]);
        assert!(revoking.due(SITE, &[A, B], later + AGAIN / 2).is_empty());
        assert_eq!(revoking.due(SITE, &[A, B], later + AGAIN).len(), 1);
        revoking.confirmed(&second[0]);
        assert!(revoking.due(SITE, &[A, B], later + 2 * AGAIN).is_empty());
        // One that restarts has forgotten.
        let reborn = (A.0, [9; 8]);
        assert_eq!(revoking.due(SITE, &[reborn, B], later + 2 * AGAIN).len(), 1);
        revoking.sweep(began + Duration::from_millis(LEASE_LIFE.0.unsigned_abs()), |_| true);
        assert!(revoking.of.is_empty() && revoking.told.is_empty(), "moot once no lease can hold");
    }

    #[test]
    fn news_does_not_wait_and_one_container_fills_its_own_list_only() {
        let began = Instant::now();
        let mut revoking = Revoking::default();
        revoking.note(SITE, id(0), began);
        assert_eq!(revoking.due(SITE, &[A], began).len(), 1);
        let soon = began + AGAIN / 4;
        revoking.note(SITE, id(1), soon);
        assert_eq!(revoking.due(SITE, &[A], soon)[0].instances, [id(1), id(0)]);
        let other = ContainerId([2; 16]);
        revoking.note(other, id(0), began);
        for n in 0..3 * MAX_OF_CONTAINER {
            revoking.note(SITE, id(n + 2), soon + Duration::from_millis(n as u64));
        }
        assert_eq!(revoking.of[&SITE].len(), MAX_OF_CONTAINER);
        assert_eq!(revoking.of[&other].len(), 1);
        assert_eq!(revoking.forgotten as usize, 2 * MAX_OF_CONTAINER + 2);
        assert_eq!(revoking.due(SITE, &[A], soon + AGAIN)[0].instances.len(), MAX_REVOKED);
        revoking.sweep(soon, |container| container != SITE);
        assert_eq!(revoking.of.len(), 1);
    }
}
