//! Flow correlation: does what a visitor's access link shows belong to what a host's shows? Three tests, of which the best counts.
//!
//! * **Correlation**: packets counted in bins of 100 ms; Pearson's coefficient of host-up with visitor-down and of visitor-up with host-down,
//!   each at the lag that suits it best, summed.
//! * **Likelihood**: the watcher knows how delays and latencies are distributed. It spreads what the host sent by that distribution, and
//!   compares the likelihood of what the visitor got (given how much) with that under the average of all flows of the same moments; the
//!   same the other way, summed.
//! * **Sharp timing**, where all packets of a session take one way and so take equally long: at one lag, packets fall into the same bins of
//!   4 ms more often than rates smoothed over 200 ms explain; the best lag each way, summed.
//!
//! Deliberately absent: learning. A watcher that trains on flows (DeepCorr, 2018) may do better, so what is found here is the least that
//! leaks and not the most.

use crate::{
    net::Us,
    stats::{Estimate, true_positives},
    trace::{Access, Group},
};

/// Bins of the correlation, and how many of them the lag may be: beyond a strict packet's longest usual way.
const BIN_US: Us = 100_000;
const LAGS: usize = 16;
/// Bins of the likelihood.
const FINE_US: Us = 20_000;
/// What the likelihood takes for explained at most: the rest (cover) is spread as the average is.
const EXPLAINED: f64 = 0.9;
/// Bins of sharp timing, over how many on each side rates are smoothed, and the lags: seven or eight links of 4–40 ms.
const SHARP_US: Us = 4_000;
const SMOOTH: usize = 25;
const SHARP_LAGS: std::ops::Range<usize> = 10..90;
/// The share of wrong pairs that may be taken for right ones.
pub(crate) const FALSE_POSITIVES: f64 = 1e-3;

/// Which part of an access link the watcher sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sees<'a> {
    /// All of it.
    All,
    /// What goes through one of the guards, which works for it.
    OneGuard,
    /// What goes through the guards that are among these mixes.
    Mixes(&'a [bool]),
}

impl Sees<'_> {
    pub(crate) fn guard(self, access: &Access, place: u8) -> bool {
        match self {
            Self::All => true,
            Self::OneGuard => place == 0,
            Self::Mixes(bad) => access.guards.get(usize::from(place)).is_some_and(|mix| is_bad(bad, *mix)),
        }
    }
}

/// Whether a mix works for the watcher.
pub(crate) fn is_bad(bad: &[bool], mix: u16) -> bool {
    bad.get(usize::from(mix)).is_some_and(|bad| *bad)
}

/// What a test found.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Found {
    pub(crate) true_positives: Estimate,
    pub(crate) by: &'static str,
    pub(crate) positives: usize,
    pub(crate) negatives: usize,
}

/// What a watcher keeps of one access link, or of another place at which it sees both directions.
pub(crate) struct Flow {
    up: Vec<f32>,
    down: Vec<f32>,
    fine_up: Vec<f64>,
    fine_down: Vec<f64>,
    sharp_up: Vec<f64>,
    sharp_down: Vec<f64>,
}

fn bins(times: &[Us], window: Us, bin: Us) -> Vec<f64> {
    let mut counts = vec![0.0; usize::try_from(window / bin).unwrap_or(0) + 1];
    for at in times {
        if let Some(count) = usize::try_from(at / bin).ok().and_then(|b| counts.get_mut(b)) {
            *count += 1.0;
        }
    }
    counts
}

/// Without its mean and of length one, so that a product of two is Pearson's coefficient; a flow that does not vary is all zeros.
fn standard(counts: &[f64]) -> Vec<f32> {
    let mean = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
    let length = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>().sqrt();
    counts.iter().map(|c| if length > 1e-9 { ((c - mean) / length) as f32 } else { 0.0 }).collect()
}

impl Flow {
    pub(crate) fn new(access: &Access, sees: Sees<'_>, window: Us) -> Self {
        let seen = |times: &[(Us, u8)]| -> Vec<Us> {
            times.iter().filter(|(_, guard)| sees.guard(access, *guard)).map(|(at, _)| *at).collect()
        };
        let (up, down) = (seen(&access.up), seen(&access.down));
        Self {
            up: standard(&bins(&up, window, BIN_US)),
            down: standard(&bins(&down, window, BIN_US)),
            fine_up: bins(&up, window, FINE_US),
            fine_down: bins(&down, window, FINE_US),
            sharp_up: bins(&up, window, SHARP_US),
            sharp_down: bins(&down, window, SHARP_US),
        }
    }
}

/// The best product over lags; `late` follows `early`.
fn best_lag(early: &[f32], late: &[f32]) -> f64 {
    let product = |lag: usize| -> f32 {
        let (a, b) = (&early[..early.len().saturating_sub(lag)], &late[lag.min(late.len())..]);
        // In eights, which a compiler turns into one instruction.
        let mut sums = [0f32; 8];
        let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
        let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
        a8.zip(b8).for_each(|(x, y)| (0..8).for_each(|i| sums[i] += x[i] * y[i]));
        sums.iter().sum::<f32>() + rest
    };
    (0..=LAGS).map(|lag| f64::from(product(lag))).fold(f64::NEG_INFINITY, f64::max)
}

/// Counts without their smoothed rate, of variance one.
fn surplus(counts: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    sums.extend(counts.iter().scan(0.0, |sum, c| {
        *sum += c;
        Some(*sum)
    }));
    let smooth = |at: usize| {
        let (from, to) = (at.saturating_sub(SMOOTH), (at + SMOOTH + 1).min(counts.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    let over: Vec<f64> = counts.iter().enumerate().map(|(at, c)| c - smooth(at)).collect();
    let spread = (over.iter().map(|o| o * o).sum::<f64>() / over.len().max(1) as f64).sqrt().max(1e-9);
    over.iter().map(|o| o / spread).collect()
}

/// The surplus at a visitor's packets, `lag` bins before or after them, at the lag that suits best.
fn sharp(packets: &[usize], host: &[f64], before: bool) -> f64 {
    let at_lag = |lag: usize| {
        let shifted = packets.iter().filter_map(|p| if before { p.checked_sub(lag) } else { Some(p + lag) });
        shifted.filter_map(|p| host.get(p)).sum::<f64>()
    };
    let best = SHARP_LAGS.map(at_lag).fold(f64::NEG_INFINITY, f64::max);
    best / (packets.len().max(1) as f64).sqrt()
}

/// The bins of packets, in order.
fn places(counts: &[f64]) -> Vec<usize> {
    counts.iter().enumerate().flat_map(|(at, c)| std::iter::repeat_n(at, *c as usize)).collect()
}

/// How long a packet takes from one access link to the other, as shares of fine bins.
pub(crate) fn kernel(ways_us: &[Us]) -> Vec<f64> {
    let longest = ways_us.iter().max().copied().unwrap_or(0);
    let mut shares = vec![0.0; usize::try_from(longest / FINE_US).unwrap_or(0) + 2];
    for way in ways_us {
        // A packet leaves anywhere in its bin: its way ends in one of two bins.
        let (whole, part) = (usize::try_from(way / FINE_US).unwrap_or(0), (way % FINE_US) as f64 / FINE_US as f64);
        shares[whole] += (1.0 - part) / ways_us.len() as f64;
        shares[whole + 1] += part / ways_us.len() as f64;
    }
    shares
}

/// For each bin the logarithm of how much likelier a packet there is if it came of this flow than on average.
///
/// `explained` is the share of the packets there that are this flow's.
fn expectation(sent: &[f64], kernel: &[f64], average: &[f64], explained: f64) -> Vec<f64> {
    let mut expected = vec![0.0; sent.len()];
    for (at, count) in sent.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        for (after, share) in kernel.iter().enumerate() {
            if let Some(bin) = expected.get_mut(at + after) {
                *bin += count * share;
            }
        }
    }
    let total: f64 = expected.iter().sum::<f64>().max(1e-9);
    expected.iter().zip(average).map(|(e, q)| ((explained * e / total + (1.0 - explained) * q) / q).ln()).collect()
}

/// The average of flows, as shares of bins, none of them zero.
fn average<'a>(flows: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut sum: Vec<f64> = Vec::new();
    for flow in flows {
        sum.resize(flow.len(), 0.01);
        sum.iter_mut().zip(flow).for_each(|(s, c)| *s += c);
    }
    let total: f64 = sum.iter().sum();
    sum.iter().map(|s| s / total).collect()
}

fn product(counts: &[f64], logs: &[f64]) -> f64 {
    counts.iter().zip(logs).map(|(c, l)| c * l).sum()
}

/// What the tests are called.
pub(crate) const TESTS: [&str; 3] = ["correlation", "likelihood", "timing"];

/// Scores of every visitor with every host, by test, visitor by visitor. `several` is how many visitors a host has; `one_way`: all packets of
/// a session take one way.
pub(crate) fn scores(hosts: &[&Flow], visitors: &[&Flow], kernel: &[f64], several: f64, one_way: bool) -> [Vec<f64>; 3] {
    let (usual_down, usual_in) = (average(visitors.iter().map(|v| &v.fine_down)), average(hosts.iter().map(|h| &h.fine_down)));
    let served: Vec<Vec<f64>> = hosts.iter().map(|h| expectation(&h.fine_up, kernel, &usual_down, EXPLAINED)).collect();
    let over: Vec<[Vec<f64>; 2]> =
        hosts.iter().filter(|_| one_way).map(|h| [surplus(&h.sharp_up), surplus(&h.sharp_down)]).collect();
    let mut scores = [0; 3].map(|_| Vec::with_capacity(hosts.len() * visitors.len()));
    for visitor in visitors {
        let asked = expectation(&visitor.fine_up, kernel, &usual_in, EXPLAINED / several);
        let (down, up) = (places(&visitor.sharp_down), places(&visitor.sharp_up));
        for (number, host) in hosts.iter().enumerate() {
            scores[0].push(best_lag(&host.up, &visitor.down) + best_lag(&visitor.up, &host.down));
            scores[1].push(product(&visitor.fine_down, &served[number]) + product(&host.fine_down, &asked));
            scores[2].push(over.get(number).map_or(0.0, |[sent, got]| sharp(&down, sent, true) + sharp(&up, got, false)));
        }
    }
    scores
}

/// Pairs every visitor with every host; the right pairs are those of one group. `one_way`: all packets of a session take one way.
pub(crate) fn correlate(groups: &[Group], sees: Sees<'_>, window: Us, kernel: &[f64], one_way: bool) -> Found {
    let hosts: Vec<Flow> = groups.iter().filter_map(|g| Some(Flow::new(g.access.first()?, sees, window))).collect();
    let numbered = groups.iter().enumerate().flat_map(|(number, g)| g.access.iter().skip(1).map(move |a| (number, a)));
    let (own, visitors): (Vec<usize>, Vec<Flow>) = numbered.map(|(number, a)| (number, Flow::new(a, sees, window))).unzip();
    let several = visitors.len() as f64 / hosts.len().max(1) as f64;
    let mut best: Option<Found> = None;
    for (scores, by) in scores(&hosts.iter().collect::<Vec<_>>(), &visitors.iter().collect::<Vec<_>>(), kernel, several, one_way)
        .into_iter()
        .zip(TESTS)
    {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for (row, own) in scores.chunks(hosts.len().max(1)).zip(&own) {
            for (number, score) in row.iter().enumerate() {
                if number == *own { right.push(*score) } else { wrong.push(*score) }
            }
        }
        let true_positives = true_positives(&right, &mut wrong, FALSE_POSITIVES);
        if best.as_ref().is_none_or(|b| true_positives.value > b.true_positives.value) {
            best = Some(Found { true_positives, by, positives: right.len(), negatives: wrong.len() });
        }
    }
    best.unwrap_or(Found { true_positives: true_positives(&[], &mut [], FALSE_POSITIVES), by: "", positives: 0, negatives: 0 })
}

/// Controls: every host's link taken for its visitor's as well (must be found), and for another's (must be found no more often than chance
/// has it).
pub(crate) fn controls(groups: &[Group], window: Us) -> (Found, Found) {
    let doubled = |shift: usize| -> Vec<Group> {
        let links: Vec<_> = groups.iter().filter_map(|g| g.access.get(1)).collect();
        (0..links.len())
            .map(|i| {
                let (host, mut visitor) = (links[i].clone(), links[(i + shift) % links.len()].clone());
                std::mem::swap(&mut visitor.up, &mut visitor.down);
                Group { access: vec![host, visitor], ..Group::default() }
            })
            .collect()
    };
    let at_once = kernel(&[0]);
    let same = correlate(&doubled(0), Sees::All, window, &at_once, false);
    // Right pairs are now of two different flows, and the pairs of one flow are among the wrong: they are left out.
    let mut strangers = doubled(links_apart(groups.len()));
    strangers.truncate(links_apart(groups.len()));
    (same, correlate(&strangers, Sees::All, window, &at_once, false))
}

/// Half of the groups are hosts, the other half visitors, so that no flow meets itself.
fn links_apart(groups: usize) -> usize {
    groups / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    const WINDOW: Us = 10_000_000;

    /// Flows of random bursts; the visitor gets what its host sent a little later, if `linked`.
    fn flows(linked: bool) -> Vec<Group> {
        let mut rng = StdRng::seed_from_u64(1);
        let burst = |rng: &mut StdRng| -> Vec<(Us, u8)> {
            let starts: Vec<Us> = (0..8).map(|_| rng.random_range(0..WINDOW - 1_000_000)).collect();
            starts.iter().flat_map(|s| (0..20).map(move |i| (s + i * 7_000, 0))).collect()
        };
        let later = |of: &[(Us, u8)]| of.iter().map(|(at, g)| (at + 90_000, *g)).collect();
        let group = |rng: &mut StdRng| {
            let (up, down) = (burst(rng), burst(rng));
            let host = Access { up, down, ..Access::default() };
            let visitor = if linked {
                let up = host.down.iter().map(|(at, g)| (at.saturating_sub(90_000), *g)).collect();
                Access { up, down: later(&host.up), ..Access::default() }
            } else {
                Access { up: burst(rng), down: burst(rng), ..Access::default() }
            };
            Group { access: vec![host, visitor], ..Group::default() }
        };
        (0..60).map(|_| group(&mut rng)).collect()
    }

    #[test]
    fn linked_flows_are_found_and_independent_ones_are_not() {
        let way = kernel(&[90_000]);
        let found = correlate(&flows(true), Sees::All, WINDOW, &way, true);
        assert!(found.true_positives.value > 0.95 && found.negatives == 60 * 59, "{found:?}");
        let nothing = correlate(&flows(false), Sees::All, WINDOW, &way, true);
        assert!(nothing.true_positives.value < 0.07, "{nothing:?}");
        let (same, strangers) = controls(&flows(true), WINDOW);
        assert!(same.true_positives.value > 0.99, "{same:?}");
        assert!(strangers.true_positives.value < 0.07, "{strangers:?}");
    }

    #[test]
    fn flows_that_do_not_vary_tell_nothing() {
        let even: Vec<(Us, u8)> = (0..WINDOW / 50_000).map(|i| (i * 50_000 + 1, 0)).collect();
        let access = Access { up: even.clone(), down: even, ..Access::default() };
        let groups = vec![Group { access: vec![access.clone(), access], ..Group::default() }; 50];
        let found = correlate(&groups, Sees::All, WINDOW, &kernel(&[90_000]), true);
        assert!(found.true_positives.value < 0.01, "{found:?}");
    }
}
