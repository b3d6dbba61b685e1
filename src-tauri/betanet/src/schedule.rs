//! When packets go: how long a hop holds one, when cover is sent, and at which moments a link of constant rate carries something.
//! Pure: clocks and randomness come in.
//!
//! Invariants: hop delays are memoryless on the millisecond grid on which mixes send, so that when a packet leaves tells nothing about when
//! it came; moments of cover do not depend on what else is sent; a slot of constant rate is never empty and never carries two.
//! Deliberately absent: what a packet says, and the sending of it (uplink, mixnode).
//!
//! Sources: Kesdogan, Egner and Büschkes, *Stop-and-Go MIXes* (1998), and Danezis, *The Traffic Analysis of Continuous-Time Mixes* (2004),
//! for exponential delays; Piotrowska et al., *The Loopix Anonymity System* (2017), for loops and drops by Poisson processes.

use crate::link::LINK_FRAME_BYTES;
use fogbank_model::Level;
use rand::{Rng, RngExt as _};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A hop's delay is cut at this multiple of the mean: a draw exceeds it once in 22,000, and a packet is not lost to it.
pub const DELAY_CUT: u32 = 10;
/// How often a client sends a loop while it is in use, on average: 8 KiB a second each way, a hundred-and-twentieth of the 1 MB/s that an
/// owner lends by default, and 200 chances a page visit of three minutes to notice a mix that drops.
pub const CLIENT_LOOP_MEAN: Duration = Duration::from_secs(1);
/// How often a mix sends a loop, on average. Each costs its sender one packet and two other mixes one each: at 8 KiB, 2.5 KB/s a mix on
/// average or 6.4 GB a month, an eighth of the 50 GB that an owner lends by default.
pub const MIX_LOOP_MEAN: Duration = Duration::from_secs(10);
/// What a client's constant rate takes at most, bytes a millisecond: a fifth of the 1 MB/s that an owner lends by default.
const CONSTANT_BYTES_MS: u64 = 200;
/// Time between the slots of a client's constant rate: 24.4 packets of 8 KiB a second are 199,805 B/s, just within a fifth of the 1 MB/s
/// that an owner lends by default, which is what a host may spend on cover. A page of 2 MB takes its 270 packets 11 s.
pub const CONSTANT_SLOT: Duration = Duration::from_millis((LINK_FRAME_BYTES as u64).div_ceil(CONSTANT_BYTES_MS));
/// Packets waiting for a slot: 1.3 s at [`CONSTANT_SLOT`], below the 4 s of silence after which a tunnel gives up; more would only be late.
pub const SLOT_QUEUE: usize = 32;
/// A schedule that is late by more than this (the computer slept) begins anew instead of making up for what it missed.
pub const MAX_LATE: Duration = Duration::from_secs(1);

/// The mean delay of a hop, ms; zero at the level that adds none.
pub fn mean_delay_ms(level: Level) -> u32 {
    match level {
        Level::Fast => 0,
        Level::Balanced => 15,
        Level::Strict => 50,
    }
}

/// What does not come back within this is said again: fourteen hops at 30 ms a link, and half as much again as they hold a packet.
pub fn patience(level: Level) -> Duration {
    Duration::from_millis(500 + 20 * u64::from(mean_delay_ms(level)))
}

/// A draw of a hop's delay, ms: geometric on {1, 2, …} with the level's mean, cut at [`DELAY_CUT`] means.
///
/// Mixes send on ticks of a millisecond. The exponential distribution rounded to that grid is not memoryless: with a mean of 15 ms it is zero
/// for one packet in thirty, which then leaves at once and is seen to. The geometric distribution is memoryless on the grid and never zero.
pub fn hop_delay_ms(level: Level, rng: &mut impl Rng) -> u32 {
    let mean = mean_delay_ms(level);
    if mean == 0 {
        return 0;
    }
    // In (0, 1], so the logarithm is finite; for a mean of at least 2 ms its base is in (0, 1).
    let uniform = 1.0 - rng.random::<f64>();
    let stay = 1.0 - 1.0 / f64::from(mean.max(2));
    let cut = f64::from(mean * DELAY_CUT);
    // Between 1 and ten means, so the cast is exact.
    (uniform.ln() / stay.ln()).ceil().clamp(1.0, cut) as u32
}

/// A wait until the next event of a Poisson process.
pub fn poisson_wait(mean: Duration, rng: &mut impl Rng) -> Duration {
    let uniform = 1.0 - rng.random::<f64>();
    // The largest draw is 37 means.
    mean.mul_f64(-uniform.ln())
}

/// Cover that is sent at the moments of a Poisson process, whatever else is sent.
#[derive(Debug, Clone)]
pub struct PoissonCover {
    mean: Duration,
    next: Instant,
}

impl PoissonCover {
    /// Begins now.
    pub fn new(mean: Duration, now: Instant, rng: &mut impl Rng) -> Self {
        Self { mean, next: now + poisson_wait(mean, rng) }
    }

    /// When the next is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether one is due by now; then the next is drawn. Call it until it says no: a task that wakes late sends what it missed, since the
    /// process goes on from the moment that was planned, unless it is late by more than [`MAX_LATE`].
    pub fn take(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        if now < self.next {
            return false;
        }
        let from = if now.duration_since(self.next) > MAX_LATE { now } else { self.next };
        self.next = from + poisson_wait(self.mean, rng);
        true
    }
}

/// What a slot carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot<T> {
    /// Something that waited.
    Packet(T),
    /// Nothing waited: a drop packet is to be sent, which ends at a mix drawn like any other destination. (A loop would come back and take
    /// a slot of the other direction.)
    Cover,
}

/// A link of constant rate: one packet a slot, what waits or cover. The same at a client for the way up, and at a guard for the way down.
#[derive(Debug, Clone)]
pub struct ConstantRate<T> {
    slot: Duration,
    next: Instant,
    queue: VecDeque<T>,
}

impl<T> ConstantRate<T> {
    /// Begins with a slot a random part of a slot from now, so that phases tell nothing about who began together.
    pub fn new(slot: Duration, now: Instant, rng: &mut impl Rng) -> Self {
        Self { slot, next: now + slot.mul_f64(rng.random::<f64>()), queue: VecDeque::with_capacity(SLOT_QUEUE) }
    }

    /// When the next slot is.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether something more can wait.
    pub fn has_room(&self) -> bool {
        self.queue.len() < SLOT_QUEUE
    }

    /// Lets something wait for a slot.
    ///
    /// # Errors
    /// Gives it back when [`SLOT_QUEUE`] wait already.
    pub fn offer(&mut self, packet: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(packet);
        }
        self.queue.push_back(packet);
        Ok(())
    }

    /// Lets the slot that is due by now pass, because the link is stuck. What waits keeps its place.
    pub fn skip(&mut self, now: Instant) {
        self.advance(now);
    }

    fn advance(&mut self, now: Instant) -> bool {
        let Some(late) = now.checked_duration_since(self.next) else { return false };
        let slot = self.slot.as_nanos().max(1);
        if late > MAX_LATE {
            self.next = now + self.slot;
        } else {
            // At most a second's slots.
            let missed = u32::try_from(late.as_nanos() / slot).unwrap_or(u32::MAX);
            self.next += self.slot * missed.saturating_add(1);
        }
        true
    }

    /// What the slot that is due by now carries. A task that wakes late finds one slot; those that it slept through are left out, because a
    /// burst would show when it was busy. The grid stays.
    pub fn take(&mut self, now: Instant) -> Option<Slot<T>> {
        if !self.advance(now) {
            return None;
        }
        Some(self.queue.pop_front().map_or(Slot::Cover, Slot::Packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    #[test]
    fn delays_have_the_levels_mean_and_forget_how_long_they_lasted() {
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(hop_delay_ms(Level::Fast, &mut rng), 0);
        for level in [Level::Balanced, Level::Strict] {
            let mean = f64::from(mean_delay_ms(level));
            let draws: Vec<u32> = (0..200_000).map(|_| hop_delay_ms(level, &mut rng)).collect();
            let average = |of: &[u32]| of.iter().map(|d| f64::from(*d)).sum::<f64>() / of.len() as f64;
            assert!((average(&draws) - mean).abs() < mean * 0.01, "{level:?}");
            assert!(draws.iter().all(|d| (1..=mean_delay_ms(level) * DELAY_CUT).contains(d)));
            // What is left of the delays that have lasted a mean is distributed as they were to begin with.
            let rest: Vec<u32> = draws.iter().filter_map(|d| d.checked_sub(mean as u32)).filter(|d| *d > 0).collect();
            assert!((average(&rest) - mean).abs() < mean * 0.03, "{level:?}: {}", average(&rest));
        }
    }

    #[test]
    fn loops_come_at_their_rate_and_irregularly() {
        let mut rng = StdRng::seed_from_u64(2);
        let start = Instant::now();
        let mut cover = PoissonCover::new(CLIENT_LOOP_MEAN, start, &mut rng);
        let (mut count, mut counts) = (0u32, Vec::new());
        for second in 1..=4_000 {
            let before = count;
            while cover.take(start + Duration::from_secs(second), &mut rng) {
                count += 1;
            }
            counts.push(f64::from(count - before));
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((mean - 1.0).abs() < 0.06 && (variance / mean - 1.0).abs() < 0.12, "mean {mean}, variance {variance}");
    }

    #[test]
    fn a_long_sleep_is_not_made_up_for() {
        let mut rng = StdRng::seed_from_u64(3);
        let start = Instant::now();
        let later = start + Duration::from_secs(3600);
        let mut cover = PoissonCover::new(Duration::from_millis(10), start, &mut rng);
        let mut made_up = 0;
        while cover.take(later, &mut rng) {
            made_up += 1;
        }
        assert_eq!(made_up, 1);
        let mut rate = ConstantRate::<u8>::new(CONSTANT_SLOT, start, &mut rng);
        assert!(rate.take(later).is_some() && rate.take(later).is_none());
    }

    #[test]
    fn every_slot_carries_one_thing_whatever_waits() {
        let mut rng = StdRng::seed_from_u64(4);
        let start = Instant::now();
        let mut idle = ConstantRate::<u32>::new(CONSTANT_SLOT, start, &mut StdRng::seed_from_u64(9));
        let mut busy = ConstantRate::new(CONSTANT_SLOT, start, &mut StdRng::seed_from_u64(9));
        let (mut taken, mut offered) = (0, 0u32);
        for _ in 0..1_000 {
            while rng.random_bool(0.6) && busy.offer(offered).is_ok() {
                offered += 1;
            }
            assert_eq!(idle.next(), busy.next(), "when slots are does not depend on what waits");
            let now = busy.next() + Duration::from_millis(rng.random_range(0..100));
            assert_eq!(idle.take(now), Some(Slot::Cover));
            if let Some(Slot::Packet(packet)) = busy.take(now) {
                assert_eq!(packet, taken, "in order");
                taken += 1;
            }
            assert!(busy.next() > now && busy.take(now).is_none(), "one a slot, and the next lies ahead");
        }
        assert!(taken > 800);
        while busy.offer(0).is_ok() {}
        assert_eq!((busy.has_room(), busy.offer(1)), (false, Err(1)));
    }
}
