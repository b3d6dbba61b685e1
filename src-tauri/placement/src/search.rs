//! The default solver: the relaxation says which devices are clearly in or out, and the rest, the *core*, is searched.
//!
//! A device whose reduced cost is larger than what lies between a known plan and the bound stands in every better plan as it does in the
//! relaxation. So the first plan (the relaxation rounded up) fixes most devices, however many there are. What is left is looked through where
//! that is little, which proves the optimum or raises the bound; else it is improved by exchanges, and by deciding a few devices anew at a time (large
//! neighbourhood search, Shaw 1998) for as long as [`crate::Policy::effort`] lasts. Effort is counted in decisions and not in time: the same snapshot
//! gives the same plan on any computer.

use crate::{
    field::{CHEAPER, Field, Standing},
    problem::Problem,
    relax::{self, Relaxed},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::collections::HashSet;

/// Devices searched at most, so that a step costs the same however many there are. More where they do not cover the request.
const CORE: usize = 400;
/// The steps of [`prove`], and decisions in each before it is given up.
const PARTS_OF_THE_WAY: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
const DECISIONS: usize = 20_000;
/// Devices that are in, and others, that are decided anew at a time, and decisions on that.
const INS: usize = 6;
const OUTS: usize = 20;
const AROUND: usize = 2_000;

/// A choice that holds every row.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) chosen: Vec<usize>,
    /// What any choice costs at least.
    pub(crate) bound: f64,
    /// Whether nothing is cheaper.
    pub(crate) optimal: bool,
}

/// The cheapest choice found within this effort; `None` when none was found.
pub(crate) fn choose(problem: &Problem, effort: u64) -> Option<Found> {
    let relaxed = relax::solve(&problem.rows())?;
    let mut bound = relaxed.bound + problem.same_owner * problem.crowded_at_least() as f64;
    let mut best = first(problem, &relaxed)?;
    if problem.churn_cap.is_some() {
        let fewest = fewest_changes(problem).filter(|chosen| problem.holds(&problem.sums(chosen)));
        best.offer(problem, &fewest.unwrap_or_default());
    }
    let field = Field::new(problem, &relaxed, &nearest(&relaxed, CORE));
    let mut effort = Effort(effort);
    if best.holds {
        let mut standing = field.of(&best.chosen);
        field.exchange(&mut standing, &mut effort);
        best.take(&field, &standing);
    }
    let optimal = prove(&field, &mut best, &mut bound);
    if optimal {
        bound = best.cost;
    } else {
        neighbourhoods(&field, &mut best, &mut effort, bound);
    }
    best.holds.then_some(Found { bound: bound.min(best.cost), chosen: best.chosen, optimal })
}

/// Looks through all that costs less than a part of the way from the bound to the best, then more of it. Where it comes to an end, either the cheapest of
/// all is found, or the bound is higher. Whether the best is the optimum.
fn prove(field: &Field<'_>, best: &mut Best, bound: &mut f64) -> bool {
    let (from, lowest) = (field.as_relaxed(), *bound);
    for part in PARTS_OF_THE_WAY {
        let below = lowest + part * (best.cost - lowest);
        // Whoever is further from zero stands in all of these as in the relaxation.
        let margin = below - lowest;
        if !best.holds || field.reach() < margin {
            return false;
        }
        let decided = field.decide(&from, &field.within(margin), below, DECISIONS);
        if let Some(found) = &decided.best {
            best.take(field, found);
        }
        match (decided.all, decided.best) {
            (true, Some(_)) => return true,
            (true, None) => *bound = below * (1.0 - CHEAPER),
            (false, _) => return false,
        }
    }
    true
}

/// A choice that keeps every present host and adds few others; the churn cap is not looked at.
pub(crate) fn fewest_changes(problem: &Problem) -> Option<Vec<usize>> {
    let counted = problem.counting_changes();
    let relaxed = relax::solve(&counted.rows())?;
    Some(first(&counted, &relaxed)?.chosen)
}

/// The cheapest so far.
struct Best {
    cost: f64,
    chosen: Vec<usize>,
    /// Whether it is within the cap on changes too.
    holds: bool,
}

impl Best {
    fn take(&mut self, field: &Field<'_>, standing: &Standing) {
        let better = !self.holds || standing.cost() < self.cost * (1.0 - CHEAPER);
        if better && field.holds(standing) {
            *self = Self { cost: standing.cost(), chosen: field.chosen(standing), holds: true };
        }
    }

    fn offer(&mut self, problem: &Problem, chosen: &[usize]) {
        let cost = problem.cost_of(chosen);
        if !chosen.is_empty() && (!self.holds || cost < self.cost) {
            *self = Self { cost, chosen: chosen.to_vec(), holds: true };
        }
    }
}

/// The relaxation rounded up, and what is redundant then left out. Maybe beyond the cap on changes.
fn first(problem: &Problem, relaxed: &Relaxed) -> Option<Best> {
    let mut most = CORE;
    loop {
        let field = Field::new(problem, relaxed, &nearest(relaxed, most));
        let mut standing = field.as_relaxed();
        if field.complete(&mut standing, &mut Effort(u64::MAX), &mut |cost| cost) {
            field.prune(&mut standing);
            return Some(Best { cost: standing.cost(), chosen: field.chosen(&standing), holds: field.holds(&standing) });
        }
        if most >= relaxed.reduced.len() {
            return None;
        }
        most = most.saturating_mul(8);
    }
}

/// So many with the smallest reduced costs, on either side.
fn nearest(relaxed: &Relaxed, most: usize) -> Vec<usize> {
    let mut all: Vec<(f64, usize)> = relaxed.reduced.iter().enumerate().map(|(j, r)| (r.abs(), j)).collect();
    let by = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if most < all.len() {
        all.select_nth_unstable_by(most, by);
        all.truncate(most);
    }
    all.sort_unstable_by(by);
    let mut nearest: Vec<usize> = all.into_iter().map(|(_, j)| j).collect();
    // A basic one is nearest by nature; rounding may have put it a little away.
    nearest.extend(relaxed.split.iter().copied());
    let mut seen = HashSet::new();
    nearest.retain(|j| seen.insert(*j));
    nearest
}

/// Decisions that are left.
pub(crate) struct Effort(u64);

impl Effort {
    /// Takes so many; false when they are used up.
    pub(crate) fn spend(&mut self, decisions: usize) -> bool {
        let decisions = decisions as u64;
        let enough = self.0 >= decisions;
        self.0 = self.0.saturating_sub(decisions);
        enough
    }
}

/// Again and again a few devices that are in and a few that are not are decided anew, at random but the nearest to zero more often, and the cheapest
/// choice among them stays.
fn neighbourhoods(field: &Field<'_>, best: &mut Best, effort: &mut Effort, bound: f64) {
    // The same draws each time: a plan is a function of its snapshot.
    let mut rng = StdRng::seed_from_u64(0);
    let mut standing = field.of(&best.chosen);
    while best.cost > bound * (1.0 + CHEAPER) {
        let mut open: Vec<usize> = standing.movable().to_vec();
        while open.len() > INS {
            open.swap_remove(rng.random_range(0..open.len()));
        }
        for _ in 0..OUTS {
            let near: f64 = rng.random();
            // Of a few hundred.
            open.push((near * near * field.len() as f64) as usize);
        }
        open.retain(|item| *item < field.len());
        open.sort_unstable();
        open.dedup();
        let below = if best.holds { standing.cost() } else { f64::INFINITY };
        let decided = field.decide(&standing, &open, below, AROUND);
        if let Some(found) = decided.best {
            standing = found;
            best.take(field, &standing);
        }
        if !effort.spend(decided.made + open.len()) {
            return;
        }
    }
}
