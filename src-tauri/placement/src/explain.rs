//! What limits a plan, and why a request does not fit.

use crate::{
    Outcome,
    cost::Policy,
    plan,
    types::{Binding, Problem, Snapshot},
};
use fogbank_model::{Dimension, Infeasible, Resources, Shortfall};

/// The row with the least slack, relative to what it asks for.
pub(crate) fn binding(problem: &Problem, chosen: &[usize]) -> Binding {
    let free = problem.free_of(chosen);
    let slack = |have: f64, need: f64| if need > 0.0 { (have - need) / need } else { f64::INFINITY };
    let mut rows: Vec<(f64, Binding)> = Dimension::ALL
        .into_iter()
        .map(|d| (slack(free.get(d) as f64, problem.request.requirements.get(d) as f64), Binding::Resource(d)))
        .collect();
    rows.push((slack(chosen.len() as f64, problem.copies as f64), Binding::Copies));
    rows.push((slack(problem.log_availability_of(chosen), problem.log_target), Binding::Availability));
    if let Some(cap) = problem.churn_cap.filter(|cap| *cap > 0) {
        rows.push(((cap as f64 - problem.changes_of(chosen) as f64) / cap as f64, Binding::Churn));
    }
    rows.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(Binding::Copies, |(_, binding)| binding)
}

/// What is missing, the worst first, and the largest request of the same shape that fits.
pub(crate) fn infeasible(snapshot: &Snapshot, problem: &Problem, policy: &Policy) -> Infeasible {
    let request = &problem.request;
    let all: Vec<usize> = (0..problem.candidates.len()).collect();
    let mut short: Vec<(f64, Shortfall)> = Vec::new();
    if all.is_empty() {
        short.extend(one_copy(snapshot));
    }
    if all.len() < problem.copies {
        let (asked, free) = (problem.copies as u64, all.len() as u64);
        short.push((free as f64 / asked as f64, Shortfall::Devices { asked, free }));
    }
    let have = problem.free_of(&all);
    for dimension in Dimension::ALL {
        let (asked, free) = (request.requirements.get(dimension), have.get(dimension));
        if free < asked {
            short.push((free as f64 / asked as f64, Shortfall::Resource { dimension, asked, free }));
        }
    }
    let reach = problem.log_availability_of(&all);
    if let Some(asked) = request.availability.filter(|_| reach < problem.log_target) {
        short.push((reach / problem.log_target, Shortfall::Availability { asked, reach: 1.0 - (-reach).exp() }));
    }
    short.sort_by(|a, b| a.0.total_cmp(&b.0));
    Infeasible { shortfalls: short.into_iter().map(|(_, s)| s).collect(), largest: largest(snapshot, have, policy) }
}

/// In which dimension the device that comes nearest is short of one copy.
fn one_copy(snapshot: &Snapshot) -> Option<(f64, Shortfall)> {
    let minimum = snapshot.request.minimum;
    let short_in = |free: &Resources| {
        let share = |d: Dimension| free.get(d) as f64 / minimum.get(d).max(1) as f64;
        Dimension::ALL.into_iter().min_by(|a, b| share(*a).total_cmp(&share(*b))).map(|d| (share(d), d))
    };
    let nearest = snapshot.devices.iter().filter(|d| d.suitable).filter_map(|d| Some((short_in(&d.free)?, d.free)));
    let ((share, dimension), free) = nearest.max_by(|a, b| a.0.0.total_cmp(&b.0.0))?;
    Some((share, Shortfall::OneCopy { dimension, asked: minimum.get(dimension), free: free.get(dimension) }))
}

/// The request cut down to what is free in each dimension, if that fits.
fn largest(snapshot: &Snapshot, have: Resources, policy: &Policy) -> Option<Resources> {
    let mut smaller = snapshot.clone();
    smaller.request.requirements = snapshot.request.requirements.min(&have);
    let shrunk = smaller.request.requirements != snapshot.request.requirements;
    (shrunk && matches!(plan(&smaller, policy), Outcome::Placed(_))).then_some(smaller.request.requirements)
}
