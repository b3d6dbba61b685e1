//! How far a device's word can be relied on: whether it keeps what it took on, as a share that both falls and recovers.

use super::tally::Faded;
use fogbank_model::{DurationMs, UnixMs};
use serde::{Deserialize, Serialize};

/// Who takes an instance is expected to stay for so long at least.
pub(super) const COMMITMENT: DurationMs = DurationMs::from_s(5 * 60);
/// A week ago weighs half.
const HALF_LIFE: DurationMs = DurationMs::from_s(7 * 24 * 3600);
/// A newcomer counts as one that has kept four words of five.
const NEWCOMER: (f64, f64) = (4.0, 1.0);
/// Deeds count up to so many in all, so that years of good ones do not hide what a device does today.
const MOST: f64 = 100.0;

/// What a device did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It served for the time that it committed itself to.
    Stayed,
    /// It asked to be left before that time.
    LeftEarly,
    /// It was gone without a word before that time.
    VanishedEarly,
    /// It was gone without a word later.
    Vanished,
    /// It offered room and then refused, or did not answer.
    Refused,
}

impl Deed {
    /// How much it weighs, and whether it was good.
    const fn weight(self) -> (f64, bool) {
        match self {
            Self::Stayed => (1.0, true),
            // Its visitors had to go elsewhere, but none was cut off.
            Self::LeftEarly => (1.0, false),
            Self::VanishedEarly => (2.0, false),
            Self::Vanished | Self::Refused => (0.5, false),
        }
    }
}

/// What a device's word is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reliability {
    kept: f64,
    broken: f64,
    faded: Faded,
}

impl Reliability {
    pub(crate) fn new(now: UnixMs) -> Self {
        Self { kept: 0.0, broken: 0.0, faded: Faded::new(now) }
    }

    pub(super) fn is_sound(&self) -> bool {
        [self.kept, self.broken].iter().all(|n| n.is_finite() && *n >= 0.0)
    }

    pub(crate) fn did(&mut self, deed: Deed, now: UnixMs) {
        self.fade(now);
        let (weight, good) = deed.weight();
        *(if good { &mut self.kept } else { &mut self.broken }) += weight;
        let much = MOST / (self.kept + self.broken).max(MOST);
        self.kept *= much;
        self.broken *= much;
    }

    /// In (0, 1): the share of words kept, a newcomer's four of five counted in.
    pub(crate) fn score(&mut self, now: UnixMs) -> f64 {
        self.fade(now);
        (self.kept + NEWCOMER.0) / (self.kept + self.broken + NEWCOMER.0 + NEWCOMER.1)
    }

    fn fade(&mut self, now: UnixMs) {
        if let Some(by) = self.faded.by(HALF_LIFE, now) {
            self.kept *= by;
            self.broken *= by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const WEEK: DurationMs = DurationMs::from_s(7 * 24 * 3600);

    #[test]
    fn it_falls_by_what_was_done_and_recovers() {
        let mut one = Reliability::new(NOW);
        assert_eq!(one.score(NOW), 0.8);
        let after = |deed| {
            let mut one = Reliability::new(NOW);
            one.did(deed, NOW);
            one.score(NOW)
        };
        assert!(after(Deed::Stayed) > 0.8);
        assert!(after(Deed::VanishedEarly) < after(Deed::LeftEarly), "who says so is forgiven sooner");
        assert!(after(Deed::LeftEarly) < after(Deed::Vanished) && after(Deed::Vanished) < 0.8);
        for _ in 0..20 {
            one.did(Deed::VanishedEarly, NOW);
        }
        let worst = one.score(NOW);
        assert!(worst < 0.15, "{worst}");
        let mut waits = one.clone();
        assert!(waits.score(NOW.plus(DurationMs(52 * WEEK.0))) < 1.1 * worst, "a clock that jumps ahead makes nothing forgotten");
        let mut waits = one.clone();
        let mut after = |weeks: i64| (0..7 * weeks).fold(0.0, |_, day| waits.score(NOW.plus(DurationMs(day * WEEK.0 / 7))));
        assert!(after(4) > 2.0 * worst, "time alone heals");
        let year = after(52);
        assert!((year - 0.8).abs() < 1e-6, "{year}");
        for _ in 0..100 {
            one.did(Deed::Stayed, NOW);
        }
        assert!(one.score(NOW) > 0.7, "and good deeds sooner: {}", one.score(NOW));
    }

    #[test]
    fn years_of_good_deeds_do_not_hide_today() {
        let mut one = Reliability::new(NOW);
        for _ in 0..100_000 {
            one.did(Deed::Stayed, NOW);
        }
        for _ in 0..20 {
            one.did(Deed::VanishedEarly, NOW);
        }
        assert!(one.score(NOW) < 0.75, "{}", one.score(NOW));
    }

    proptest! {
        #[test]
        fn it_is_a_share_whatever_clocks_do(deeds in prop::collection::vec((0usize..5, -1_000_000_000i64..1_000_000_000), 0..300)) {
            const ALL: [Deed; 5] = [Deed::Stayed, Deed::LeftEarly, Deed::VanishedEarly, Deed::Vanished, Deed::Refused];
            let (mut one, mut now) = (Reliability::new(NOW), NOW);
            for (deed, step) in deeds {
                now = now.plus(DurationMs(step));
                one.did(ALL[deed], now);
                let score = one.score(now);
                prop_assert!(score > 0.0 && score < 1.0 && one.is_sound());
            }
        }
    }
}
