//! Why each device was chosen for a plan or passed over. Worked out on demand: it solves the relaxation once more, which a plan needs not wait for.

use crate::{
    cost::Policy,
    problem::{Candidate, Problem, Sums},
    reasons, sift,
    types::{Binding, DeviceSnapshot, Snapshot},
};
use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// Why a device is in a plan, or is not. Costs are in the units of [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It is in the plan.
    Chosen {
        /// What the plan would miss without it, the worst (relative to what is asked) if several; `None` where it is only cheaper to keep it.
        needed_for: Option<Binding>,
        /// What it costs beyond what it is worth at the relaxation's prices; below zero when it is a bargain.
        reduced_cost: f64,
    },
    /// It does not lend, is not connected, or is leaving.
    NotSuitable,
    /// Not one copy fits on it.
    TooSmall {
        /// Where it is shortest, relative to what a copy needs.
        dimension: Dimension,
        /// What one copy needs, in units of [`fogbank_model::Resources`].
        asked: u64,
        /// What it has free.
        free: u64,
    },
    /// It would be one change of hosts more than is allowed.
    ChangesTooMuch {
        /// How many are allowed.
        allowed: u64,
    },
    /// Its owner has a copy in the plan already, and without what that adds it would be worth its cost.
    OwnerHasOne {
        /// What a further copy at one owner adds.
        adds: f64,
    },
    /// It costs more than it is worth.
    Dearer {
        /// So much more, at the relaxation's prices.
        by: f64,
    },
    /// It would be worth its cost, but those that were chosen together do without it.
    NotNeeded {
        /// What it is worth beyond its cost, at the relaxation's prices.
        worth: f64,
    },
}

impl Verdict {
    /// Whether the device is in the plan.
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::Chosen { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen { needed_for: Some(row), .. } => write!(f, "chosen: needed for {row}"),
            Self::Chosen { needed_for: None, .. } => f.write_str("chosen: leaving it out would not be cheaper"),
            Self::NotSuitable => f.write_str("it does not lend, is not connected or is leaving"),
            Self::TooSmall { dimension, asked, free } => {
                write!(f, "one copy needs {} of {dimension}, and it has {} free", dimension.show(*asked), dimension.show(*free))
            }
            Self::ChangesTooMuch { allowed } => write!(f, "more than the {allowed} changes that are allowed at once"),
            Self::OwnerHasOne { adds } => write!(f, "its owner has a copy already, which adds {adds:.2} to its cost"),
            Self::Dearer { by } => write!(f, "it costs {by:.2} more than it is worth"),
            Self::NotNeeded { worth } => write!(f, "worth {worth:.2} more than it costs, but not needed beside the others"),
        }
    }
}

/// Why each device of the snapshot is in a plan that gives this, or is not; in the snapshot's order.
pub fn explain(snapshot: &Snapshot, policy: &Policy, plan: &[(DeviceId, Resources)]) -> Vec<(DeviceId, Verdict)> {
    let problem = Problem::new(snapshot, policy);
    let given: HashSet<DeviceId> = plan.iter().map(|(id, _)| *id).collect();
    let chosen: Vec<usize> = (0..problem.candidates.len()).filter(|i| given.contains(&problem.candidates[*i].id)).collect();
    // Where there is no relaxation (rounding) nothing is worth anything.
    let reduced = sift::solve(&problem.rows()).map_or_else(|| problem.candidates.iter().map(|c| c.cost).collect(), |r| r.reduced);
    let judged = Judged {
        sums: problem.sums(&chosen),
        owners: problem.of(&chosen).map(|c| c.owner).collect(),
        places: problem.candidates.iter().enumerate().map(|(i, c)| (c.id, i)).collect(),
        given,
        reduced,
        problem: &problem,
    };
    snapshot.devices.iter().map(|d| (d.id, judged.of(snapshot, d))).collect()
}

struct Judged<'a> {
    problem: &'a Problem,
    given: HashSet<DeviceId>,
    sums: Sums,
    owners: HashSet<OwnerId>,
    places: HashMap<DeviceId, usize>,
    reduced: Vec<f64>,
}

impl Judged<'_> {
    fn of(&self, snapshot: &Snapshot, device: &DeviceSnapshot) -> Verdict {
        let Some(place) = self.places.get(&device.id).filter(|_| device.suitable) else {
            let shortest = device.suitable.then(|| reasons::shortest(&snapshot.request.minimum, &device.free)).flatten();
            return shortest.map_or(Verdict::NotSuitable, |(_, dimension)| Verdict::TooSmall {
                dimension,
                asked: snapshot.request.minimum.get(dimension),
                free: device.free.get(dimension),
            });
        };
        let (candidate, reduced_cost) = (&self.problem.candidates[*place], self.reduced[*place]);
        if self.given.contains(&device.id) {
            return Verdict::Chosen { needed_for: self.needed_for(candidate), reduced_cost };
        }
        if let Some(allowed) = self.problem.churn_cap.filter(|cap| self.problem.changes(&self.sums.with(candidate)) > *cap) {
            return Verdict::ChangesTooMuch { allowed: allowed as u64 };
        }
        let adds = if self.owners.contains(&candidate.owner) { self.problem.same_owner } else { 0.0 };
        if reduced_cost > 0.0 {
            Verdict::Dearer { by: reduced_cost + adds }
        } else if reduced_cost + adds > 0.0 {
            Verdict::OwnerHasOne { adds }
        } else {
            Verdict::NotNeeded { worth: -reduced_cost - adds }
        }
    }

    fn needed_for(&self, candidate: &Candidate) -> Option<Binding> {
        let without = self.sums.without(candidate);
        if self.problem.is_covered_by(&without) {
            return self.problem.churn_cap.filter(|cap| self.problem.changes(&without) > *cap).map(|_| Binding::Churn);
        }
        let missing = reasons::slacks(self.problem, &without);
        missing.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, row)| row)
    }
}
