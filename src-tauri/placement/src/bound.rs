//! A lower bound on the cost of any plan, valid for every feasible choice.

use crate::types::Problem;
use fogbank_model::Dimension;

/// The largest of the rows' own bounds. A row `Σ w_d x_d ≥ W` alone needs at least what filling W by the cheapest ratio costs when
/// fractions are allowed (the linear relaxation of one covering row, solved by sorting).
pub(crate) fn lower(problem: &Problem) -> f64 {
    let resources = Dimension::ALL
        .into_iter()
        .map(|d| row(problem, problem.request.requirements.get(d) as f64, |i| problem.candidates[i].free.get(d) as f64));
    let copies = row(problem, problem.copies as f64, |_| 1.0);
    let availability = row(problem, problem.log_target, |i| problem.candidates[i].log_availability);
    resources.chain([copies, availability]).fold(0.0, f64::max)
}

fn row(problem: &Problem, need: f64, weight: impl Fn(usize) -> f64) -> f64 {
    let mut order: Vec<(f64, f64)> = (0..problem.candidates.len())
        .map(|i| (weight(i).min(need), problem.candidates[i].cost))
        .filter(|(w, _)| *w > 0.0)
        .collect();
    order.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (mut left, mut cost) = (need, 0.0);
    for (w, c) in order {
        if left <= 0.0 {
            break;
        }
        let part = (left / w).min(1.0);
        cost += part * c;
        left -= part * w;
    }
    // A hair below, so that rounding never puts the bound above the optimum.
    cost * (1.0 - 1e-12)
}
