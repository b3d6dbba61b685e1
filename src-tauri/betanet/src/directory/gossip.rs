//! How directories spread from node to node: who is asked for one, and how the pieces are put together. Pure: time comes in.
//!
//! ```text
//! a peer: "of fog f I have serial n"  →  newer than ours, and it may be asked  →  "want n of f"  →  its pieces  →  signed by f, and newer?  →  ours
//! ```
//!
//! Invariants: one transfer at a time, the own fog's before all others; each peer is asked at most once in [`FETCH_PAUSE`], and not for
//! [`BLAMED`] after it did not give what it said it had, also when it comes back on another connection; of another fog's directories no more
//! is fetched than [`FOREIGN_PAUSE`] and [`FOREIGN_BYTES_S`] allow, however many of its mixes say that there is a newer one; what is put
//! together is bounded, and nothing of it is believed before the fog's signature is checked.
//! Deliberately absent: links, and checking the signature ([`super::DirectoryHub`]).

use super::{KeptDirectory, MAX_FEDERATED, MAX_MIXES};
use crate::link::{Frame, PART_BYTES, Part};
use fogbank_model::{FogId, MixId};
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
/// Another fog's directory is fetched this often at most: a fog that signs a new one every second costs us one in ten.
pub const FOREIGN_PAUSE: Duration = Duration::from_secs(10);
/// And no faster than this on average: the largest there may be once in two minutes.
pub const FOREIGN_BYTES_S: u64 = 32 << 10;
/// Pieces of the largest directory.
const MAX_PARTS: u16 = fogbank_wire::MAX_FRAME_BYTES.div_ceil(PART_BYTES) as u16;
/// Peers that are remembered: as many as a directory lists.
const MAX_PEERS: usize = MAX_MIXES;

#[derive(Debug)]
struct Peer {
    /// The newest that it said it has, of each fog.
    has: HashMap<FogId, u64>,
    /// When it may be asked again.
    again: Instant,
}

#[derive(Debug)]
struct Fetch {
    from: MixId,
    fog: FogId,
    serial: u64,
    began: Instant,
    moved: Instant,
    /// Not of the own fog.
    foreign: bool,
    parts: Vec<Option<Vec<u8>>>,
    missing: u16,
}

/// What came of a transfer.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Who gave it.
    pub from: MixId,
    /// Whose it is said to be.
    pub fog: FogId,
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
    /// When another fog's may be fetched again.
    paced: HashMap<FogId, Instant>,
}

impl Gossip {
    /// A peer said which directory it has.
    pub fn heard(&mut self, from: MixId, fog: FogId, serial: u64, now: Instant) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&from) {
            self.peers.retain(|_, peer| peer.again > now);
            if self.peers.len() >= MAX_PEERS {
                return;
            }
        }
        let peer = self.peers.entry(from).or_insert(Peer { has: HashMap::new(), again: now });
        // More than there can be of use: what it said before is out of date.
        if peer.has.len() > MAX_FEDERATED && !peer.has.contains_key(&fog) {
            peer.has.clear();
        }
        peer.has.insert(fog, serial);
    }

    /// Whom to ask now for which directory, if anybody, when these are of use and we have these serials; the own fog comes first. Call it
    /// after each news and now and then: a peer that might not be asked a moment ago may be now.
    pub fn next(&mut self, wanted: &[(FogId, u64)], now: Instant) -> Option<(MixId, FogId, u64)> {
        self.paced.retain(|_, until| *until > now);
        let (own, _) = wanted.first()?;
        let under_way = self
            .fetch
            .as_ref()
            .is_some_and(|fetch| now.duration_since(fetch.began) < FETCH_DEADLINE && now.duration_since(fetch.moved) < STALLED);
        if let Some(fetch) = self.fetch.as_ref().filter(|_| !under_way) {
            let from = fetch.from;
            self.blame(from, now);
        }
        // Another fog's that dribbles holds up none of our own.
        let others_under_way = self.fetch.as_ref().is_some_and(|fetch| fetch.fog != *own);
        let wanted = match (under_way, others_under_way) {
            (true, false) => return None,
            (true, true) => wanted.get(..1)?,
            (false, _) => wanted,
        };
        let allowed = |fog: &FogId| fog == own || !self.paced.contains_key(fog);
        let (from, fog, serial) = wanted.iter().filter(|(fog, _)| allowed(fog)).find_map(|(fog, kept)| {
            let ready = self.peers.iter().filter(|(_, peer)| now >= peer.again);
            let newer = ready.filter_map(|(id, peer)| Some((*id, *fog, *peer.has.get(fog)?))).filter(|(.., has)| has > kept);
            newer.max_by_key(|(.., serial)| *serial)
        })?;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.again = now + FETCH_PAUSE;
        }
        let foreign = fog != *own;
        if foreign {
            self.paced.insert(fog, now + FOREIGN_PAUSE);
        }
        self.fetch = Some(Fetch { from, fog, serial, began: now, moved: now, foreign, parts: Vec::new(), missing: 0 });
        Some((from, fog, serial))
    }

    /// A piece came; the whole when it was the last.
    pub fn part(&mut self, from: MixId, part: Part, now: Instant) -> Option<Fetched> {
        let of = |f: &&mut Fetch| f.from == from && f.fog == part.fog && f.serial == part.serial;
        let fetch = self.fetch.as_mut().filter(of)?;
        if fetch.parts.is_empty() {
            if part.count == 0 || part.count > MAX_PARTS {
                return None;
            }
            fetch.parts = vec![None; part.count.into()];
            fetch.missing = part.count;
        }
        let place = fetch.parts.get_mut(usize::from(part.index)).filter(|place| place.is_none())?;
        // Another fog's pieces are paid for as they come: one that keeps the last piece back has had its time all the same.
        if fetch.foreign {
            let until = self.paced.entry(fetch.fog).or_insert(now);
            *until = (*until).max(now) + Duration::from_millis(PART_BYTES as u64 * 1_000 / FOREIGN_BYTES_S);
        }
        *place = Some(part.bytes);
        fetch.moved = now;
        fetch.missing -= 1;
        if fetch.missing > 0 {
            return None;
        }
        let fetch = self.fetch.take()?;
        let signed = fetch.parts.into_iter().flatten().collect::<Vec<_>>().concat();
        Some(Fetched { from, fog: fetch.fog, serial: fetch.serial, signed })
    }

    /// It could not be asked just now.
    pub fn unasked(&mut self, from: MixId) {
        self.fetch = self.fetch.take().filter(|f| f.from != from);
    }

    /// What a peer gave was not what it said it had, or nothing came: it is left alone for a while.
    pub fn blame(&mut self, from: MixId, now: Instant) {
        self.fetch = self.fetch.take().filter(|f| f.from != from);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.has.clear();
            peer.again = now + BLAMED;
        }
    }

    /// The link to a peer ended, and with it a transfer; it may be asked when it is back.
    pub fn gone(&mut self, from: MixId) {
        self.fetch = self.fetch.take().filter(|f| f.from != from);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.has.clear();
        }
    }
}

/// A directory on its way to one peer, piece by piece.
#[derive(Debug)]
pub struct Transfer {
    fog: FogId,
    serial: u64,
    signed: Arc<Vec<u8>>,
    next: u16,
}

impl Transfer {
    /// From the beginning.
    pub fn new(kept: &KeptDirectory) -> Self {
        Self { fog: kept.directory.fog, serial: kept.directory.serial, signed: kept.signed.clone(), next: 0 }
    }
}

impl Iterator for Transfer {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        // A directory fits a frame of the control protocol, so there are few pieces.
        let count = u16::try_from(self.signed.len().div_ceil(PART_BYTES)).ok()?;
        let bytes = self.signed.chunks(PART_BYTES).nth(self.next.into())?.to_vec();
        let part = Part { fog: self.fog, serial: self.serial, index: self.next, count, bytes };
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
    const OWN: FogId = FogId([1; 32]);
    const OTHER: FogId = FogId([2; 32]);

    fn parts(serial: u64, bytes: usize) -> Vec<Part> {
        let signed = Arc::new((0..bytes).map(|n| n as u8).collect());
        let frames = Transfer { fog: OWN, serial, signed, next: 0 };
        frames.map(|frame| if let Frame::Part(part) = frame { part } else { panic!("no part") }).collect()
    }

    #[test]
    fn a_newer_one_is_fetched_once_from_one_peer() {
        let now = Instant::now();
        let mut gossip = Gossip::default();
        gossip.heard(A, OWN, 5, now);
        assert_eq!(gossip.next(&[(OWN, 5)], now), None, "we have it");
        gossip.heard(A, OWN, 6, now);
        gossip.heard(B, OWN, 6, now);
        let (from, _, serial) = gossip.next(&[(OWN, 5)], now).unwrap();
        assert_eq!((serial, gossip.next(&[(OWN, 5)], now)), (6, None), "one at a time");
        let pieces = parts(6, 2 * PART_BYTES + 9);
        assert_eq!(pieces.len(), 3);
        let other = if from == A { B } else { A };
        assert_eq!(gossip.part(other, pieces[0].clone(), now), None, "nobody else's");
        for at in [2, 0, 0] {
            assert_eq!(gossip.part(from, pieces[at].clone(), now), None);
        }
        let fetched = gossip.part(from, pieces[1].clone(), now).unwrap();
        assert_eq!((fetched.from, fetched.serial, fetched.signed.len()), (from, 6, 2 * PART_BYTES + 9));
        assert_eq!(gossip.next(&[(OWN, 6)], now), None);
    }

    #[test]
    fn nobody_makes_us_fetch_in_a_loop() {
        let mut now = Instant::now();
        let mut gossip = Gossip::default();
        let mut asked = 0;
        // An hour of a peer that says every tenth of a second that it has a newer one, gives rubbish, and comes back.
        for step in 0..36_000u64 {
            gossip.heard(A, OWN, 100 + step, now);
            if let Some((from, _, serial)) = gossip.next(&[(OWN, 5)], now) {
                asked += 1;
                let fetched = gossip.part(from, Part { fog: OWN, serial, index: 0, count: 1, bytes: vec![0; 10] }, now).unwrap();
                gossip.blame(fetched.from, now);
                gossip.gone(A);
            }
            now += Duration::from_millis(100);
        }
        assert!(asked <= 7, "{asked}");
    }

    /// Hostile mixes of another fog, each of which says all the time that there is a newer directory of it.
    #[test]
    fn another_fogs_flood_is_fetched_slowly_and_holds_up_no_own_one() {
        let mut now = Instant::now();
        let mut gossip = Gossip::default();
        let (mut bytes, mut own_asked, mut kept) = (0, 0, 0);
        const PIECES: u16 = 100;
        for step in 0..36_000u64 {
            for n in 0..20 {
                gossip.heard(MixId([100 + n; 16]), OTHER, step + 1, now);
            }
            if step % 1_000 == 500 {
                gossip.heard(A, OWN, step, now);
            }
            match gossip.next(&[(OWN, kept), (OTHER, 0)], now) {
                Some((from, OWN, serial)) => {
                    (own_asked, kept) = (own_asked + 1, serial);
                    gossip.part(from, Part { fog: OWN, serial, index: 0, count: 1, bytes: vec![0] }, now).unwrap();
                }
                Some((from, fog, serial)) => {
                    // Some give it whole, some one piece, some all but the last one.
                    let given = [PIECES, 1, PIECES - 1][usize::from(from.0[0]) % 3];
                    for index in 0..given {
                        bytes += PART_BYTES;
                        let part = Part { fog, serial, index, count: PIECES, bytes: vec![0; PART_BYTES] };
                        gossip.part(from, part, now);
                    }
                }
                None => {}
            }
            now += Duration::from_millis(100);
        }
        assert!(bytes as u64 <= 3_700 * FOREIGN_BYTES_S, "{bytes} in an hour");
        assert_eq!(own_asked, 36, "the own fog's is asked for at once");
        assert!(gossip.paced.len() <= 1 && gossip.peers.values().all(|p| p.has.len() <= MAX_FEDERATED + 1));
    }

    #[test]
    fn who_names_hundreds_of_fogs_is_remembered_for_a_few() {
        let now = Instant::now();
        let mut gossip = Gossip::default();
        for n in 0..=255 {
            gossip.heard(A, FogId([n; 32]), 7, now);
        }
        assert!(gossip.peers[&A].has.len() <= MAX_FEDERATED + 1);
        assert_eq!(gossip.next(&[(OWN, 1)], now), None, "nobody wants those");
    }

    #[test]
    fn one_that_never_gives_it_is_left_for_another() {
        let now = Instant::now();
        let mut gossip = Gossip::default();
        gossip.heard(A, OWN, 9, now);
        assert_eq!(gossip.next(&[(OWN, 5)], now), Some((A, OWN, 9)));
        gossip.heard(B, OWN, 8, now);
        assert_eq!(gossip.next(&[(OWN, 5)], now + STALLED / 2), None);
        assert_eq!(gossip.next(&[(OWN, 5)], now + STALLED), Some((B, OWN, 8)));
        gossip.heard(A, OWN, 9, now + STALLED);
        gossip.gone(B);
        assert_eq!(gossip.next(&[(OWN, 5)], now + FETCH_DEADLINE * 2), None, "A is blamed, B is gone");
        assert_eq!(gossip.next(&[(OWN, 5)], now + STALLED + BLAMED), Some((A, OWN, 9)));
    }

    proptest! {
        #[test]
        fn hostile_pieces_are_bounded(pieces in prop::collection::vec((any::<u16>(), any::<u16>(), 0usize..100), 0..50)) {
            let now = Instant::now();
            let mut gossip = Gossip::default();
            gossip.heard(A, OWN, 9, now);
            gossip.next(&[(OWN, 5)], now);
            for (index, count, length) in pieces {
                if let Some(fetched) = gossip.part(A, Part { fog: OWN, serial: 9, index, count, bytes: vec![1; length] }, now) {
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
            gossip.heard(A, OWN, 7, Instant::now());
            gossip.next(&[(OWN, 0)], Instant::now());
            let fetched: Vec<Fetched> = pieces.into_iter().filter_map(|part| gossip.part(A, part, Instant::now())).collect();
            prop_assert_eq!(fetched.len(), 1);
            prop_assert!(fetched[0].signed.iter().enumerate().all(|(n, b)| *b == n as u8) && fetched[0].signed.len() == length);
        }
    }
}
