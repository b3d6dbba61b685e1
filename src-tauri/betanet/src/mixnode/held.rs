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
/// Frames that wait for one link while less than half of the places are free: peers that stall or are gone then keep few of them from others.
const FEW_ON_A_LINK: usize = 16;

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

    /// Whether one more frame may wait for a link where so many wait already.
    pub(super) fn may_wait(&self, waiting: usize) -> bool {
        waiting < FEW_ON_A_LINK || self.all.available_permits() >= MOST / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_few_are_left_to_a_stalled_link() {
        let places = Places::new();
        assert!(places.may_wait(FEW_ON_A_LINK * 4), "half of them are free");
        let held: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(held.len(), MOST);
        assert!(!places.may_wait(FEW_ON_A_LINK) && places.may_wait(FEW_ON_A_LINK - 1));
        drop(held);
        assert!(places.take().is_some());
        let delayed: Vec<_> = std::iter::from_fn(|| places.hold_back()).collect();
        assert!(delayed.len() == MOST_DELAYED && places.take().is_some(), "who asks for no delay finds room");
    }
}
