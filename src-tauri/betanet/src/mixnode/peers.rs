//! Who is connected to a mix: clients, and mixes that send to it. What one group takes beyond its share ends when another needs it.
//!
//! Deliberately absent: what they send and are brought (serving).

use super::pipeline::lock;
use crate::link::Frame;
use fogbank_model::MixId;
use fogbank_wire::{Group, Holds, Shares};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// Peers at once.
pub(super) const MAX_PEERS: usize = 448;
/// Connections beside those, which have not said yet what they come for: at a tenth of a second each, 640 newcomers a second.
pub(super) const MAX_STRANGERS: usize = 64;

/// When a peer was heard last.
pub(super) type Heard = Arc<Mutex<Instant>>;

struct Peer {
    queue: mpsc::Sender<Frame>,
    heard: Heard,
    /// Ends its connection when it gives way.
    _stays: oneshot::Sender<()>,
}

impl Holds for Peer {
    fn used(&self) -> Instant {
        *lock(&self.heard)
    }
}

/// The peers, by the tag that their key gives them.
pub(super) struct Peers(Mutex<Shares<MixId, Peer>>);

impl Peers {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Shares::new(MAX_PEERS)))
    }

    /// A peer connected; a second connection of one key replaces the first. When it ends what is returned, the peer has to go; `None` when there
    /// is no room for one more of its group.
    pub(super) fn arrived(
        &self,
        tag: [u8; 16],
        group: Group,
        queue: mpsc::Sender<Frame>,
        heard: Heard,
    ) -> Option<oneshot::Receiver<()>> {
        let (stays, gone) = oneshot::channel();
        let mut peers = lock(&self.0);
        peers.remove(MixId(tag));
        // Whoever gives way goes with what is dropped here.
        peers.make_room(group).ok()?;
        peers.insert(MixId(tag), group, Peer { queue, heard, _stays: stays });
        Some(gone)
    }

    /// A connection ended; the key may be connected anew already.
    pub(super) fn left(&self, tag: [u8; 16], queue: &mpsc::Sender<Frame>) {
        let mut peers = lock(&self.0);
        if peers.get(MixId(tag)).is_some_and(|peer| peer.queue.same_channel(queue)) {
            peers.remove(MixId(tag));
        }
    }

    /// What is to be brought to a peer goes here.
    pub(super) fn queue(&self, tag: [u8; 16]) -> Option<mpsc::Sender<Frame>> {
        lock(&self.0).get(MixId(tag)).map(|peer| peer.queue.clone())
    }

    /// How many are connected that are none of these.
    pub(super) fn besides(&self, known: impl Fn(MixId) -> bool) -> usize {
        lock(&self.0).ids().filter(|id| !known(*id)).count()
    }

    /// All have to go.
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_model::FogId;

    const CLIENTS: Group = Group::Relayed;

    fn come(peers: &Peers, number: usize, group: Group) -> Option<(oneshot::Receiver<()>, mpsc::Sender<Frame>)> {
        let mut tag = match group {
            Group::Fog(fog) => [fog.0[0]; 16],
            _ => [0; 16],
        };
        tag[..8].copy_from_slice(&number.to_be_bytes());
        let (queue, _) = mpsc::channel(1);
        Some((peers.arrived(tag, group, queue.clone(), Arc::new(Mutex::new(Instant::now())))?, queue))
    }

    fn stays((gone, _): &mut (oneshot::Receiver<()>, mpsc::Sender<Frame>)) -> bool {
        gone.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    /// Somebody who connects under thousands of keys: mixes still find room, and the client that was heard last stays.
    #[test]
    fn thousands_of_keys_shut_out_no_mix() {
        let peers = Peers::new();
        let mut came: Vec<_> = (0..MAX_PEERS).map(|n| come(&peers, n, CLIENTS).unwrap()).collect();
        assert!(come(&peers, MAX_PEERS, CLIENTS).is_none(), "it is full of clients");
        let mut mix = come(&peers, 1, Group::Fog(FogId([1; 32]))).unwrap();
        assert!(
            stays(&mut mix) && !stays(&mut came[0]) && came.iter_mut().skip(1).all(stays),
            "the one that was idle longest gave way"
        );
        assert!(come(&peers, MAX_PEERS, CLIENTS).is_none());
        // One of them leaves.
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&5usize.to_be_bytes());
        peers.left(tag, &came[4].1);
        assert_eq!(peers.besides(|_| false), MAX_PEERS, "that was another connection");
        peers.left(tag, &came[5].1);
        assert!(come(&peers, MAX_PEERS, CLIENTS).is_some());
        // A client of another network finds room, too.
        assert!(come(&peers, 99_999, Group::of_client(Some([192, 0, 2, 1].into()))).is_some());
    }

    #[test]
    fn a_second_connection_of_a_key_replaces_the_first() {
        let peers = Peers::new();
        let mut first = come(&peers, 1, CLIENTS).unwrap();
        let mut second = come(&peers, 1, CLIENTS).unwrap();
        assert!(!stays(&mut first) && stays(&mut second) && peers.besides(|_| false) == 1);
        peers.clear();
        assert!(!stays(&mut second));
    }
}
