//! The allocator's clock as this device knows it.
//!
//! Moments in the control protocol are the allocator's. A device whose own clock is wrong would else drop reservations that have just been made,
//! or refuse permits that hold.

use fogbank_model::{DurationMs, UnixMs};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

/// This device's clock, set right by what the allocator said last. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FogClock {
    ahead_ms: Arc<AtomicI64>,
}

impl FogClock {
    /// The time at the allocator; this device's own before [`Self::learn`].
    pub fn now(&self) -> UnixMs {
        own().plus(DurationMs(self.ahead_ms.load(Ordering::Relaxed)))
    }

    /// The allocator said its time just now.
    pub fn learn(&self, theirs: UnixMs) {
        self.ahead_ms.store(theirs.since(own()).0, Ordering::Relaxed);
    }
}

fn own() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_allocator() {
        let clock = FogClock::default();
        clock.clone().learn(own().plus(DurationMs::from_s(3600)));
        let ahead = clock.now().since(own()).0;
        assert!((3_590_000..=3_610_000).contains(&ahead), "{ahead}");
    }
}
