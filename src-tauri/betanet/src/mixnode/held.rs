//! The frames that a mix holds: one budget over delays and links, so that no mixture of floods, slow and dead peers adds up to
//! more. A frame has a place from when it is taken off the wire until QUIC has it for the next peer; what finds none is dropped and counted.
//!
//! Deliberately absent: what QUIC itself holds (its windows, a connection each) and what waits at the rendezvous (its own bounds).

use crate::link::LINK_FRAME_BYTES;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames held at once: 24 MB, a fifth of the 128 MB that a flooded mix may take. At 8 KiB these are 3,072: a tenth of a second of what two
/// cores unwrap, or all that is held back at a mean of 50 ms at 40,000 packets a second and a third more.
const MOST: usize = (24 << 20) / LINK_FRAME_BYTES;
/// Of them held back by their delay: two thirds, so that a sender who asks for the longest delays leaves room for those who ask for none.
const MOST_DELAYED: usize = MOST / 3 * 2;
/// Of the places that are free just now, the part that may wait for one peer (a dynamic threshold, as in switches: Choudhury and Hahne 1998). However
/// many peers stall, some places stay free: of 3,072 some forty when all 704 links and peers do, and who takes its frames needs one for no time.
const PART_FOR_A_PEER: usize = 8;

/// A frame's place. It is free again when this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// All places of a mix.
pub(super) struct Places {
    all: Arc<Semaphore>,
    delayed: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), delayed: Arc::new(Semaphore::new(MOST_DELAYED)) }
    }

    /// A place for a frame, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        self.all.clone().try_acquire_owned().ok()
    }

    /// A place among those that are held back, besides that of the frame itself.
    pub(super) fn hold_back(&self) -> Option<Place> {
        self.delayed.clone().try_acquire_owned().ok()
    }

    /// Whether one more frame may wait for a peer for which so many wait already.
    pub(super) fn may_wait(&self, waiting: usize) -> bool {
        waiting < self.all.available_permits() / PART_FOR_A_PEER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_peers_that_stall_never_have_all() {
        let places = Places::new();
        // A peer that lets a whole link's queue wait, while nothing else does.
        assert!(places.may_wait(255));
        // All peers and links there can be, of which none takes anything.
        let mut stalled: Vec<Vec<Place>> = (0..704).map(|_| Vec::new()).collect();
        loop {
            let before: usize = stalled.iter().map(Vec::len).sum();
            for queue in &mut stalled {
                if let Some(place) = places.take()
                    && places.may_wait(queue.len())
                {
                    queue.push(place);
                }
            }
            if stalled.iter().map(Vec::len).sum::<usize>() == before {
                break;
            }
        }
        let free: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert!(free.len() >= 8, "{} places are left for those that take their frames", free.len());
        drop(free);
        drop(stalled);
        let held: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(held.len(), MOST);
        drop(held);
        assert!(places.take().is_some());
        let delayed: Vec<_> = std::iter::from_fn(|| places.hold_back()).collect();
        assert!(delayed.len() == MOST_DELAYED && places.take().is_some(), "who asks for no delay finds room");
    }
}
