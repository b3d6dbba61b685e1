//! Which witnesses the fog should have: the fogs that its operator named, that name it, and that federate with each other. Pure.
//!
//! Who witnesses already stays until the operator ends the federation with it, be it away for ever so long: else whoever keeps witnesses away from
//! the allocator would thin them out.

use crate::federation::PeerView;
use fogbank_betanet::directory::{Charter, Directory};
use fogbank_model::{FogId, UnixMs};

/// The charter that should follow the current one, when it is another. Its number is not set yet.
pub(crate) fn wanted(
    own: FogId,
    test: bool,
    current: &Charter,
    peers: &[PeerView],
    wish: Option<u8>,
    now: UnixMs,
) -> Option<Charter> {
    let directory = |fog: &FogId| peers.iter().find(|p| p.address.fog == *fog).and_then(|p| p.directory.as_deref());
    let mut keys: Vec<FogId> = current.keys.iter().filter(|key| peers.iter().any(|p| p.address.fog == **key)).copied().collect();
    for peer in peers.iter().filter(|peer| peer.connected && !current.keys.contains(&peer.address.fog)) {
        let names_us = |d: &&Directory| d.test == test && d.fresh(now) && d.federated.contains(&own);
        let Some(theirs) = peer.directory.as_deref().filter(names_us) else { continue };
        // A witness signs for no other that its own operator does not know.
        let mutual = |key: &FogId| {
            theirs.federated.contains(key) && directory(key).is_some_and(|d| d.federated.contains(&peer.address.fog))
        };
        if keys.iter().all(mutual) {
            keys.push(peer.address.fog);
        }
    }
    keys.sort_unstable();
    let most = u8::try_from(keys.len()).unwrap_or(u8::MAX);
    let needed = wish.map_or_else(|| Charter::usual(keys.len()), |wish| wish.min(most));
    let next = Charter { number: current.number, keys, needed };
    (next != *current).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_wire::PeerAddress;
    use std::sync::Arc;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn id(n: u8) -> FogId {
        FogId([n; 32])
    }

    fn peer(n: u8, names: &[u8]) -> PeerView {
        let named = names.iter().map(|n| id(*n)).collect();
        let directory = Directory::new(id(n), false, 1, NOW, [0; 32], Vec::new()).with_federated(named);
        let address = PeerAddress { fog: id(n), addrs: Vec::new() };
        PeerView {
            address,
            connected: true,
            why: String::new(),
            heard: None,
            counts: true,
            drawn: true,
            directory: Some(Arc::new(directory)),
        }
    }

    fn want(current: &Charter, peers: &[PeerView], wish: Option<u8>) -> Option<(Vec<u8>, u8)> {
        wanted(id(1), false, current, peers, wish, NOW).map(|c| (c.keys.iter().map(|k| k.0[0]).collect(), c.needed))
    }

    fn charter(keys: &[u8], needed: u8) -> Charter {
        Charter { number: 5, keys: keys.iter().map(|n| id(*n)).collect(), needed }
    }

    #[test]
    fn those_that_federate_with_each_other() {
        let alone = Charter::default();
        assert_eq!(want(&alone, &[], None), None);
        assert_eq!(want(&alone, &[peer(2, &[3])], None), None, "it does not name this fog");
        assert_eq!(want(&alone, &[peer(2, &[1])], None), Some((vec![2], 0)));
        assert_eq!(want(&alone, &[peer(2, &[1, 3]), peer(3, &[1, 2])], None), Some((vec![2, 3], 1)));
        assert_eq!(want(&alone, &[peer(2, &[1, 3]), peer(3, &[1])], None), Some((vec![2], 0)), "3 would not be signed for by 2");
        assert_eq!(want(&charter(&[2, 3], 1), &[peer(2, &[1, 3]), peer(3, &[1, 2])], None), None);
        let mut test = peer(2, &[1]);
        let mut of = test.directory.as_deref().unwrap().clone();
        of.test = true;
        test.directory = Some(Arc::new(of));
        assert_eq!(want(&alone, &[test], None), None);
    }

    #[test]
    fn who_is_away_stays_until_the_operator_ends_it() {
        let mut away = peer(3, &[]);
        (away.connected, away.directory) = (false, None);
        assert_eq!(want(&charter(&[2, 3], 1), &[peer(2, &[1, 3]), away.clone()], None), None);
        assert_eq!(want(&charter(&[2, 3], 1), &[peer(2, &[1, 3])], None), Some((vec![2], 0)));
        assert_eq!(want(&charter(&[2], 0), &[peer(2, &[1, 3]), away], None), None, "a newcomer must be there");
    }

    #[test]
    fn the_operators_number_is_kept_within_reason() {
        let two = [peer(2, &[1, 3]), peer(3, &[1, 2])];
        assert_eq!(want(&charter(&[2, 3], 1), &two, Some(2)), Some((vec![2, 3], 2)));
        assert_eq!(want(&charter(&[2, 3], 1), &two, Some(9)), Some((vec![2, 3], 2)));
        assert_eq!(want(&charter(&[2, 3], 1), &two, Some(1)), None);
    }
}
