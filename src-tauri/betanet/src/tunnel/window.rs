//! How many datagrams may be under way. Pure: time comes in.
//!
//! On a way through mixes, loss by itself says little about overload: a mix that restarts, or one that is malicious, takes its share of all
//! datagrams however few there are, and a window that shrinks at each loss would end at nothing. What overload does show in is what *we*
//! change: round trips that become longer than they were at the best of late, and losses that become more than they were at the best of
//! late. Both are judged by means over many datagrams, because each single one draws its delays anew. (Of the idea of LEDBAT, RFC 6817, with
//! loss judged like delay.)
//!
//! Invariants: between [`LEAST`] and what the tunnel allows; one reduction a round trip; after one, what was sent before it is not judged.

use std::time::{Duration, Instant};

/// Datagrams under way to begin with: a small page at once.
const FIRST: f64 = 32.0;
/// Never fewer: a steady trickle finds out when the way is free again.
const LEAST: f64 = 8.0;
/// Kept after a jam, as CUBIC does.
const AFTER_JAM: f64 = 0.7;
/// Growth with each datagram acknowledged once a jam was met: a sixteenth a round trip, so 0.7 is made up for in six.
const GROWTH: f64 = 1.0 / 16.0;
/// Datagrams whose round trips are averaged: with twelve delays of one mean each, their mean has a deviation of a twentieth of itself.
const DELAY_SAMPLE: u32 = 32;
/// Datagrams whose losses are counted: at 30 % random loss the share has a deviation of 4 %.
const LOSS_SAMPLE: u32 = 128;
/// A mean round trip that is longer than the best by more than this, and by more than half, is a queue: a twentieth of a second is also what
/// an unlucky scheduler costs.
const LEAST_QUEUE_MS: f64 = 60.0;
/// More of the datagrams lost than at the best, by this share: five deviations.
const MORE_LOST: f64 = 0.2;
/// More than this lost is a jam whatever there was at the best, which may itself have been seen in a jam. Mixes that take 30 % each way stay below.
const MOST_LOST: f64 = 0.5;
/// How long the best is remembered at least: ways change, and the other end's mixes with them. Twice as long at most.
const MEMORY: Duration = Duration::from_secs(10);

/// The smallest of what was seen of late.
#[derive(Debug, Default)]
struct Lowest {
    now: Option<f64>,
    before: Option<f64>,
    since: Option<Instant>,
}

impl Lowest {
    fn with(&mut self, now: Instant, value: f64) -> f64 {
        if now.duration_since(*self.since.get_or_insert(now)) >= MEMORY {
            self.before = self.now.take();
            self.since = Some(now);
        }
        let lowest = self.now.map_or(value, |lowest| lowest.min(value));
        self.now = Some(lowest);
        self.before.map_or(lowest, |before| lowest.min(before))
    }
}

/// Datagrams that were sent within one span of time, judged together when all of them have met their fate. All of them: of those sent
/// together the quick ones are acknowledged first, and a mean over the first that come would take the rest for a queue.
#[derive(Debug)]
struct Span {
    /// Round trips after the span's end at which all is known.
    known_after: u32,
    least: f64,
    open: Option<(Instant, Instant, Instant)>,
    count: f64,
    sum: f64,
}

impl Span {
    fn new(known_after: u32, least: u32) -> Self {
        Self { known_after, least: f64::from(least), open: None, count: 0.0, sum: 0.0 }
    }

    /// Takes one datagram's value; when the span is known, the mean and how many of its datagrams there were a round trip.
    fn with(&mut self, now: Instant, sent: Instant, usual: Duration, window: f64, value: f64) -> Option<(f64, f64)> {
        let (began, until, due) = *self.open.get_or_insert_with(|| {
            let until = now + usual.mul_f64((1.5 * self.least / window).max(1.0));
            (now, until, until + usual * self.known_after)
        });
        if began <= sent && sent < until {
            self.count += 1.0;
            self.sum += value;
        }
        if now < due {
            return None;
        }
        let round_trips = (until - began).as_secs_f64() / usual.as_secs_f64().max(1e-6);
        let known = (self.count >= self.least).then(|| (self.sum / self.count, self.count / round_trips.max(1.0)));
        self.void();
        known
    }

    fn void(&mut self) {
        (self.open, self.count, self.sum) = (None, 0.0, 0.0);
    }
}

/// The window of one direction of a tunnel.
#[derive(Debug)]
pub(super) struct Window {
    size: f64,
    threshold: f64,
    most: f64,
    delays_ms: Span,
    losses: Span,
    best_delay: Lowest,
    best_loss: Lowest,
    /// When it was full last: only then does what comes say anything about a larger one.
    full: Option<Instant>,
}

impl Window {
    pub(super) fn new(most: usize) -> Self {
        let most = (most as f64).max(LEAST);
        Self {
            size: FIRST.min(most),
            threshold: f64::INFINITY,
            most,
            delays_ms: Span::new(1, DELAY_SAMPLE),
            losses: Span::new(3, LOSS_SAMPLE),
            best_delay: Lowest::default(),
            best_loss: Lowest::default(),
            full: None,
        }
    }

    /// Whether another datagram may go out beside so many.
    pub(super) fn has_room(&mut self, now: Instant, under_way: usize) -> bool {
        let room = (under_way as f64) < self.size;
        if !room {
            self.full = Some(now);
        }
        room
    }

    /// A datagram was acknowledged; `usual` is the mean round trip of late, `round_trip` this one's, if it is known.
    pub(super) fn acked(&mut self, now: Instant, sent: Instant, round_trip: Option<Duration>, usual: Duration) {
        if self.full.is_some_and(|full| now < full + 2 * usual) {
            self.size += if self.size < self.threshold { 1.0 } else { GROWTH };
            self.size = self.size.min(self.most);
        }
        let known = round_trip.and_then(|it| self.delays_ms.with(now, sent, usual, self.size, it.as_secs_f64() * 1e3));
        if let Some((mean, came)) = known {
            let best = self.best_delay.with(now, mean);
            if mean - best > LEAST_QUEUE_MS.max(best / 2.0) {
                self.jam(came);
            }
        }
        self.fate(now, sent, usual, 0.0);
    }

    /// A datagram was lost.
    pub(super) fn lost(&mut self, now: Instant, sent: Instant, usual: Duration) {
        self.fate(now, sent, usual, 1.0);
    }

    /// Nothing comes at all any more.
    pub(super) fn nothing_comes(&mut self) {
        self.size = LEAST;
    }

    fn fate(&mut self, now: Instant, sent: Instant, usual: Duration, lost: f64) {
        if let Some((share, sent)) = self.losses.with(now, sent, usual, self.size, lost)
            && share > (self.best_loss.with(now, share) + MORE_LOST).min(MOST_LOST)
        {
            self.jam(sent * (1.0 - share));
        }
    }

    /// Less from now on: at most what came through in a round trip, of which a start that doubles each time may have been a multiple.
    fn jam(&mut self, came: f64) {
        self.size = (self.size * AFTER_JAM).min(came).max(LEAST);
        self.threshold = self.size;
        self.delays_ms.void();
        self.losses.void();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    /// Round trips of a sender that always fills the window: what each shows comes from the window's size.
    fn run(seed: u64, rounds: usize, way: impl Fn(f64, &mut StdRng) -> (Duration, f64)) -> Vec<f64> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut window = Window::new(512);
        let mut now = Instant::now() + Duration::from_secs(60);
        let mut sizes = Vec::new();
        for _ in 0..rounds {
            let size = window.size;
            assert!((LEAST..=512.0).contains(&size));
            let (usual, _) = way(size, &mut rng);
            for _ in 0..size as usize {
                assert!(!window.has_room(now, window.size.ceil() as usize));
                let (round_trip, loss) = way(size, &mut rng);
                let sent = now - round_trip;
                if rng.random_bool(loss) {
                    window.lost(now, sent, usual)
                } else {
                    window.acked(now, sent, Some(round_trip), usual)
                }
                now += usual.div_f64(size);
            }
            sizes.push(window.size);
        }
        sizes
    }

    /// Twelve delays drawn at a mean.
    fn drawn(mean_ms: f64, rng: &mut StdRng) -> Duration {
        Duration::from_secs_f64((0..12).map(|_| -mean_ms * (1.0 - rng.random::<f64>()).ln()).sum::<f64>() / 1e3)
    }

    #[test]
    fn loss_that_is_there_anyway_does_not_shrink_it() {
        for (seed, loss) in [(1, 0.0), (2, 0.05), (3, 0.15), (4, 0.3)] {
            for mean_ms in [0.2, 15.0, 50.0] {
                let sizes = run(seed, 60, |_, rng| (drawn(mean_ms, rng), loss));
                let late = &sizes[30..];
                let mean = late.iter().sum::<f64>() / late.len() as f64;
                assert!(mean > 300.0, "{loss} lost, {mean_ms} ms a hop: {mean} under way");
            }
        }
    }

    #[test]
    fn a_queue_shrinks_it() {
        // 1,000 datagrams a second over 100 ms: 100 fill the way, what is more stands in a queue.
        let sizes = run(5, 200, |size, _| (Duration::from_secs_f64((size / 1_000.0).max(0.1)), 0.0));
        let most = sizes[40..].iter().copied().fold(0.0, f64::max);
        let least = sizes[40..].iter().copied().fold(f64::INFINITY, f64::min);
        assert!(most < 260.0 && least > 90.0, "{least} to {most}");
    }

    #[test]
    fn loss_that_grows_with_it_shrinks_it() {
        // A policer without a queue behind a way that loses a tenth anyway: all over 100 a round trip is dropped.
        let sizes = run(6, 300, |size, _| (Duration::from_millis(50), 1.0 - 0.9 * (100.0 / size).min(1.0)));
        let late = &sizes[150..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((70.0..260.0).contains(&mean), "{mean}");
    }
}
