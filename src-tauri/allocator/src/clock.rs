//! The allocator's time: this computer's clocks, or hands that a simulation moves.

use fogbank_model::UnixMs;
use std::time::Instant;

/// Time of day and time that only goes forward. Clones are one clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    #[cfg(test)]
    hands: Option<std::sync::Arc<Hands>>,
}

/// A simulation's time: so many milliseconds after it began.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Hands {
    day: UnixMs,
    began: Instant,
    ms: std::sync::atomic::AtomicU64,
}

impl Clock {
    /// The time of day.
    pub(crate) fn now(&self) -> UnixMs {
        #[cfg(test)]
        if let Some(hands) = &self.hands {
            return hands.now();
        }
        fogbank_betanet::clock::system()
    }

    /// For measuring how long something takes.
    pub(crate) fn instant(&self) -> Instant {
        #[cfg(test)]
        if let Some(hands) = &self.hands {
            return hands.began + std::time::Duration::from_millis(hands.passed());
        }
        Instant::now()
    }

    /// A clock that stands until its hands are moved.
    #[cfg(test)]
    pub(crate) fn of(hands: std::sync::Arc<Hands>) -> Self {
        Self { hands: Some(hands) }
    }
}

#[cfg(test)]
impl Hands {
    /// Standing at this time of day.
    pub(crate) fn at(day: UnixMs) -> Self {
        Self { day, began: Instant::now(), ms: std::sync::atomic::AtomicU64::new(0) }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn passed(&self) -> u64 {
        self.ms.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The time of day.
    pub(crate) fn now(&self) -> UnixMs {
        self.day.plus(fogbank_model::DurationMs(i64::try_from(self.passed()).unwrap_or(i64::MAX)))
    }

    /// Moves on to so many milliseconds after the beginning, never back.
    pub(crate) fn move_to(&self, ms: u64) {
        self.ms.fetch_max(ms, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, time::Duration};

    #[test]
    fn hands_move_both_times_and_never_back() {
        let hands = Arc::new(Hands::at(UnixMs(1_000)));
        let clock = Clock::of(hands.clone());
        let began = clock.instant();
        hands.move_to(500);
        hands.move_to(200);
        assert_eq!((clock.now(), clock.instant() - began), (UnixMs(1_500), Duration::from_millis(500)));
    }
}
