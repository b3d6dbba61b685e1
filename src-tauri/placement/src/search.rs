//! The default solver: the relaxation says which devices are clearly in or out, and the rest, the *core*, is searched.
//!
//! A device whose reduced cost is larger than what lies between a known plan and the bound stands in every better plan as it does in the
//! relaxation. So a first plan (the relaxation rounded up, then the best among the devices that the relaxation is least sure of) fixes most devices,
//! however many there are. What is left is looked through by branch and bound, which proves the optimum where it comes to an end and raises the
//! bound where it does not; then the plan is improved by deciding some of its devices anew at a time (large neighbourhood search, Shaw 1998) for as long
//! as [`crate::Policy::effort`] lasts. Effort is counted in devices looked at and not in time: the same snapshot gives the same plan on any
//! computer.

use crate::{
    branch,
    field::{CHEAPER, Field, Standing},
    problem::Problem,
    relax::Relaxed,
    sift,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::collections::HashSet;

/// Devices of which a first choice is made and which are exchanged, the nearest to zero. More where they do not cover the request.
const CORE: usize = 400;
/// Devices that are looked through at most, so that a step costs the same however many there are.
const WIDE: usize = 4_000;
/// So many of the nearest are looked through first, for a good choice to begin with.
const NEAREST: [usize; 2] = [40, 120];
/// What parts of the effort go into each of these, into a proof, and into deciding some anew: of the splits that were tried the one after which the
/// worst plan for a thousand and for ten thousand devices was nearest to the best known.
const OF_NEAREST: f64 = 0.1;
const OF_PROOF: f64 = 0.4;
const OF_NEIGHBOURHOODS: f64 = 0.4;
/// What is left at least when preparing took most of the effort.
const AT_LEAST: f64 = 0.125;
/// Preparing counts for each device as looking at it so often: somewhat more than it takes, so that plans for very many devices stay quick.
const PREPARING: f64 = 30.0;
/// Devices that are in, and others, that are decided anew at a time, and what goes into that.
const INS: usize = 10;
const OUTS: usize = 80;
const AROUND: u64 = 40_000;

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
    let relaxed = sift::solve(&problem.rows())?;
    let mut bound = relaxed.bound + problem.same_owner * problem.crowded_at_least() as f64;
    let prepared = PREPARING * problem.candidates.len() as f64;
    let effort = (effort as f64 - prepared).max(effort as f64 * AT_LEAST);
    let part = |part: f64| (effort * part) as u64;
    let near = nearest(&relaxed, WIDE);
    let mut best = first(problem, &relaxed, &near)?;
    if problem.churn_cap.is_some() {
        let fewest = fewest_changes(problem).filter(|chosen| problem.holds(&problem.sums(chosen)));
        best.offer(problem, &fewest.unwrap_or_default());
    }
    let field = Field::new(problem, &relaxed, &near[..near.len().min(CORE)]);
    among_nearest(&field, &mut best, part(OF_NEAREST));
    let wide = Field::new(problem, &relaxed, &near);
    let optimal = prove(&wide, &mut best, &mut bound, part(OF_PROOF));
    if !optimal {
        neighbourhoods(&field, &mut best, part(OF_NEIGHBOURHOODS), bound);
    }
    best.holds.then_some(Found { bound: bound.min(best.cost), chosen: best.chosen, optimal })
}

/// Looks for a better choice where one is likeliest: among the devices that the relaxation is least sure of, and one exchange away.
fn among_nearest(field: &Field<'_>, best: &mut Best, effort: u64) {
    for most in NEAREST {
        let open: Vec<usize> = (0..field.len().min(most)).collect();
        let found = branch::among(field, &field.as_relaxed(), &open, best.below(), effort);
        if let Some(found) = &found.best {
            best.take(field, found);
        }
    }
    if best.holds {
        let mut standing = field.of(&best.chosen);
        field.exchange(&mut standing);
        best.take(field, &standing);
    }
}

/// Looks through all that costs less than the best. Where it comes to an end the best is the optimum; else the bound is higher.
fn prove(field: &Field<'_>, best: &mut Best, bound: &mut f64, effort: u64) -> bool {
    let open = field.within(best.below() - *bound);
    let found = branch::among(field, &field.as_relaxed(), &open, best.below(), effort);
    // Whoever is further from zero than the whole field costs so much more in any choice in which it stands otherwise than in the relaxation.
    let outside = *bound + field.reach();
    if let Some(found) = &found.best {
        best.take(field, found);
    }
    *bound = bound.max(found.bound.min(outside));
    found.all && outside >= best.below()
}

/// A choice that keeps every present host and adds few others; the churn cap is not looked at.
pub(crate) fn fewest_changes(problem: &Problem) -> Option<Vec<usize>> {
    let counted = problem.counting_changes();
    let relaxed = sift::solve(&counted.rows())?;
    Some(first(&counted, &relaxed, &nearest(&relaxed, CORE))?.chosen)
}

/// The cheapest so far.
struct Best {
    cost: f64,
    chosen: Vec<usize>,
    /// Whether it is within the cap on changes too.
    holds: bool,
}

impl Best {
    /// What others have to cost less than.
    fn below(&self) -> f64 {
        if self.holds { self.cost } else { f64::INFINITY }
    }

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
fn first(problem: &Problem, relaxed: &Relaxed, near: &[usize]) -> Option<Best> {
    let mut most = CORE;
    loop {
        let field = if most <= near.len() {
            Field::new(problem, relaxed, &near[..most])
        } else {
            Field::new(problem, relaxed, &nearest(relaxed, most))
        };
        let mut standing = field.as_relaxed();
        if field.complete(&mut standing) {
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
    nearest.extend(relaxed.split.iter().map(|(j, _)| *j));
    let mut seen = HashSet::new();
    nearest.retain(|j| seen.insert(*j));
    nearest
}

/// Again and again a few devices that are in and a few that are not are decided anew, at random but the nearest to zero more often, and the cheapest
/// choice among them stays.
fn neighbourhoods(field: &Field<'_>, best: &mut Best, mut effort: u64, bound: f64) {
    // The same draws each time: a plan is a function of its snapshot.
    let mut rng = StdRng::seed_from_u64(0);
    let mut standing = field.of(&best.chosen);
    while best.below() > bound * (1.0 + CHEAPER) {
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
        let found = branch::among(field, &standing, &open, below, AROUND.min(effort));
        if let Some(found) = found.best {
            standing = found;
            best.take(field, &standing);
        }
        effort = effort.saturating_sub(found.made + 1);
        if effort == 0 {
            return;
        }
    }
}
