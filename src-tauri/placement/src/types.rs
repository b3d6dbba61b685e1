//! What goes in and what comes out, and the problem between.

use crate::cost::{Policy, cost_of_device};
use fogbank_model::{DeviceId, Dimension, Infeasible, OwnerId, Resources};
use std::{collections::HashSet, fmt};

/// A battery as the planner sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatteryShare {
    /// Charge in [0,1].
    pub share: f64,
    /// Whether it charges.
    pub charging: bool,
}

/// A device as the planner sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSnapshot {
    /// Which.
    pub id: DeviceId,
    /// Whose.
    pub owner: OwnerId,
    /// What it has free, with what this container's own instance on it holds counted as free.
    pub free: Resources,
    /// What it has in all.
    pub capacity: Resources,
    /// Probability in [0,1] that it stays.
    pub availability: f64,
    /// Its battery, if it has one.
    pub battery: Option<BatteryShare>,
    /// Reliability in (0,1].
    pub reliability: f64,
    /// Whether it hosts this container now.
    pub hosts: bool,
    /// Whether it may be chosen: it lends, is connected, and is not leaving.
    pub suitable: bool,
}

impl DeviceSnapshot {
    /// Whether one copy fits.
    pub fn can_host(&self, request: &Request) -> bool {
        self.suitable && self.free.covers(&request.minimum)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// R: what all copies together are given at least.
    pub requirements: Resources,
    /// m: what one copy needs at least.
    pub minimum: Resources,
    /// Copies at least.
    pub instances: u8,
    /// Availability in [0,1) at least, when one is asked for.
    pub availability: Option<f64>,
}

/// The fog as it is, for one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// All devices.
    pub devices: Vec<DeviceSnapshot>,
    /// What is asked for.
    pub request: Request,
}

/// Which solver found a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solver {
    /// The optimum.
    Exact,
    /// Ratio greedy with a best single finisher and redundant picks removed.
    Greedy,
}

/// What keeps a plan from being cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// This resource is the scarcest among those chosen.
    Resource(Dimension),
    /// The number of copies.
    Copies,
    /// The availability target.
    Availability,
    /// The cap on changes.
    Churn,
}

/// Where instances go.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What each chosen device gives (y_d).
    pub assignments: Vec<(DeviceId, Resources)>,
    /// What it costs.
    pub cost: f64,
    /// What any plan costs at least.
    pub lower_bound: f64,
    /// (cost − bound) / bound.
    pub gap: f64,
    /// What keeps it from being cheaper.
    pub binding: Binding,
    /// How it was found.
    pub solver: Solver,
}

/// A plan, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It fits.
    Placed(Plan),
    /// It does not.
    Infeasible(Infeasible),
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(dimension) => write!(f, "{dimension}"),
            Self::Copies => f.write_str("the number of copies"),
            Self::Availability => f.write_str("the availability target"),
            Self::Churn => f.write_str("the cap on changes"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.solver {
            Solver::Exact => "the optimum",
            Solver::Greedy => "found by ratio greedy",
        };
        write!(
            f,
            "on {} devices at cost {:.2} ({how}; no plan costs less than {:.2}); limited by {}",
            self.assignments.len(),
            self.cost,
            self.lower_bound,
            self.binding
        )
    }
}

/// Availabilities are cut here: no device is so sure that one copy is as good as ten.
const MOST_AVAILABLE: f64 = 0.9999;

/// One device that may be chosen, with its numbers ready.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) id: DeviceId,
    pub(crate) owner: OwnerId,
    pub(crate) free: Resources,
    pub(crate) cost: f64,
    /// −ln(1 − availability).
    pub(crate) log_availability: f64,
    pub(crate) hosts: bool,
}

/// The covering problem over candidates.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) request: Request,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) copies: usize,
    /// −ln(1 − target), 0 without one.
    pub(crate) log_target: f64,
    pub(crate) churn_cap: Option<usize>,
    /// Present hosts that can't be chosen any more: changes that happen anyway.
    pub(crate) forced_changes: usize,
}

impl Problem {
    pub(crate) fn new(snapshot: &Snapshot, policy: &Policy) -> Self {
        let request = snapshot.request;
        let (can, cannot): (Vec<_>, Vec<_>) = snapshot.devices.iter().partition(|d| d.can_host(&request));
        let mut candidates: Vec<Candidate> = can
            .into_iter()
            .map(|d| Candidate {
                id: d.id,
                owner: d.owner,
                free: d.free,
                cost: cost_of_device(d, policy),
                log_availability: log_odds(d.availability.min(MOST_AVAILABLE)),
                hosts: d.hosts,
            })
            .collect();
        // The order of the snapshot must not matter.
        candidates.sort_by_key(|c| c.id);
        Self {
            request,
            candidates,
            copies: usize::from(request.instances.max(1)),
            log_target: request.availability.map_or(0.0, log_odds),
            churn_cap: policy.churn_cap,
            forced_changes: cannot.into_iter().filter(|d| d.hosts).count(),
        }
    }

    /// What a choice costs.
    pub(crate) fn cost_of(&self, chosen: &[usize]) -> f64 {
        chosen.iter().filter_map(|i| self.candidates.get(*i)).map(|c| c.cost).sum()
    }

    /// Σ free over a choice.
    pub(crate) fn free_of(&self, chosen: &[usize]) -> Resources {
        chosen.iter().filter_map(|i| self.candidates.get(*i)).fold(Resources::ZERO, |sum, c| sum.plus(&c.free))
    }

    pub(crate) fn log_availability_of(&self, chosen: &[usize]) -> f64 {
        chosen.iter().filter_map(|i| self.candidates.get(*i)).map(|c| c.log_availability).sum()
    }

    /// |A′ Δ A|: hosts given up and hosts added.
    pub(crate) fn changes_of(&self, chosen: &[usize]) -> usize {
        let chosen: HashSet<usize> = chosen.iter().copied().collect();
        let changed = self.candidates.iter().enumerate().filter(|(i, c)| c.hosts != chosen.contains(i)).count();
        changed + self.forced_changes
    }

    /// The smallest distance to an allowed choice that rounding of logarithms may leave.
    const TOLERANCE: f64 = 1e-9;

    /// Whether every row but the churn row holds.
    pub(crate) fn covers(&self, chosen: &[usize]) -> bool {
        chosen.len() >= self.copies
            && self.free_of(chosen).covers(&self.request.requirements)
            && self.log_availability_of(chosen) >= self.log_target - Self::TOLERANCE
    }

    /// Whether every row holds.
    pub(crate) fn is_feasible(&self, chosen: &[usize]) -> bool {
        self.covers(chosen) && self.churn_cap.is_none_or(|cap| self.changes_of(chosen) <= cap)
    }
}

/// −ln(1 − p), with nonsense tamed to "never there".
fn log_odds(p: f64) -> f64 {
    let p = if p.is_finite() { p.clamp(0.0, 1.0 - 1e-12) } else { 0.0 };
    -(1.0 - p).ln()
}
