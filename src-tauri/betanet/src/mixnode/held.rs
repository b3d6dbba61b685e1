//! The frames that a mix holds: one budget over delays and links, so that no mixture of floods, slow and dead peers adds up to
//! more. A frame has a place from when it is taken off the wire until QUIC has it for the next peer; what finds none is dropped and counted.
//!
//! Deliberately absent: what QUIC itself holds (its windows, a connection each) and what waits at the rendezvous (its own bounds).

use super::pipeline::lock;
use crate::link::LINK_FRAME_BYTES;
use fogbank_wire::Group;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames held at once: 24 MB, a fifth of the 128 MB that a flooded mix may take. At 8 KiB these are 3,072: a tenth of a second of what two
/// cores unwrap, or all that is held back at a mean of 50 ms at 40,000 packets a second and a third more.
const MOST: usize = (24 << 20) / LINK_FRAME_BYTES;
/// Of them held back by their delay: two thirds, so that senders who ask for the longest delays leave room for those who ask for none.
const MOST_DELAYED: usize = MOST / 3 * 2;
/// Of the places that are free just now, the part that may wait for one peer (a dynamic threshold, as in switches: Choudhury and Hahne 1998). However
/// many peers stall, some places stay free: of 3,072 some forty when all 704 links and peers do, and who takes its frames needs one for no time.
const PART_FOR_A_PEER: usize = 8;

/// Of the places for delayed frames, a group may have so many times those that are free: one alone two thirds, of two each two fifths, and
/// whoever comes beside groups that ask for the longest delays finds some.
const TIMES_THE_FREE: usize = 2;

/// A frame's place. It is free again when this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// All places of a mix.
pub(super) struct Places {
    all: Arc<Semaphore>,
    delayed: Arc<Mutex<HashMap<Group, usize>>>,
}

/// A place among those that are held back. It is free again when this is dropped.
pub(super) struct Delayed(Arc<Mutex<HashMap<Group, usize>>>, Group);

impl Drop for Delayed {
    fn drop(&mut self) {
        let mut delayed = lock(&self.0);
        if let Some(count) = delayed.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                delayed.remove(&self.1);
            }
        }
    }
}

impl Places {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), delayed: Arc::default() }
    }

    /// A place for a frame, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        self.all.clone().try_acquire_owned().ok()
    }

    /// A place among those that are held back, besides that of the frame itself, for a frame that came from this group.
    pub(super) fn hold_back(&self, group: Group) -> Option<Delayed> {
        let mut delayed = lock(&self.delayed);
        let free = MOST_DELAYED.saturating_sub(delayed.values().sum());
        let own = delayed.get(&group).copied().unwrap_or(0);
        if free == 0 || own >= free * TIMES_THE_FREE {
            return None;
        }
        delayed.insert(group, own + 1);
        Some(Delayed(self.delayed.clone(), group))
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
    }

    /// Somebody sends packets that ask for the longest delay, in as many networks as it likes.
    #[test]
    fn who_asks_for_long_delays_leaves_places_for_the_delays_of_others() {
        let places = Places::new();
        let network = |number: u8| Group::of_client(Some([10, 0, number, 1].into()));
        let taken = |number: u8| std::iter::from_fn(|| places.hold_back(network(number))).collect::<Vec<_>>();
        let one = taken(0);
        assert!(one.len().abs_diff(MOST_DELAYED * 2 / 3) <= 1, "{}", one.len());
        let (two, three) = (taken(1), taken(2));
        assert!(two.len() > MOST_DELAYED / 5 && three.len() > MOST_DELAYED / 15, "{} {}", two.len(), three.len());
        let more: Vec<_> = (3..40).map(taken).collect();
        let held = one.len() + two.len() + three.len() + more.iter().map(Vec::len).sum::<usize>();
        assert!(held <= MOST_DELAYED);
        drop(one);
        drop(more);
        assert!(taken(3).len() > MOST_DELAYED / 3, "what is free again is anybody's");
        drop((two, three));
        assert_eq!(lock(&places.delayed).len(), 0);
    }
}
