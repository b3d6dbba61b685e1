//! What a mix takes: the owner's rate, shared fairly among peers. Pure: time comes in.
//!
//! Excess is refused before the key exchange, so a flood costs its sender more than the mix. While the mix is within its rate, nobody is held
//! back, but that what each peer had a second ago is kept for it: a burst takes what nobody used. Beyond the rate all groups (a fog's mixes, a network's clients) that want little get it, and the others share the rest alike; so do the peers
//! of such a group what it has. One that floods starves itself only, and under many keys only those of its own network.

use fogbank_sphinx::PACKET_BYTES;
use fogbank_wire::Group;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Packets taken of one peer a second, whatever the rate: 80 MB/s at 8 KiB, above what a home connection carries.
const MOST_OF_A_PEER: u32 = 10_000;
/// Shares are counted anew this often; within it, a peer may take its share at once.
const WINDOW: Duration = Duration::from_secs(1);

/// Frames of a peer that are refused in a window before it is not listened to for the rest of it: half of what a link has under way, which comes at
/// once where a line stood still.
const MOST_REFUSED: u32 = 32;

/// Shares hold until for so many windows no more was wanted than there is: else who floods each second second would find all of it free.
const CALM: u32 = 10;

/// How many packets a mix takes in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Option<u32>);

impl Rate {
    /// As many as come.
    pub const UNLIMITED: Self = Self(None);

    /// A rate in packets.
    pub fn of_packets_s(packets: u32) -> Self {
        Self(Some(packets.max(1)))
    }

    /// A rate in bytes a second, in each direction.
    pub fn of_bytes_s(bytes: u64) -> Self {
        Self::of_packets_s(u32::try_from(bytes / PACKET_BYTES as u64).unwrap_or(u32::MAX))
    }

    /// Packets in a second; `None` when there is no limit.
    pub fn packets_s(self) -> Option<u32> {
        self.0
    }
}

/// The tag that a peer's key gives it.
type Peer = [u8; 16];

/// What a peer, or a group, wanted and got in a window.
#[derive(Default)]
struct Wish {
    wanted: u32,
    taken: u32,
}

/// What all peers of a group together wanted and got, and each of them.
#[derive(Default)]
struct Wishes {
    all: Wish,
    peers: HashMap<Peer, Wish>,
}

/// What each may have at most, since more was wanted than there is.
struct Shares {
    group: u32,
    /// A peer of the groups that wanted more than that.
    peer: HashMap<Group, u32>,
}

impl Shares {
    /// By what was wanted; `None` when there is room for all.
    fn by(room: u32, groups: &HashMap<Group, Wishes>) -> Option<Self> {
        let group = fair_share(room, groups.values().map(|g| g.all.wanted).collect())?;
        let greedy = groups.iter().filter(|(_, g)| g.all.wanted > group);
        let peer = greedy.filter_map(|(id, g)| Some((*id, fair_share(group, g.peers.values().map(|p| p.wanted).collect())?)));
        Some(Self { group, peer: peer.collect() })
    }
}

/// The account of the present window.
pub(super) struct Intake {
    rate: Rate,
    /// What else there is for so many a second only, whatever the owner allows.
    ration: Option<u32>,
    reserved: u32,
    began: Instant,
    taken: u32,
    groups: HashMap<Group, Wishes>,
    shares: Option<Shares>,
    /// Windows since then.
    calm: u32,
    /// What each peer had in the last window and has not had in this one, while there was room for all; of one group half of the room at most.
    claims: HashMap<Peer, u32>,
    /// All of it.
    claimed: u32,
}

impl Intake {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            ration: None,
            reserved: 0,
            began: now,
            taken: 0,
            groups: HashMap::new(),
            shares: None,
            calm: 0,
            claims: HashMap::new(),
            claimed: 0,
        }
    }

    /// The owner changed the limit.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Something that packets use up lasts for so many a second only.
    pub(super) fn set_ration(&mut self, packets_s: Option<u32>) {
        self.ration = packets_s;
    }

    /// So many packets a second of the rate are spoken for: frames that go out whether anything comes in or not.
    pub(super) fn set_reserved(&mut self, packets_s: u32) {
        self.reserved = packets_s;
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Packets a window that there is room for.
    fn room(&self) -> Option<u32> {
        let most = self.rate.packets_s().into_iter().chain(self.ration).min();
        most.map(|most| most.saturating_sub(self.reserved).max(1))
    }

    /// Whether one more frame of a peer is taken. Peers are connected, so there are no more of them than connections.
    pub(super) fn take(&mut self, peer: Peer, group: Group, now: Instant) -> bool {
        let room = self.room();
        if now.duration_since(self.began) >= WINDOW {
            self.turn(room, now);
        }
        let most = |share: Option<u32>| share.unwrap_or(u32::MAX);
        let of_group = most(self.shares.as_ref().map(|s| s.group));
        let of_peer = most(self.shares.as_ref().and_then(|s| s.peer.get(&group).copied())).min(MOST_OF_A_PEER);
        let Wishes { all, peers } = self.groups.entry(group).or_default();
        let wish = peers.entry(peer).or_default();
        (all.wanted, wish.wanted) = (all.wanted.saturating_add(1), wish.wanted.saturating_add(1));
        let claim = self.claims.get_mut(&peer).filter(|claim| **claim > 0);
        let kept = if claim.is_some() { 0 } else { self.claimed };
        let within =
            wish.taken < of_peer && all.taken < of_group && room.is_none_or(|room| self.taken.saturating_add(kept) < room);
        if within {
            if let Some(claim) = claim {
                *claim -= 1;
                self.claimed -= 1;
            }
            wish.taken += 1;
            all.taken += 1;
            self.taken += 1;
        }
        within
    }

    /// Until when a peer is not listened to, that was refused just now: it sends far more than its share, and would fill the owner's line with what
    /// nobody takes.
    pub(super) fn deaf(&self, peer: Peer, group: Group) -> Option<Instant> {
        let wish = self.groups.get(&group)?.peers.get(&peer)?;
        (wish.wanted.saturating_sub(wish.taken) > MOST_REFUSED).then(|| self.began + WINDOW)
    }

    /// A new window begins.
    fn turn(&mut self, room: Option<u32>, now: Instant) {
        let shares = room.and_then(|room| Shares::by(room, &self.groups));
        let contended = shares.is_some();
        self.calm = if contended { 0 } else { self.calm.saturating_add(1) };
        if contended || self.calm >= CALM {
            self.shares = shares;
        }
        // Where more was wanted than there is, shares hold instead.
        let past = now.duration_since(self.began) < 2 * WINDOW && !contended && room.is_some();
        self.claims.clear();
        if past {
            let half = room.unwrap_or(u32::MAX) / 2;
            for Wishes { all, peers } in self.groups.values() {
                let part = |taken: u32| u64::from(taken) * u64::from(half.min(all.taken)) / u64::from(all.taken.max(1));
                // No more than was taken.
                self.claims.extend(peers.iter().map(|(peer, wish)| (*peer, part(wish.taken) as u32)));
            }
        }
        self.claimed = self.claims.values().sum();
        self.groups.clear();
        (self.began, self.taken) = (now, 0);
    }
}

/// The largest share that all can have whose wishes are larger, when smaller wishes are met whole; `None` when there is room for all.
fn fair_share(room: u32, mut wishes: Vec<u32>) -> Option<u32> {
    wishes.sort_unstable();
    let (mut left, mut peers) = (room, u32::try_from(wishes.len()).unwrap_or(u32::MAX));
    for wish in wishes {
        let share = left / peers.max(1);
        if wish > share {
            return Some(share.max(1));
        }
        left -= wish;
        peers = peers.saturating_sub(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clients of a network.
    fn network(number: u8) -> Group {
        Group::of_client(Some([10, 0, number, 1].into()))
    }

    fn run(intake: &mut Intake, from: Instant, ms: u64, offers: &[(Peer, u32)]) -> HashMap<Peer, u32> {
        let mut taken = HashMap::new();
        for at in 0..ms {
            let now = from + Duration::from_millis(at);
            for (peer, each_ms) in offers {
                for _ in 0..*each_ms {
                    *taken.entry(*peer).or_default() += u32::from(intake.take(*peer, network(peer[0]), now));
                }
            }
        }
        taken
    }

    #[test]
    fn the_owners_rate_is_kept() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(1_000), start);
        let taken = run(&mut intake, start, 10_000, &[([1; 16], 5), ([2; 16], 5)]);
        assert!(taken.values().sum::<u32>() <= 10_000, "{taken:?}");
        assert!(taken.values().sum::<u32>() >= 9_500, "what may be taken is: {taken:?}");
        let mut free = Intake::new(Rate::UNLIMITED, start);
        assert_eq!(run(&mut free, start, 1_000, &[([1; 16], 5)])[&[1; 16]], 5_000);
    }

    /// A client of constant rate and a page, at a mix that an owner lends by default: all of it is within the rate.
    #[test]
    fn within_the_rate_nobody_is_held_back() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_bytes_s(1_000_000), start);
        intake.set_reserved(25);
        for ms in 0..5_000_u64 {
            let now = start + Duration::from_millis(ms);
            if ms % 41 == 0 {
                assert!(intake.take([1; 16], network(1), now), "a slot after {ms} ms");
            }
            if ms % 16 == 0 {
                let other = 2 + (ms / 16 % 8) as u8;
                assert!(intake.take([other; 16], network(other), now), "another's after {ms} ms");
            }
        }
    }

    #[test]
    fn a_ration_is_shared_as_a_rate_is() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::UNLIMITED, start);
        intake.set_ration(Some(100));
        let mut take = |second: u32, network_number: u8, count: u32| {
            (0..count).filter(|_| intake.take([network_number; 16], network(network_number), start + WINDOW * second)).count()
        };
        assert_eq!((take(0, 1, 20), take(0, 2, 5_000)), (20, 80));
        assert_eq!((take(1, 2, 5_000), take(1, 1, 20)), (80, 20), "who floods has what the others leave");
    }

    #[test]
    fn who_floods_now_and_then_finds_nothing_free_for_it() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(100), start);
        let (mut taken, mut taken_by_flood) = (0, 0);
        for second in 0..20_u64 {
            let now = start + WINDOW * second as u32;
            if second % 2 == 1 {
                taken_by_flood += (0..10_000).filter(|_| intake.take([1; 16], network(1), now)).count();
            }
            taken += (0..40).filter(|_| intake.take([2; 16], network(2), now)).count();
        }
        assert!(taken >= 19 * 40, "{taken} of 800: all but those of the first flood");
        assert!(taken_by_flood <= 100 + 9 * 60, "{taken_by_flood}");
    }

    /// A burst so seldom that nothing is short in between: who goes on as before loses nothing, be it of the same group.
    #[test]
    fn who_bursts_takes_what_nobody_used() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(100), start);
        let (mut taken, mut taken_by_burst) = (0, 0);
        for second in 0..60_u64 {
            let now = start + WINDOW * second as u32;
            if second % 11 == 10 {
                taken_by_burst += (0..1_000).filter(|_| intake.take([1; 16], network(1), now)).count();
            }
            for (peer, group) in [([2; 16], network(1)), ([3; 16], network(2))] {
                taken += (0..20).filter(|_| intake.take(peer, group, now)).count();
            }
        }
        assert_eq!((taken, taken_by_burst), (60 * 40, 5 * 60));
    }

    #[test]
    fn what_is_claimed_and_not_used_is_lost_for_a_second_only() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(100), start);
        let mut take = |second: u32, peer: u8, count: u32| {
            (0..count).filter(|_| intake.take([peer; 16], network(peer), start + WINDOW * second)).count()
        };
        assert_eq!(take(0, 1, 90), 90);
        assert_eq!((take(1, 2, 90), take(2, 2, 90)), (50, 90), "half at most is kept for one");
        assert_eq!(take(3, 2, 100), 100, "what one had itself keeps it from nothing");
        assert_eq!(take(9, 3, 100), 100, "what was long ago is nobody's");
    }

    /// Shares are still in force from a second ago; who has had its share claims no more.
    #[test]
    fn who_may_not_have_more_keeps_nothing_from_others() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(100), start);
        let mut take = |second: u32, peer: u8, count: u32| {
            (0..count).filter(|_| intake.take([peer; 16], network(peer), start + WINDOW * second)).count()
        };
        take(0, 1, 100);
        take(0, 2, 50);
        assert_eq!(take(1, 1, 100), 50);
        assert_eq!((take(2, 2, 50), take(2, 1, 100)), (50, 50));
    }

    #[test]
    fn shares_are_fair() {
        assert_eq!(fair_share(100, vec![50, 30, 20]), None);
        assert_eq!(fair_share(100, vec![1_000, 10, 1_000]), Some(45));
        assert_eq!(fair_share(1, vec![5; 9]), Some(1));
        assert_eq!(fair_share(100, vec![]), None);
    }

    #[test]
    fn a_flood_starves_itself_only() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(1_000), start);
        run(&mut intake, start, 1_000, &[([1; 16], 20), ([2; 16], 1)]);
        // An honest peer that wants less than its share gets nearly all of it, although the other sends ten times the rate.
        let taken = run(&mut intake, start + WINDOW, 999, &[([1; 16], 10), ([2; 16], 1)]);
        let honest = taken[&[2; 16]];
        assert!(honest >= 450, "{honest} of 999, half of the rate is its share");
    }

    /// Somebody with three hundred keys that each want a little: the others of its network suffer, another mix and a client elsewhere do not.
    #[test]
    fn many_keys_of_one_network_are_one_flood() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(120), start);
        let (mix, elsewhere) = (Group::Fog(fogbank_model::FogId([7; 32])), network(2));
        let (mut from_mix, mut from_elsewhere, mut flood) = (0, 0, 0);
        for second in 0..10_u32 {
            let now = start + WINDOW * second;
            for round in 0..40_u32 {
                for key in 0..300_u16 {
                    let mut tag = [0; 16];
                    tag[..2].copy_from_slice(&key.to_be_bytes());
                    flood += u32::from(round < 2 && intake.take(tag, network(1), now));
                }
                from_mix += u32::from(intake.take([200; 16], mix, now));
                from_elsewhere += u32::from(round < 24 && intake.take([201; 16], elsewhere, now));
            }
        }
        // The flood has the first second.
        assert_eq!((from_mix, from_elsewhere), (9 * 40, 9 * 24), "{flood} of the flood were taken");
        assert!(flood <= 120 + 9 * 60, "{flood}");
    }
}
