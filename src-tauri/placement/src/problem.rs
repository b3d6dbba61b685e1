//! The covering problem over the devices that could take a copy, and the sums that every solver asks for.
//!
//! Invariants: candidates are sorted by id, so that the order of the snapshot does not matter; their numbers are finite and within
//! [`Resources::LIMIT`], so that sums over 100,000 of them are exact. Whole numbers decide whether a choice is allowed.

use crate::{
    cost::{Policy, cost_of_device},
    types::{Request, Snapshot},
};
use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use std::collections::HashMap;

/// Availabilities are cut here (an hour's absence a year): no device is so sure that one copy is as good as ten.
const MOST_AVAILABLE: f64 = 0.9999;

/// Targets are cut here, since no finite number of devices reaches 1; 1 − 10⁻¹² is about the last that `f64` tells well from it.
const MOST_ASKED: f64 = 1.0 - 1e-12;

/// How far Σ −ln(1 − a) may miss its target: what rounding leaves of a sum of some hundred logarithms.
const TOLERANCE: f64 = 1e-9;

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

/// min Σ cost·x + same_owner · Σ_owners max(0, copies − 1), so that the rows hold.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) request: Request,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) copies: usize,
    /// −ln(1 − target), 0 without one.
    pub(crate) log_target: f64,
    pub(crate) same_owner: f64,
    pub(crate) churn_cap: Option<usize>,
    /// Present hosts that can't be chosen any more: changes that happen anyway.
    pub(crate) forced_changes: usize,
}

/// One covering row `Σ weight_d x_d ≥ 1`: each weight is the share of the need that a device covers alone, cut at 1 (more than all is all).
pub(crate) type Row = Vec<f64>;

impl Problem {
    pub(crate) fn new(snapshot: &Snapshot, policy: &Policy) -> Self {
        let request = snapshot.request;
        let (can, cannot): (Vec<_>, Vec<_>) = snapshot.devices.iter().partition(|d| d.can_host(&request));
        let mut candidates: Vec<Candidate> = can
            .into_iter()
            .map(|d| Candidate {
                id: d.id,
                owner: d.owner,
                free: d.free.min(&Resources::LIMIT),
                cost: cost_of_device(d, policy),
                log_availability: log_odds(d.availability, MOST_AVAILABLE),
                hosts: d.hosts,
            })
            .collect();
        candidates.sort_by_key(|c| c.id);
        // An id that is there twice is one device.
        candidates.dedup_by_key(|c| c.id);
        Self {
            request,
            candidates,
            copies: usize::from(request.instances.max(1)),
            log_target: request.availability_target.map_or(0.0, |target| log_odds(target, MOST_ASKED)),
            same_owner: policy.same_owner,
            churn_cap: policy.churn_cap,
            forced_changes: cannot.into_iter().filter(|d| d.hosts).count(),
        }
    }

    /// The same problem with changes counted instead of costs.
    pub(crate) fn counting_changes(&self) -> Self {
        // Keeping a host costs a little, so that the copies stay few; all kept together cost less than one new one.
        let keep = 0.5 / (self.candidates.len() as f64 + 1.0);
        let mut counted = self.clone();
        for c in &mut counted.candidates {
            c.cost = if c.hosts { keep } else { 1.0 };
        }
        counted.same_owner = 0.0;
        counted.churn_cap = None;
        counted
    }

    /// What a choice costs.
    pub(crate) fn cost_of(&self, chosen: &[usize]) -> f64 {
        let cost: f64 = self.of(chosen).map(|c| c.cost).sum();
        let mut owners: HashMap<OwnerId, usize> = HashMap::new();
        self.of(chosen).for_each(|c| *owners.entry(c.owner).or_default() += 1);
        cost + self.same_owner * (chosen.len() - owners.len()) as f64
    }

    pub(crate) fn of(&self, chosen: &[usize]) -> impl Iterator<Item = &Candidate> {
        chosen.iter().filter_map(|i| self.candidates.get(*i))
    }

    /// Σ free over a choice.
    pub(crate) fn free_of(&self, chosen: &[usize]) -> Resources {
        self.of(chosen).fold(Resources::ZERO, |sum, c| sum.plus(&c.free))
    }

    pub(crate) fn log_availability_of(&self, chosen: &[usize]) -> f64 {
        self.of(chosen).map(|c| c.log_availability).sum()
    }

    /// |A′ Δ A|: hosts given up and hosts added.
    pub(crate) fn changes_of(&self, chosen: &[usize]) -> usize {
        let kept = self.of(chosen).filter(|c| c.hosts).count();
        let hosts = self.candidates.iter().filter(|c| c.hosts).count();
        (chosen.len() - kept) + (hosts - kept) + self.forced_changes
    }

    /// Whether sums over a choice hold every row but the churn row.
    pub(crate) fn is_covered_by(&self, free: &Resources, log_availability: f64, copies: usize) -> bool {
        copies >= self.copies && free.covers(&self.request.requirements) && log_availability >= self.log_target - TOLERANCE
    }

    /// Whether a choice holds every row but the churn row.
    pub(crate) fn covers(&self, chosen: &[usize]) -> bool {
        self.is_covered_by(&self.free_of(chosen), self.log_availability_of(chosen), chosen.len())
    }

    /// Whether every row holds.
    pub(crate) fn is_feasible(&self, chosen: &[usize]) -> bool {
        self.covers(chosen) && self.churn_cap.is_none_or(|cap| self.changes_of(chosen) <= cap)
    }

    /// The covering rows in which something is needed.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |need: f64, weight: &dyn Fn(&Candidate) -> f64| {
            (need > 0.0).then(|| self.candidates.iter().map(|c| (weight(c) / need).min(1.0)).collect())
        };
        let mut rows: Vec<Row> = Dimension::ALL
            .into_iter()
            .filter_map(|d| row(self.request.requirements.get(d) as f64, &|c| c.free.get(d) as f64))
            .collect();
        rows.extend(row(self.copies as f64, &|_| 1.0));
        rows.extend(row(self.log_target, &|c| c.log_availability));
        rows
    }
}

/// −ln(1 − p), with nonsense tamed to "never there".
fn log_odds(p: f64, most: f64) -> f64 {
    let p = if p.is_finite() { p.clamp(0.0, most) } else { 0.0 };
    -(-p).ln_1p()
}
