//! The page that every visitor loads: 2 MB in 40 objects, as a browser fetches them: the document first, then the rest over six streams.
//!
//! A request is 500 bytes that begin with the length of the answer. Deliberately absent: HTTP itself.

use fogbank_betanet::sim::Machine;
use rand::{RngExt as _, rngs::StdRng};
use std::collections::HashMap;

/// Bytes of a page.
const PAGE_BYTES: usize = 2_000_000;
/// Objects of a page, the document among them.
const OBJECTS: usize = 40;
/// Bytes of the document.
const DOCUMENT_BYTES: usize = 40_000;
/// Streams at once, as browsers keep to one host.
const STREAMS: usize = 6;
/// Bytes of a request.
const REQUEST_BYTES: usize = 500;
/// Spread of the objects' sizes: a log-normal with this deviation puts half of the bytes into a seventh of the objects.
const SIGMA: f64 = 1.2;

/// A page's objects, of sizes drawn for this visit.
fn objects(rng: &mut StdRng) -> Vec<usize> {
    let normal = |rng: &mut StdRng| {
        // Box and Muller.
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    let weights: Vec<f64> = (1..OBJECTS).map(|_| (SIGMA * normal(rng)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let rest = (PAGE_BYTES - DOCUMENT_BYTES) as f64;
    std::iter::once(DOCUMENT_BYTES).chain(weights.iter().map(|w| ((w / total * rest) as usize).max(200))).collect()
}

/// The visitor's side of one visit.
pub(crate) struct Visit {
    /// Sizes still to be asked for, the document last.
    wanted: Vec<usize>,
    loading: Vec<u32>,
    document: bool,
    buffer: Vec<u8>,
    pub(crate) bytes: usize,
}

impl Visit {
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        let mut wanted = objects(rng);
        wanted.reverse();
        Self { wanted, loading: Vec::new(), document: false, buffer: vec![0; 64 << 10], bytes: 0 }
    }

    /// Reads what came and asks for more.
    pub(crate) fn go_on(&mut self, machine: &mut Machine) {
        let mut ended = Vec::new();
        for id in &self.loading {
            loop {
                let count = machine.read(*id, &mut self.buffer);
                self.bytes += count;
                if count == 0 {
                    break;
                }
            }
            if machine.is_at_end(*id) {
                ended.push(*id);
            }
        }
        for id in ended {
            machine.release(id);
            self.loading.retain(|l| *l != id);
            self.document = true;
        }
        while self.loading.len() < if self.document { STREAMS } else { 1 } {
            let Some(size) = self.wanted.pop() else { return };
            let Some(id) = machine.open() else { return self.wanted.push(size) };
            let mut request = vec![0; REQUEST_BYTES];
            request[..8].copy_from_slice(&size.to_be_bytes());
            machine.write(id, &request);
            machine.finish(id);
            self.loading.push(id);
        }
    }

    /// Whether all has come.
    pub(crate) fn is_over(&self) -> bool {
        self.wanted.is_empty() && self.loading.is_empty()
    }
}

/// The host's side of one tunnel.
#[derive(Default)]
pub(crate) struct Serving {
    asked: HashMap<u32, Vec<u8>>,
    /// Bytes still to be written, by stream, in the order of requests.
    owed: Vec<(u32, usize)>,
}

impl Serving {
    /// Reads requests and writes as much of the answers as there is room for.
    pub(crate) fn go_on(&mut self, machine: &mut Machine) {
        while let Some(id) = machine.accept() {
            self.asked.insert(id, Vec::new());
        }
        let mut buffer = [0; REQUEST_BYTES];
        let mut whole = Vec::new();
        for (id, request) in &mut self.asked {
            loop {
                let count = machine.read(*id, &mut buffer);
                request.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    break;
                }
            }
            if machine.is_at_end(*id) {
                let size = request.first_chunk::<8>().map_or(0, |b| usize::from_be_bytes(*b));
                whole.push((*id, size.min(PAGE_BYTES)));
            }
        }
        // Of a hash map's order nothing may depend.
        whole.sort_unstable();
        for (id, size) in whole {
            self.asked.remove(&id);
            self.owed.push((id, size));
        }
        let piece = [7; 16 << 10];
        self.owed.retain_mut(|(id, left)| {
            while *left > 0 {
                let count = machine.write(*id, &piece[..piece.len().min(*left)]);
                *left -= count;
                if count == 0 {
                    return true;
                }
            }
            machine.finish(*id);
            machine.release(*id);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn a_page_has_its_size_and_every_visit_its_own_objects() {
        let (a, b) = (objects(&mut StdRng::seed_from_u64(1)), objects(&mut StdRng::seed_from_u64(2)));
        for page in [&a, &b] {
            assert_eq!(page.len(), OBJECTS);
            assert!(page.iter().sum::<usize>().abs_diff(PAGE_BYTES) < 10_000);
        }
        assert_ne!(a, b);
    }
}
