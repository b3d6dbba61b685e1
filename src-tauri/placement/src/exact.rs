//! The optimum by branch and bound (good_lp with microlp), for few candidates.
//!
//! No time limit: it would make plans depend on the machine. [`crate::Policy::exact_up_to`] keeps the cases small instead.

use crate::problem::Problem;
use fogbank_model::OwnerId;
use good_lp::{Expression, Solution, SolverModel, Variable, constraint, microlp, variable, variables};
use std::collections::BTreeMap;

/// The cheapest choice that holds every row; `None` when there is none or the solver gives up.
pub(crate) fn choose(problem: &Problem) -> Option<Vec<usize>> {
    let candidates = &problem.candidates;
    let mut vars = variables!();
    let x: Vec<Variable> = candidates.iter().map(|_| vars.add(variable().binary())).collect();
    let sum = |weight: &dyn Fn(usize) -> f64| -> Expression { x.iter().enumerate().map(|(i, v)| weight(i) * *v).sum() };
    let mut cost = sum(&|i| candidates[i].cost);

    // Copies at an owner beyond the first; continuous, since it is a sum of x's wherever it costs something.
    let mut owners: BTreeMap<OwnerId, Vec<Variable>> = BTreeMap::new();
    for (c, v) in candidates.iter().zip(&x) {
        owners.entry(c.owner).or_default().push(*v);
    }
    let mut crowded = Vec::new();
    if problem.same_owner > 0.0 {
        for at_one in owners.into_values().filter(|v| v.len() > 1) {
            let beyond = vars.add(variable().min(0.0));
            cost += problem.same_owner * beyond;
            crowded.push(constraint!(beyond >= at_one.into_iter().sum::<Expression>() - 1.0));
        }
    }

    let mut model = vars.minimise(cost).using(microlp);
    for row in crowded {
        model = model.with(row);
    }
    let rows = problem.rows();
    for (row, need) in rows.rows.iter().zip(&rows.need) {
        model = model.with(constraint!(sum(&|i| row[i]) >= *need));
    }
    let solution = model.solve().ok()?;
    let chosen: Vec<usize> = x.iter().enumerate().filter(|(_, v)| solution.value(**v) > 0.5).map(|(i, _)| i).collect();
    // The solver works in floating point; whole numbers decide.
    problem.holds(&problem.sums(&chosen)).then_some(chosen)
}
