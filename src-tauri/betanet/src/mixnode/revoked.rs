//! Instances whose leases were taken back, remembered until those leases would have ended anyway. Pure: time comes in.
//!
//! Invariant: one service can't make the point forget another's revocations while it has as many as that one or more.

use crate::lease::LEASE_LIFE;
use fogbank_model::{InstanceId, UnixMs};
use std::collections::{HashMap, VecDeque};

/// Remembered of one service: all of its instances replaced eight times within the life of a lease.
const MAX_OF_SERVICE: usize = 8 * fogbank_model::ContainerSpec::MAX_INSTANCES as usize;
/// Remembered in all: 1 MB; sixty-four services at the most that one can have.
const MAX_IN_ALL: usize = 64 * MAX_OF_SERVICE;

/// The memory.
#[derive(Default)]
pub(super) struct Revoked {
    of: HashMap<[u8; 32], VecDeque<(InstanceId, UnixMs)>>,
    count: usize,
}

impl Revoked {
    /// Whether the instance's leases are void.
    pub(super) fn contains(&self, blinded: &[u8; 32], instance: InstanceId) -> bool {
        self.of.get(blinded).is_some_and(|list| list.iter().any(|(id, _)| *id == instance))
    }

    /// Remembers it until the last lease given before `at` has ended; how many others were forgotten early for it.
    pub(super) fn insert(&mut self, now: UnixMs, blinded: [u8; 32], instance: InstanceId, at: UnixMs) -> u64 {
        let until = at.max(now).plus(LEASE_LIFE);
        let list = self.of.entry(blinded).or_default();
        if let Some(known) = list.iter_mut().find(|(id, _)| *id == instance) {
            known.1 = known.1.max(until);
            return 0;
        }
        list.push_back((instance, until));
        self.count += 1;
        let own = list.len() > MAX_OF_SERVICE;
        if !own && self.count <= MAX_IN_ALL {
            return 0;
        }
        let from = if own { Some(blinded) } else { self.of.iter().max_by_key(|(_, list)| list.len()).map(|(b, _)| *b) };
        if from.and_then(|from| self.of.get_mut(&from)).and_then(VecDeque::pop_front).is_some() {
            self.count -= 1;
        }
        1
    }

    /// Forgets what has ended.
    pub(super) fn sweep(&mut self, now: UnixMs) {
        self.of.retain(|_, list| {
            list.retain(|(_, until)| *until > now);
            !list.is_empty()
        });
        self.count = self.of.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn id(n: usize) -> InstanceId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        InstanceId(id)
    }

    #[test]
    fn a_service_that_revokes_without_end_forgets_its_own() {
        let mut revoked = Revoked::default();
        assert_eq!(revoked.insert(NOW, [1; 32], id(0), NOW), 0);
        let forgotten: u64 = (0..2 * MAX_OF_SERVICE).map(|n| revoked.insert(NOW, [2; 32], id(n), NOW)).sum();
        assert_eq!(forgotten as usize, MAX_OF_SERVICE);
        assert!(revoked.contains(&[1; 32], id(0)) && !revoked.contains(&[2; 32], id(0)));
        // Many services together: the fullest give way.
        for service in 3..=80 {
            for n in 0..MAX_OF_SERVICE {
                revoked.insert(NOW, [service; 32], id(n + 1), NOW);
            }
        }
        assert!(revoked.count <= MAX_IN_ALL);
        revoked.sweep(NOW.plus(LEASE_LIFE));
        assert_eq!((revoked.count, revoked.of.len()), (0, 0));
    }
}
