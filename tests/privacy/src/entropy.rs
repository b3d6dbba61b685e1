//! What a watcher of all links learns of a single packet: the probability of each sender, packet by packet, mix by mix.
//!
//! Delays are memoryless, so each packet that a mix holds is equally likely to be the next that leaves (Danezis 2004). The watcher keeps for
//! each packet the distribution over its senders; what leaves a mix has the mean of those that the mix held. The watcher is told more than it
//! could see: how many mixes each packet has passed, which packets end at a mix, and which ones a mix made itself. What it is told can only
//! lower the entropy on average, so the figures are lower bounds for a watcher of single packets. A packet that is not held back (delay 0,
//! and every packet at the rendezvous) is recognised, and so is every packet in a mix that works for the watcher.
//! Deliberately absent: what a sequence of packets tells (correlate).

use crate::{
    adapter::Network,
    net::{Doors, Us},
    trace::{Group, Kind, Packet},
};
use rand::{RngExt as _, rngs::StdRng};
use std::{collections::HashMap, time::Duration};

/// What the watcher has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watcher<'a> {
    /// Told how many mixes each packet has passed; else it lumps all that a mix holds, as Serjantov and Danezis do.
    pub(crate) places: bool,
    /// Mixes that work for it.
    pub(crate) bad: &'a [bool],
}

/// What it learns of one packet that a visitor sent and a host got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Entropy over visitors, bits (Serjantov and Danezis 2002).
    pub(crate) entropy: f64,
    /// Entropy as a share of the most that so many visitors could give (Díaz et al. 2002).
    pub(crate) degree: f64,
    /// |ln(p of the sender / p of another visitor, drawn)| (Piotrowska et al. 2017).
    pub(crate) likelihood: f64,
}

#[derive(Clone, Default)]
struct Pool {
    held: u32,
    sum: Vec<f64>,
}

/// Watches some groups at once, with the loops of the network's mixes.
pub(crate) fn watch(groups: &[&Group], loops: &[Packet], watcher: Watcher<'_>, rng: &mut StdRng) -> Vec<Known> {
    // Senders: all clients by group, and last the mixes.
    let mut first = Vec::new();
    let mut senders = 0;
    for group in groups {
        first.push(senders);
        senders += group.access.len();
    }
    let owned = groups.iter().zip(&first).flat_map(|(g, first)| g.packets.iter().map(move |p| (p, *first)));
    let packets: Vec<(&Packet, usize)> = owned.chain(loops.iter().map(|p| (p, 0))).collect();
    let visitors: Vec<usize> =
        groups.iter().zip(&first).flat_map(|(g, first)| (1..g.access.len()).map(move |v| first + v)).collect();

    // Comings before goings of the same moment; a packet's own are apart.
    let mut events: Vec<(Us, bool, usize, usize)> = Vec::new();
    for (number, (packet, _)) in packets.iter().enumerate() {
        for (at, hop) in packet.hops.iter().enumerate() {
            let goes_on = at + 1 < packet.hops.len() || packet.to.is_some();
            if goes_on {
                events.push((hop.arrived, false, number, at));
                events.push((hop.left, true, number, at));
            }
        }
    }
    events.sort_unstable();

    let mut pools: HashMap<(u16, u8), Pool> = HashMap::new();
    let mut knowledge: HashMap<usize, Vec<f64>> = HashMap::new();
    let mut learnt = Vec::new();
    for (_, leaves, number, at) in events {
        let (packet, first) = packets[number];
        let hop = packet.hops[at];
        let exact = hop.at_once || watcher.bad.get(usize::from(hop.mix)).is_some_and(|bad| *bad);
        let place = if watcher.places { hop.place } else { 0 };
        if !leaves {
            let own = knowledge.entry(number).or_insert_with(|| {
                let mut own = vec![0.0; senders + 1];
                own[packet.from.map_or(senders, |c| first + c as usize)] = 1.0;
                own
            });
            if !exact {
                let pool = pools.entry((hop.mix, place)).or_default();
                pool.sum.resize(senders + 1, 0.0);
                pool.sum.iter_mut().zip(own.iter()).for_each(|(s, p)| *s += p);
                pool.held += 1;
            }
            continue;
        }
        if !exact {
            let Some((pool, own)) = pools.get_mut(&(hop.mix, place)).zip(knowledge.get_mut(&number)) else { continue };
            let share = 1.0 / f64::from(pool.held.max(1));
            for (s, p) in pool.sum.iter_mut().zip(own.iter_mut()) {
                *p = *s * share;
                *s = (*s - *p).max(0.0);
            }
            pool.held = pool.held.saturating_sub(1);
            if pool.held == 0 {
                // What rounding left.
                pool.sum.fill(0.0);
            }
        }
        if at + 1 == packet.hops.len() {
            let own = knowledge.remove(&number);
            let by_visitor = packet.from.filter(|from| packet.kind == Kind::Data && *from > 0 && packet.to == Some(0));
            if let Some((own, from)) = own.zip(by_visitor) {
                learnt.push(known(&own, &visitors, first + from as usize, rng));
            }
        }
    }
    learnt
}

/// The watcher knows that only visitors send to hosts.
fn known(own: &[f64], visitors: &[usize], sender: usize, rng: &mut StdRng) -> Known {
    let total: f64 = visitors.iter().map(|v| own[*v]).sum();
    let entropy: f64 = visitors.iter().map(|v| own[*v] / total).filter(|p| *p > 0.0).map(|p| -p * p.log2()).sum();
    let most = (visitors.len() as f64).log2();
    let others: Vec<usize> = visitors.iter().copied().filter(|v| *v != sender).collect();
    let likelihood = match others.len() {
        0 => f64::INFINITY,
        n => (own[sender] / own[others[rng.random_range(0..n)]]).ln().abs(),
    };
    Known { entropy: entropy.max(0.0), degree: if most > 0.0 { entropy.max(0.0) / most } else { 0.0 }, likelihood }
}

/// The loops that all mixes send in a window.
pub(crate) fn mix_loops(
    network: &Network,
    doors: &Doors,
    mean: Duration,
    level: fogbank_model::Level,
    window: Us,
    rng: &mut StdRng,
) -> Vec<Packet> {
    let mut loops = Vec::new();
    for mix in 0..u16::try_from(network.len()).unwrap_or(u16::MAX) {
        let mut at = 0;
        loop {
            at += Us::try_from(fogbank_betanet::schedule::poisson_wait(mean, rng).as_micros()).unwrap_or(Us::MAX).min(window + 1);
            if at > window {
                break;
            }
            let steps = network.mix_loop(mix, level, rng);
            let hops = doors.walk(doors.of(mix), at, 1, &steps, rng);
            loops.push(Packet { kind: Kind::Loop, from: None, to: None, tunnel: None, hops });
        }
    }
    loops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::Hop, trace::Access};
    use rand::SeedableRng as _;

    fn packet(from: u32, arrived: Us, left: Us) -> Packet {
        let hop = Hop { mix: 0, place: 0, arrived, left, at_once: false };
        Packet { kind: Kind::Data, from: Some(from), to: Some(0), tunnel: None, hops: vec![hop] }
    }

    fn group(packets: Vec<Packet>, visitors: usize) -> Group {
        Group { packets, access: vec![Access::default(); visitors + 1], ..Group::default() }
    }

    #[test]
    fn two_packets_that_meet_are_one_bit_and_two_that_do_not_are_none() {
        let mut rng = StdRng::seed_from_u64(1);
        let watcher = Watcher { places: true, bad: &[] };
        let met = group(vec![packet(1, 0, 10), packet(2, 5, 20)], 2);
        let known = watch(&[&met], &[], watcher, &mut rng);
        assert_eq!(known.iter().map(|k| k.entropy).collect::<Vec<_>>(), [1.0, 1.0]);
        assert!(known.iter().all(|k| k.degree == 1.0 && k.likelihood == 0.0));
        let apart = group(vec![packet(1, 0, 10), packet(2, 11, 20)], 2);
        let known = watch(&[&apart], &[], watcher, &mut rng);
        assert!(known.iter().all(|k| k.entropy == 0.0 && k.likelihood == f64::INFINITY));
        let betrayed = watch(&[&met], &[], Watcher { places: true, bad: &[true] }, &mut rng);
        assert!(betrayed.iter().all(|k| k.entropy == 0.0));
    }

    #[test]
    fn one_that_stays_behind_weighs_on_those_that_come_later() {
        let mut rng = StdRng::seed_from_u64(1);
        // 1 and 2 meet; what is left of them meets 3: the second to leave is 1 or 2 with ¼ each, and 3 with ½.
        let world = group(vec![packet(1, 0, 10), packet(2, 5, 20), packet(3, 15, 30)], 3);
        let known = watch(&[&world], &[], Watcher { places: true, bad: &[] }, &mut rng);
        assert!((known[1].entropy - 1.5).abs() < 1e-9 && (known[2].entropy - 1.5).abs() < 1e-9);
    }
}
