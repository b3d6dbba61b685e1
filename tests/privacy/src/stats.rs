//! The statistics of the report: intervals, quantiles, bootstraps.

use rand::{RngExt as _, rngs::StdRng};

/// The normal quantile of a 95 % interval.
const Z: f64 = 1.96;
/// Draws of a bootstrap: the ends of a 95 % interval then rest on 25 draws each.
const DRAWS: usize = 1_000;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// The product of a figure and one that is known better by far.
    pub(crate) fn times(self, by: f64) -> Self {
        Self { value: self.value * by, low: self.low * by, high: self.high * by }
    }
}

/// A share with Wilson's interval (1927); `hits` may be a fraction where ties were split.
pub(crate) fn wilson(hits: f64, of: usize) -> Estimate {
    let n = of as f64;
    if of == 0 {
        return Estimate { value: 0.0, low: 0.0, high: 1.0 };
    }
    let share = hits / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Estimate { value: share, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

/// The mean over all packets, and its interval by drawing whole worlds with replacement: packets of one world depend on each other.
pub(crate) fn bootstrap(worlds: &[Vec<f64>], rng: &mut StdRng) -> Estimate {
    let sums: Vec<(f64, usize)> = worlds.iter().filter(|w| !w.is_empty()).map(|w| (w.iter().sum(), w.len())).collect();
    let mean = |of: &mut dyn Iterator<Item = (f64, usize)>| {
        let (sum, count) = of.fold((0.0, 0), |(s, c), (sum, count)| (s + sum, c + count));
        if count == 0 { 0.0 } else { sum / count as f64 }
    };
    let value = mean(&mut sums.iter().copied());
    if sums.is_empty() {
        return Estimate { value, low: value, high: value };
    }
    let mut draws: Vec<f64> =
        (0..DRAWS).map(|_| mean(&mut (0..sums.len()).map(|_| sums[rng.random_range(0..sums.len())]))).collect();
    draws.sort_unstable_by(f64::total_cmp);
    Estimate { value, low: draws[DRAWS / 40], high: draws[DRAWS - 1 - DRAWS / 40] }
}

/// The quantile of some values; infinite ones are allowed.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len().checked_sub(1) {
        // Within the slice, since the share is at most 1.
        Some(last) => values[(last as f64 * share).round() as usize],
        None => f64::NAN,
    }
}

/// The share of positives that a threshold finds which exactly this share of negatives passes; ties are split by lot.
pub(crate) fn true_positives(positives: &[f64], negatives: &mut [f64], false_positives: f64) -> Estimate {
    wilson(hits(positives, negatives, false_positives).iter().sum(), positives.len())
}

/// The same of each positive: 1, 0, or the share of a tie.
pub(crate) fn hits(positives: &[f64], negatives: &mut [f64], false_positives: f64) -> Vec<f64> {
    negatives.sort_unstable_by(|a, b| b.total_cmp(a));
    let allowed = false_positives * negatives.len() as f64;
    let Some(threshold) = negatives.get(allowed as usize).copied() else { return vec![0.0; positives.len()] };
    let above = negatives.partition_point(|s| *s > threshold);
    let equal = negatives[above..].partition_point(|s| *s >= threshold);
    // So much of the ties may pass.
    let lot = (allowed - above as f64) / equal.max(1) as f64;
    positives
        .iter()
        .map(|s| match s.total_cmp(&threshold) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => lot,
            std::cmp::Ordering::Less => 0.0,
        })
        .collect()
}

/// A share whose cases come in clusters that depend on each other (the visitors of one host): the wider of Wilson's interval, which takes
/// them for independent, and a bootstrap over clusters, which is empty where all cases are alike.
pub(crate) fn clustered(clusters: &[Vec<f64>], rng: &mut StdRng) -> Estimate {
    let alone = wilson(clusters.iter().flatten().sum(), clusters.iter().map(Vec::len).sum());
    let together = bootstrap(clusters, rng);
    Estimate { value: alone.value, low: alone.low.min(together.low), high: alone.high.max(together.high) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn wilson_is_as_in_the_book() {
        // 10 of 100: Wilson's interval is 5.5 % to 17.4 %.
        let e = wilson(10.0, 100);
        assert!((e.low - 0.0552).abs() < 1e-3 && (e.high - 0.1744).abs() < 1e-3);
        assert!(wilson(0.0, 50).low == 0.0 && wilson(0.0, 50).high > 0.05);
    }

    #[test]
    fn a_threshold_lets_its_share_of_negatives_pass() {
        let mut negatives: Vec<f64> = (0..10_000).map(f64::from).collect();
        let found = true_positives(&[9_995.0, 9_989.0, 20_000.0, 0.0], &mut negatives, 1e-3);
        assert_eq!(found.value, 0.5);
        // Nothing but ties: the share of positives is the share of negatives.
        let tied = true_positives(&[1.0; 100], &mut [1.0; 1_000], 0.01);
        assert!((tied.value - 0.01).abs() < 1e-12);
    }

    #[test]
    fn clusters_that_hang_together_widen_the_interval() {
        let mut rng = StdRng::seed_from_u64(1);
        // Forty clusters of ten that are all found or all not: as good as forty cases.
        let together: Vec<Vec<f64>> = (0..40).map(|i| vec![f64::from(i % 2); 10]).collect();
        let (wide, narrow) = (clustered(&together, &mut rng), wilson(200.0, 400));
        let half = |e: Estimate| e.high - e.low;
        assert!(wide.value == 0.5 && half(wide) > 2.0 * half(narrow) && half(wide) < 1.1 * half(wilson(20.0, 40)), "{wide:?}");
        let none = clustered(&vec![vec![0.0; 10]; 40], &mut rng);
        assert_eq!((none.low, none.high), (wilson(0.0, 400).low, wilson(0.0, 400).high));
    }

    #[test]
    fn a_bootstrap_covers_the_mean() {
        let mut rng = StdRng::seed_from_u64(1);
        let worlds: Vec<Vec<f64>> = (0..40).map(|_| (0..50).map(|_| rng.random::<f64>()).collect()).collect();
        let e = bootstrap(&worlds, &mut rng);
        assert!(e.low < 0.5 && e.high > 0.5 && e.high - e.low < 0.06, "{e:?}");
        assert_eq!(quantile(&mut [3.0, 1.0, f64::INFINITY], 0.5), 3.0);
    }
}
