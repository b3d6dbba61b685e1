//! How directories spread from node to node: who is asked for one, and how the pieces are put together. Pure: time comes in.
//!
//! ```text
//! a peer: "have serial n"  →  newer than ours, and it may be asked  →  "want n"  →  its pieces  →  signed by the fog, and newer?  →  ours
//! ```
//!
//! Invariants: one transfer at a time; each peer is asked at most once in [`FETCH_PAUSE`], and not for [`BLAMED`] after it did not give what
//! it said it had, also when it comes back on another connection; what is put together is bounded, and nothing of it is believed before
//! the fog's signature is checked.
//! Deliberately absent: links, and checking the signature ([`super::DirectoryHub`]).

use super::MAX_MIXES;
use crate::link::{Frame, PART_BYTES, Part};
use fogbank_model::MixId;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// A peer is asked for a directory this often at most: a fog whose mixes come and go signs a new one every few seconds, and every other
/// one is as good.
pub const FETCH_PAUSE: Duration = Duration::from_secs(2);
/// A peer that did not give what it said it had is not asked again for so long.
pub const BLAMED: Duration = Duration::from_secs(600);
/// A transfer that takes longer has failed: at one piece in a slot of constant rate, the largest that fits a frame of the control protocol
/// takes 42 s.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(60);
/// A transfer of which no piece came for so long has failed. Pieces for a client of constant rate wait while a page loads, which is 11 s.
pub const STALLED: Duration = Duration::from_secs(15);
/// Pieces of the largest directory.
const MAX_PARTS: u16 = fogbank_wire::MAX_FRAME_BYTES.div_ceil(PART_BYTES) as u16;
/// Peers that are remembered: as many as a directory lists.
const MAX_PEERS: usize = MAX_MIXES;

#[derive(Debug)]
struct Peer {
    /// The newest that it said it has.
    has: u64,
    /// When it may be asked again.
    again: Instant,
}

#[derive(Debug)]
struct Fetch {
    from: MixId,
    serial: u64,
    began: Instant,
    moved: Instant,
    parts: Vec<Option<Vec<u8>>>,
    missing: u16,
}

/// What came of a transfer.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Who gave it.
    pub from: MixId,
    /// What it said that it is.
    pub serial: u64,
    /// The signed directory, if it is one.
    pub signed: Vec<u8>,
}

/// A node's account of who has which directory.
#[derive(Debug, Default)]
pub struct Gossip {
    peers: HashMap<MixId, Peer>,
    fetch: Option<Fetch>,
}

impl Gossip {
    /// A peer said which directory it has.
    pub fn heard(&mut self, from: MixId, serial: u64, now: Instant) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&from) {
            self.peers.retain(|_, peer| peer.again > now);
            if self.peers.len() >= MAX_PEERS {
                return;
            }
        }
        let peer = self.peers.entry(from).or_insert(Peer { has: 0, again: now });
        peer.has = serial;
    }

    /// Whom to ask now for which directory, if anybody, when our own has this serial. Call it after each news and now and then: a peer
    /// that might not be asked a moment ago may be now.
    pub fn next(&mut self, own: u64, now: Instant) -> Option<(MixId, u64)> {
        if let Some(fetch) = &self.fetch {
            if now.duration_since(fetch.began) < FETCH_DEADLINE && now.duration_since(fetch.moved) < STALLED {
                return None;
            }
            let from = fetch.from;
            self.blame(from, now);
        }
        let ready = self.peers.iter().filter(|(_, peer)| peer.has > own && now >= peer.again);
        let (from, serial) = ready.map(|(id, peer)| (*id, peer.has)).max_by_key(|(_, serial)| *serial)?;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.again = now + FETCH_PAUSE;
        }
        self.fetch = Some(Fetch { from, serial, began: now, moved: now, parts: Vec::new(), missing: 0 });
        Some((from, serial))
    }

    /// A piece came; the whole when it was the last.
    pub fn part(&mut self, from: MixId, part: Part, now: Instant) -> Option<Fetched> {
        let fetch = self.fetch.as_mut().filter(|f| f.from == from && f.serial == part.serial)?;
        if fetch.parts.is_empty() {
            if part.count == 0 || part.count > MAX_PARTS {
                return None;
            }
            fetch.parts = vec![None; part.count.into()];
            fetch.missing = part.count;
        }
        let place = fetch.parts.get_mut(usize::from(part.index)).filter(|place| place.is_none())?;
        *place = Some(part.bytes);
        fetch.moved = now;
        fetch.missing -= 1;
        if fetch.missing > 0 {
            return None;
        }
        let fetch = self.fetch.take()?;
        let signed = fetch.parts.into_iter().flatten().collect::<Vec<_>>().concat();
        Some(Fetched { from, serial: fetch.serial, signed })
    }

    /// It could not be asked just now.
    pub fn unasked(&mut self, from: MixId) {
        self.fetch = self.fetch.take().filter(|f| f.from != from);
    }

    /// What a peer gave was not what it said it had, or nothing came: it is left alone for a while.
    pub fn blame(&mut self, from: MixId, now: Instant) {
        self.fetch = self.fetch.take().filter(|f| f.from != from);
        if let Some(peer) = self.peers.get_mut(&from) {
            (peer.has, peer.again) = (0, now + BLAMED);
        }
    }

    /// The link to a peer ended, and with it a transfer; it may be asked when it is back.
    pub fn gone(&mut self, from: MixId) {
        self.fetch = self.fetch.take().filter(|f| f.from != from);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.has = 0;
        }
    }
}

/// A directory on its way to one peer, piece by piece.
#[derive(Debug)]
pub struct Transfer {
    serial: u64,
    signed: Arc<Vec<u8>>,
    next: u16,
}

impl Transfer {
    /// From the beginning.
    pub fn new(serial: u64, signed: Arc<Vec<u8>>) -> Self {
        Self { serial, signed, next: 0 }
    }
}

impl Iterator for Transfer {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        // A directory fits a frame of the control protocol, so there are few pieces.
        let count = u16::try_from(self.signed.len().div_ceil(PART_BYTES)).ok()?;
        let bytes = self.signed.chunks(PART_BYTES).nth(self.next.into())?.to_vec();
        let part = Part { serial: self.serial, index: self.next, count, bytes };
        self.next += 1;
        Some(Frame::Part(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: MixId = MixId([1; 16]);
    const B: MixId = MixId([2; 16]);

    fn parts(serial: u64, bytes: usize) -> Vec<Part> {
        let signed = (0..bytes).map(|n| n as u8).collect();
        let frames = Transfer::new(serial, Arc::new(signed));
        frames.map(|frame| if let Frame::Part(part) = frame { part } else { panic!("no part") }).collect()
    }

    #[test]
    fn a_newer_one_is_fetched_once_from_one_peer() {
        let now = Instant::now();
        let mut gossip = Gossip::default();
        gossip.heard(A, 5, now);
        assert_eq!(gossip.next(5, now), None, "we have it");
        gossip.heard(A, 6, now);
        gossip.heard(B, 6, now);
        let (from, serial) = gossip.next(5, now).unwrap();
        assert_eq!((serial, gossip.next(5, now)), (6, None), "one at a time");
        let pieces = parts(6, 2 * PART_BYTES + 9);
        assert_eq!(pieces.len(), 3);
        let other = if from == A { B } else { A };
        assert_eq!(gossip.part(other, pieces[0].clone(), now), None, "nobody else's");
        for at in [2, 0, 0] {
            assert_eq!(gossip.part(from, pieces[at].clone(), now), None);
        }
        let fetched = gossip.part(from, pieces[1].clone(), now).unwrap();
        assert_eq!((fetched.from, fetched.serial, fetched.signed.len()), (from, 6, 2 * PART_BYTES + 9));
        assert_eq!(gossip.next(6, now), None);
    }

    #[test]
    fn nobody_makes_us_fetch_in_a_loop() {
        let mut now = Instant::now();
        let mut gossip = Gossip::default();
        let mut asked = 0;
        // An hour of a peer that says every tenth of a second that it has a newer one, gives rubbish, and comes back.
        for step in 0..36_000u64 {
            gossip.heard(A, 100 + step, now);
            if let Some((from, serial)) = gossip.next(5, now) {
                asked += 1;
                let fetched = gossip.part(from, Part { serial, index: 0, count: 1, bytes: vec![0; 10] }, now).unwrap();
                gossip.blame(fetched.from, now);
                gossip.gone(A);
            }
            now += Duration::from_millis(100);
        }
        assert!(asked <= 7, "{asked}");
    }

    #[test]
    fn one_that_never_gives_it_is_left_for_another() {
        let now = Instant::now();
        let mut gossip = Gossip::default();
        gossip.heard(A, 9, now);
        assert_eq!(gossip.next(5, now), Some((A, 9)));
        gossip.heard(B, 8, now);
        assert_eq!(gossip.next(5, now + STALLED / 2), None);
        assert_eq!(gossip.next(5, now + STALLED), Some((B, 8)));
        gossip.heard(A, 9, now + STALLED);
        gossip.gone(B);
        assert_eq!(gossip.next(5, now + FETCH_DEADLINE * 2), None, "A is blamed, B is gone");
        assert_eq!(gossip.next(5, now + STALLED + BLAMED), Some((A, 9)));
    }

    proptest! {
        #[test]
        fn hostile_pieces_are_bounded(pieces in prop::collection::vec((any::<u16>(), any::<u16>(), 0usize..100), 0..50)) {
            let now = Instant::now();
            let mut gossip = Gossip::default();
            gossip.heard(A, 9, now);
            gossip.next(5, now);
            for (index, count, length) in pieces {
                if let Some(fetched) = gossip.part(A, Part { serial: 9, index, count, bytes: vec![1; length] }, now) {
                    prop_assert!(fetched.signed.len() <= 50 * 100);
                }
                prop_assert!(gossip.fetch.as_ref().is_none_or(|f| f.parts.len() <= usize::from(MAX_PARTS)));
            }
        }

        #[test]
        fn whatever_order_they_come_in(length in 1usize..100_000, seed: u64) {
            use rand::{SeedableRng as _, seq::SliceRandom as _};
            let mut pieces = parts(7, length);
            pieces.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
            let mut gossip = Gossip::default();
            gossip.heard(A, 7, Instant::now());
            gossip.next(0, Instant::now());
            let fetched: Vec<Fetched> = pieces.into_iter().filter_map(|part| gossip.part(A, part, Instant::now())).collect();
            prop_assert_eq!(fetched.len(), 1);
            prop_assert!(fetched[0].signed.iter().enumerate().all(|(n, b)| *b == n as u8) && fetched[0].signed.len() == length);
        }
    }
}
