//! How many SURBs a mix still has of us, and when to send more. Pure: time comes in.
//!
//! What is known: what was sent, what came back, and with each thing that comes back the stock that the mix had left when it sent it.
//! `outstanding` (sent and not yet come back) is what a sender at the other end can use up, including what is under way; lost ones would
//! stay in it for ever, so the smallest gap seen between `outstanding` and the mix's own word during a while is written off.

use std::time::{Duration, Instant};

/// SURBs to begin with: a small page with its pictures, half a megabyte.
pub(crate) const FIRST_TARGET: usize = 64;
/// SURBs outstanding at most: the other end has up to 256 datagrams under way over the whole round trip, of which this mix's half needs half; as
/// much again while the round trip of what is under way to the mix is lost or late.
pub(crate) const MAX_TARGET: usize = 384;
/// Over how long the smallest gap is taken: several round trips of the slowest level.
const GAP_WINDOW: Duration = Duration::from_secs(2);

/// The account of one mailbox.
#[derive(Debug)]
pub(crate) struct Stock {
    target: usize,
    outstanding: usize,
    smallest_gap: usize,
    window_began: Instant,
    /// Something was sent to the other end and nothing came for this long: perhaps all that was outstanding is lost.
    silence: Duration,
    /// The last time that we sent something which the other end answers, if nothing came since.
    asked: Option<Instant>,
    /// After a silence nothing is under way, so the mix's next word is the whole truth.
    after_silence: bool,
}

impl Stock {
    pub(crate) fn new(silence: Duration, now: Instant) -> Self {
        Self {
            target: FIRST_TARGET,
            outstanding: 0,
            smallest_gap: usize::MAX,
            window_began: now,
            silence,
            asked: None,
            after_silence: false,
        }
    }

    /// How many are missing to the target.
    pub(crate) fn missing(&self) -> usize {
        self.target.saturating_sub(self.outstanding)
    }

    /// SURBs were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.outstanding += count;
    }

    /// Something was sent to the other end.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// One came back, and the mix says how many it has left.
    pub(crate) fn came_back(&mut self, left: usize, now: Instant) {
        self.asked = None;
        self.outstanding = if self.after_silence { left } else { self.outstanding.saturating_sub(1).max(left) };
        self.after_silence = false;
        if left < self.target / 4 {
            // The mix is about to run dry: more must be under way.
            self.target = (self.target * 2).min(MAX_TARGET);
        }
        self.smallest_gap = self.smallest_gap.min(self.outstanding - left);
        if now.duration_since(self.window_began) >= GAP_WINDOW {
            self.outstanding -= self.smallest_gap.min(self.outstanding);
            self.smallest_gap = usize::MAX;
            self.window_began = now;
        }
    }

    /// Whether nothing came back although something was sent, once for each silence. Then one packet's worth is missing: enough for the
    /// other end to be heard again if all was lost, little if it just had nothing to say.
    pub(crate) fn silent(&mut self, packet: usize, now: Instant) -> bool {
        let silent = self.asked.is_some_and(|at| now.duration_since(at) >= self.silence);
        if silent {
            self.outstanding = self.outstanding.min(self.target.saturating_sub(packet));
            self.after_silence = true;
            self.asked = None;
        }
        silent
    }

    /// What is outstanding is void: the mix is told to drop it.
    pub(crate) fn void(&mut self) {
        self.outstanding = 0;
        self.smallest_gap = usize::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SILENCE: Duration = Duration::from_millis(500);

    #[test]
    fn lost_ones_are_replaced_by_and_by() {
        let start = Instant::now();
        let mut stock = Stock::new(SILENCE, start);
        let mut at_mix = 0;
        // Every tenth SURB is lost on the way; one is used each 10 ms.
        for ms in (0..20_000u64).step_by(10) {
            let now = start + Duration::from_millis(ms);
            let missing = stock.missing();
            if missing >= 16 {
                stock.sent(16);
                at_mix += 16 - 2;
            }
            assert!(at_mix > 0, "ran dry after {ms} ms");
            at_mix -= 1;
            stock.came_back(at_mix, now);
        }
        assert!(at_mix <= MAX_TARGET);
    }

    #[test]
    fn a_silence_costs_one_packet_and_its_end_tells_the_truth() {
        let start = Instant::now();
        let mut stock = Stock::new(SILENCE, start);
        stock.sent(FIRST_TARGET);
        assert!(!stock.silent(16, start + SILENCE * 3), "nothing was asked");
        stock.asked(start);
        assert!(!stock.silent(16, start + SILENCE / 2));
        assert!(stock.silent(16, start + SILENCE));
        assert_eq!(stock.missing(), 16);
        stock.sent(16);
        assert!(!stock.silent(16, start + SILENCE * 5), "once is enough");
        stock.came_back(15, start + SILENCE * 5);
        assert_eq!(stock.missing(), 2 * FIRST_TARGET - 15, "all but the last packet was lost");
    }

    proptest! {
        /// Whatever mixes claim, no more than the target is ever outstanding by our own doing.
        #[test]
        fn bounded_whatever_is_claimed(claims in prop::collection::vec((0usize..70_000, 0u64..500), 0..200)) {
            let start = Instant::now();
            let mut stock = Stock::new(SILENCE, start);
            let mut now = start;
            let mut sent = 0;
            let steps = claims.len();
            for (left, wait) in claims {
                now += Duration::from_millis(wait);
                let missing = stock.missing();
                prop_assert!(missing <= MAX_TARGET);
                stock.sent(missing);
                sent += missing;
                stock.came_back(left.min(MAX_TARGET), now);
            }
            prop_assert!(sent <= MAX_TARGET * (steps + 1));
        }

        /// A link with delay: the mix is kept supplied at 200 packets/s over half a second's round trip, once the target has grown.
        #[test]
        fn keeps_up_with_delay(delay_ms in 10u64..250) {
            let start = Instant::now();
            let mut stock = Stock::new(SILENCE, start);
            let mut out = VecDeque::<(u64, usize)>::new();
            let mut back = VecDeque::<(u64, usize)>::new();
            let (mut at_mix, mut starved) = (0usize, 0);
            for ms in (0..10_000u64).step_by(5) {
                while out.front().is_some_and(|(at, _)| *at <= ms) { at_mix += out.pop_front().unwrap().1; }
                if at_mix > 0 { at_mix -= 1; back.push_back((ms + delay_ms, at_mix)); } else if ms > 3_000 { starved += 1; }
                while back.front().is_some_and(|(at, _)| *at <= ms) {
                    let (_, left) = back.pop_front().unwrap();
                    stock.came_back(left, start + Duration::from_millis(ms));
                }
                while stock.missing() >= 16 { stock.sent(16); out.push_back((ms + delay_ms, 16)); }
            }
            prop_assert!(starved < 14, "{} of 1,400 found no SURB", starved);
        }
    }
}
