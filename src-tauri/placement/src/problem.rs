//! The covering problem over the devices that could take a copy, and the sums that every solver asks for.
//!
//! Invariants: candidates are sorted by id, so that the order of the snapshot does not matter; their numbers are finite and within
//! [`Resources::LIMIT`], so that sums over 100,000 of them are exact. Whole numbers decide whether a choice is allowed.

use crate::{
    cost::{Policy, cost_of_device},
    types::{Request, Snapshot},
};
use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use std::collections::{HashMap, HashSet};

/// Of what something can be needed: the four resources, copies, and availability.
pub(crate) const PARTS: usize = 6;

/// Availabilities are cut here (an hour's absence a year): no device is so sure that one copy is as good as ten.
pub(crate) const MOST_AVAILABLE: f64 = 0.9999;

/// Targets are cut here, since no finite number of devices reaches 1; 1 − 10⁻¹² is about the last that `f64` tells well from it.
pub(crate) const MOST_ASKED: f64 = 1.0 - 1e-12;

/// How far Σ −ln(1 − a) may miss its target: what rounding leaves of a sum of some hundred logarithms.
pub(crate) const TOLERANCE: f64 = 1e-9;

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
    /// Present hosts that may be chosen.
    pub(crate) hosts: usize,
    /// Present hosts that can't be chosen any more: changes that happen anyway.
    pub(crate) forced_changes: usize,
}

/// A row's share for each candidate.
pub(crate) type Row = Vec<f64>;

/// The rows in which something is needed, `Σ share_d·x_d ≥ need`, and what each candidate costs. Shares are of the need, so it is 1, and none is more
/// than 1 (more than all is all); the churn row counts hosts.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) need: Vec<f64>,
    pub(crate) costs: Vec<f64>,
}

/// What a choice gives in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sums {
    pub(crate) free: Resources,
    pub(crate) log_availability: f64,
    pub(crate) copies: usize,
    /// Those of them that host now.
    pub(crate) kept: usize,
}

impl Sums {
    pub(crate) const NONE: Self = Self { free: Resources::ZERO, log_availability: 0.0, copies: 0, kept: 0 };

    pub(crate) fn with(&self, c: &Candidate) -> Self {
        Self {
            free: self.free.plus(&c.free),
            log_availability: self.log_availability + c.log_availability,
            copies: self.copies + 1,
            kept: self.kept + usize::from(c.hosts),
        }
    }

    /// Without a candidate that is in them.
    pub(crate) fn without(&self, c: &Candidate) -> Self {
        Self {
            free: self.free.minus(&c.free),
            log_availability: self.log_availability - c.log_availability,
            copies: self.copies.saturating_sub(1),
            kept: self.kept.saturating_sub(usize::from(c.hosts)),
        }
    }
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
                free: d.free.min(&Resources::LIMIT),
                cost: cost_of_device(d, policy),
                log_availability: log_odds(d.availability, MOST_AVAILABLE),
                hosts: d.hosts,
            })
            .collect();
        candidates.sort_by_key(|c| c.id);
        // An id that is there twice is one device.
        candidates.dedup_by_key(|c| c.id);
        let hosts = candidates.iter().filter(|c| c.hosts).count();
        Self {
            request,
            candidates,
            hosts,
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

    pub(crate) fn sums(&self, chosen: &[usize]) -> Sums {
        self.of(chosen).fold(Sums::NONE, |sums, c| sums.with(c))
    }

    /// |A′ Δ A|: hosts given up and hosts added.
    pub(crate) fn changes(&self, sums: &Sums) -> usize {
        (sums.copies - sums.kept) + (self.hosts - sums.kept) + self.forced_changes
    }

    /// Changes of a choice beyond the cap, below zero while there is room; 0 without a cap.
    pub(crate) fn changes_beyond(&self, sums: &Sums) -> f64 {
        self.churn_cap.map_or(0.0, |cap| self.changes(sums) as f64 - cap as f64)
    }

    /// Whether every row but the churn row holds.
    pub(crate) fn is_covered_by(&self, sums: &Sums) -> bool {
        sums.copies >= self.copies
            && sums.free.covers(&self.request.requirements)
            && sums.log_availability >= self.log_target - TOLERANCE
    }

    /// Whether every row holds.
    pub(crate) fn holds(&self, sums: &Sums) -> bool {
        self.is_covered_by(sums) && self.churn_cap.is_none_or(|cap| self.changes(sums) <= cap)
    }

    /// What a candidate gives of what is needed in each of [`PARTS`]: shares of the need, 0 where nothing is.
    pub(crate) fn shares(&self, c: &Candidate) -> [f64; PARTS] {
        self.parts(&Sums::NONE.with(c)).map(|(has, need)| if need > 0.0 { (has / need).min(1.0) } else { 0.0 })
    }

    /// What is missing of each, in shares of the need.
    pub(crate) fn missing(&self, sums: &Sums) -> [f64; PARTS] {
        self.parts(sums).map(|(has, need)| if need > 0.0 { ((need - has) / need).max(0.0) } else { 0.0 })
    }

    /// What there is and what is needed of each.
    fn parts(&self, sums: &Sums) -> [(f64, f64); PARTS] {
        let of = |d: Dimension| (sums.free.get(d) as f64, self.request.requirements.get(d) as f64);
        let [cpu, memory, storage, bandwidth] = Dimension::ALL.map(of);
        let copies = (sums.copies as f64, self.copies as f64);
        [cpu, memory, storage, bandwidth, copies, (sums.log_availability, self.log_target)]
    }

    /// In which of [`PARTS`] something is needed.
    fn needed(&self) -> Vec<usize> {
        (0..PARTS).filter(|part| self.parts(&Sums::NONE)[*part].1 > 0.0).collect()
    }

    pub(crate) fn rows(&self) -> Rows {
        let needed = self.needed();
        let mut rows: Vec<Row> = needed.iter().map(|_| Vec::with_capacity(self.candidates.len())).collect();
        for c in &self.candidates {
            let shares = self.shares(c);
            rows.iter_mut().zip(&needed).for_each(|(row, part)| row.push(shares[*part]));
        }
        let mut need = vec![1.0; rows.len()];
        if let Some(cap) = self.churn_cap {
            rows.push(self.candidates.iter().map(|c| if c.hosts { 1.0 } else { -1.0 }).collect());
            need.push((self.hosts + self.forced_changes) as f64 - cap as f64);
        }
        Rows { rows, need, costs: self.candidates.iter().map(|c| c.cost).collect() }
    }

    /// What rows' prices say that a whole need of each of [`PARTS`] is worth, and what a change of hosts costs.
    pub(crate) fn worth(&self, prices: &[f64]) -> ([f64; PARTS], f64) {
        let mut worth = [0.0; PARTS];
        let needed = self.needed();
        needed.iter().zip(prices).for_each(|(part, price)| worth[*part] = *price);
        (worth, prices.get(needed.len()).copied().unwrap_or(0.0))
    }

    /// Copies that must stand at an owner who has one already, whatever is chosen.
    pub(crate) fn crowded_at_least(&self) -> usize {
        let owners: HashSet<OwnerId> = self.candidates.iter().map(|c| c.owner).collect();
        self.copies.min(self.candidates.len()).saturating_sub(owners.len())
    }
}

/// −ln(1 − p), with nonsense tamed to "never there".
pub(crate) fn log_odds(p: f64, most: f64) -> f64 {
    let p = if p.is_finite() { p.clamp(0.0, most) } else { 0.0 };
    -(-p).ln_1p()
}
