//! The ways between nodes: latency, jitter, loss, an access link's rate, and the tick on which mixes send.
//!
//! Everything here is a model; what a packet's path is and how long a hop holds it is the product's. Times are µs of virtual time.
//! Deliberately absent: queues inside mixes. A mix forwards tens of thousands of packets a second, a hundred times what these users send.

use rand::{RngExt as _, rngs::StdRng};

/// Microseconds of virtual time.
pub(crate) type Us = u64;

/// One way from a node's own door into the middle of the network: 2–20 ms, so links take 4–40 ms.
const DOOR_US: std::ops::Range<Us> = 2_000..20_000;
/// Mean of the exponential jitter on each link.
pub(crate) const JITTER_US: f64 = 300.0;
/// What a mix takes to unwrap and pass on.
pub(crate) const WORK_US: Us = 100;
/// Mixes' timers run on ticks of a millisecond.
pub(crate) const TICK_US: Us = 1_000;
/// A packet is lost on its whole way (UDP loss is repaired by links; what remains is full queues).
pub(crate) const LOSS: f64 = 0.001;
/// Access links of clients, bytes a second: half to twice the 1 MB/s that an owner lends by default.
pub(crate) const ACCESS_BYTES_S: std::ops::Range<f64> = 500_000.0..2_000_000.0;

/// One mix on a path, as the sender planned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) mix: u16,
    pub(crate) delay_ms: u32,
}

/// One mix on a path, as a watcher of all links sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) mix: u16,
    /// Mixes passed before.
    pub(crate) place: u8,
    pub(crate) arrived: Us,
    pub(crate) left: Us,
    /// It left as soon as it came, which shows.
    pub(crate) at_once: bool,
}

/// Where the mixes stand.
pub(crate) struct Doors {
    mixes: Vec<Us>,
}

impl Doors {
    pub(crate) fn new(n: usize, rng: &mut StdRng) -> Self {
        Self { mixes: (0..n).map(|_| door(rng)).collect() }
    }

    pub(crate) fn of(&self, mix: u16) -> Us {
        self.mixes.get(usize::from(mix)).copied().unwrap_or(DOOR_US.start)
    }

    /// No way through one mix takes longer over its two links.
    pub(crate) fn longest(&self) -> Us {
        4 * DOOR_US.end
    }

    /// Walks a path from a door; returns the hops and, for an end behind another door, when it arrives there.
    pub(crate) fn walk(&self, from: Us, start: Us, place: u8, steps: &[Step], rng: &mut StdRng) -> Vec<Hop> {
        let (mut at, mut door, mut hops) = (start, from, Vec::with_capacity(steps.len()));
        for (step, place) in steps.iter().zip(place..) {
            let arrived = at + door + self.of(step.mix) + jitter(rng);
            let ready = arrived + WORK_US;
            let left = match step.delay_ms {
                0 => ready,
                ms => (ready + Us::from(ms) * 1_000).next_multiple_of(TICK_US),
            };
            hops.push(Hop { mix: step.mix, place, arrived, left, at_once: step.delay_ms == 0 });
            (at, door) = (left, self.of(step.mix));
        }
        hops
    }

    /// When what a mix sends at `left` reaches a client's door.
    pub(crate) fn home(&self, mix: u16, left: Us, to: Us, rng: &mut StdRng) -> Us {
        left + self.of(mix) + to + jitter(rng)
    }
}

/// Where a client stands.
pub(crate) fn door(rng: &mut StdRng) -> Us {
    rng.random_range(DOOR_US)
}

fn jitter(rng: &mut StdRng) -> Us {
    (-JITTER_US * (1.0 - rng.random::<f64>()).ln()) as Us
}
