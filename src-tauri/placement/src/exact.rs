//! The optimum by branch and bound (good_lp with microlp), for few candidates.

use crate::types::Problem;
use fogbank_model::Dimension;
use good_lp::{Expression, Solution, SolverModel, constraint, microlp, variable, variables};

/// The cheapest choice that holds every row; `None` when there is none or the solver gives up.
pub(crate) fn choose(problem: &Problem) -> Option<Vec<usize>> {
    let candidates = &problem.candidates;
    let mut vars = variables!();
    let x: Vec<_> = candidates.iter().map(|_| vars.add(variable().binary())).collect();
    let sum = |weight: &dyn Fn(usize) -> f64| -> Expression { x.iter().enumerate().map(|(i, v)| weight(i) * *v).sum() };
    let mut model = vars.minimise(sum(&|i| candidates[i].cost)).using(microlp);
    for dimension in Dimension::ALL {
        let need = problem.request.requirements.get(dimension) as f64;
        if need > 0.0 {
            // Scaled to the need, so that the solver's tolerances mean the same in every row; capped, since more than all is all.
            let share = |i: usize| (candidates[i].free.get(dimension) as f64 / need).min(1.0);
            model = model.with(constraint!(sum(&share) >= 1.0));
        }
    }
    model = model.with(constraint!(sum(&|_| 1.0) >= problem.copies as f64));
    if problem.log_target > 0.0 {
        let share = |i: usize| (candidates[i].log_availability / problem.log_target).min(1.0);
        model = model.with(constraint!(sum(&share) >= 1.0));
    }
    if let Some(cap) = problem.churn_cap {
        let hosts = candidates.iter().filter(|c| c.hosts).count();
        let room = cap as f64 - problem.forced_changes as f64 - hosts as f64;
        model = model.with(constraint!(sum(&|i| if candidates[i].hosts { -1.0 } else { 1.0 }) <= room));
    }
    let solution = model.solve().ok()?;
    let chosen: Vec<usize> = x.iter().enumerate().filter(|(_, v)| solution.value(**v) > 0.5).map(|(i, _)| i).collect();
    // The solver works in floating point; whole numbers decide.
    problem.is_feasible(&chosen).then_some(chosen)
}
