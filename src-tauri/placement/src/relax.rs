//! The linear relaxation, `min c·x` with `A x ≥ b` and `0 ≤ x ≤ 1`, by the dual simplex method with bounded variables and long steps.
//!
//! There are few rows (seven at most) and many columns. So a basis is a matrix of seven by seven, inverted anew at each step, and a step looks at
//! each column once. All begins at x = 0 and prices 0, which is dual feasible since no cost is negative, or at the basis of a relaxation that
//! differed a little. Each step raises the dual along one direction to its highest point, past all columns whose reduced cost changes its sign
//! on the way (those go from one bound to the other), so that few are needed however many columns there are.
//!
//! Whatever rounding does, the bound is one: it is [`Relaxed::bound`], which is `L(λ) = Σ_k b_k·λ_k + Σ_d min(0, cost_d − Σ_k λ_k·a_kd)`, at most the
//! cost of every choice that holds the rows for any λ ≥ 0 (weak duality).

use crate::problem::Rows;
use std::{cmp::Ordering, collections::BinaryHeap};

/// Steps at most: many times what was seen (21 among 400 devices in the tests, 14 among 100,000 in the benchmark). What is found by then is a bound
/// all the same.
pub(crate) const STEPS: usize = 500;
/// A basic variable may miss its bounds by this much: well above what inverting seven by seven loses, well below what a device gives.
const MISSES: f64 = 1e-9;
/// Entries of a row of the inverse that count as zero.
pub(crate) const NOTHING: f64 = 1e-11;
/// Taken off the bound, so that rounding (n sums of numbers below 2⁵³ at a relative 2⁻⁵² each) never puts it above the optimum.
const ROUNDING: f64 = 1e-9;

/// The solution.
#[derive(Debug, Clone)]
pub(crate) struct Relaxed {
    /// What any choice costs at least.
    pub(crate) bound: f64,
    /// What one more of each row's need costs.
    pub(crate) prices: Vec<f64>,
    /// What each column costs beyond what it is worth at these prices: chosen when below zero.
    pub(crate) reduced: Vec<f64>,
    /// What each row's part of the basis is, in the end.
    pub(crate) basis: Vec<Basic>,
    /// Columns that may be chosen in part, and how much of them is.
    pub(crate) split: Vec<(usize, f64)>,
    /// Columns that are chosen as a whole.
    pub(crate) whole: Vec<usize>,
    /// Steps that it took.
    pub(crate) steps: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basic {
    Column(usize),
    /// What a row has beyond its need.
    Surplus(usize),
}

/// Where a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Lower,
    Upper,
    Basis,
    /// It can't be chosen.
    Closed,
}

/// Where to begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    /// The basis of another relaxation with as many rows; that of no column where it is empty or does not suit.
    pub(crate) basis: Vec<Basic>,
    /// A column that can't be chosen, though it is in the basis.
    pub(crate) closed: Option<usize>,
    /// Costs from which on it does not matter how much more.
    pub(crate) enough: f64,
}

/// Where a nonbasic variable's reduced cost changes its sign: the nearest first.
struct Break {
    step: f64,
    slope: f64,
    which: Basic,
}

impl PartialEq for Break {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Break {}

impl PartialOrd for Break {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Break {
    fn cmp(&self, other: &Self) -> Ordering {
        // The steeper first where two are as near: it is the better pivot.
        other.step.total_cmp(&self.step).then(self.slope.total_cmp(&other.slope))
    }
}

/// Solves it from somewhere near; `None` when no x holds the rows.
pub(crate) fn solve_from(rows: &Rows, start: &Start) -> Option<Relaxed> {
    let mut state = State::begun(rows, start).unwrap_or_else(|| State::new(rows, start.closed));
    let mut alpha = vec![0.0; rows.costs.len()];
    let mut steps = 0;
    let inverse = loop {
        let inverse = inverse(rows, &state.basis);
        if steps >= STEPS || state.worth >= start.enough {
            break inverse;
        }
        let Some(known) = &inverse else { break None };
        let rest: Vec<f64> = rows.need.iter().zip(&state.given).map(|(need, given)| need - given).collect();
        let Some((leaving, below)) = most_amiss(&state, known, &rest) else { break inverse };
        steps += 1;
        state.step(rows, leaving, below, &known[leaving], &mut alpha)?;
    };
    Some(state.priced(rows, inverse, steps))
}

struct State {
    basis: Vec<Basic>,
    at: Vec<At>,
    closed: Option<usize>,
    /// What the columns at their upper bounds give.
    given: Vec<f64>,
    prices: Vec<f64>,
    reduced: Vec<f64>,
    /// The dual so far, but for rounding.
    worth: f64,
}

impl State {
    fn new(rows: &Rows, closed: Option<usize>) -> Self {
        let k = rows.need.len();
        let mut at = vec![At::Lower; rows.costs.len()];
        if let Some(j) = closed {
            at[j] = At::Closed;
        }
        let basis = (0..k).map(Basic::Surplus).collect();
        Self { basis, at, closed, given: vec![0.0; k], prices: vec![0.0; k], reduced: rows.costs.clone(), worth: 0.0 }
    }

    /// From another basis; `None` where its prices would be below zero, or it is none here.
    fn begun(rows: &Rows, start: &Start) -> Option<Self> {
        if start.basis.len() != rows.need.len() {
            return None;
        }
        let inverse = inverse(rows, &start.basis)?;
        let cost = |basic: &Basic| if let Basic::Column(j) = basic { rows.costs[*j] } else { 0.0 };
        let mut state = Self::new(rows, start.closed);
        for (row, basic) in inverse.iter().zip(&start.basis) {
            state.prices.iter_mut().zip(row).for_each(|(price, r)| *price += cost(basic) * r);
        }
        if state.prices.iter().any(|price| *price < -NOTHING) {
            return None;
        }
        state.basis.clone_from(&start.basis);
        state.reduced = reduced_at(rows, &state.prices);
        for basic in &state.basis {
            if let Basic::Column(j) = basic {
                state.at[*j] = At::Basis;
            }
        }
        for j in 0..state.at.len() {
            if state.at[j] == At::Lower && state.reduced[j] < 0.0 {
                flip(rows, &mut state.at, &mut state.given, j);
            }
        }
        let worth: f64 = rows.need.iter().zip(&state.prices).map(|(need, price)| need * price).sum();
        let chosen = state.reduced.iter().zip(&state.at).filter(|(_, at)| **at == At::Upper);
        state.worth = worth + chosen.map(|(r, _)| r).sum::<f64>();
        Some(state)
    }

    /// One variable leaves the basis, another comes in; `None` when the rows can't be held.
    fn step(&mut self, rows: &Rows, leaving: usize, below: f64, row: &[f64], alpha: &mut [f64]) -> Option<()> {
        let sign = below.signum();
        alpha.fill(0.0);
        for (r, weights) in row.iter().zip(&rows.rows).filter(|(r, _)| **r != 0.0) {
            alpha.iter_mut().zip(weights).for_each(|(alpha, weight)| *alpha += sign * r * weight);
        }
        let mut breaks = self.breaks(rows, alpha, row, sign);
        let (mut slope, mut until) = (below.abs(), 0.0);
        let entering = loop {
            // Without an end the dual has none either, and the rows can't be held.
            let next = breaks.pop()?;
            self.worth += slope * (next.step - until);
            until = next.step;
            slope -= match next.which {
                Basic::Column(_) => next.slope,
                Basic::Surplus(_) => f64::INFINITY,
            };
            match next.which {
                Basic::Column(j) if slope > 0.0 => flip(rows, &mut self.at, &mut self.given, j),
                _ => break next,
            }
        };
        self.prices.iter_mut().zip(row).for_each(|(price, r)| *price -= entering.step * sign * r);
        self.reduced.iter_mut().zip(alpha).for_each(|(reduced, alpha)| *reduced += entering.step * *alpha);
        if let Basic::Column(j) = self.basis[leaving] {
            self.at[j] = At::Lower;
            if self.closed == Some(j) {
                self.at[j] = At::Closed;
            } else if sign < 0.0 {
                flip(rows, &mut self.at, &mut self.given, j);
            }
        }
        if let Basic::Column(j) = entering.which {
            if self.at[j] == At::Upper {
                flip(rows, &mut self.at, &mut self.given, j);
            }
            self.at[j] = At::Basis;
        }
        self.basis[leaving] = entering.which;
        Some(())
    }

    /// Where nonbasic variables change sides on the way along a row of the inverse.
    fn breaks(&self, rows: &Rows, alpha: &[f64], row: &[f64], sign: f64) -> BinaryHeap<Break> {
        let columns = alpha.iter().zip(&self.reduced).zip(&self.at).enumerate().filter_map(|(j, ((alpha, reduced), at))| {
            let towards = match at {
                At::Lower => *alpha < -NOTHING,
                At::Upper => *alpha > NOTHING,
                At::Basis | At::Closed => false,
            };
            // Rounding may have put a reduced cost on the wrong side of zero.
            towards.then(|| Break { step: (-reduced / alpha).max(0.0), slope: alpha.abs(), which: Basic::Column(j) })
        });
        let surplus = (0..rows.need.len()).filter(|k| !self.basis.contains(&Basic::Surplus(*k))).filter_map(|k| {
            let alpha = -sign * row[k];
            (alpha < -NOTHING).then(|| Break {
                step: (-self.prices[k] / alpha).max(0.0),
                slope: alpha.abs(),
                which: Basic::Surplus(k),
            })
        });
        columns.chain(surplus).collect::<Vec<_>>().into()
    }

    /// The bound and the reduced costs at these prices.
    fn priced(mut self, rows: &Rows, inverse: Option<Vec<Vec<f64>>>, steps: usize) -> Relaxed {
        self.prices.iter_mut().for_each(|price| *price = price.max(0.0));
        let mut reduced = reduced_at(rows, &self.prices);
        // What can't be chosen saves nothing.
        self.closed.iter().for_each(|j| reduced[*j] = reduced[*j].max(0.0));
        let bound = bound(rows, &self.prices, &reduced);
        let rest: Vec<f64> = rows.need.iter().zip(&self.given).map(|(need, given)| need - given).collect();
        let mut split = Vec::new();
        for (p, basic) in self.basis.iter().enumerate() {
            if let Basic::Column(j) = basic {
                let x = inverse.as_ref().map_or(0.5, |inverse| inverse[p].iter().zip(&rest).map(|(i, r)| i * r).sum::<f64>());
                split.push((*j, x.clamp(0.0, 1.0)));
            }
        }
        let whole = (0..self.at.len()).filter(|j| self.at[*j] == At::Upper).collect();
        Relaxed { bound, prices: self.prices, reduced, basis: self.basis, split, whole, steps }
    }
}

/// The reduced costs at these prices.
pub(crate) fn reduced_at(rows: &Rows, prices: &[f64]) -> Vec<f64> {
    let mut reduced = rows.costs.clone();
    for (row, price) in rows.rows.iter().zip(prices).filter(|(_, price)| **price > 0.0) {
        reduced.iter_mut().zip(row).for_each(|(r, a)| *r -= price * a);
    }
    reduced
}

/// What every choice costs at least at these prices.
pub(crate) fn bound(rows: &Rows, prices: &[f64], reduced: &[f64]) -> f64 {
    let worth: f64 = rows.need.iter().zip(prices).map(|(need, price)| need * price).sum();
    let saved: f64 = reduced.iter().map(|r| r.min(0.0)).sum();
    ((worth + saved) - ROUNDING * (worth.abs() + saved.abs())).max(0.0)
}

/// A column goes to its other bound.
fn flip(rows: &Rows, at: &mut [At], given: &mut [f64], j: usize) {
    let (to, sign) = if at[j] == At::Upper { (At::Lower, -1.0) } else { (At::Upper, 1.0) };
    at[j] = to;
    given.iter_mut().zip(&rows.rows).for_each(|(given, row)| *given += sign * row[j]);
}

/// The basic variable that is furthest outside its bounds, and by how much: above zero when it is below its lower one.
fn most_amiss(state: &State, inverse: &[Vec<f64>], rest: &[f64]) -> Option<(usize, f64)> {
    let amiss = |(p, basic): (usize, &Basic)| {
        let x: f64 = inverse[p].iter().zip(rest).map(|(i, r)| i * r).sum();
        let most = match basic {
            Basic::Column(j) if state.closed == Some(*j) => 0.0,
            Basic::Column(_) => 1.0,
            Basic::Surplus(_) => f64::INFINITY,
        };
        (p, if x < 0.0 { -x } else { (most - x).min(0.0) })
    };
    let worst = state.basis.iter().enumerate().map(amiss).max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()).then(b.0.cmp(&a.0)));
    worst.filter(|(_, by)| by.abs() > MISSES)
}

/// The inverse of a basis, by Gauss and Jordan; `None` when rounding has made it singular.
fn inverse(rows: &Rows, basis: &[Basic]) -> Option<Vec<Vec<f64>>> {
    let k = basis.len();
    let mut left: Vec<Vec<f64>> = (0..k)
        .map(|r| {
            let entry = |basic: &Basic| match basic {
                Basic::Column(j) => rows.rows[r][*j],
                Basic::Surplus(s) => {
                    if *s == r {
                        -1.0
                    } else {
                        0.0
                    }
                }
            };
            basis.iter().map(entry).collect()
        })
        .collect();
    let mut right: Vec<Vec<f64>> = (0..k).map(|r| (0..k).map(|c| if r == c { 1.0 } else { 0.0 }).collect()).collect();
    for c in 0..k {
        let pivot = (c..k).max_by(|a, b| left[*a][c].abs().total_cmp(&left[*b][c].abs()))?;
        if left[pivot][c].abs() < NOTHING {
            return None;
        }
        left.swap(c, pivot);
        right.swap(c, pivot);
        let by = left[c][c];
        left[c].iter_mut().chain(&mut right[c]).for_each(|x| *x /= by);
        for r in (0..k).filter(|r| *r != c) {
            let by = left[r][c];
            if by != 0.0 {
                for i in 0..k {
                    left[r][i] -= by * left[c][i];
                    right[r][i] -= by * right[c][i];
                }
            }
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sift::solve;
    use good_lp::{Expression, Solution, SolverModel, Variable, constraint, microlp, variable, variables};
    use proptest::prelude::*;

    /// The same by another solver.
    fn by_simplex(rows: &Rows) -> Option<f64> {
        let mut vars = variables!();
        let x: Vec<Variable> = rows.costs.iter().map(|_| vars.add(variable().min(0.0).max(1.0))).collect();
        let sum = |weights: &[f64]| -> Expression { x.iter().zip(weights).map(|(x, w)| *w * *x).sum() };
        let mut model = vars.minimise(sum(&rows.costs)).using(microlp);
        for (row, need) in rows.rows.iter().zip(&rows.need) {
            model = model.with(constraint!(sum(row) >= *need));
        }
        let solution = model.solve().ok()?;
        Some(x.iter().zip(&rows.costs).map(|(x, cost)| solution.value(*x) * cost).sum())
    }

    fn cases() -> impl Strategy<Value = Rows> {
        (1usize..40, 1usize..6, any::<bool>()).prop_flat_map(|(n, k, churn)| {
            let share = prop_oneof![Just(0.0), 0.0f64..0.3, Just(1.0)];
            let rows = prop::collection::vec(prop::collection::vec(share, n), k);
            let last = prop::collection::vec(prop::sample::select(vec![-1.0, 1.0]), n);
            (rows, prop::collection::vec(0.0f64..20.0, n), last, -3.0f64..3.0).prop_map(
                move |(mut rows, costs, last, need_of_last)| {
                    let mut need = vec![1.0; rows.len()];
                    if churn {
                        rows.push(last);
                        need.push(need_of_last);
                    }
                    Rows { rows, need, costs }
                },
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn finds_what_another_solver_finds(rows in cases()) {
            let (found, other) = (solve(&rows), by_simplex(&rows));
            prop_assert_eq!(found.is_some(), other.is_some());
            if let (Some(found), Some(other)) = (found, other) {
                prop_assert!((found.bound - other).abs() <= 1e-6 * (1.0 + other), "{} and not {other}", found.bound);
            }
        }
    }

    proptest! {
        #[test]
        fn from_the_basis_of_another_it_ends_at_the_same_bound(rows in cases(), closed in any::<prop::sample::Index>(), scale in 0.5f64..1.0) {
            let Some(before) = solve(&rows) else { return Ok(()) };
            // One column can't be chosen any more, and less is needed.
            let closed = Some(closed.index(rows.costs.len()));
            let mut rows = rows;
            rows.need.iter_mut().filter(|need| **need > 0.0).for_each(|need| *need *= scale);
            let enough = f64::INFINITY;
            let near = solve_from(&rows, &Start { basis: before.basis, closed, enough });
            let afresh = solve_from(&rows, &Start { basis: Vec::new(), closed, enough });
            prop_assert_eq!(near.is_some(), afresh.is_some());
            if let (Some(near), Some(afresh)) = (near, afresh) {
                prop_assert!((near.bound - afresh.bound).abs() <= 1e-6 * (1.0 + afresh.bound), "{} and not {}", near.bound, afresh.bound);
            }
        }
    }

    #[test]
    fn two_rows_together_bound_better_than_each_alone() {
        // Half of the devices give only the first, half only the second; each row alone needs two, both together four.
        let rows = vec![vec![0.5, 0.5, 0.5, 0.0, 0.0, 0.0], vec![0.0, 0.0, 0.0, 0.5, 0.5, 0.5]];
        let found = solve(&Rows { rows, need: vec![1.0; 2], costs: vec![3.0; 6] }).unwrap();
        assert!((found.bound - 12.0).abs() < 1e-6, "{}", found.bound);
    }
}
