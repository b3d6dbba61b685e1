//! Counts that fade: what happened long ago weighs less.

use fogbank_model::{DurationMs, UnixMs};
use serde::{Deserialize, Serialize};

/// What is counted weighs half as much after so long, by the time since.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Faded {
    /// Up to when.
    to: UnixMs,
}

/// Faded in steps of so long: a half-life is weeks.
const STEP: DurationMs = DurationMs::from_s(3600);
/// One look fades by so long at most.
const MOST: DurationMs = DurationMs::from_s(24 * 3600);

impl Faded {
    pub(super) const fn new(now: UnixMs) -> Self {
        Self { to: now }
    }

    /// By what counts are to be multiplied now, when that is due. A clock that is set back fades nothing.
    pub(super) fn by(&mut self, half_life: DurationMs, now: UnixMs) -> Option<f64> {
        let passed = now.since(self.to);
        if passed < DurationMs(0) {
            self.to = now;
        }
        (passed >= STEP).then(|| {
            self.to = now;
            // A clock that jumps ahead, and back again, must not have all forgotten.
            (-(passed.min(MOST).0 as f64 / half_life.0 as f64)).exp2()
        })
    }
}

/// A rate of rare events: how many there were in how many hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    pub(super) events: f64,
    pub(super) hours: f64,
}

impl Rate {
    pub(super) fn fade(&mut self, by: f64) {
        self.events *= by;
        self.hours *= by;
    }

    /// Events an hour, drawn towards what is `usual` as if that had been seen for `weight` hours: the mean of a gamma prior with Poisson counts.
    pub(super) fn drawn_to(&self, usual: f64, weight: f64) -> f64 {
        (self.events + usual * weight) / (self.hours + weight)
    }

    pub(super) fn is_sound(&self) -> bool {
        [self.events, self.hours].iter().all(|n| n.is_finite() && *n >= 0.0)
    }
}
