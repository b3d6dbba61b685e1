//! What is searched: the core's devices, with those outside of it fixed as the relaxation has them, and one choice among them with its sums.
//!
//! Whole numbers decide whether a row holds ([`Problem::holds`]); shares in floating point only say what to try next.

use crate::{
    problem::{PARTS, Problem, Row, Rows, Sums},
    relax::Relaxed,
};
use fogbank_model::OwnerId;
use std::collections::HashMap;

/// What a whole need of each kind is worth at least, as a share of all: also what costs nothing more in the relaxation has to be filled.
const LEAST_WORTH: f64 = 0.01;

/// A choice is cheaper by this share at least; less is rounding.
pub(crate) const CHEAPER: f64 = 1e-9;
/// A share of a need that may be all of it, as far as floating point can tell.
const ENOUGH: f64 = 1.0 - 1e-9;

/// Exchanges of one for one at most: a limit on what they may take, above what was seen.
const EXCHANGES: usize = 50;

/// One device of the core.
struct Item {
    /// Its place among the candidates.
    at: usize,
    /// Its owner, by number.
    owner: usize,
    cost: f64,
    reduced: f64,
    shares: [f64; PARTS],
}

/// The core.
pub(crate) struct Field<'a> {
    problem: &'a Problem,
    items: Vec<Item>,
    /// Candidates that are chosen in any case.
    fixed: Vec<usize>,
    /// With them alone.
    base: Standing,
    needs: [bool; PARTS],
    worth: [f64; PARTS],
    /// What a change of hosts costs.
    change: f64,
}

/// A choice among the core.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    is_in: Vec<bool>,
    /// Items that are in, in no order.
    movable: Vec<usize>,
    sums: Sums,
    /// Copies by owner.
    owners: Vec<u32>,
    cost: f64,
}

impl Standing {
    pub(crate) fn cost(&self) -> f64 {
        self.cost
    }

    /// Items that are in.
    pub(crate) fn movable(&self) -> &[usize] {
        &self.movable
    }

    pub(crate) fn has(&self, item: usize) -> bool {
        self.is_in[item]
    }
}

impl<'a> Field<'a> {
    /// With these candidates as the core, the nearest to zero first.
    pub(crate) fn new(problem: &'a Problem, relaxed: &Relaxed, core: &[usize]) -> Self {
        let mut outside = vec![true; problem.candidates.len()];
        core.iter().for_each(|j| outside[*j] = false);
        let fixed: Vec<usize> = (0..outside.len()).filter(|j| outside[*j] && relaxed.reduced[*j] < 0.0).collect();
        let mut numbers: HashMap<OwnerId, usize> = HashMap::new();
        for c in problem.of(&fixed).chain(problem.of(core)) {
            let next = numbers.len();
            numbers.entry(c.owner).or_insert(next);
        }
        let mut owners = vec![0; numbers.len()];
        problem.of(&fixed).for_each(|c| owners[numbers[&c.owner]] += 1);
        let item = |at: &usize| {
            let c = &problem.candidates[*at];
            Item { at: *at, owner: numbers[&c.owner], cost: c.cost, reduced: relaxed.reduced[*at], shares: problem.shares(c) }
        };
        let items: Vec<Item> = core.iter().map(item).collect();
        let (is_in, movable) = (vec![false; items.len()], Vec::new());
        let base = Standing { is_in, movable, sums: problem.sums(&fixed), owners, cost: problem.cost_of(&fixed) };
        let (mut worth, change) = problem.worth(&relaxed.prices);
        let least = LEAST_WORTH * worth.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        worth.iter_mut().for_each(|w| *w += least);
        let needs = problem.missing(&Sums::NONE).map(|missing| missing > 0.0);
        Self { problem, items, fixed, base, needs, worth, change }
    }

    /// The relaxation, with those that are split left out.
    pub(crate) fn as_relaxed(&self) -> Standing {
        self.with(|item| item.reduced < -f64::EPSILON)
    }

    /// A choice of candidates.
    pub(crate) fn of(&self, chosen: &[usize]) -> Standing {
        self.with(|item| chosen.binary_search(&item.at).is_ok())
    }

    fn with(&self, which: impl Fn(&Item) -> bool) -> Standing {
        let mut standing = self.base.clone();
        (0..self.items.len()).filter(|i| which(&self.items[*i])).for_each(|i| self.add(&mut standing, i));
        standing
    }

    /// The candidates of a choice, sorted.
    pub(crate) fn chosen(&self, standing: &Standing) -> Vec<usize> {
        let mut chosen: Vec<usize> =
            standing.movable.iter().map(|i| self.items[*i].at).chain(self.fixed.iter().copied()).collect();
        chosen.sort_unstable();
        chosen
    }

    pub(crate) fn holds(&self, standing: &Standing) -> bool {
        self.problem.holds(&standing.sums)
    }

    fn candidate(&self, item: usize) -> &crate::problem::Candidate {
        &self.problem.candidates[self.items[item].at]
    }

    /// What one more costs beside others of its owner.
    fn cost_beside(&self, item: usize, others: u32) -> f64 {
        self.items[item].cost + if others > 0 { self.problem.same_owner } else { 0.0 }
    }

    pub(crate) fn add(&self, standing: &mut Standing, item: usize) {
        let owner = self.items[item].owner;
        standing.cost += self.cost_beside(item, standing.owners[owner]);
        standing.owners[owner] += 1;
        standing.sums = standing.sums.with(self.candidate(item));
        standing.is_in[item] = true;
        standing.movable.push(item);
    }

    pub(crate) fn remove(&self, standing: &mut Standing, item: usize) {
        let owner = self.items[item].owner;
        standing.owners[owner] -= 1;
        standing.cost -= self.cost_beside(item, standing.owners[owner]);
        standing.sums = standing.sums.without(self.candidate(item));
        standing.is_in[item] = false;
        if let Some(place) = standing.movable.iter().rposition(|i| *i == item) {
            standing.movable.swap_remove(place);
        }
    }

    /// Adds what covers most of the missing for its cost, again and again; at each step the cheapest that would finish alone is noted, and the cheapest
    /// of all these ends wins. Whether every row but the churn row holds then.
    pub(crate) fn complete(&self, standing: &mut Standing) -> bool {
        let mut added: Vec<usize> = Vec::new();
        let mut end: Option<(f64, usize, usize)> = None;
        while !self.problem.is_covered_by(&standing.sums) {
            let missing = self.problem.missing(&standing.sums);
            let mut next: Option<(f64, usize)> = None;
            for (i, item) in self.items.iter().enumerate().filter(|(i, _)| !standing.is_in[*i]) {
                let cost = self.cost_beside(i, standing.owners[item.owner]);
                let parts = || item.shares.iter().zip(&missing);
                let gain: f64 = parts().zip(&self.worth).map(|((share, missing), worth)| worth * share.min(*missing)).sum();
                let finishes = parts().all(|(share, missing)| share >= missing);
                if gain <= 0.0 {
                    continue;
                }
                let change = if self.candidate(i).hosts { -self.change } else { self.change };
                let ratio = (cost + change).max(f64::MIN_POSITIVE) / gain;
                if next.is_none_or(|(least, _)| ratio < least) {
                    next = Some((ratio, i));
                }
                if finishes && end.is_none_or(|(least, ..)| standing.cost + cost < least) {
                    end = Some((standing.cost + cost, added.len(), i));
                }
            }
            let Some((_, next)) = next else { return false };
            self.add(standing, next);
            added.push(next);
        }
        if let Some((cost, after, last)) = end
            && cost < standing.cost
        {
            added.drain(after..).for_each(|i| self.remove(standing, i));
            self.add(standing, last);
            // Shares say that it finishes; rounding may say so a unit too early.
            return self.problem.is_covered_by(&standing.sums) || self.complete(standing);
        }
        true
    }

    /// Leaves out what is redundant, the dearest first. Giving up a host stays within the cap on changes.
    pub(crate) fn prune(&self, standing: &mut Standing) {
        let mut dearest = standing.movable.clone();
        dearest.sort_by(|a, b| self.items[*b].cost.total_cmp(&self.items[*a].cost).then(a.cmp(b)));
        for item in dearest {
            let without = standing.sums.without(self.candidate(item));
            let worse = self.problem.changes(&without) > self.problem.changes(&standing.sums);
            let allowed = if worse { self.problem.holds(&without) } else { self.problem.is_covered_by(&without) };
            if allowed {
                self.remove(standing, item);
            }
        }
    }

    /// Exchanges one for one, the best first, while that is cheaper.
    pub(crate) fn exchange(&self, standing: &mut Standing) {
        for _ in 0..EXCHANGES {
            let mut best: Option<(f64, usize, usize)> = None;
            for &out in &standing.movable {
                let owner = self.items[out].owner;
                let saved = self.cost_beside(out, standing.owners[owner] - 1);
                let rest = standing.sums.without(self.candidate(out));
                for (i, item) in self.items.iter().enumerate().filter(|(i, _)| !standing.is_in[*i]) {
                    let gain = saved - self.cost_beside(i, standing.owners[item.owner] - u32::from(item.owner == owner));
                    if best.is_none_or(|(most, ..)| gain > most)
                        && gain > standing.cost * f64::EPSILON
                        && self.problem.holds(&rest.with(self.candidate(i)))
                    {
                        best = Some((gain, out, i));
                    }
                }
            }
            let Some((_, out, into)) = best else { return };
            self.remove(standing, out);
            self.add(standing, into);
        }
    }

    /// What is left of the problem beside a choice, for these items: each share is of what is missing, and none is more than that.
    pub(crate) fn rows_of(&self, standing: &Standing, items: &[usize]) -> Rows {
        let missing = self.problem.missing(&standing.sums);
        let of = |part: usize| -> Row {
            let left = missing[part];
            if left < 1.0 - ENOUGH {
                return vec![0.0; items.len()];
            }
            items.iter().map(|item| (self.items[*item].shares[part] / left).min(1.0)).collect()
        };
        let parts: Vec<usize> = (0..PARTS).filter(|part| self.needs[*part]).collect();
        let mut rows: Vec<Row> = parts.iter().map(|part| of(*part)).collect();
        let mut need: Vec<f64> = parts.iter().map(|part| if missing[*part] < 1.0 - ENOUGH { 0.0 } else { 1.0 }).collect();
        if self.problem.churn_cap.is_some() {
            rows.push(items.iter().map(|item| if self.candidate(*item).hosts { 1.0 } else { -1.0 }).collect());
            need.push(self.problem.changes_beyond(&standing.sums));
        }
        let costs = items.iter().map(|item| self.cost_beside(*item, standing.owners[self.items[*item].owner])).collect();
        Rows { rows, need, costs }
    }

    /// Items whose reduced cost is no further from zero than this.
    pub(crate) fn within(&self, margin: f64) -> Vec<usize> {
        (0..self.items.len()).filter(|i| self.items[*i].reduced.abs() <= margin).collect()
    }

    /// How far from zero the reduced costs of the core reach: all devices outside are further.
    pub(crate) fn reach(&self) -> f64 {
        let furthest = self.items.iter().map(|item| item.reduced.abs()).fold(0.0, f64::max);
        if self.items.len() == self.problem.candidates.len() { f64::INFINITY } else { furthest }
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}
