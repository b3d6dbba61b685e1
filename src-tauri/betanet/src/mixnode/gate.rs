//! A gate: passes so many a second, and asks for work when more come. Pure: time comes in.

use crate::puzzle::{LEAST_EFFORT, Load, next_effort};
use std::time::{Duration, Instant};

/// How often the price is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// Beats that are made up for after a silence: from the highest price back to nothing.
const MAX_BEATS: u32 = 16;

/// One gate.
pub(super) struct Gate {
    rate: u32,
    tokens: f64,
    filled: Instant,
    effort: u32,
    beat: Instant,
    load: Load,
}

impl Gate {
    /// A gate that passes `rate` a second, with as many at once.
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let load = Load { capacity: rate, ..Load::default() };
        Self { rate, tokens: f64::from(rate), filled: now, effort: 0, beat: now, load }
    }

    /// Takes note of a request and of what it spent; whether that is enough to be let in or to wait.
    pub(super) fn knock(&mut self, spent: u32, now: Instant) -> bool {
        self.look(now);
        let paid = spent >= self.effort;
        self.load.came = self.load.came.saturating_add(1);
        self.load.paid = self.load.paid.saturating_add(u32::from(paid));
        paid
    }

    /// Whether one can pass now.
    pub(super) fn open(&mut self, now: Instant) -> bool {
        self.look(now);
        self.tokens >= 1.0
    }

    /// One passes.
    pub(super) fn pass(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
        // Nearly used up within the beat: from now on only those who work, until the beat shows whether that was a flood or a crowd.
        if self.tokens < f64::from(self.rate) / 4.0 {
            self.effort = self.effort.max(LEAST_EFFORT);
        }
    }

    /// What is asked for.
    pub(super) fn effort(&self) -> u32 {
        self.effort
    }

    fn look(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.filled).min(BEAT).as_secs_f64() * f64::from(self.rate);
        self.tokens = (self.tokens + gained).min(f64::from(self.rate));
        self.filled = self.filled.max(now);
        for _ in 0..MAX_BEATS {
            if now.saturating_duration_since(self.beat) < BEAT {
                return;
            }
            self.effort = next_effort(self.effort, self.load);
            self.load = Load { capacity: self.rate, ..Load::default() };
            self.beat += BEAT;
        }
        self.beat = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_passes_free_and_a_flood_pays() {
        let began = Instant::now();
        let mut gate = Gate::new(64, began);
        for _ in 0..40 {
            assert!(gate.knock(0, began) && gate.open(began));
            gate.pass();
        }
        let mut let_in = 0;
        for n in 0..6_400u32 {
            let now = began + Duration::from_millis(u64::from(n));
            if gate.knock(0, now) && gate.open(now) {
                gate.pass();
                let_in += 1;
            }
        }
        assert!(let_in < 64, "{let_in}");
        let now = began + Duration::from_millis(6_400);
        assert!(gate.effort() >= LEAST_EFFORT && gate.knock(gate.effort(), now) && gate.open(now), "who works gets through");
        // A quiet while later entry is free again.
        assert!(gate.knock(0, now + 20 * BEAT) && gate.effort() == 0);
    }
}
