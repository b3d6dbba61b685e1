//! The signed directory: every mix that the allocator has seen alive, with what is needed to build paths.
//!
//! It is signed by the fog, handed on by every node, and kept by each: browsing goes on for [`DIRECTORY_LIFE`] after the allocator is gone.
//! Invariants: a [`Directory`] that came through [`Directory::open`] was signed by its fog and by as many witnesses as its own charter asks for
//! (whether that is the charter that is believed, see [`DirectoryHub`]), is within bounds, and its mixes are sorted by
//! id without doubles, so looking one up is a binary search. Time of the network is the directory's `made`, never a stranger's word.
//! Fail closed: [`Directory::usable`] decides whether there are mixes enough for an address to be opened at all.
//! A fog may name others; the directories of those that name it too are merged with its own into one network ([`Directory::merged`]).
//! Deliberately absent: fetching and pushing it (link, uplink) and deciding who is alive (the allocator).

mod charter;
mod draw;
mod enough;
mod entry;
pub mod gossip;
mod hub;
mod merged;
mod places;
mod signed;
mod trust;
mod weight;
pub mod witness;

pub use crate::clock::system as clock;
pub use charter::{Charter, CharterError, HANDOVER, Handover, MAX_HANDOVERS, Succession, read as read_handover};
pub use draw::{Draw, DrawError, Drawn, MAX_PARTS, commit, reveal};
pub use enough::{NotPrivate, Usable};
pub use entry::{BROKEN, MAX_MIX_ADDRS, MixEntry, NotListed, UNMEASURED, check_mix, mix_id};
pub(crate) use entry::{lives, lives_ended};
pub use hub::{DirectoryHub, KeptDirectory, KnownDirectory};
pub use places::{is_local, of_one_computer};
pub use signed::{DirectoryError, SignedDirectory};

use crate::{
    address::Period,
    epoch::{self, EPOCH_LIFE, KEYS_AHEAD},
};
use fogbank_model::{DurationMs, FogId, MixId, UnixMs};
use fogbank_sphinx::Epoch;
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const DIRECTORY_VERSION: u16 = 4;
/// Mixes in a directory at most: at 800 bytes each, most of them packet keys, it fits one frame. A mix keeps 256 links, so that larger nets
/// than a few hundred mixes need a topology of their own before this bound is met.
pub const MAX_MIXES: usize = 4_000;
/// Fogs that a fog may name besides itself: every node keeps the directories of all, 16 of about a megabyte, and links lead to the mixes of
/// all.
pub const MAX_FEDERATED: usize = 15;
/// On how many mixes each descriptor lies: it is found as long as one of them is up.
pub const DESCRIPTOR_COPIES: usize = 6;
/// How old a directory may be before nothing new is opened by it: as long as it has packet keys for. The allocator signs a new one at each
/// change and every 10 minutes.
pub const DIRECTORY_LIFE: DurationMs = DurationMs(KEYS_AHEAD as i64 * EPOCH_LIFE.0);
/// A directory from the future by more than this is not believed: no clock that keeps TLS alive is wronger.
pub const CLOCK_SLACK: DurationMs = DurationMs::from_s(24 * 3600);

/// What a fog signs a directory as.
pub const CONTEXT: &str = "fogbank directory 4";

/// What a fog's allocator says about its mixes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    /// Version of the format.
    pub version: u16,
    /// Rises with each directory.
    pub serial: u64,
    /// The fog, which signs it.
    pub fog: FogId,
    /// A test fog: privacy rules are relaxed, shown in red everywhere.
    pub test: bool,
    /// When it was made, by the allocator's clock: the network's time.
    pub made: UnixMs,
    /// Not used for anything new after this.
    pub expires: UnixMs,
    /// Salts the positions on the ring of descriptors, another one each period, so that nobody can choose a place beside a victim ahead of time.
    pub shared_random: [u8; 32],
    /// Clients that are connected to mixes, of visitors and of hosts, by the mixes' own counts: 0 or a power of two, rounded down, so that it
    /// tells little of who comes and goes. An estimate for the privacy meter; nothing is decided by it.
    pub clients: u32,
    /// Fogs with which it wants to be one network, sorted, without itself. What one fog says alone does nothing: the other must name it too.
    pub federated: Vec<FogId>,
    /// Who witnesses it.
    pub charter: Charter,
    /// How that came to be, the last change at the end.
    pub handovers: Vec<Handover>,
    /// What the shared random value is made of, and the next one will be.
    pub draw: Draw,
    /// The mixes that were seen alive, sorted by id.
    pub mixes: Vec<MixEntry>,
    /// How often each and those before it are chosen, in the order of `mixes`.
    #[serde(skip)]
    sums: Vec<f64>,
    /// What it is made of, when it is several fogs' in one.
    #[serde(skip)]
    merged: Option<merged::Merged>,
}

impl Directory {
    /// A directory made now. Sorts the mixes.
    pub fn new(fog: FogId, test: bool, serial: u64, made: UnixMs, shared_random: [u8; 32], mut mixes: Vec<MixEntry>) -> Self {
        mixes.sort_by_key(|m| m.id);
        mixes.dedup_by_key(|m| m.id);
        let expires = made.plus(DIRECTORY_LIFE);
        let sums = weight::sums(&mixes, made);
        Self {
            version: DIRECTORY_VERSION,
            serial,
            fog,
            test,
            made,
            expires,
            shared_random,
            clients: 0,
            federated: Vec::new(),
            charter: Charter::default(),
            handovers: Vec::new(),
            draw: Draw::default(),
            mixes,
            sums,
            merged: None,
        }
    }

    /// The same, naming these fogs: without itself, each once, no more than [`MAX_FEDERATED`].
    #[must_use]
    pub fn with_federated(self, mut fogs: Vec<FogId>) -> Self {
        fogs.retain(|fog| *fog != self.fog);
        fogs.sort_unstable();
        fogs.dedup();
        fogs.truncate(MAX_FEDERATED);
        Self { federated: fogs, ..self }
    }

    /// The same under a charter, and by which changes it came about.
    #[must_use]
    pub fn with_charter(self, charter: Charter, handovers: Vec<Handover>) -> Self {
        Self { charter, handovers, ..self }
    }

    /// The same with the parts of a draw, and the value that they make.
    #[must_use]
    pub fn with_draw(self, draw: Draw) -> Self {
        Self { shared_random: draw.value(&self.fog, Period::at(self.made)), draw, ..self }
    }

    /// The same with a count of clients, rounded down to a power of two.
    pub fn with_clients(self, clients: u32) -> Self {
        Self { clients: clients.checked_ilog2().map_or(0, |log| 1 << log), ..self }
    }

    fn check(&self, fog: &FogId) -> Result<(), &'static str> {
        if self.fog != *fog {
            return Err("it names another fog");
        }
        if self.clients != 0 && !self.clients.is_power_of_two() {
            return Err("its count of clients is not rounded");
        }
        if self.mixes.len() > MAX_MIXES {
            return Err("it has too many mixes");
        }
        if self.expires <= self.made || self.expires > self.made.plus(DIRECTORY_LIFE) {
            return Err("it ends before it begins, or long after its packet keys do");
        }
        if self.federated.len() > MAX_FEDERATED {
            return Err("it names too many fogs");
        }
        if !self.federated.is_sorted_by(|a, b| a < b) || self.federated.contains(fog) {
            return Err("the fogs that it names are not sorted, or one is named twice, or it names itself");
        }
        self.charter.check(fog)?;
        if self.handovers.len() > MAX_HANDOVERS {
            return Err("it tells too many changes of its witnesses");
        }
        if !self.draw.is_sound() {
            return Err("the parts of its shared random value are not sorted, or too many");
        }
        if !self.mixes.is_sorted_by(|a, b| a.id < b.id) {
            return Err("its mixes are not sorted, or two have one id");
        }
        if self.mixes.iter().any(|m| m.id != mix_id(&m.key)) {
            return Err("a mix's id is not the beginning of its key");
        }
        if self.mixes.iter().any(|m| m.addrs.len() > MAX_MIX_ADDRS) {
            return Err("a mix has too many addresses");
        }
        if self.mixes.iter().any(|m| m.packet_keys.keys.len() > fogbank_wire::PacketKeys::MOST) {
            return Err("a mix has too many packet keys");
        }
        Ok(())
    }

    /// Whether it can be used at this moment by the own clock.
    pub fn fresh(&self, now: UnixMs) -> bool {
        now < self.expires && self.made <= now.plus(CLOCK_SLACK)
    }

    /// The moment to check signatures by: the own clock, but not before the directory was made nor after it ends, so that a wrong clock
    /// neither revives what has expired nor refuses what holds.
    pub fn time(&self, clock: UnixMs) -> UnixMs {
        clock.clamp(self.made, self.expires.max(self.made))
    }

    /// A mix by its id.
    pub fn mix(&self, id: MixId) -> Option<&MixEntry> {
        self.mixes.binary_search_by_key(&id, |m| m.id).ok().and_then(|i| self.mixes.get(i))
    }

    /// The key epoch of a moment by the own clock, as [`Self::time`] sets it right.
    pub fn epoch(&self, clock: UnixMs) -> Epoch {
        epoch::at(self.time(clock))
    }

    /// How often a mix is chosen, relative to the others: 0 for one that is not usable, at most 1. See [`weight`] for the rule.
    pub fn weight(&self, index: usize) -> f64 {
        let sum = |at: Option<usize>| at.and_then(|at| self.sums.get(at)).copied();
        let upto = sum(Some(index));
        // A difference of sums may be a hair more than what was added.
        upto.map_or(0.0, |upto| (upto - sum(index.checked_sub(1)).unwrap_or(0.0)).min(1.0))
    }

    /// The mix on which `at` in [0, 1) falls when each takes as much of the line as it weighs.
    pub(crate) fn drawn(&self, at: f64) -> Option<&MixEntry> {
        let place = at * self.sums.last()?;
        self.mixes.get(self.sums.partition_point(|upto| *upto <= place))
    }

    /// The mixes of this fog that keep the descriptor of a blinded key: the next ones on the ring, up to [`DESCRIPTOR_COPIES`]. Those that came after the
    /// ring was salted, when the period began, stand on it only if there are too few others: they could have been made for their place.
    pub fn ring(&self, blinded: &[u8; 32]) -> Vec<MixId> {
        if let Some(own) = self.fogs().first() {
            return own.ring(blinded);
        }
        let salted = Period::at(self.made).start();
        let before: Vec<&MixEntry> = self.mixes.iter().filter(|m| m.since <= salted).collect();
        let standing = if before.len() >= DESCRIPTOR_COPIES { before } else { self.mixes.iter().collect() };
        let target = self.position("fogbank 2026 ring place of a descriptor", blinded);
        let mut places: Vec<_> =
            standing.iter().map(|m| (self.position("fogbank 2026 ring place of a mix", &m.key), m.id)).collect();
        // Those at or after the target come first, then those before it.
        places.sort_by_key(|(place, _)| (*place < target, *place));
        places.into_iter().take(DESCRIPTOR_COPIES).map(|(_, id)| id).collect()
    }

    fn position(&self, context: &str, what: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.shared_random);
        hasher.update(what);
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fogbank_model::OwnerId;
    use fogbank_wire::{PacketKeys, RelayHint};
    use iroh::SecretKey;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    /// When the directories of tests are made.
    pub(crate) const MADE: UnixMs = UnixMs(1_790_000_000_000);

    /// A directory of mixes with keys and owners made from their number; two mixes an owner.
    pub(crate) fn directory(fog: &SecretKey, test: bool, mixes: u8) -> Directory {
        let entries = (0..mixes).map(|i| {
            let key = *blake3::hash(&[i]).as_bytes();
            let addrs = vec![SocketAddr::from(([10, i, 0, 1], 4000))];
            let packet_keys = PacketKeys { first: epoch::at(MADE).0, keys: vec![[i + 1; 32]; 13] };
            let (owner, since) = (OwnerId([i / 2; 32]), UnixMs(0));
            MixEntry {
                id: mix_id(&key),
                key,
                life: [1; 8],
                packet_keys,
                owner,
                addrs,
                relay: None,
                since,
                reliability: UNMEASURED,
            }
        });
        Directory::new(FogId(*fog.public().as_bytes()), test, 1, MADE, [9; 32], entries.collect())
    }

    #[test]
    fn opens_what_its_fog_signed_and_nothing_else() {
        let fog = SecretKey::generate();
        let made = directory(&fog, false, 9);
        let bytes = made.seal(&fog).unwrap();
        assert_eq!(Directory::open(&bytes, &made.fog).unwrap(), made);
        assert_eq!(Directory::fog_of(&bytes).unwrap(), made.fog);
        assert!(matches!(Directory::open(&bytes, &FogId([1; 32])), Err(DirectoryError::Rule(_))));
        let stranger = SecretKey::generate();
        let forged = Directory::open(&made.seal(&stranger).unwrap(), &made.fog);
        assert!(matches!(forged, Err(DirectoryError::NotTheFogs(_))));
    }

    #[test]
    fn rules_hold_even_for_the_fog() {
        let fog = SecretKey::generate();
        let good = directory(&fog, true, 4);
        let mut doubled = good.clone();
        doubled.mixes.push(doubled.mixes[3].clone());
        let mut renamed = good.clone();
        renamed.mixes[3].id = MixId([255; 16]);
        let mut timeless = good.clone();
        timeless.expires = timeless.made;
        let mut other = good.clone();
        other.fog = FogId([1; 32]);
        let exact = Directory { clients: 3, ..good.clone() };
        let eternal = Directory { expires: good.made.plus(DurationMs(DIRECTORY_LIFE.0 + 1)), ..good.clone() };
        let [low, high] = [FogId([1; 32]), FogId([254; 32])];
        let federated = |fogs: Vec<FogId>| Directory { federated: fogs, ..good.clone() };
        let (unsorted, twice, itself) = (federated(vec![high, low]), federated(vec![low, low]), federated(vec![good.fog]));
        let many = federated((0..=MAX_FEDERATED as u8).map(|i| FogId([i; 32])).collect());
        for bad in [doubled, renamed, timeless, other, exact, eternal, unsorted, twice, itself, many] {
            let opened = Directory::open(&bad.seal(&fog).unwrap(), &good.fog);
            assert!(matches!(opened, Err(DirectoryError::Rule(_))), "{opened:?}");
        }
        let mut many_keys = good.clone();
        many_keys.mixes[0].packet_keys.keys = vec![[1; 32]; PacketKeys::MOST + 1];
        assert!(Directory::open(&many_keys.seal(&fog).unwrap(), &good.fog).is_err());
        let newer = Directory { version: 9, ..good.clone() };
        assert!(matches!(Directory::open(&newer.seal(&fog).unwrap(), &good.fog), Err(DirectoryError::Version { theirs: 9 })));
    }

    #[test]
    fn names_others_once_and_in_order() {
        let fog = SecretKey::generate();
        let made = directory(&fog, true, 4);
        let named = (0..40).map(|i| FogId([40 - i % 20; 32])).chain([made.fog]).collect();
        let made = made.with_federated(named);
        assert_eq!(made.federated.len(), MAX_FEDERATED);
        let opened = Directory::open(&made.seal(&fog).unwrap(), &made.fog).unwrap();
        assert_eq!(opened.federated, made.federated);
    }

    #[test]
    fn fails_closed() {
        let fog = SecretKey::generate();
        let own = directory(&fog, true, 4).mixes[0].id;
        assert!(directory(&fog, true, 4).usable(&[]).is_ok());
        let closed = directory(&fog, true, 4).usable(&[own]).unwrap_err();
        assert_eq!(closed.to_string(), "waiting for mixes: 3 of the 4 needed are usable");
        assert!(directory(&fog, false, 6).usable(&[]).is_err());
        assert!(directory(&fog, false, 8).usable(&[]).is_ok());
        let mut one_owner = directory(&fog, false, 8);
        one_owner.mixes.iter_mut().for_each(|m| m.owner = OwnerId([1; 32]));
        assert!(one_owner.usable(&[]).unwrap_err().to_string().contains("1 of the 4 owners"));
    }

    #[test]
    fn ring_is_even_and_moves_little() {
        let fog = SecretKey::generate();
        let all = directory(&fog, false, 40);
        let mut counts = std::collections::HashMap::new();
        let mut moved = 0;
        let mut fewer = all.clone();
        let gone = fewer.mixes.remove(7).id;
        for i in 0..200u8 {
            let ring = all.ring(&[i; 32]);
            assert_eq!(ring.len(), DESCRIPTOR_COPIES);
            let after = fewer.ring(&[i; 32]);
            moved += ring.iter().filter(|id| **id != gone && !after.contains(id)).count();
            ring.into_iter().for_each(|id| *counts.entry(id).or_insert(0) += 1);
        }
        assert_eq!(moved, 0, "a mix that leaves moves only what lay on it");
        assert!(counts.len() > 30, "{counts:?}");
        assert_eq!(directory(&fog, true, 4).ring(&[0; 32]).len(), 4);
    }

    #[test]
    fn who_comes_when_the_ring_is_salted_stands_beside_nobody() {
        let fog = SecretKey::generate();
        let mut all = directory(&fog, false, 20).mixes;
        // Ten that were made for this place, after they knew the salt.
        let late: Vec<MixId> = all[..10].iter_mut().map(|m| (m.since = MADE, m.id).1).collect();
        let made = Directory::new(FogId([1; 32]), false, 1, MADE, [9; 32], all.clone());
        assert!((0..50).all(|i| made.ring(&[i; 32]).iter().all(|id| !late.contains(id))));
        all.iter_mut().for_each(|m| m.since = MADE);
        let young = Directory::new(FogId([1; 32]), false, 1, MADE, [9; 32], all);
        assert_eq!(young.ring(&[1; 32]).len(), DESCRIPTOR_COPIES, "a fog that began today has a ring as well");
    }

    #[test]
    fn all_that_may_be_listed_fits_a_frame() {
        let fog = SecretKey::generate();
        let mut big = directory(&fog, false, 1);
        let addrs = vec!["[2001:db8:1:2:3:4:5:6]:65535".parse().unwrap(); MAX_MIX_ADDRS];
        let relay = RelayHint { addr: addrs[0], pin: [1; 32], token: [2; 16] };
        let entry = |i: u32| {
            let key = *blake3::hash(&i.to_be_bytes()).as_bytes();
            let packet_keys = PacketKeys { first: u32::MAX, keys: vec![key; PacketKeys::MOST] };
            let (owner, since) = (OwnerId(key), UnixMs(i64::MAX));
            MixEntry {
                id: mix_id(&key),
                key,
                life: [1; 8],
                packet_keys,
                owner,
                addrs: addrs.clone(),
                relay: Some(relay.clone()),
                since,
                reliability: u16::MAX,
            }
        };
        big.mixes = (0..u32::try_from(MAX_MIXES).unwrap()).map(entry).collect();
        big.mixes.sort_by_key(|m| m.id);
        let bytes = big.seal(&fog).unwrap();
        assert_eq!(Directory::open(&bytes, &big.fog).unwrap().mixes.len(), MAX_MIXES);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, at in 0usize..2000, flip in 1u8..) {
            let fog = SecretKey::from_bytes(&[1; 32]);
            let _ = Directory::open(&bytes, &FogId([3; 32]));
            let made = directory(&fog, true, 5);
            let mut sealed = made.seal(&fog).unwrap();
            let at = at % sealed.len();
            sealed[at] ^= flip;
            prop_assert!(Directory::open(&sealed, &made.fog).is_err());
            sealed.truncate(at);
            prop_assert!(Directory::open(&sealed, &made.fog).is_err());
        }
    }
}
