//! What limits a plan, and why a request does not fit.

use crate::{
    choose,
    cost::Policy,
    exact,
    problem::{Problem, Sums},
    search, solve,
    types::{Binding, Snapshot},
};
use fogbank_model::{Dimension, Infeasible, Resources, Shortfall};

/// A plan without the cap must be cheaper by this share before the cap is blamed: more than rounding, less than any weight.
const CHEAPER: f64 = 1e-6;

/// What keeps a plan from being cheaper: the cap on changes where dropping it helps, else the row with the least to spare, relative to what
/// it asks for.
pub(crate) fn binding(problem: &Problem, policy: &Policy, chosen: &[usize]) -> Binding {
    if problem.churn_cap.is_some() {
        let free = Problem { churn_cap: None, ..problem.clone() };
        if choose(&free, policy).is_some_and(|other| free.cost_of(&other.chosen) < problem.cost_of(chosen) * (1.0 - CHEAPER)) {
            return Binding::Churn;
        }
    }
    let slacks = slacks(problem, &problem.sums(chosen));
    slacks.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(Binding::Copies, |(_, binding)| binding)
}

/// What there is to spare in each row but the churn row, as a share of what it asks for; below zero where something is missing.
pub(crate) fn slacks(problem: &Problem, sums: &Sums) -> Vec<(f64, Binding)> {
    let slack = |have: f64, need: f64| if need > 0.0 { (have - need) / need } else { f64::INFINITY };
    let mut rows: Vec<(f64, Binding)> = Dimension::ALL
        .into_iter()
        .map(|d| (slack(sums.free.get(d) as f64, problem.request.requirements.get(d) as f64), Binding::Resource(d)))
        .collect();
    rows.push((slack(sums.copies as f64, problem.copies as f64), Binding::Copies));
    rows.push((slack(sums.log_availability, problem.log_target), Binding::Availability));
    rows
}

/// Where an amount is shortest of what is asked, and what share of it that is; `None` where it covers all.
pub(crate) fn shortest(asked: &Resources, free: &Resources) -> Option<(f64, Dimension)> {
    let share = |d: Dimension| free.get(d) as f64 / asked.get(d).max(1) as f64;
    let short = Dimension::ALL.into_iter().filter(|d| free.get(*d) < asked.get(*d));
    short.map(|d| (share(d), d)).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// An amount as people read it.
pub(crate) fn amounts(resources: &Resources) -> String {
    Dimension::ALL.map(|d| format!("{} of {d}", d.show(resources.get(d)))).join(", ")
}

/// What is missing, the worst first, and the largest request of the same kind that fits.
pub(crate) fn infeasible(snapshot: &Snapshot, problem: &Problem, policy: &Policy) -> Infeasible {
    let all: Vec<usize> = (0..problem.candidates.len()).collect();
    if all.is_empty() {
        // No number of copies fits anywhere: what the nearest device lacks says more than sums of nothing.
        let devices = Shortfall::Devices { asked: problem.copies as u64, free: 0 };
        return Infeasible { shortfalls: vec![one_copy(snapshot).unwrap_or(devices)], largest: None };
    }
    let mut short: Vec<(f64, Shortfall)> = Vec::new();
    if all.len() < problem.copies {
        let (asked, free) = (problem.copies as u64, all.len() as u64);
        short.push((free as f64 / asked as f64, Shortfall::Devices { asked, free }));
    }
    let sums = problem.sums(&all);
    let have = sums.free;
    for dimension in Dimension::ALL {
        let (asked, free) = (problem.request.requirements.get(dimension), have.get(dimension));
        if free < asked {
            short.push((free as f64 / asked as f64, Shortfall::Resource { dimension, asked, free }));
        }
    }
    let reach = sums.log_availability;
    if let Some(asked) = problem.request.availability_target.filter(|_| reach < problem.log_target) {
        short.push((reach / problem.log_target, Shortfall::Availability { asked, reach: -(-reach).exp_m1() }));
    }
    short.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut shortfalls: Vec<Shortfall> = short.into_iter().map(|(_, s)| s).collect();
    let mut reach = have;
    if let Some(cap) = problem.churn_cap {
        if shortfalls.is_empty() {
            shortfalls.push(Shortfall::Changes { needed: changes_needed(problem, policy) as u64, allowed: cap as u64 });
        }
        reach = within_cap(problem, cap);
    }
    Infeasible { shortfalls, largest: largest(snapshot, reach, policy) }
}

/// In which dimension the device that comes nearest is short of one copy.
fn one_copy(snapshot: &Snapshot) -> Option<Shortfall> {
    let minimum = snapshot.request.minimum;
    let suitable = snapshot.devices.iter().filter(|d| d.suitable);
    let devices = suitable.filter_map(|d| Some((d.id, shortest(&minimum, &d.free)?, d.free)));
    // By id where two come as near, so that the order of the snapshot does not matter.
    let (_, (_, dimension), free) = devices.max_by(|a, b| a.1.0.total_cmp(&b.1.0).then(b.0.cmp(&a.0)))?;
    Some(Shortfall::OneCopy { dimension, asked: minimum.get(dimension), free: free.get(dimension) })
}

/// How many changes the least disruptive choice takes: the least where the case is small, else as found by the search.
pub(crate) fn changes_needed(problem: &Problem, policy: &Policy) -> usize {
    let small = problem.candidates.len() <= policy.exact_up_to;
    let least = if small { exact::choose(&problem.counting_changes()) } else { None };
    let kept = least.or_else(|| search::fewest_changes(problem)).unwrap_or_default();
    // A host that this choice leaves out may as well stay.
    kept.iter().filter(|i| !problem.candidates[**i].hosts).count() + problem.forced_changes
}

/// What the present hosts have, with as many others as the cap leaves room for: those that give most of what is asked.
pub(crate) fn within_cap(problem: &Problem, cap: usize) -> Resources {
    let Some(room) = cap.checked_sub(problem.forced_changes) else { return Resources::ZERO };
    let hosts: Vec<usize> = (0..problem.candidates.len()).filter(|i| problem.candidates[*i].hosts).collect();
    let asked = problem.request.requirements;
    let mut have = problem.sums(&hosts).free;
    let mut left: Vec<usize> = (0..problem.candidates.len()).filter(|i| !problem.candidates[*i].hosts).collect();
    for _ in 0..room {
        let covered = |i: usize| -> f64 {
            let with = have.plus(&problem.candidates[i].free).min(&asked);
            Dimension::ALL.into_iter().map(|d| with.get(d) as f64 / asked.get(d).max(1) as f64).sum()
        };
        let best = left.iter().enumerate().map(|(at, i)| (covered(*i), at)).max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, at)) = best else { break };
        have = have.plus(&problem.candidates[left.swap_remove(at)].free);
    }
    have
}

/// The request cut down to what there is in each dimension, if that is a request and fits.
fn largest(snapshot: &Snapshot, have: Resources, policy: &Policy) -> Option<Resources> {
    let asked = snapshot.request.requirements;
    let mut smaller = snapshot.clone();
    smaller.request.requirements = asked.min(&have);
    let cut = smaller.request.requirements;
    let nothing = Dimension::ALL.into_iter().any(|d| cut.get(d) == 0 && asked.get(d) > 0);
    (cut != asked && !nothing && solve(&Problem::new(&smaller, policy), policy).is_some()).then_some(cut)
}
