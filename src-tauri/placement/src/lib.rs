//! Placement: a snapshot of the fog in, a plan out. Pure: no clock, no I/O, no ambient randomness; the same snapshot gives the same plan,
//! whatever the order of its devices.
//!
//! The problem is the covering program of the design: choose devices x and what each gives, y, so that
//! `Σ y_d ≥ R` and `m·x_d ≤ y_d ≤ free(d)·x_d` in four dimensions, at least `instances` devices, availability
//! `1 − Π(1 − a_d) ≥ target` (a sum after taking logarithms), at most `k` changes of hosts; at the least
//! `Σ cost(d)·x_d + same_owner · Σ_owners max(0, copies there − 1)`.
//! Given x, some y exists exactly when `Σ free(d)·x_d ≥ R`, so the search is over x alone and y is spread afterwards.
//!
//! Solvers: the linear relaxation says which devices are clearly in or out, and the rest is searched ([`Solver::Dual`]) by branch and bound and around
//! the best choice, within an effort that is counted in steps; it often proves the plan the optimum. Where it does not and the case is small, another
//! solver is asked (good_lp). First fit decreasing is the last fallback.
//!
//! Invariants: a plan never gives more than a device has free, nor less than one copy needs; its cost is at least its lower bound; what is
//! called the largest request that fits was planned and fits; numbers that devices send (NaN, negative, huge) can't break any of this.
//!
//! [`explain`] says on demand why each device was chosen or passed over, and [`remedies`] what would make a request fit that does not.
//!
//! [`scaling`] says how many copies there should be, from how much they were asked.
//!
//! [`plan_all`] places many containers at once on devices that they share, with affinity, anti-affinity and the fragmentation term; [`plan`] places one on
//! what the others left free, without them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod batch;
mod branch;
mod cost;
mod exact;
mod field;
mod first_fit;
mod part;
mod problem;
mod reasons;
mod relax;
mod remedy;
pub mod scaling;
mod search;
mod sift;
mod spread;
mod types;
mod verdict;

pub use batch::{BatchPlan, Container, Fog, Placement, plan_all};
pub use cost::Policy;
pub use part::part;
pub use remedy::{Remedy, remedies};
pub use types::{BatteryShare, Binding, Capacity, DeviceSnapshot, Outcome, Plan, Request, Snapshot, Solver};
pub use verdict::{Verdict, explain};

use fogbank_model::{DeviceId, Resources};
use problem::Problem;

/// Decides where a container's instances go.
pub fn plan(snapshot: &Snapshot, policy: &Policy) -> Outcome {
    let problem = Problem::new(snapshot, policy);
    match solve(&problem, policy) {
        Some(plan) => Outcome::Placed(plan),
        None => Outcome::Infeasible(reasons::infeasible(snapshot, &problem, policy)),
    }
}

/// The plan that stands, held against what could be had now: what the devices that host cost, and what the cheapest would. `given`: what each of them
/// gives. `None` where nothing fits now that it could be held against.
pub fn standing(snapshot: &Snapshot, policy: &Policy, given: &[(DeviceId, Resources)]) -> Option<Plan> {
    let problem = Problem::new(snapshot, policy);
    let chosen: Vec<usize> =
        (0..problem.candidates.len()).filter(|i| given.iter().any(|(id, _)| *id == problem.candidates[*i].id)).collect();
    let cost = problem.cost_of(&chosen);
    let lower_bound = choose(&problem, policy)?.bound.min(cost);
    let gap = if lower_bound > 0.0 { (cost - lower_bound) / lower_bound } else { 0.0 };
    let solver = if gap > 0.0 { Solver::Dual } else { Solver::Exact };
    let binding = reasons::binding(&problem, policy, &chosen);
    Some(Plan { assignments: given.to_vec(), cost, lower_bound, gap, binding, solver })
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
    let found = choose(problem, policy)?;
    let cost = problem.cost_of(&found.chosen);
    let lower_bound = found.bound.min(cost);
    let gap = if lower_bound > 0.0 { (cost - lower_bound) / lower_bound } else { 0.0 };
    let assignments = spread::over(problem, &found.chosen)?;
    Some(Plan {
        assignments,
        cost,
        lower_bound,
        gap,
        binding: reasons::binding(problem, policy, &found.chosen),
        solver: found.solver,
    })
}

/// A choice, and how it was found.
struct Choice {
    chosen: Vec<usize>,
    bound: f64,
    solver: Solver,
}

/// The cheapest choice that the solvers find. Both are asked where the case is small: a solver in floating point may give up, or miss by a
/// rounding error what whole numbers allow.
fn choose(problem: &Problem, policy: &Policy) -> Option<Choice> {
    let searched = search::choose(problem, policy.effort);
    if searched.as_ref().is_none_or(|found| !found.optimal)
        && problem.candidates.len() <= policy.exact_up_to
        && let Some(chosen) = exact::choose(problem)
        && searched.as_ref().is_none_or(|found| problem.cost_of(&chosen) <= problem.cost_of(&found.chosen))
    {
        return Some(Choice { bound: problem.cost_of(&chosen), chosen, solver: Solver::Exact });
    }
    if let Some(found) = searched {
        let solver = if found.optimal { Solver::Exact } else { Solver::Dual };
        return Some(Choice { chosen: found.chosen, bound: found.bound, solver });
    }
    let chosen = first_fit::choose(problem)?;
    Some(Choice { chosen, bound: 0.0, solver: Solver::FirstFit })
}
