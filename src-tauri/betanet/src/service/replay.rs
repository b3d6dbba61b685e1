//! First messages that were answered, so that a recorded one is not answered again.

use std::collections::{HashSet, VecDeque};

/// First messages remembered: at 32 introductions a second and point and three points, eleven minutes of the most that can come; at an ordinary
/// rate, the life of a lease. A replay of an older one costs a mailbox and yields nothing, as its sender lacks the key of the answer.
const REMEMBERED: usize = 65_536;

/// A bounded memory.
#[derive(Debug)]
pub(super) struct Seen {
    set: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
    most: usize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self::holding(REMEMBERED)
    }

    fn holding(most: usize) -> Self {
        Self { set: HashSet::new(), order: VecDeque::new(), most }
    }

    /// Remembers a message; whether it is new.
    pub(super) fn first_time(&mut self, message: &[u8]) -> bool {
        let hash = blake3::hash(message);
        let mut short = [0; 16];
        short.copy_from_slice(&hash.as_bytes()[..16]);
        if !self.set.insert(short) {
            return false;
        }
        if self.order.len() == self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        self.order.push_back(short);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_newest() {
        let mut seen = Seen::holding(3);
        assert!((0..4u8).all(|i| seen.first_time(&[i])));
        assert!((1..4u8).all(|i| !seen.first_time(&[i])));
        assert!(seen.first_time(&[0]), "the oldest made room");
        assert_eq!((seen.set.len(), seen.order.len()), (3, 3));
    }
}
