//! Setting aside a device that keeps failing, and trying it again: each failure in a row doubles the pause.

use fogbank_model::{DurationMs, UnixMs};
use serde::{Deserialize, Serialize};

/// After one failure: most are of a moment (its owner came back just now), and its neighbours are asked meanwhile.
const FIRST: DurationMs = DurationMs::from_s(1);
/// What fails for days costs the fog one question an hour.
const LONGEST: DurationMs = DurationMs::from_s(3600);
/// Doublings from the first to beyond the longest.
const MOST_FAILURES: u8 = 13;

/// Failures in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aside {
    failures: u8,
    last: UnixMs,
    pause: DurationMs,
}

impl Aside {
    /// It failed. `jitter` in [0, 1) spreads devices that failed together: the pause is between three and five quarters of its length.
    pub(crate) fn failed(&mut self, jitter: f64, now: UnixMs) {
        self.failures = self.failures.saturating_add(1).min(MOST_FAILURES);
        let doubled = DurationMs(FIRST.0 << (self.failures - 1)).min(LONGEST);
        self.pause = DurationMs((doubled.0 as f64 * (0.75 + jitter.clamp(0.0, 1.0) / 2.0)) as i64);
        self.last = now;
    }

    /// It got an instance ready at that time.
    pub(crate) fn succeeded(&mut self, at: UnixMs) {
        if self.failures > 0 && at > self.last {
            *self = Self::default();
        }
    }

    /// How often it has failed and until when it is left alone, if it is. A clock that was set back does not make that longer.
    pub(crate) fn until(&self, now: UnixMs) -> Option<(u8, UnixMs)> {
        let passed = now.since(self.last);
        (self.failures > 0 && (DurationMs(0)..self.pause).contains(&passed)).then(|| (self.failures, self.last.plus(self.pause)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    #[test]
    fn each_failure_in_a_row_doubles_the_pause_up_to_an_hour() {
        let (mut aside, mut now, mut pauses) = (Aside::default(), NOW, Vec::new());
        assert_eq!(aside.until(now), None);
        for _ in 0..200 {
            aside.failed(0.5, now);
            let (_, until) = aside.until(now).unwrap();
            pauses.push(until.since(now).0 / 1_000);
            now = until;
            assert_eq!(aside.until(now), None, "it is tried again");
        }
        assert_eq!(pauses[..13], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 3_600]);
        assert!(pauses[13..].iter().all(|pause| *pause == 3_600));
        aside.failed(0.0, now);
        assert_eq!(aside.until(now).unwrap().1.since(now), DurationMs(2_700_000));
    }

    #[test]
    fn a_success_after_it_ends_the_row_and_one_before_does_not() {
        let mut aside = Aside::default();
        aside.failed(0.5, NOW);
        aside.failed(0.5, NOW);
        aside.succeeded(NOW);
        assert_eq!(aside.until(NOW).unwrap().0, 2);
        aside.succeeded(NOW.plus(DurationMs(1)));
        assert_eq!(aside, Aside::default());
    }

    #[test]
    fn a_clock_that_is_set_back_frees() {
        let mut aside = Aside::default();
        aside.failed(0.5, NOW);
        assert_eq!(aside.until(NOW.plus(DurationMs(-1))), None);
    }
}
