//! Live leases as introduction points list them: one an instance, those of the content that the visitor knows, one of them by weight.

use crate::{lease::Lease, seal::Mark};
use fogbank_model::{InstanceId, MixId};
use std::collections::{HashMap, hash_map::Entry};

/// A lease, and the introduction points that list it.
pub(super) struct Listed {
    pub(super) lease: Lease,
    pub(super) at: Vec<MixId>,
}

/// Those whose instances serve the content of this mark, and whether there are others. While a site is updated there are: they are no liars, but
/// have nothing that a visitor who knows this content may take.
pub(super) fn serving(listed: Vec<Listed>, mark: Option<Mark>) -> (Vec<Listed>, bool) {
    let Some(mark) = mark else { return (listed, false) };
    let (same, others): (Vec<Listed>, Vec<Listed>) = listed.into_iter().partition(|l| l.lease.mark == mark);
    (same, !others.is_empty())
}

/// One lease an instance, the one that holds longest, with the points that list one of the instance.
pub(super) fn newest(leases: impl Iterator<Item = (MixId, Lease)>) -> Vec<Listed> {
    let mut by_instance: HashMap<InstanceId, Listed> = HashMap::new();
    for (point, lease) in leases {
        match by_instance.entry(lease.instance) {
            Entry::Vacant(place) => drop(place.insert(Listed { lease, at: vec![point] })),
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.at.push(point);
                if known.lease.expires < lease.expires {
                    known.lease = lease;
                }
            }
        }
    }
    by_instance.into_values().collect()
}

/// The one into whose share of all weights `at` in [0,1) falls.
pub(super) fn by_weight<'l>(leases: &[&'l Listed], at: f64) -> Option<&'l Listed> {
    let total: f64 = leases.iter().map(|l| f64::from(l.lease.weight)).sum();
    let mut left = at * total;
    for listed in leases {
        left -= f64::from(listed.lease.weight);
        if left < 0.0 {
            return Some(listed);
        }
    }
    leases.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Period;
    use fogbank_model::UnixMs;

    fn lease(instance: u8, weight: u16, expires: i64) -> Lease {
        Lease {
            instance: InstanceId([instance; 16]),
            introduction_key: [0; 32],
            weight,
            expires: UnixMs(expires),
            introduction_points: vec![],
            period: Period(0),
            mark: [instance; 8],
        }
    }

    #[test]
    fn weights_share_the_visitors() {
        let leases = newest([(MixId([1; 16]), lease(1, 1, 0)), (MixId([1; 16]), lease(2, 3, 0))].into_iter());
        let mut all: Vec<&Listed> = leases.iter().collect();
        all.sort_by_key(|l| l.lease.instance);
        let first = (0..1000).filter(|i| by_weight(&all, f64::from(*i) / 1000.0).unwrap().lease.weight == 1).count();
        assert_eq!(first, 250);
        assert!(by_weight(&[], 0.5).is_none());
    }

    #[test]
    fn two_points_together_hide_nothing_and_the_newest_lease_counts() {
        let [a, b] = [MixId([1; 16]), MixId([2; 16])];
        let told = [(a, lease(1, 1, 5)), (b, lease(1, 2, 9)), (a, lease(2, 1, 1)), (b, lease(3, 1, 1))];
        let kept = newest(told.into_iter());
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().any(|l| l.lease.instance.0[0] == 1 && l.lease.weight == 2 && l.at == [a, b]));
        assert!(kept.iter().any(|l| l.lease.instance.0[0] == 3 && l.at == [b]), "what one withholds the other tells");
    }

    #[test]
    fn only_copies_of_the_known_content_are_gone_to() {
        let list = || newest([1, 2].into_iter().map(|n| (MixId([1; 16]), lease(n, 1, 0))));
        let (same, other) = serving(list(), Some([2; 8]));
        assert!(other && same.len() == 1 && same[0].lease.instance.0[0] == 2);
        assert_eq!((serving(list(), Some([3; 8])).0.len(), serving(list(), Some([3; 8])).1), (0, true));
        let (all, other) = serving(list(), None);
        assert!(all.len() == 2 && !other, "an app has no content that could be told apart");
    }
}
