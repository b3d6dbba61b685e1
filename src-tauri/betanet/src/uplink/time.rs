//! What time it is in the network, for a client whose own clock may be wrong. Pure: both clocks are passed in.
//!
//! Packets are sealed for a key epoch of an hour, and mixes take a key half an hour longer at both ends. So a clock that is an hour off leads
//! nowhere, and nobody says so: mixes drop what they can't read. A member learns the time from its allocator ([`crate::clock::FogClock`]);
//! a stranger has its own clock and the directory's `made`, which bounds the time from below. From above nothing does while the allocator may be
//! gone: a directory that was made an hour ago and a clock that is an hour ahead look alike. So there are two answers, [`Belief`], and the one
//! under which mixes answer is kept.
//!
//! Invariants: the time is never before what the directory says plus what has passed since it came; with a directory that came fresh (it took
//! an older one's place while we were connected) it is not later than the next one is due; a change of belief is never told to anyone and costs
//! one wait for an answer. A guard that answers nothing can make a client change its belief: what it sends then is refused as it would
//! have been dropped, and the next silence changes it back.

use crate::directory::Directory;
use fogbank_model::{DurationMs, UnixMs};
use std::time::{Duration, Instant};

/// The fog signs a new directory at each change and at least this often (the allocator's), and as long again for one that is late: together
/// less than the half hour for which mixes take a key beyond its epoch.
const NEXT_DUE: DurationMs = DurationMs::from_s(2 * 600);
/// A directory that followed another one says something of the present for so long; a computer that slept hears of no newer one meanwhile.
const CURRENT_FOR: Duration = Duration::from_secs(2 * 600);

const _: () = assert!(NEXT_DUE.0 < crate::epoch::OVERLAP.0);

/// Whom to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Belief {
    /// The own clock, within what the directory says.
    #[default]
    Clock,
    /// The directory's time, as if it had been made when it came.
    Directory,
}

/// What is known of the network's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkTime {
    made: UnixMs,
    expires: UnixMs,
    came: Instant,
    /// Whether it took an older one's place.
    followed: bool,
    belief: Belief,
}

impl NetworkTime {
    /// From the first directory, or one that follows another.
    pub(super) fn new(directory: &Directory, before: Option<&Self>, now: Instant) -> Self {
        Self {
            made: directory.made,
            expires: directory.expires.max(directory.made),
            came: now,
            followed: before.is_some(),
            belief: before.map_or(Belief::default(), |b| b.belief),
        }
    }

    /// The time, by the own clock's word and the moment of the monotonic one.
    pub(super) fn at(&self, clock: UnixMs, now: Instant) -> UnixMs {
        let passed = now.saturating_duration_since(self.came);
        let passed_ms = DurationMs(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
        let least = self.made.plus(passed_ms).min(self.expires);
        match self.belief {
            Belief::Directory => least,
            Belief::Clock => {
                let current = self.followed && passed < CURRENT_FOR;
                let most = if current { least.plus(NEXT_DUE).min(self.expires) } else { self.expires };
                clock.clamp(least, most)
            }
        }
    }

    /// Nothing answered what was sent by `tried`, the time of that try: believe the other, unless that has been done meanwhile.
    pub(super) fn doubt(&mut self, tried: UnixMs, clock: UnixMs, now: Instant) {
        if crate::epoch::at(self.at(clock, now)) == crate::epoch::at(tried) {
            self.belief = match self.belief {
                Belief::Clock => Belief::Directory,
                Belief::Directory => Belief::Clock,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::tests::{MADE, directory},
        epoch::{self, EPOCH_LIFE},
    };
    use iroh::SecretKey;
    use proptest::prelude::*;

    const HOUR: i64 = EPOCH_LIFE.0;

    fn known(before: Option<&NetworkTime>, came: Instant) -> NetworkTime {
        NetworkTime::new(&directory(&SecretKey::from_bytes(&[1; 32]), true, 4), before, came)
    }

    fn moved(ms: i64) -> UnixMs {
        MADE.plus(DurationMs(ms))
    }

    #[test]
    fn a_clock_that_is_behind_is_set_right_at_once_and_goes_on() {
        let came = Instant::now();
        let time = known(None, came);
        assert_eq!(time.at(moved(-HOUR), came), MADE);
        assert_eq!(
            time.at(moved(-HOUR), came + Duration::from_secs(60)),
            moved(60_000),
            "time passes also for a clock that is behind"
        );
    }

    #[test]
    fn a_clock_that_is_ahead_is_believed_until_nothing_answers() {
        let came = Instant::now();
        let mut time = known(None, came);
        let clock = moved(HOUR);
        assert_eq!(time.at(clock, came), clock, "the allocator may be gone for an hour");
        time.doubt(clock, clock, came);
        assert_eq!(time.at(clock, came), MADE);
        // Three questions under way doubt the same try: that is one doubt.
        time.doubt(clock, clock, came);
        time.doubt(clock, clock, came);
        assert_eq!(time.at(clock, came), MADE);
        // And back, when it was not the clock's fault.
        time.doubt(MADE, clock, came);
        assert_eq!(time.at(clock, came), clock);
    }

    #[test]
    fn a_directory_that_follows_another_bounds_the_clock() {
        let came = Instant::now();
        let time = known(Some(&known(None, came)), came);
        assert_eq!(time.at(moved(HOUR), came), MADE.plus(NEXT_DUE));
        assert_eq!(time.at(moved(5_000), came), moved(5_000));
        // Unless none has come for long: the computer slept, or the allocator is gone.
        assert_eq!(time.at(moved(HOUR), came + CURRENT_FOR), moved(HOUR));
    }

    #[test]
    fn a_belief_is_kept_from_directory_to_directory() {
        let came = Instant::now();
        let mut time = known(None, came);
        time.doubt(moved(HOUR), moved(HOUR), came);
        assert_eq!(known(Some(&time), came).at(moved(HOUR), came), MADE);
    }

    proptest! {
        /// With a directory of at most ten minutes' age, one of the two beliefs names an epoch whose key mixes take, whatever the clock says.
        #[test]
        fn one_of_two_tries_is_taken(age_ms in 0i64..600_000, wrong_ms in -20 * HOUR..20 * HOUR, later_s in 0u64..1_200) {
            let came = Instant::now();
            let now = came + Duration::from_secs(later_s);
            let truth = moved(age_ms + 1_000 * later_s as i64);
            let clock = truth.plus(DurationMs(wrong_ms));
            let mut time = known(None, came);
            let first = time.at(clock, now);
            time.doubt(first, clock, now);
            let second = time.at(clock, now);
            let taken = |tried: UnixMs| epoch::live(truth).contains(&epoch::at(tried));
            prop_assert!(taken(first) || taken(second), "{first:?} {second:?} at {truth:?}");
        }
    }
}
