//! What hostile mixes that work together know of single packets.
//!
//! A mix unwraps, so it knows which packet that came became which packet that went, and so do hostile mixes that follow each other: a *run*
//! of hops is known whole. Runs are then joined over one honest mix between them, where by the time that this mix takes only one run fits
//! before and only one after: a guess, and at a mix that delays often a wrong one. What comes of it is, of each client, with which clients
//! and at which places (the mix, or the visit where that mix is hostile) its packets met others'.
//!
//! The adversary is told more than it could see: how many mixes a packet has passed, and how long links take. Deliberately absent: joining over
//! two honest mixes and more, and weighing several runs that fit.

use crate::{
    correlate::is_bad,
    net::{Doors, JITTER_US, TICK_US, Us, WORK_US},
    trace::{Group, Packet},
};
use std::collections::{BTreeMap, HashMap};

/// Where on its way a packet meets the other side: after three mixes.
pub(crate) const MEETING: u8 = 3;
/// What the jitter of the two links at an honest mix may be: more comes once in a hundred times.
const SLACK_US: Us = (7.0 * JITTER_US) as Us;
/// A delay is waited for as long as this many of its means: one in twenty is longer.
const MEANS: f64 = 3.0;

/// A client: the number of its group, and its own in it; the host is 0.
pub(crate) type Who = (usize, u32);

/// Where packets of two clients meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// An honest mix.
    Mix(u16),
    /// One visit, at a hostile mix: group and number.
    Visit(usize, u32),
}

/// What is known of one client, in packets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) places: BTreeMap<Place, u32>,
    /// Followed from the one to the other, through hostile mixes alone; and over honest ones.
    pub(crate) exact: BTreeMap<Who, u32>,
    pub(crate) guessed: BTreeMap<Who, u32>,
}

/// A row of hostile mixes on a packet's way: its hops from one to the other, both included.
struct Run<'a> {
    packet: &'a Packet,
    group: usize,
    from: usize,
    to: usize,
}

impl<'a> Run<'a> {
    /// The client that made the packet, if this is where it came in.
    fn maker(&self) -> Option<Who> {
        let first = self.from == 0 && self.packet.hops.first().is_some_and(|h| h.place == 0);
        self.packet.from.filter(|_| first).map(|client| (self.group, client))
    }

    /// The client that gets the packet, if this is where it goes out.
    fn taker(&self) -> Option<Who> {
        self.packet.to.filter(|_| self.to + 1 == self.packet.hops.len()).map(|client| (self.group, client))
    }

    /// The honest mixes before and after.
    fn before(&self) -> Option<&'a crate::net::Hop> {
        self.packet.hops.get(self.from.checked_sub(1)?)
    }

    fn after(&self) -> Option<&'a crate::net::Hop> {
        self.packet.hops.get(self.to + 1)
    }

    /// Where the packet meets the other side, if that shows here: at a hostile mix, or at the honest one next to it.
    fn place(&self) -> Option<Place> {
        let here = self.packet.hops.get(self.from..=self.to)?.iter().any(|h| h.place == MEETING);
        if here {
            return self.packet.tunnel.map(|visit| Place::Visit(self.group, visit));
        }
        let next = self.after().filter(|h| h.place == MEETING).or_else(|| self.before().filter(|h| h.place == MEETING));
        next.map(|hop| Place::Mix(hop.mix))
    }
}

fn runs<'a>(packet: &'a Packet, group: usize, bad: &[bool], all: &mut Vec<Run<'a>>) {
    let mut from = None;
    for (at, hop) in packet.hops.iter().enumerate() {
        let hostile = is_bad(bad, hop.mix);
        if hostile {
            from.get_or_insert(at);
        }
        let ends = hostile && packet.hops.get(at + 1).is_none_or(|next| !is_bad(bad, next.mix));
        if let Some(from) = from.take_if(|_| ends) {
            all.push(Run { packet, group, from, to: at });
        }
    }
}

/// Which runs end before an honest mix and which begin after it, by time.
type Passing = [Vec<(Us, usize)>; 2];

/// Which run follows which, over one honest mix. `mean_us`: of the delay at a hop, where the level has one.
fn joined(runs: &[Run<'_>], doors: &Doors, mean_us: f64) -> Vec<Option<usize>> {
    // By honest mix and place.
    let mut at: HashMap<(u16, u8), Passing> = HashMap::new();
    for (number, run) in runs.iter().enumerate() {
        if let (Some(next), Some(hop)) = (run.after(), run.packet.hops.get(run.to)) {
            at.entry((next.mix, next.place)).or_default()[0].push((hop.left, number));
        }
        if let (Some(last), Some(hop)) = (run.before(), run.packet.hops.get(run.from)) {
            at.entry((last.mix, last.place)).or_default()[1].push((hop.arrived, number));
        }
    }
    // How many fit, and the last of them.
    let mut after: Vec<(u32, usize)> = vec![(0, 0); runs.len()];
    let mut before = after.clone();
    for ((mix, place), [mut goes, mut comes]) in at {
        goes.sort_unstable();
        comes.sort_unstable();
        let waits = if place == MEETING || mean_us <= 0.0 { 0 } else { (MEANS * mean_us) as Us + TICK_US };
        let mut oldest = 0;
        for (arrived, second) in &comes {
            let links = |first: usize| {
                let mixes =
                    runs.get(first).and_then(|r| r.packet.hops.get(r.to)).zip(runs[*second].packet.hops.get(runs[*second].from));
                mixes.map_or(0, |(a, b)| doors.of(a.mix) + 2 * doors.of(mix) + doors.of(b.mix))
            };
            while goes.get(oldest).is_some_and(|(left, _)| left + doors.longest() + WORK_US + SLACK_US + waits < *arrived) {
                oldest += 1;
            }
            for (left, first) in goes[oldest..].iter().take_while(|(left, _)| left < arrived) {
                let soonest = left + links(*first);
                if (soonest..=soonest + WORK_US + SLACK_US + waits).contains(arrived) {
                    after[*first] = (after[*first].0 + 1, *second);
                    before[*second] = (before[*second].0 + 1, *first);
                }
            }
        }
    }
    after.iter().map(|(count, second)| (*count == 1 && before[*second].0 == 1).then_some(*second)).collect()
}

/// Follows the packets of groups that are active together, with the loops of the network's mixes; over honest mixes if `mean_us` is given, of
/// the delay at a hop. `first` is the number of the first group. What is known of each client, group by group.
pub(crate) fn follow(
    groups: &[Group],
    first: usize,
    loops: &[Packet],
    bad: &[bool],
    doors: &Doors,
    mean_us: Option<f64>,
) -> Vec<Vec<Known>> {
    let mut all = Vec::new();
    for (group, number) in groups.iter().zip(first..) {
        group.packets.iter().for_each(|packet| runs(packet, number, bad, &mut all));
    }
    // Mixes have no clients, so of their loops the group does not matter.
    loops.iter().for_each(|packet| runs(packet, first, bad, &mut all));
    let next = mean_us.map_or_else(|| vec![None; all.len()], |mean_us| joined(&all, doors, mean_us));
    let mut last: Vec<Option<usize>> = vec![None; all.len()];
    for (number, second) in next.iter().enumerate() {
        if let Some(second) = second {
            last[*second] = Some(number);
        }
    }
    let mut known: Vec<Vec<Known>> = groups.iter().map(|g| vec![Known::default(); g.access.len()]).collect();
    // A way has seven hops, so more joins than that are a wrong one after another.
    let along = |from: usize, ways: &[Option<usize>]| -> Vec<usize> {
        std::iter::successors(Some(from), |at| ways.get(*at).copied().flatten()).take(usize::from(2 * MEETING + 1)).collect()
    };
    for (number, run) in all.iter().enumerate() {
        for (client, way) in [(run.maker(), &next), (run.taker(), &last)] {
            let Some(client) = client else { continue };
            let way = along(number, way);
            let of = |who: Who, known: &mut Vec<Vec<Known>>, tell: &dyn Fn(&mut Known)| {
                let entry = who.0.checked_sub(first).and_then(|g| known.get_mut(g)).and_then(|g| g.get_mut(who.1 as usize));
                if let Some(entry) = entry {
                    tell(entry);
                }
            };
            if let Some(place) = way.iter().find_map(|r| all[*r].place()) {
                of(client, &mut known, &|k| *k.places.entry(place).or_default() += 1);
            }
            // Whole ways are counted once, from where they begin.
            let other = way.last().and_then(|r| all[*r].taker()).filter(|other| run.maker() == Some(client) && *other != client);
            let Some(other) = other else { continue };
            let exact = way.len() == 1;
            for (one, two) in [(client, other), (other, client)] {
                of(one, &mut known, &|k| {
                    *if exact { &mut k.exact } else { &mut k.guessed }.entry(two).or_default() += 1;
                });
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::Hop,
        trace::{Access, Kind},
    };
    use rand::{SeedableRng as _, rngs::StdRng};

    /// A packet of visitor 1 to the host over seven mixes, 30 ms apart by links, as it would be seen without any jitter.
    fn packet(doors: &Doors, mixes: [u16; 7], start: Us, delay: Us) -> Packet {
        let mut at = start;
        let mut last: Option<u16> = None;
        let hops = mixes.iter().zip(0..).map(|(mix, place)| {
            let arrived = at + last.map_or(10_000, |l| doors.of(l)) + doors.of(*mix);
            let left = arrived + WORK_US + if place == MEETING { 0 } else { delay };
            (at, last) = (left, Some(*mix));
            Hop { mix: *mix, place, arrived, left, at_once: delay == 0 || place == MEETING }
        });
        Packet { kind: Kind::Data, from: Some(1), to: Some(0), tunnel: Some(0), hops: hops.collect() }
    }

    fn known(packets: Vec<Packet>, doors: &Doors, bad: &[u16], mean_us: f64) -> [Known; 2] {
        let group = Group { packets, access: vec![Access::default(); 2], ..Group::default() };
        let bad: Vec<bool> = (0..20).map(|mix| bad.contains(&mix)).collect();
        let mut found = follow(&[group], 5, &[], &bad, doors, Some(mean_us)).remove(0);
        let visitor = found.remove(1);
        [found.remove(0), visitor]
    }

    fn doors() -> Doors {
        Doors::new(20, &mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn who_has_the_whole_way_knows_and_who_has_none_does_not() {
        let doors = doors();
        let sent = || vec![packet(&doors, [0, 1, 2, 3, 4, 5, 6], 0, 15_000)];
        let [host, visitor] = known(sent(), &doors, &[0, 1, 2, 3, 4, 5, 6], 15_000.0);
        assert_eq!((host.exact.get(&(5, 1)), visitor.exact.get(&(5, 0))), (Some(&1), Some(&1)));
        assert_eq!(host.places.get(&Place::Visit(5, 0)), Some(&1));
        for bad in [&[][..], &[7, 8, 9]] {
            for k in known(sent(), &doors, bad, 15_000.0) {
                assert!(k.places.is_empty() && k.exact.is_empty() && k.guessed.is_empty(), "{k:?}");
            }
        }
    }

    #[test]
    fn three_mixes_of_a_side_know_where_it_meets_the_other() {
        let doors = doors();
        let sent = || vec![packet(&doors, [0, 1, 2, 3, 4, 5, 6], 0, 15_000)];
        let [host, visitor] = known(sent(), &doors, &[0, 1, 2], 15_000.0);
        assert_eq!((visitor.places.get(&Place::Mix(3)), host.places.len()), (Some(&1), 0));
        let [host, visitor] = known(sent(), &doors, &[3, 4, 5, 6], 15_000.0);
        assert_eq!((visitor.places.len(), host.places.get(&Place::Visit(5, 0))), (0, Some(&1)));
        // Two of a side do not, when the third delays for longer than is waited.
        let [_, visitor] = known(sent(), &doors, &[0, 1, 3], 1_000.0);
        assert!(visitor.places.is_empty());
    }

    #[test]
    fn one_honest_mix_is_no_gap_when_nothing_else_passes_it_and_is_one_when_something_does() {
        let doors = doors();
        let bad = [0, 1, 2, 4, 5, 6, 8];
        // The mix where they meet holds nothing back.
        let alone = vec![packet(&doors, [0, 1, 2, 3, 4, 5, 6], 0, 15_000)];
        let [host, visitor] = known(alone, &doors, &bad, 15_000.0);
        assert_eq!((host.guessed.get(&(5, 1)), visitor.guessed.get(&(5, 0)), host.exact.len()), (Some(&1), Some(&1), 0));
        // Without delays every other mix may be honest.
        let alone = vec![packet(&doors, [0, 1, 2, 3, 4, 5, 6], 0, 0)];
        let [host, _] = known(alone, &doors, &[0, 2, 4, 6], 0.0);
        assert_eq!(host.guessed.get(&(5, 1)), Some(&1));
        // A second packet that takes the same mixes a moment later fits as well, where times are drawn.
        let two = vec![packet(&doors, [0, 1, 2, 3, 4, 5, 6], 0, 15_000), packet(&doors, [0, 1, 2, 3, 4, 5, 6], 5_000, 15_000)];
        let [host, visitor] = known(two, &doors, &[0, 2, 3, 4, 5, 6], 15_000.0);
        assert!(host.guessed.is_empty() && visitor.places.is_empty(), "{host:?} {visitor:?}");
    }
}
