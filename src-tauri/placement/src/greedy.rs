//! Ratio greedy: again and again the device that covers most of what is missing for its cost; at each step the cheapest single device that
//! would finish is tried as well; what turns out redundant is dropped; the cheapest of all these choices wins.

use crate::problem::{Candidate, Problem};
use fogbank_model::{Dimension, OwnerId, Resources};
use std::collections::HashSet;

/// A choice that holds every row, or `None`. Without a churn cap it finds one whenever there is one: all candidates together is what it
/// ends in. Under a cap it is a heuristic (whether k more devices are enough is a hard problem): it keeps the present hosts and adds.
pub(crate) fn choose(problem: &Problem) -> Option<Vec<usize>> {
    let fresh = cover(problem, &[])?;
    if problem.is_feasible(&fresh) {
        return Some(fresh);
    }
    let kept = fewest_changes(problem)?;
    let kept = without_redundant(problem, kept);
    problem.is_feasible(&kept).then_some(kept)
}

/// A choice that keeps every present host and adds few others; the churn cap is not looked at.
pub(crate) fn fewest_changes(problem: &Problem) -> Option<Vec<usize>> {
    let hosts: Vec<usize> = (0..problem.candidates.len()).filter(|i| problem.candidates[*i].hosts).collect();
    cover(&problem.counting_changes(), &hosts)
}

/// What is chosen so far, with its sums.
struct Sums {
    chosen: Vec<usize>,
    free: Resources,
    log_availability: f64,
    owners: HashSet<OwnerId>,
}

impl Sums {
    fn of(problem: &Problem, chosen: &[usize]) -> Self {
        Self {
            chosen: chosen.to_vec(),
            free: problem.free_of(chosen),
            log_availability: problem.log_availability_of(chosen),
            owners: problem.of(chosen).map(|c| c.owner).collect(),
        }
    }

    fn add(&mut self, i: usize, candidate: &Candidate) {
        self.chosen.push(i);
        self.free = self.free.plus(&candidate.free);
        self.log_availability += candidate.log_availability;
        self.owners.insert(candidate.owner);
    }

    /// What one more costs.
    fn cost_of(&self, problem: &Problem, candidate: &Candidate) -> f64 {
        candidate.cost + if self.owners.contains(&candidate.owner) { problem.same_owner } else { 0.0 }
    }
}

/// The cheapest covering choice found that holds `from`; `None` when all candidates together do not cover.
fn cover(problem: &Problem, from: &[usize]) -> Option<Vec<usize>> {
    let mut sums = Sums::of(problem, from);
    let mut left: Vec<usize> = (0..problem.candidates.len()).filter(|i| !from.contains(i)).collect();
    let mut best: Option<(f64, Vec<usize>)> = None;
    let mut keep = |mut choice: Vec<usize>| {
        choice.sort_unstable();
        let choice = if from.is_empty() { without_redundant(problem, choice) } else { choice };
        let cost = problem.cost_of(&choice);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, choice));
        }
    };
    loop {
        if problem.is_covered_by(&sums.free, sums.log_availability, sums.chosen.len()) {
            keep(sums.chosen);
            break;
        }
        if let Some(last) = finisher(problem, &sums, &left) {
            keep(sums.chosen.iter().copied().chain([last]).collect());
        }
        let Some(at) = by_ratio(problem, &sums, &left) else { break };
        let next = left.swap_remove(at);
        sums.add(next, &problem.candidates[next]);
    }
    best.map(|(_, choice)| choice)
}

/// The cheapest single device that finishes the job.
fn finisher(problem: &Problem, sums: &Sums, left: &[usize]) -> Option<usize> {
    let copies = sums.chosen.len() + 1;
    let finishes =
        |c: &Candidate| problem.is_covered_by(&sums.free.plus(&c.free), sums.log_availability + c.log_availability, copies);
    left.iter()
        .filter(|i| finishes(&problem.candidates[**i]))
        .map(|i| (sums.cost_of(problem, &problem.candidates[*i]), *i))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map(|(_, i)| i)
}

/// Where in `left` the device stands that covers most of what is missing for its cost.
fn by_ratio(problem: &Problem, sums: &Sums, left: &[usize]) -> Option<usize> {
    let missing = problem.request.requirements.minus(&sums.free);
    let missing_availability = problem.log_target - sums.log_availability;
    let copies = match problem.copies.saturating_sub(sums.chosen.len()) {
        0 => 0.0,
        missing => 1.0 / missing as f64,
    };
    let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
    let gain = |c: &Candidate| {
        let resources: f64 = Dimension::ALL.into_iter().map(|d| share(c.free.get(d) as f64, missing.get(d) as f64)).sum();
        (resources + share(c.log_availability, missing_availability) + copies) / sums.cost_of(problem, c)
    };
    left.iter()
        .enumerate()
        .map(|(at, i)| (gain(&problem.candidates[*i]), *i, at))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .map(|(_, _, at)| at)
}

/// Drops what is redundant, the dearest first, as far as a churn cap leaves room for giving up hosts.
fn without_redundant(problem: &Problem, mut chosen: Vec<usize>) -> Vec<usize> {
    let mut dearest = chosen.clone();
    dearest.sort_by(|a, b| problem.candidates[*b].cost.total_cmp(&problem.candidates[*a].cost).then(a.cmp(b)));
    let (mut free, mut log_availability, mut changes) =
        (problem.free_of(&chosen), problem.log_availability_of(&chosen), problem.changes_of(&chosen));
    for i in dearest {
        let c = &problem.candidates[i];
        let changed = if c.hosts { changes + 1 } else { changes.saturating_sub(1) };
        // Dropping what is new never hurts; giving up a host must stay within the cap.
        let allowed = !c.hosts || problem.churn_cap.is_none_or(|cap| changed <= cap);
        let without = (free.minus(&c.free), log_availability - c.log_availability);
        if allowed && problem.is_covered_by(&without.0, without.1, chosen.len() - 1) {
            chosen.retain(|kept| *kept != i);
            (free, log_availability) = without;
            changes = changed;
        }
    }
    chosen
}
