//! Exact replay protection for the life of one packet key.
//!
//! A packet key is made when the mix starts and ends with it, so nothing can be replayed across a restart. When the set is full the mix
//! refuses further packets and asks to be restarted with a fresh key; forgetting tags early would let packets be replayed.

use std::collections::HashSet;

/// Tags remembered: seven eighths of 2²¹ slots, which fill 36 MB and stand for 15 GB relayed with one key.
pub(crate) const MAX_TAGS: usize = 7 << 18;

/// What became of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not seen before; remembered now.
    New,
    /// A replay.
    Before,
    /// No room to remember it.
    Full,
}

/// The tags of one key.
#[derive(Debug, Default)]
pub(crate) struct ReplayTags {
    seen: HashSet<[u8; 16]>,
    limit: usize,
}

impl ReplayTags {
    pub(crate) fn new(limit: usize) -> Self {
        Self { seen: HashSet::new(), limit }
    }

    pub(crate) fn check(&mut self, tag: [u8; 16]) -> Seen {
        if self.seen.contains(&tag) {
            Seen::Before
        } else if self.seen.len() >= self.limit {
            Seen::Full
        } else {
            self.seen.insert(tag);
            Seen::New
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_and_bounded() {
        let mut tags = ReplayTags::new(2);
        assert_eq!(tags.check([1; 16]), Seen::New);
        assert_eq!(tags.check([1; 16]), Seen::Before);
        assert_eq!(tags.check([2; 16]), Seen::New);
        assert_eq!(tags.check([3; 16]), Seen::Full);
        assert_eq!(tags.check([2; 16]), Seen::Before);
    }
}
