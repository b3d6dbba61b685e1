//! First fit decreasing: the last fallback, for when rounding has led the others astray. Measured 90 to 170 % above the optimum.

use crate::problem::{Problem, Sums};

/// The devices that give most of what is asked, as many as it takes; `None` when all together do not do, or it needs more changes than may be.
pub(crate) fn choose(problem: &Problem) -> Option<Vec<usize>> {
    let size = |at: usize| -> f64 { problem.shares(&problem.candidates[at]).iter().sum() };
    let mut largest: Vec<(f64, usize)> = (0..problem.candidates.len()).map(|at| (size(at), at)).collect();
    // Present hosts first where changes are counted.
    let hosts = |at: usize| problem.churn_cap.is_some() && problem.candidates[at].hosts;
    largest.sort_by(|a, b| hosts(b.1).cmp(&hosts(a.1)).then(b.0.total_cmp(&a.0)).then(a.1.cmp(&b.1)));
    let (mut chosen, mut sums) = (Vec::new(), Sums::NONE);
    for (_, at) in largest {
        if problem.is_covered_by(&sums) {
            break;
        }
        sums = sums.with(&problem.candidates[at]);
        chosen.push(at);
    }
    chosen.sort_unstable();
    problem.holds(&sums).then_some(chosen)
}
