//! A lower bound on the cost of any plan: a Lagrangian dual of the covering rows.
//!
//! For any λ ≥ 0, `L(λ) = Σ_k λ_k + Σ_d min(0, cost_d − Σ_k λ_k·w_kd)` is at most the cost of every choice that holds the rows
//! `Σ_d w_kd x_d ≥ 1` (weak duality), so wherever the search ends, its best value is a valid bound. The owners' term and the churn row are
//! left out: both can only make plans dearer.

use crate::problem::{Problem, Row};

/// Steps of the search for good multipliers. More gain little: the steps are halved each [`PATIENCE`] that bring nothing, so after these
/// they are a thousandth of the first.
const STEPS: usize = 100;

/// Steps without gain after which they are halved.
const PATIENCE: usize = 5;

/// Taken off in the end, so that rounding (n sums of numbers below 2⁵³ at a relative 2⁻⁵² each) never puts the bound above the optimum.
const ROUNDING: f64 = 1e-9;

/// What any plan costs at least; `upper`, the cost of some plan, sizes the steps.
pub(crate) fn lower(problem: &Problem, upper: f64) -> f64 {
    let rows = problem.rows();
    let costs: Vec<f64> = problem.candidates.iter().map(|c| c.cost).collect();
    // The best row alone is where the search starts: its multiplier is the cost at which the cheapest devices by ratio fill it.
    let mut lambda = vec![0.0; rows.len()];
    let mut best = 0.0;
    for (k, row) in rows.iter().enumerate() {
        let mut alone = vec![0.0; rows.len()];
        alone[k] = price(row, &costs);
        let value = dual(&rows, &costs, &alone, &mut Vec::new());
        if value > best {
            (best, lambda) = (value, alone);
        }
    }
    let (mut step, mut idle, mut missing) = (1.0, 0, Vec::new());
    for _ in 0..STEPS {
        let value = dual(&rows, &costs, &lambda, &mut missing);
        if value > best {
            (best, idle) = (value, 0);
        } else {
            idle += 1;
            if idle == PATIENCE {
                (step, idle) = (step / 2.0, 0);
            }
        }
        // Polyak's step: as if the optimum were `upper`.
        let square: f64 = missing.iter().map(|m| m * m).sum();
        if square < ROUNDING || upper - value < ROUNDING {
            break;
        }
        let length = step * (upper - value) / square;
        for (l, m) in lambda.iter_mut().zip(&missing) {
            *l = f64::max(0.0, *l + length * m);
        }
    }
    (best * (1.0 - ROUNDING)).min(upper)
}

/// L(λ), and how much each row misses in the choice that attains it.
fn dual(rows: &[Row], costs: &[f64], lambda: &[f64], missing: &mut Vec<f64>) -> f64 {
    missing.clear();
    missing.resize(rows.len(), 1.0);
    let mut value: f64 = lambda.iter().sum();
    for (d, cost) in costs.iter().enumerate() {
        let reduced = cost - rows.iter().zip(lambda).map(|(row, l)| l * row[d]).sum::<f64>();
        if reduced < 0.0 {
            value += reduced;
            missing.iter_mut().zip(rows).for_each(|(m, row)| *m -= row[d]);
        }
    }
    value
}

/// The best multiplier of one row alone: the ratio of the device that fills it when the cheapest by ratio come first.
fn price(row: &Row, costs: &[f64]) -> f64 {
    let mut order: Vec<(f64, f64)> = row.iter().zip(costs).filter(|(w, _)| **w > 0.0).map(|(w, c)| (c / w, *w)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut filled = 0.0;
    for (ratio, weight) in order {
        filled += weight;
        if filled >= 1.0 {
            return ratio;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_rows_together_bound_better_than_each_alone() {
        // Half of the devices give only the first, half only the second; each row alone needs two, both together four.
        let rows = [vec![0.5, 0.5, 0.5, 0.0, 0.0, 0.0], vec![0.0, 0.0, 0.0, 0.5, 0.5, 0.5]];
        let costs = [3.0; 6];
        let alone = dual(&rows, &costs, &[price(&rows[0], &costs), 0.0], &mut Vec::new());
        let both = dual(&rows, &costs, &[6.0, 6.0], &mut Vec::new());
        assert!((alone - 6.0).abs() < 1e-9, "{alone}");
        assert!((both - 12.0).abs() < 1e-9, "{both}");
    }

    proptest! {
        /// Weak duality, with the multipliers that fill one row or scale all of them, where the bound is near what it must not pass.
        #[test]
        fn no_multipliers_bound_above_the_optimum(
            (rows, costs) in (1usize..9).prop_flat_map(|n| (
                prop::collection::vec(prop::collection::vec(0.0f64..1.0, n), 1..5),
                prop::collection::vec(0.1f64..20.0, n),
            )),
            scale in prop::collection::vec(0.0f64..1.5, 4),
        ) {
            let n = costs.len();
            let sum = |mask: u32, of: &[f64]| -> f64 { (0..n).filter(|i| mask >> i & 1 == 1).map(|i| of[i]).sum() };
            let feasible = (0u32..1 << n).filter(|mask| rows.iter().all(|row| sum(*mask, row) >= 1.0));
            let best = feasible.map(|mask| sum(mask, &costs)).fold(f64::INFINITY, f64::min);
            let prices: Vec<f64> = rows.iter().zip(&scale).map(|(row, by)| by * price(row, &costs)).collect();
            prop_assert!(dual(&rows, &costs, &prices, &mut Vec::new()) <= best + ROUNDING);
        }
    }
}
