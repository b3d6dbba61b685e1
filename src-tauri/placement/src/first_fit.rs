//! First fit decreasing: the last fallback, for when rounding has led the others astray. Measured 90 to 170 % above the optimum.

use crate::problem::{Problem, Sums};

/// The devices that give most of what is asked, as many as it takes; `None` when all together do not do, or it needs more changes than may be.
pub(crate) fn choose(problem: &Problem) -> Option<Vec<usize>> {
    let size = |at: usize| -> f64 { problem.shares(&problem.candidates[at]).iter().sum() };
    let mut largest: Vec<(f64, usize)> = (0..problem.candidates.len()).map(|at| (size(at), at)).collect();
    // Present hosts first where changes are counted.
    let hosts = |at: usize| problem.churn_cap.is_some() && problem.candidates[at].hosts;
    largest.sort_by(|a, b| hosts(b.1).cmp(&hosts(a.1)).then(b.0.total_cmp(&a.0)).then(a.1.cmp(&b.1)));
    let (mut chosen, mut sums) = (Vec::new(), Sums::NONE);
    for (_, at) in largest {
        if problem.is_covered_by(&sums) {
            break;
        }
        sums = sums.with(&problem.candidates[at]);
        chosen.push(at);
    }
    chosen.sort_unstable();
    problem.holds(&sums).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceSnapshot, Policy, Request, Snapshot};
    use fogbank_model::{DeviceId, OwnerId, Resources};

    #[test]
    fn the_largest_first_and_hosts_before_where_changes_are_counted() {
        let device = |n: u8, share: u64, hosts| {
            let free = Resources::from_fn(|_| share);
            let (id, owner) = (DeviceId([n; 32]), OwnerId([n; 32]));
            let (availability, battery, reliability, surcharge) = (0.9, None, 1.0, 0.0);
            DeviceSnapshot {
                id,
                owner,
                free,
                capacity: free,
                availability,
                battery,
                reliability,
                surcharge,
                hosts,
                suitable: true,
            }
        };
        let devices = vec![device(1, 10, true), device(2, 40, false), device(3, 30, false), device(4, 20, false)];
        let request = |all: u64| Request {
            requirements: Resources::from_fn(|_| all),
            minimum: Resources::from_fn(|_| 1),
            instances: 1,
            availability_target: None,
        };
        let chosen = |all: u64, churn_cap| {
            let snapshot = Snapshot { devices: devices.clone(), request: request(all) };
            choose(&Problem::new(&snapshot, &Policy { churn_cap, ..Policy::default() }))
        };
        assert_eq!(chosen(60, None), Some(vec![1, 2]));
        assert_eq!(chosen(60, Some(2)), Some(vec![0, 1, 2]), "the host stays, two are new");
        assert_eq!(chosen(60, Some(1)), None, "one new one is not enough");
        assert_eq!(chosen(101, None), None, "there is not so much");
    }
}
