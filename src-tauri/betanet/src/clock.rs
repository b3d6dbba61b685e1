//! The allocator's clock as this device knows it.
//!
//! Moments in the control protocol are the allocator's, and key epochs go by it. A device whose own clock is wrong would else drop reservations
//! that have just been made, refuse permits that hold, or seal packets with keys that are not live.

use fogbank_model::{DurationMs, UnixMs};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

/// How wrong a clock is believed to be.
const MOST_AHEAD_MS: i64 = 24 * 3_600_000;

/// This device's clock, set right by what the allocator said last. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FogClock {
    ahead_ms: Arc<AtomicI64>,
}

impl FogClock {
    /// The time at the allocator; this device's own before [`Self::learn`].
    pub fn now(&self) -> UnixMs {
        system().plus(DurationMs(self.ahead_ms.load(Ordering::Relaxed)))
    }

    /// The allocator said its time just now. A clock that is more than a day off is one of the two's fault, and not followed: else an allocator
    /// could choose what counts as expired.
    pub fn learn(&self, theirs: UnixMs) {
        let ahead_ms = theirs.since(system()).0;
        if ahead_ms.abs() <= MOST_AHEAD_MS {
            self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        } else {
            tracing::warn!(
                hours = ahead_ms / 3_600_000,
                "the allocator's clock and this computer's are more than a day apart: set them right"
            );
        }
    }
}

/// This computer's clock.
///
/// In builds with debug assertions, `FOGBANK_CLOCK_AHEAD_S=n` puts it ahead by so many seconds (behind, if negative) for the whole process: the
/// tests of wrong clocks and of weeks that pass. In other builds it does nothing: what has expired is not for the environment to say.
pub fn system() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).plus(ahead())
}

#[cfg(debug_assertions)]
fn ahead() -> DurationMs {
    static AHEAD: std::sync::OnceLock<DurationMs> = std::sync::OnceLock::new();
    *AHEAD.get_or_init(|| {
        let seconds = std::env::var("FOGBANK_CLOCK_AHEAD_S").ok().and_then(|n| n.parse::<i32>().ok());
        DurationMs(i64::from(seconds.unwrap_or(0)) * 1_000)
    })
}

#[cfg(not(debug_assertions))]
const fn ahead() -> DurationMs {
    DurationMs(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_allocator() {
        let clock = FogClock::default();
        clock.clone().learn(system().plus(DurationMs::from_s(3600)));
        let ahead = clock.now().since(system()).0;
        assert!((3_590_000..=3_610_000).contains(&ahead), "{ahead}");
        clock.learn(system().plus(DurationMs::from_s(5 * 365 * 24 * 3600)));
        assert!(clock.now().since(system()).0 <= 3_610_000, "years ahead");
    }
}
