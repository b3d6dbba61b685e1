//! The packet keys of a mix: one an epoch, made half a day ahead, forgotten when their time is over. Pure: time and randomness come in.
//!
//! Keys never touch a disk. A mix that restarts has other keys, so nothing that was recorded before can be replayed after; that is what a new
//! life in the directory tells everybody.

use super::replay::{ReplayTags, Seen};
use crate::epoch::{self, KEYS_AHEAD};
use fogbank_model::{DurationMs, UnixMs};
use fogbank_sphinx::{Epoch, MixPublic, MixSecret};
use fogbank_wire::PacketKeys;
use rand::CryptoRng;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A key with what came under it.
pub(super) struct EpochKey {
    pub(super) secret: MixSecret,
    pub(super) public: MixPublic,
    tags: Mutex<ReplayTags>,
}

impl EpochKey {
    fn generate(most_tags: usize, rng: &mut impl CryptoRng) -> Arc<Self> {
        let secret = MixSecret::generate(rng);
        let public = secret.public();
        Arc::new(Self { secret, public, tags: Mutex::new(ReplayTags::new(most_tags)) })
    }

    /// Whether a packet of this key came before; it is remembered.
    pub(super) fn check(&self, tag: [u8; 16]) -> Seen {
        self.tags().check(tag)
    }

    /// Whether no further packet of this key can be remembered, so that none may be taken.
    pub(super) fn full(&self) -> bool {
        self.tags().full()
    }

    /// See [`ReplayTags::ration`].
    fn ration(&self, left: DurationMs) -> Option<u32> {
        self.tags().ration(left)
    }

    fn tags(&self) -> MutexGuard<'_, ReplayTags> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All keys of a mix.
pub(super) struct MixKeys {
    keys: BTreeMap<Epoch, Arc<EpochKey>>,
    most_tags: usize,
}

impl MixKeys {
    pub(super) fn new(most_tags: usize, now: UnixMs, rng: &mut impl CryptoRng) -> Self {
        let mut keys = Self { keys: BTreeMap::new(), most_tags };
        keys.turn(now, rng);
        keys
    }

    /// Sizes the tags of the keys to come, and makes room for as many with those that are out.
    pub(super) fn set_most_tags(&mut self, most_tags: usize) {
        self.most_tags = most_tags;
        self.keys.values().for_each(|key| key.tags().raise(most_tags));
    }

    /// Forgets what is no longer live and makes what is missing; whether there is news to publish.
    pub(super) fn turn(&mut self, now: UnixMs, rng: &mut impl CryptoRng) -> bool {
        let [earliest, _] = epoch::live(now);
        // A clock that was far ahead may have left keys of epochs that are long to come.
        let last = Epoch(epoch::at(now).0.saturating_add(KEYS_AHEAD));
        let before = self.keys.len();
        self.keys.retain(|epoch, _| (earliest..=last).contains(epoch));
        let mut news = self.keys.len() != before;
        for epoch in (earliest.0..=last.0).map(Epoch) {
            self.keys.entry(epoch).or_insert_with(|| {
                news = true;
                EpochKey::generate(self.most_tags, rng)
            });
        }
        news
    }

    /// The two live keys: for packets that show a 0, and for those that show a 1.
    pub(super) fn live(&self, now: UnixMs) -> [Option<Arc<EpochKey>>; 2] {
        let mut by_bit = [None, None];
        for epoch in epoch::live(now) {
            by_bit[usize::from(epoch.bit())] = self.keys.get(&epoch).cloned();
        }
        by_bit
    }

    /// Packets a second that may be taken so that the tags of both live keys last, where more than half of one's are used.
    pub(super) fn ration(&self, now: UnixMs) -> Option<u32> {
        let live = epoch::live(now).into_iter().filter_map(|epoch| Some((epoch, self.keys.get(&epoch)?)));
        live.filter_map(|(epoch, key)| key.ration(epoch::key_ends(epoch).since(now))).min()
    }

    /// What is told to the fog.
    pub(super) fn public(&self) -> PacketKeys {
        let first = self.keys.first_key_value().map_or(0, |(epoch, _)| epoch.0);
        PacketKeys { first, keys: self.keys.values().map(|key| key.public.0).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    #[test]
    fn keys_come_half_a_day_ahead_and_go_when_their_time_is_over() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut now = epoch::start(Epoch(500_000));
        let mut keys = MixKeys::new(10, now, &mut rng);
        let first = keys.public();
        assert!(!keys.turn(now, &mut rng), "nothing new");
        assert_eq!(first.keys.len(), 2 + KEYS_AHEAD as usize);
        for _ in 0..5 {
            now = now.plus(epoch::EPOCH_LIFE);
            assert!(keys.turn(now, &mut rng));
            for epoch in epoch::live(now) {
                let live = keys.live(now)[usize::from(epoch.bit())].clone().unwrap();
                assert_eq!(keys.public().of(epoch.0), Some(live.public.0));
            }
        }
        let later = keys.public();
        assert_eq!(later.first, first.first + 5);
        assert_eq!(later.of(first.first + 7), first.of(first.first + 7), "a key that was told stays");
        assert!(keys.keys.keys().all(|epoch| epoch.0 >= later.first), "and what is over is gone");
        // A clock that jumps by days and back leaves no more than one set.
        keys.turn(now.plus(DurationMs::from_s(30 * 24 * 3600)), &mut rng);
        keys.turn(now, &mut rng);
        assert_eq!(keys.keys.len(), 2 + KEYS_AHEAD as usize);
    }

    #[test]
    fn each_epoch_has_tags_of_its_own() {
        let keys = MixKeys::new(10, epoch::start(Epoch(500_000)), &mut StdRng::seed_from_u64(2));
        let [even, odd] = keys.live(epoch::start(Epoch(500_000))).map(Option::unwrap);
        assert_eq!(even.check([1; 16]), Seen::New);
        assert_eq!(even.check([1; 16]), Seen::Before);
        assert_eq!(odd.check([1; 16]), Seen::New);
    }

    #[test]
    fn the_scarcer_of_both_keys_sets_the_ration() {
        let now = epoch::start(Epoch(500_000));
        let keys = MixKeys::new(20_000, now, &mut StdRng::seed_from_u64(4));
        // By their bits: the even one is the present one.
        let [present, ending] = keys.live(now).map(Option::unwrap);
        let fill = |key: &EpochKey, count: u64| {
            (0..count).for_each(|n| assert_eq!(key.check((u128::from(n) << 64).to_be_bytes()), Seen::New));
        };
        assert_eq!(keys.ration(now), None);
        fill(&ending, 10_000);
        // Half an hour is left of its life.
        assert_eq!(keys.ration(now), Some(10_000 / 1_800));
        fill(&present, 12_000);
        assert_eq!(keys.ration(now), Some(8_000 / 5_400));
        assert_eq!(keys.ration(now.plus(DurationMs::from_s(1_800))), Some(8_000 / 3_600), "the other has ended");
    }

    #[test]
    fn a_raised_rate_counts_for_the_keys_that_are_out_and_for_those_to_come() {
        let mut rng = StdRng::seed_from_u64(3);
        let now = epoch::start(Epoch(500_000));
        let mut keys = MixKeys::new(1, now, &mut rng);
        keys.set_most_tags(2);
        let later = now.plus(DurationMs(epoch::EPOCH_LIFE.0 * 50));
        for at in [now, later] {
            keys.turn(at, &mut rng);
            for key in keys.live(at).map(Option::unwrap) {
                assert_eq!([1, 2, 3].map(|tag| key.check([tag; 16])), [Seen::New, Seen::New, Seen::Full]);
            }
        }
    }
}
