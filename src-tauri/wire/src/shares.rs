//! Room that fogs and clients share: for links to mixes, for those who are connected, and for those who are not let in yet. Pure.
//!
//! Invariants: never more are held than there is room for; when all of it is taken, what was idle longest of the group with the most gives way
//! to one of a group with fewer. So a fog that lists thousands of mixes and has packets sent to each, or somebody who connects under thousands of
//! keys, gets no more than a share: beside one other group half of the room, whatever it does. Who is alone has all of it.

use fogbank_model::FogId;
use iroh::endpoint::IncomingAddr;
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

/// Who shares room and rate with others of its kind. Keys are free, so a key alone has no claim to either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The mixes that a fog lists.
    Fog(FogId),
    /// The clients of one network: a /24, or a /32 of IPv6, which is what a provider has: smaller parts cost next to nothing.
    Network(IpAddr),
    /// Clients that come over the fog's relay, which alone knows from where.
    Relayed,
}

impl Group {
    /// The group of who knocks at an endpoint.
    pub fn of_incoming(from: &IncomingAddr) -> Self {
        match from {
            IncomingAddr::Ip(addr) => Self::of_client(Some(addr.ip())),
            _ => Self::Relayed,
        }
    }

    /// The group of a client by the address that its connection proved; `None` when it came over the relay.
    pub fn of_client(from: Option<IpAddr>) -> Self {
        match from.map(|ip| ip.to_canonical()) {
            None => Self::Relayed,
            Some(IpAddr::V4(ip)) => Self::Network(Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).into()),
            Some(IpAddr::V6(ip)) => Self::Network(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 96)).into()),
        }
    }
}

/// What takes a place.
pub trait Holds {
    /// When it was of use last.
    fn used(&self) -> Instant;
}

/// All places are taken, and the group that wanted one has its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// The places, by who has each.
#[derive(Debug)]
pub struct Shares<K, T> {
    room: usize,
    held: HashMap<K, (Group, T)>,
}

impl<K: Copy + Eq + Hash, T: Holds> Shares<K, T> {
    /// With so many places, all free.
    pub fn new(room: usize) -> Self {
        Self { room, held: HashMap::new() }
    }

    /// What has a place.
    pub fn get(&self, id: K) -> Option<&T> {
        self.held.get(&id).map(|(_, held)| held)
    }

    /// As [`Self::get`], to be changed.
    pub fn get_mut(&mut self, id: K) -> Option<&mut T> {
        self.held.get_mut(&id).map(|(_, held)| held)
    }

    /// Makes room for one more of a group; what gave way, if anything had to.
    ///
    /// # Errors
    /// When that group has its share.
    pub fn make_room(&mut self, group: Group) -> Result<Option<(K, T)>, NoRoom> {
        if self.held.len() < self.room {
            return Ok(None);
        }
        let mut counts: HashMap<Group, usize> = HashMap::new();
        self.held.values().for_each(|(of, _)| *counts.entry(*of).or_default() += 1);
        let own = counts.get(&group).copied().unwrap_or(0);
        let (greediest, most) = counts.into_iter().max_by_key(|(of, count)| (*count, *of)).ok_or(NoRoom)?;
        if own + 1 >= most {
            return Err(NoRoom);
        }
        let idlest = self.held.iter().filter(|(_, (of, _))| *of == greediest).min_by_key(|(_, (_, held))| held.used());
        let idlest = *idlest.ok_or(NoRoom)?.0;
        Ok(self.held.remove(&idlest).map(|(_, held)| (idlest, held)))
    }

    /// Takes the place that [`Self::make_room`] made, or the one that the same id has already.
    pub fn insert(&mut self, id: K, group: Group, held: T) {
        self.held.insert(id, (group, held));
    }

    /// Frees a place.
    pub fn remove(&mut self, id: K) -> Option<T> {
        self.held.remove(&id).map(|(_, held)| held)
    }

    /// Frees all places but those.
    pub fn retain(&mut self, keep: impl Fn(K, &T) -> bool) {
        self.held.retain(|id, (_, held)| keep(*id, held));
    }

    /// What has a place, and who.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.held.iter().map(|(id, (_, held))| (*id, held))
    }

    /// Who has a place.
    pub fn ids(&self) -> impl Iterator<Item = K> {
        self.held.keys().copied()
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Frees all.
    pub fn clear(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_model::MixId;
    use std::time::Duration;

    const ROOM: usize = 256;

    impl Holds for Instant {
        fn used(&self) -> Instant {
            *self
        }
    }

    fn id(group: Group, number: usize) -> MixId {
        let mut id = match group {
            Group::Fog(fog) => [fog.0[0]; 16],
            _ => [0; 16],
        };
        id[..8].copy_from_slice(&number.to_be_bytes());
        MixId(id)
    }

    /// Somebody of a group wants a place, or uses the one that it has; whether it has one.
    fn wants(shares: &mut Shares<MixId, Instant>, group: Group, number: usize, now: Instant) -> bool {
        let id = id(group, number);
        let has = shares.get(id).is_some() || shares.make_room(group).is_ok();
        if has {
            shares.insert(id, group, now);
        }
        has
    }

    fn of(shares: &Shares<MixId, Instant>, group: Group) -> usize {
        shares.held.values().filter(|(of, _)| *of == group).count()
    }

    #[test]
    fn who_wants_thousands_gets_no_more_than_a_share() {
        let (own, friend) = (Group::Fog(FogId([1; 32])), Group::of_client(None));
        for flood in [Group::Fog(FogId([9; 32])), Group::of_client(Some([192, 0, 2, 1].into()))] {
            let (mut shares, mut now) = (Shares::new(ROOM), Instant::now());
            for number in 0..3 * ROOM {
                wants(&mut shares, flood, number, now);
            }
            assert_eq!((shares.held.len(), of(&shares, flood)), (ROOM, ROOM), "nobody else wants any");
            // The own fog's hundred, while the flood goes on.
            for round in 0..5 {
                for number in 0..100 {
                    now += Duration::from_millis(1);
                    assert!(wants(&mut shares, own, number, now), "round {round}, {number}");
                    wants(&mut shares, flood, ROOM * round + number, now);
                }
            }
            assert_eq!((shares.held.len(), of(&shares, own)), (ROOM, 100));
            // More of both than there is room for: each has half, and neither drives the other out.
            for number in 0..ROOM {
                wants(&mut shares, own, number, now);
            }
            assert!(of(&shares, own).abs_diff(ROOM / 2) <= 1);
            assert!(!wants(&mut shares, flood, 99_999, now) && !wants(&mut shares, own, 99_999, now));
            assert!(wants(&mut shares, friend, 1, now), "a third group");
        }
    }

    #[test]
    fn what_gives_way_was_idle_longest() {
        let (mut shares, began) = (Shares::new(ROOM), Instant::now());
        for number in 0..ROOM {
            wants(&mut shares, Group::Relayed, number, began + Duration::from_millis(number as u64));
        }
        let now = began + Duration::from_secs(1);
        wants(&mut shares, Group::Relayed, 0, now);
        assert!(wants(&mut shares, Group::Fog(FogId([1; 32])), 0, now));
        assert!(shares.get(id(Group::Relayed, 0)).is_some() && shares.get(id(Group::Relayed, 1)).is_none());
    }

    #[test]
    fn clients_are_one_group_by_network() {
        let of = |text: &str| Group::of_client(Some(text.parse().unwrap()));
        assert_eq!(of("192.0.2.1"), of("192.0.2.255"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:ffff::"));
        assert_ne!(of("2001:db8:1::"), of("2001:db9:1::"));
        assert_ne!(of("192.0.2.1"), Group::of_client(None));
    }
}
