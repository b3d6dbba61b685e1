//! Ratio greedy: again and again the device that covers most of what is missing for its cost, then what turned out redundant is dropped.

use crate::types::Problem;
use fogbank_model::Dimension;
use std::collections::HashSet;

/// A choice that holds every row, or `None`. Without a churn cap it finds one whenever there is one (all candidates together is the last
/// resort); with a cap it begins from the present hosts.
pub(crate) fn choose(problem: &Problem) -> Option<Vec<usize>> {
    let fresh = improve(problem, cover(problem, Vec::new())?);
    if problem.is_feasible(&fresh) {
        return Some(fresh);
    }
    let hosts = problem.candidates.iter().enumerate().filter(|(_, c)| c.hosts).map(|(i, _)| i).collect();
    let kept = cover(problem, hosts)?;
    // Dropping a host is a change too: only as many as the cap leaves room for.
    problem.is_feasible(&kept).then_some(kept)
}

/// Adds devices to a choice until every covering row holds.
fn cover(problem: &Problem, mut chosen: Vec<usize>) -> Option<Vec<usize>> {
    let mut left: HashSet<usize> = (0..problem.candidates.len()).filter(|i| !chosen.contains(i)).collect();
    while !problem.covers(&chosen) {
        let best = finisher(problem, &chosen, &left).or_else(|| by_ratio(problem, &chosen, &left))?;
        left.remove(&best);
        chosen.push(best);
    }
    chosen.sort_unstable();
    Some(chosen)
}

/// The cheapest single device that finishes the job.
fn finisher(problem: &Problem, chosen: &[usize], left: &HashSet<usize>) -> Option<usize> {
    let finishes = |i: usize| {
        let mut with = chosen.to_vec();
        with.push(i);
        problem.covers(&with)
    };
    cheapest(problem, left.iter().copied().filter(|i| finishes(*i)))
}

fn cheapest(problem: &Problem, among: impl Iterator<Item = usize>) -> Option<usize> {
    among.min_by(|a, b| problem.candidates[*a].cost.total_cmp(&problem.candidates[*b].cost).then(a.cmp(b)))
}

/// The device with the most cover for its cost. Owners that have none yet are preferred a little: two copies at one person's home share
/// its power and its router.
fn by_ratio(problem: &Problem, chosen: &[usize], left: &HashSet<usize>) -> Option<usize> {
    const SAME_OWNER: f64 = 0.8;
    let have = problem.free_of(chosen);
    let missing = problem.request.requirements.minus(&have);
    let missing_availability = (problem.log_target - problem.log_availability_of(chosen)).max(0.0);
    let missing_copies = problem.copies.saturating_sub(chosen.len());
    let owners: HashSet<_> = chosen.iter().map(|i| problem.candidates[*i].owner).collect();
    let gain = |i: usize| {
        let c = &problem.candidates[i];
        let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
        let resources: f64 = Dimension::ALL.into_iter().map(|d| share(c.free.get(d) as f64, missing.get(d) as f64)).sum();
        let copies = if missing_copies > 0 { 1.0 / missing_copies as f64 } else { 0.0 };
        let spread = if owners.contains(&c.owner) { SAME_OWNER } else { 1.0 };
        spread * (resources + share(c.log_availability, missing_availability) + copies) / c.cost
    };
    left.iter().copied().max_by(|a, b| gain(*a).total_cmp(&gain(*b)).then(b.cmp(a)))
}

/// Drops what is redundant, the dearest first.
fn improve(problem: &Problem, mut chosen: Vec<usize>) -> Vec<usize> {
    let mut dearest = chosen.clone();
    dearest.sort_by(|a, b| problem.candidates[*b].cost.total_cmp(&problem.candidates[*a].cost).then(a.cmp(b)));
    for i in dearest {
        let without: Vec<usize> = chosen.iter().copied().filter(|c| *c != i).collect();
        if problem.covers(&without) {
            chosen = without;
        }
    }
    chosen
}
