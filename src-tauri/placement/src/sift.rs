//! The linear relaxation of very many columns: with few of them alone at first, then with those too that are worth more than they cost at the prices
//! found, until there are none. So a pass over all columns is needed once for each such round, and not for each step.

use crate::{
    problem::Rows,
    relax::{Basic, NOTHING, Relaxed, STEPS, Start, bound, reduced_at, solve_from},
};

/// Columns that are taken at a time where they are sifted, for each row at first; four times as many where these do not hold the rows, twice at most.
const SIEVE: usize = 500;
const SIEVES: usize = 3;

/// Solves it; `None` when no x holds the rows.
pub(crate) fn solve(rows: &Rows) -> Option<Relaxed> {
    let all = || solve_from(rows, &Start { enough: f64::INFINITY, ..Start::default() });
    // A quarter of all takes as long as all.
    let sieves = (0..).map(|n| SIEVE << (2 * n)).take_while(|sieve| *sieve < rows.costs.len() / 4);
    sieves.take(SIEVES).find_map(|sieve| sift(rows, sieve)).or_else(all)
}

/// From those that give most of a need for their cost; `None` where they do not hold the rows.
fn sift(rows: &Rows, sieve: usize) -> Option<Relaxed> {
    let for_its_cost = |row: &Vec<f64>| -> Vec<usize> {
        let gives = row.iter().zip(&rows.costs).enumerate().filter(|(_, (share, _))| **share > 0.0);
        least(gives.map(|(j, (share, cost))| (cost / share, j)).collect(), sieve)
    };
    let mut columns: Vec<usize> = rows.rows.iter().flat_map(for_its_cost).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut some = Rows { rows: vec![Vec::new(); rows.rows.len()], need: rows.need.clone(), costs: Vec::new() };
    let (mut from, mut steps) = (0, 0);
    let mut start = Start { enough: f64::INFINITY, ..Start::default() };
    loop {
        some.costs.extend(columns[from..].iter().map(|j| rows.costs[*j]));
        for (few, row) in some.rows.iter_mut().zip(&rows.rows) {
            few.extend(columns[from..].iter().map(|j| row[*j]));
        }
        from = columns.len();
        let found = solve_from(&some, &start)?;
        steps += found.steps;
        let reduced = reduced_at(rows, &found.prices);
        let mut is_in = vec![false; reduced.len()];
        columns.iter().for_each(|j| is_in[*j] = true);
        let worth = |(j, r): (usize, &f64)| (*r < -NOTHING && !is_in[j]).then_some((*r, j));
        let more: Vec<(f64, usize)> = reduced.iter().enumerate().filter_map(worth).collect();
        if more.is_empty() || steps >= STEPS {
            let whole_of = |basic: &Basic| if let Basic::Column(j) = basic { Basic::Column(columns[*j]) } else { *basic };
            return Some(Relaxed {
                bound: bound(rows, &found.prices, &reduced),
                basis: found.basis.iter().map(whole_of).collect(),
                split: found.split.into_iter().map(|(j, x)| (columns[j], x)).collect(),
                whole: found.whole.into_iter().map(|j| columns[j]).collect(),
                prices: found.prices,
                reduced,
                steps,
            });
        }
        columns.extend(least(more, sieve));
        start.basis = found.basis;
    }
}

/// The columns of the least so many numbers.
fn least(mut all: Vec<(f64, usize)>, most: usize) -> Vec<usize> {
    if all.len() > most {
        all.select_nth_unstable_by(most, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(most);
    }
    let mut columns: Vec<usize> = all.into_iter().map(|(_, j)| j).collect();
    columns.sort_unstable();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    #[test]
    fn ends_at_the_bound_of_all_columns_together() {
        for (seed, need) in [(1, 3.0), (2, 40.0), (3, 900.0)] {
            let mut rng = StdRng::seed_from_u64(seed);
            let rows: Vec<Vec<f64>> = (0..4).map(|_| (0..10_000).map(|_| rng.random_range(0.0..1.0)).collect()).collect();
            let rows = Rows { rows, need: vec![need; 4], costs: (0..10_000).map(|_| rng.random_range(1.0..10.0)).collect() };
            let all = solve_from(&rows, &Start { enough: f64::INFINITY, ..Start::default() }).unwrap();
            let sifted = solve(&rows).unwrap();
            assert!((all.bound - sifted.bound).abs() <= 1e-6 * all.bound, "{} and not {}", sifted.bound, all.bound);
            let mut whole = [all.whole, sifted.whole];
            whole.iter_mut().for_each(|whole| whole.sort_unstable());
            assert_eq!(whole[0], whole[1]);
        }
    }
}
