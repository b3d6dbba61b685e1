//! Placement: a snapshot of the fog in, a plan out. Pure: no clock, no I/O, no ambient randomness; the same snapshot gives the same plan,
//! whatever the order of its devices.
//!
//! The problem is the covering program of the design: choose devices x and what each gives, y, so that
//! `Σ y_d ≥ R` and `m·x_d ≤ y_d ≤ free(d)·x_d` in four dimensions, at least `instances` devices, availability
//! `1 − Π(1 − a_d) ≥ target` (a sum after taking logarithms), at most `k` changes of hosts; at the least
//! `Σ cost(d)·x_d + same_owner · Σ_owners max(0, copies there − 1)`.
//! Given x, some y exists exactly when `Σ free(d)·x_d ≥ R`, so the search is over x alone and y is spread afterwards.
//!
//! Invariants: a plan never gives more than a device has free, nor less than one copy needs; its cost is at least its lower bound; what is
//! called the largest request that fits was planned and fits; numbers that devices send (NaN, negative, huge) can't break any of this.
//!
//! Deliberately absent, for the solver that comes with many containers at once: the fragmentation term, ruin and recreate, and affinity.
//! Plans are for one container, on what the others left free.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod bound;
mod cost;
mod exact;
mod explain;
mod greedy;
mod part;
mod problem;
mod spread;
mod types;

pub use cost::Policy;
pub use part::part;
pub use types::{BatteryShare, Binding, Capacity, DeviceSnapshot, Outcome, Plan, Request, Snapshot, Solver};

use fogbank_model::Resources;
use problem::Problem;

/// Decides where a container's instances go.
pub fn plan(snapshot: &Snapshot, policy: &Policy) -> Outcome {
    let problem = Problem::new(snapshot, policy);
    match solve(&problem, policy) {
        Some(plan) => Outcome::Placed(plan),
        None => Outcome::Infeasible(explain::infeasible(snapshot, &problem, policy)),
    }
}

/// What the fog could take now, and whether the request fits.
pub fn capacity(snapshot: &Snapshot, policy: &Policy) -> Capacity {
    let sum = |of: fn(&DeviceSnapshot) -> Resources| {
        snapshot.devices.iter().filter(|d| d.suitable).fold(Resources::ZERO, |sum, d| sum.plus(&of(d).min(&Resources::LIMIT)))
    };
    let count = |which: &dyn Fn(&DeviceSnapshot) -> bool| {
        u32::try_from(snapshot.devices.iter().filter(|d| which(d)).count()).unwrap_or(u32::MAX)
    };
    Capacity {
        free: sum(|d| d.free),
        lent: sum(|d| d.capacity),
        devices: count(&|d| d.suitable),
        suitable: count(&|d| d.can_host(&snapshot.request)),
        infeasible: match plan(snapshot, policy) {
            Outcome::Placed(_) => None,
            Outcome::Infeasible(why) => Some(why),
        },
    }
}

fn solve(problem: &Problem, policy: &Policy) -> Option<Plan> {
    let (chosen, solver) = choose(problem, policy)?;
    let cost = problem.cost_of(&chosen);
    let lower_bound = if solver == Solver::Exact { cost } else { bound::lower(problem, cost) };
    let gap = if lower_bound > 0.0 { (cost - lower_bound) / lower_bound } else { 0.0 };
    let assignments = spread::over(problem, &chosen)?;
    Some(Plan { assignments, cost, lower_bound, gap, binding: explain::binding(problem, policy, &chosen), solver })
}

/// The cheapest choice that the solvers find. Both are asked where the case is small: a solver in floating point may give up, or miss by a
/// rounding error what whole numbers allow.
fn choose(problem: &Problem, policy: &Policy) -> Option<(Vec<usize>, Solver)> {
    let greedy = greedy::choose(problem);
    let small = problem.candidates.len() <= policy.exact_up_to;
    let exact = if small { exact::choose(problem) } else { None };
    match (exact, greedy) {
        (Some(exact), Some(greedy)) if problem.cost_of(&greedy) < problem.cost_of(&exact) => Some((greedy, Solver::Greedy)),
        (Some(exact), _) => Some((exact, Solver::Exact)),
        (None, greedy) => greedy.map(|chosen| (chosen, Solver::Greedy)),
    }
}
