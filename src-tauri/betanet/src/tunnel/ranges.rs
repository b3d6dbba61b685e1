//! Sets of numbers kept as few ranges: which datagrams have come, which bytes are acknowledged.

/// Half-open ranges, sorted, not touching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds `start..end`; returns whether anything of it was new.
    pub(super) fn insert(&mut self, start: u64, end: u64) -> bool {
        if start >= end {
            return false;
        }
        let first = self.0.partition_point(|r| r.1 < start);
        let last = first + self.0[first..].partition_point(|r| r.0 <= end);
        if let Some(whole) = self.0[first..last].iter().find(|r| r.0 <= start && end <= r.1) {
            debug_assert!(whole.0 <= start);
            return false;
        }
        let merged = self.0[first..last].iter().fold((start, end), |m, r| (m.0.min(r.0), m.1.max(r.1)));
        self.0.splice(first..last, [merged]);
        true
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let i = self.0.partition_point(|r| r.1 <= number);
        self.0.get(i).is_some_and(|r| r.0 <= number)
    }

    /// The parts of `start..end` that are not in the set.
    pub(super) fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut at = start;
        let mut parts = Vec::new();
        let first = self.0.partition_point(|r| r.1 <= start);
        for r in self.0[first..].iter().take_while(|r| r.0 < end) {
            if r.0 > at {
                parts.push((at, r.0));
            }
            at = at.max(r.1);
        }
        if at < end {
            parts.push((at, end));
        }
        parts
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The end of the range that begins at zero.
    pub(super) fn prefix(&self) -> u64 {
        self.0.first().filter(|r| r.0 == 0).map_or(0, |r| r.1)
    }

    /// The highest ranges, highest first.
    pub(super) fn highest(&self, count: usize) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().rev().take(count).copied()
    }

    /// Fills the lowest gaps until at most `limit` ranges are left: what is in them counts as seen.
    pub(super) fn limit(&mut self, limit: usize) {
        while self.0.len() > limit.max(1) {
            let second = self.0.remove(1);
            self.0[0].1 = second.1;
        }
        if let Some(first) = self.0.first_mut().filter(|_| limit > 0)
            && first.0 > 0
            && self.0.len() >= limit
        {
            self.0[0].0 = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn as_a_set_would_be(inserts in prop::collection::vec((0u64..200, 0u64..20), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (start, length) in inserts {
                let new = (start..start + length).any(|n| !set.contains(&n));
                prop_assert_eq!(ranges.insert(start, start + length), new);
                set.extend(start..start + length);
            }
            for n in 0..230 {
                prop_assert_eq!(ranges.contains(n), set.contains(&n));
            }
            let missing: Vec<u64> = ranges.missing(10, 150).into_iter().flat_map(|(a, b)| a..b).collect();
            let expected: Vec<u64> = (10..150).filter(|n| !set.contains(n)).collect();
            prop_assert_eq!(missing, expected);
        }
    }

    #[test]
    fn limiting_fills_the_oldest_gaps() {
        let mut ranges = Ranges::default();
        for n in [0, 2, 4, 6, 8] {
            ranges.insert(n, n + 1);
        }
        ranges.limit(3);
        assert!((0..=4).all(|n| ranges.contains(n)) && !ranges.contains(5) && !ranges.contains(7));
    }
}
