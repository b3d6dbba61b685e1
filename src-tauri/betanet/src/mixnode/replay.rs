//! Exact replay protection for the life of one packet key.
//!
//! Every tag is remembered as long as its key is live; forgetting one early would let its packet be replayed. So the set is sized for all packets
//! that the mix may take in a key's life at its rate limit ([`most_tags`]), and beyond that it refuses further packets until the
//! next key, before it does any work for them. Keys are not turned early for that: it would kill the SURBs that are out. Where the rate is higher
//! than the largest set lasts for, the second half of it is rationed ([`ReplayTags::ration`]), so that no flood shuts the mix for an hour.
//!
//! Remembered are the first eight bytes of each tag (a keyed hash that nobody can choose): no replay passes, and of 2²³ honest packets one in
//! 2⁴¹ is taken for one.

use super::limits::Rate;
use crate::epoch::KEY_LIFE;
use fogbank_model::DurationMs;
use std::collections::HashSet;

/// Tags of one key at most, whatever the rate: 7/8 of 2²³ slots of 9 bytes, 75 MB when full, 1,000 packets a second for a key's two hours.
const MOST_TAGS: usize = 7 << 20;

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

/// Tags that a key needs at a rate limit.
pub(crate) fn most_tags(rate: Rate) -> usize {
    let packets = rate.packets_s().map_or(usize::MAX, |packets_s| {
        usize::try_from(u64::from(packets_s).saturating_mul(KEY_LIFE.0.unsigned_abs() / 1_000)).unwrap_or(usize::MAX)
    });
    packets.min(MOST_TAGS)
}

/// The tags of one key.
#[derive(Debug, Default)]
pub(crate) struct ReplayTags {
    seen: HashSet<u64>,
    limit: usize,
}

impl ReplayTags {
    pub(crate) fn new(limit: usize) -> Self {
        Self { seen: HashSet::new(), limit }
    }

    /// Makes room for more. Never for less: what came at a higher rate is in the set, and packets that come at the lower one don't exceed it.
    pub(crate) fn raise(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    /// Packets a second that the rest suffices for, until the key's life ends; `None` while half is free.
    pub(crate) fn ration(&self, left: DurationMs) -> Option<u32> {
        let free = self.limit.saturating_sub(self.seen.len());
        let seconds = left.0.unsigned_abs().div_ceil(1_000).max(1);
        (free <= self.limit / 2).then(|| u32::try_from(free as u64 / seconds).unwrap_or(u32::MAX))
    }

    /// Whether a further tag finds no room.
    pub(crate) fn full(&self) -> bool {
        self.seen.len() >= self.limit
    }

    /// Whether a tag came before; else it is remembered.
    pub(crate) fn check(&mut self, tag: [u8; 16]) -> Seen {
        let [a, b, c, d, e, f, g, h, ..] = tag;
        let tag = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if self.seen.contains(&tag) {
            Seen::Before
        } else if self.full() {
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
        tags.raise(1);
        assert!(tags.full(), "what is remembered stays");
        tags.raise(3);
        assert_eq!((tags.check([2; 16]), tags.check([3; 16]), tags.full()), (Seen::Before, Seen::New, true));
    }

    #[test]
    fn the_second_half_lasts_until_the_end() {
        let mut tags = ReplayTags::new(200);
        let hour = DurationMs::from_s(3_600);
        let tag = |number: u64| (u128::from(number) << 64).to_be_bytes();
        (0..99).for_each(|number| assert_eq!(tags.check(tag(number)), Seen::New));
        assert_eq!(tags.ration(hour), None);
        assert_eq!(tags.check(tag(99)), Seen::New);
        assert_eq!(tags.ration(DurationMs::from_s(50)), Some(2));
        assert_eq!(tags.ration(hour), Some(0));
        (100..190).for_each(|number| assert_eq!(tags.check(tag(number)), Seen::New));
        assert_eq!((tags.ration(DurationMs(1_001)), tags.ration(DurationMs(0))), (Some(5), Some(10)));
        assert_eq!(ReplayTags::new(most_tags(Rate::of_packets_s(1))).ration(hour), None);
    }

    #[test]
    fn sized_for_a_keys_whole_life() {
        assert_eq!(most_tags(Rate::of_packets_s(100)), 720_000);
        assert_eq!(most_tags(Rate::UNLIMITED), MOST_TAGS);
    }
}
