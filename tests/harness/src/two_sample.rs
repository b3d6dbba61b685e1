//! Whether two kinds of windows of traffic look alike to whoever watches a link.
//!
//! The unit is the *window*: packets within one depend on each other, so a test over packets would find differences that are none. Windows of
//! both kinds alternate in random order; if the kind makes no difference, their labels can be swapped at will, and the *permutation test* counts
//! how often a random labelling looks as different as the true one (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005). It is
//! exact at any distribution. Two statistics are looked at, each at half of the error (Bonferroni): the difference of mean packets a window,
//! and the Kolmogorov–Smirnov distance of the gaps between packets, whose labels move by whole windows.
//!
//! Invariants: pure; randomness is passed in, so a seed gives the same verdict. A test that finds nothing says little without its *power*:
//! [`power`] gives the probability to find a difference of a stated size with so many windows.

use rand::{Rng, RngExt as _, seq::SliceRandom as _};

/// Labellings drawn: the least p-value is 1 in 2,001, far below the error asked for.
pub const ROUNDS: usize = 2_000;
/// Error of the first kind for both statistics together.
pub const ALPHA: f64 = 0.01;

/// What a watcher saw in one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Window {
    /// Gaps between the packets of the window, in any unit of time.
    pub gaps: Vec<f64>,
    /// Packets.
    pub packets: f64,
}

impl Window {
    /// Of the times at which packets went.
    pub fn of(times: &[f64]) -> Self {
        Self { gaps: times.windows(2).map(|w| w[1] - w[0]).collect(), packets: times.len() as f64 }
    }
}

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// p-value of the difference of means.
    pub p_rate: f64,
    /// p-value of the distance of gaps.
    pub p_gaps: f64,
    /// Standardised difference of mean packets a window (Cohen's d); infinite when windows do not vary but differ.
    pub effect: f64,
    /// Kolmogorov–Smirnov distance of the gaps, in [0,1].
    pub distance: f64,
}

impl Verdict {
    /// Whether the two kinds can be told apart at [`ALPHA`].
    pub fn differs(&self) -> bool {
        self.p_rate.min(self.p_gaps) < ALPHA / 2.0
    }
}

/// Compares two kinds of windows.
pub fn compare(a: &[Window], b: &[Window], rng: &mut impl Rng) -> Verdict {
    let all: Vec<&Window> = a.iter().chain(b).collect();
    // Sorted once: a labelling then takes one pass.
    let mut gaps: Vec<(f64, usize)> = Vec::new();
    for (i, window) in all.iter().enumerate() {
        gaps.extend(window.gaps.iter().map(|gap| (*gap, i)));
    }
    gaps.sort_by(|x, y| x.0.total_cmp(&y.0));
    let mut first: Vec<bool> = (0..all.len()).map(|i| i < a.len()).collect();
    let (rate, distance) = (rate_difference(&all, &first), gap_distance(&gaps, &first));
    let effect = rate / deviation(a, b);
    let (mut as_rate, mut as_gaps) = (1u32, 1u32);
    for _ in 0..ROUNDS {
        first.shuffle(rng);
        // Labellings that look as different as the true one count against it; rounding must not make equal ones less.
        as_rate += u32::from(rate_difference(&all, &first) >= rate - 1e-9);
        as_gaps += u32::from(gap_distance(&gaps, &first) >= distance - 1e-12);
    }
    let p = |count: u32| f64::from(count) / (ROUNDS as f64 + 1.0);
    Verdict { p_rate: p(as_rate), p_gaps: p(as_gaps), effect: if effect.is_nan() { 0.0 } else { effect }, distance }
}

/// The probability to find a difference of `effect` standard deviations in the rate with so many normally varying windows of each kind.
pub fn power(windows: usize, effect: f64, trials: usize, rng: &mut impl Rng) -> f64 {
    let found = (0..trials).filter(|_| {
        let draw = |shift: f64, rng: &mut _| -> Vec<Window> {
            (0..windows).map(|_| Window { packets: normal(rng) + shift, gaps: Vec::new() }).collect()
        };
        let (a, b) = (draw(0.0, rng), draw(effect, rng));
        compare(&a, &b, rng).differs()
    });
    found.count() as f64 / trials as f64
}

/// A standard normal draw (Box–Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn rate_difference(all: &[&Window], first: &[bool]) -> f64 {
    let mean = |kind: bool| {
        let of = all.iter().zip(first).filter(|(_, f)| **f == kind);
        let (n, sum) = of.fold((0.0, 0.0), |(n, sum), (w, _)| (n + 1.0, sum + w.packets));
        sum / f64::max(n, 1.0)
    };
    (mean(true) - mean(false)).abs()
}

/// Pooled standard deviation of packets a window.
fn deviation(a: &[Window], b: &[Window]) -> f64 {
    let squares = |windows: &[Window]| {
        let mean = windows.iter().map(|w| w.packets).sum::<f64>() / windows.len().max(1) as f64;
        windows.iter().map(|w| (w.packets - mean).powi(2)).sum::<f64>()
    };
    ((squares(a) + squares(b)) / (a.len() + b.len()).saturating_sub(2).max(1) as f64).sqrt()
}

/// The Kolmogorov–Smirnov distance of the gaps of two kinds of windows: the largest between their empirical distribution functions, in
/// [0,1]; 0 when one kind has none. `gaps` are sorted, each with the number of its window.
fn gap_distance(gaps: &[(f64, usize)], first: &[bool]) -> f64 {
    let of_first = gaps.iter().filter(|(_, window)| first[*window]).count();
    let (a, b) = (of_first as f64, (gaps.len() - of_first) as f64);
    if a == 0.0 || b == 0.0 {
        return 0.0;
    }
    let (mut below_a, mut below_b, mut most) = (0.0, 0.0, 0.0f64);
    for (i, (gap, window)) in gaps.iter().enumerate() {
        if first[*window] {
            below_a += 1.0;
        } else {
            below_b += 1.0;
        }
        // Equal gaps are one step.
        if gaps.get(i + 1).is_none_or(|next| next.0 > *gap) {
            most = most.max((below_a / a - below_b / b).abs());
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    fn windows(n: usize, per_window: f64, rng: &mut StdRng) -> Vec<Window> {
        let one = |rng: &mut StdRng| {
            let mut at = 0.0;
            let mut times = Vec::new();
            while at < 1.0 {
                at -= (1.0 - rng.random::<f64>()).ln() / per_window;
                times.push(at);
            }
            Window::of(&times)
        };
        (0..n).map(|_| one(rng)).collect()
    }

    #[test]
    fn distance_of_known_samples() {
        let distance = |a: &[f64], b: &[f64]| {
            let mut gaps: Vec<_> = a.iter().map(|x| (*x, 0)).chain(b.iter().map(|x| (*x, 1))).collect();
            gaps.sort_by(|x, y| x.0.total_cmp(&y.0));
            gap_distance(&gaps, &[true, false])
        };
        assert_eq!(distance(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(distance(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(distance(&[1.0, 3.0], &[2.0, 4.0]), 0.5);
        assert_eq!(distance(&[], &[2.0]), 0.0);
    }

    #[test]
    fn the_same_process_differs_as_seldom_as_it_says() {
        let mut rng = StdRng::seed_from_u64(1);
        let found = (0..60).filter(|_| {
            let (a, b) = (windows(10, 40.0, &mut rng), windows(10, 40.0, &mut rng));
            compare(&a, &b, &mut rng).differs()
        });
        // 60 × 1 %: five or more happen once in 2,900 seeds.
        assert!(found.count() < 5);
    }

    #[test]
    fn another_rate_and_other_gaps_at_the_same_rate_are_found() {
        let mut rng = StdRng::seed_from_u64(2);
        let (slow, fast) = (windows(12, 40.0, &mut rng), windows(12, 60.0, &mut rng));
        let verdict = compare(&slow, &fast, &mut rng);
        assert!(verdict.differs() && verdict.p_rate < 0.005, "{verdict:?}");
        let even: Vec<Window> = (0..12).map(|_| Window::of(&(0..41).map(|i| f64::from(i) / 40.0).collect::<Vec<_>>())).collect();
        let verdict = compare(&slow, &even, &mut rng);
        assert!(verdict.p_gaps < 0.005, "{verdict:?}");
    }

    #[test]
    fn constant_windows_do_not_differ() {
        let mut rng = StdRng::seed_from_u64(3);
        let even = vec![Window::of(&[0.0, 0.5, 1.0]); 12];
        let verdict = compare(&even, &even, &mut rng);
        assert!(!verdict.differs() && verdict.effect == 0.0, "{verdict:?}");
    }

    #[test]
    fn power_grows_with_effect_and_windows() {
        let mut rng = StdRng::seed_from_u64(4);
        let little = power(10, 0.3, 20, &mut rng);
        let much = power(10, 3.0, 20, &mut rng);
        assert!(little < 0.5 && much > 0.9, "{little} {much}");
    }
}
