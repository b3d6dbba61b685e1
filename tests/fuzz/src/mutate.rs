//! Mutations without coverage, for the short run in the tests: a fixed generator over the seeds. Not a fuzzer: it finds targets that have
//! rotted and the shallowest of faults.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// Bytes of an input at most: a packet and some.
const MAX_BYTES: usize = 9_000;
/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 8] = [0, 1, 127, 128, 255, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// Draws inputs from seeds.
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    rng: StdRng,
}

impl Mutator {
    /// Over these seeds; the same inputs for the same number.
    pub fn new(seeds: Vec<Vec<u8>>, number: u64) -> Self {
        Self { seeds, rng: StdRng::seed_from_u64(number) }
    }

    /// The next input.
    pub fn draw(&mut self) -> Vec<u8> {
        let mut bytes = self.seeds.choose(&mut self.rng).cloned().unwrap_or_default();
        for _ in 0..self.rng.random_range(1..=4) {
            self.change(&mut bytes);
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let rng = &mut self.rng;
        let at = rng.random_range(0..=bytes.len());
        let to = rng.random_range(at..=bytes.len()).min(at + 16);
        match rng.random_range(0..7) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.random()),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let edge = EDGES.choose(rng).copied().unwrap_or_default().to_be_bytes();
                let width = rng.random_range(1..=8);
                bytes.iter_mut().skip(at).zip(&edge[8 - width..]).for_each(|(byte, e)| *byte = *e);
            }
            _ => {
                let other = self.seeds.choose(rng).cloned().unwrap_or_default();
                bytes.truncate(at);
                bytes.extend(other.iter().skip(at));
            }
        }
    }
}
