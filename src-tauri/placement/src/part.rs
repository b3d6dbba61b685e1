//! As much of a request as fits, for when the whole does not: a site on fewer devices serves, and one that waits for the last does not.

use crate::{
    Policy, Snapshot,
    problem::Problem,
    reasons::within_cap,
    solve,
    types::{Plan, Request},
};

/// As many copies as there are devices that could take one, and of each resource what these have; what is missing says [`crate::plan`].
/// An availability that all devices together do not reach is not asked for. `None` where not one copy fits, or where a cap on changes
/// leaves room for none.
pub fn part(snapshot: &Snapshot, policy: &Policy) -> Option<Plan> {
    let whole = Problem::new(snapshot, policy);
    let all: Vec<usize> = (0..whole.candidates.len()).collect();
    let most = u8::try_from(all.len()).unwrap_or(u8::MAX).min(snapshot.request.instances.max(1));
    let sums = whole.sums(&all);
    let reach = whole.churn_cap.map_or(sums.free, |cap| within_cap(&whole, cap));
    let reached = sums.log_availability >= whole.log_target;
    // Without a cap on changes the first of these fits.
    (1..=most).rev().find_map(|instances| {
        let mut smaller = snapshot.clone();
        smaller.request = Request {
            requirements: snapshot.request.requirements.min(&reach),
            minimum: snapshot.request.minimum,
            instances,
            availability_target: snapshot.request.availability_target.filter(|_| reached),
        };
        solve(&Problem::new(&smaller, policy), policy)
    })
}
