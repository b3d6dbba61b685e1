//! Placement: a snapshot of the fog in, a plan out. Pure: no clock, no I/O, no ambient randomness; the same snapshot gives the same plan.
//!
//! The problem is the covering program of the design: choose devices x and what each gives y so that
//! `Σ y_d ≥ R` and `m·x_d ≤ y_d ≤ free(d)·x_d` in four dimensions, at least `instances` devices, availability
//! `1 − Π(1 − a_d) ≥ target` (linear after taking logarithms), at most `k` changes, at the least `Σ cost(d)·x_d`.
//! Given x, some y exists exactly when `Σ free(d)·x_d ≥ R`, so the search is over x alone and y is spread afterwards.
//!
//! Invariants: a plan never gives more than a device has free, nor less than one copy needs; its cost is at least its lower bound.
//! Deliberately absent: the fragmentation term and many containers at once (they come with the dual-guided solver).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod bound;
mod cost;
mod exact;
mod explain;
mod greedy;
mod spread;
mod types;

pub use cost::Policy;
pub use types::{BatteryShare, Binding, DeviceSnapshot, Outcome, Plan, Request, Snapshot, Solver};

use fogbank_model::Infeasible;
use types::Problem;

/// Decides where a container's instances go.
pub fn plan(snapshot: &Snapshot, policy: &Policy) -> Outcome {
    let problem = Problem::new(snapshot, policy);
    match solve(&problem, policy) {
        Some(plan) => Outcome::Placed(plan),
        None => Outcome::Infeasible(explain::infeasible(snapshot, &problem, policy)),
    }
}

/// Why a request does not fit, or `None` when it does.
pub fn infeasible(snapshot: &Snapshot, policy: &Policy) -> Option<Infeasible> {
    match plan(snapshot, policy) {
        Outcome::Placed(_) => None,
        Outcome::Infeasible(why) => Some(why),
    }
}

/// Devices that could take one copy.
pub fn suitable(snapshot: &Snapshot) -> usize {
    snapshot.devices.iter().filter(|d| d.can_host(&snapshot.request)).count()
}

fn solve(problem: &Problem, policy: &Policy) -> Option<Plan> {
    let greedy = greedy::choose(problem);
    let small = problem.candidates.len() <= policy.exact_up_to;
    let exact = if small { exact::choose(problem) } else { None };
    let (chosen, solver) = match (exact, greedy) {
        (Some(exact), Some(greedy)) if problem.cost_of(&exact) > problem.cost_of(&greedy) => (greedy, Solver::Greedy),
        (Some(exact), _) => (exact, Solver::Exact),
        (None, greedy) => (greedy?, Solver::Greedy),
    };
    let cost = problem.cost_of(&chosen);
    let lower_bound = if solver == Solver::Exact { cost } else { bound::lower(problem).min(cost) };
    let gap = if lower_bound > 0.0 { (cost - lower_bound) / lower_bound } else { 0.0 };
    Some(Plan {
        assignments: spread::over(problem, &chosen)?,
        cost,
        lower_bound,
        gap,
        binding: explain::binding(problem, &chosen),
        solver,
    })
}
