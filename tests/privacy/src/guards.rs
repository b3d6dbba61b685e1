//! How long guards keep an adversary away from a host: packets until one of its mixes stands beside the host or beside the host's guard,
//! under a visitor who sends without end; and what a flood of new relays gains.
//!
//! A visitor who works with mixes knows when the host answers, so its mix recognises the host's packets and sees who handed them on.

use crate::{
    adapter::{GUARD_LIFE_DAYS, Identity, Layers, Network, Relay, weights},
    stats::quantile,
};
use rand::{RngExt as _, rngs::StdRng};

/// Answers a second that the visitor gets out of the host: about 0.8 MB/s, what a home connection gives.
pub(crate) const PACKETS_A_SECOND: f64 = 100.0;
/// A search ends here: more than any guard's life.
const MAX_DAYS: f64 = 3_650.0;
/// Packets until it ends for layers drawn by packet: at 100 a second, a tenth of an hour; a thousand mixes need 1,000 on average.
const MAX_PACKETS: usize = 36_000;

/// Quantiles over hosts.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Until {
    pub(crate) n: usize,
    pub(crate) hostile: usize,
    pub(crate) layers: &'static str,
    /// What the adversary gets to stand beside.
    pub(crate) beside: &'static str,
    /// The share of hosts for which it stands there within a second's packets.
    pub(crate) at_once: f64,
    pub(crate) median_packets: f64,
    pub(crate) early_packets: f64,
}

fn until(n: usize, hostile: usize, layers: &'static str, beside: &'static str, mut packets: Vec<f64>) -> Until {
    let at_once = packets.iter().filter(|p| **p <= PACKETS_A_SECOND).count() as f64 / packets.len().max(1) as f64;
    let median_packets = quantile(&mut packets, 0.5);
    Until { n, hostile, layers, beside, at_once, median_packets, early_packets: quantile(&mut packets, 0.1) }
}

fn days_to_packets(days: f64) -> f64 {
    days * 86_400.0 * PACKETS_A_SECOND
}

/// Without guards, with one layer, and with a second behind it.
pub(crate) fn discovery(network: &Network, hostile: usize, hosts: usize, rng: &mut StdRng) -> Vec<Until> {
    let n = network.len();
    let bad = |mix: u16| usize::from(mix) < hostile;
    let (mut bare, mut guard, mut behind_one, mut behind_two) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let layers = Layers::SHIPPED;
    for _ in 0..hosts {
        let host = network.identity(rng);
        bare.push(1.0 + (0..MAX_PACKETS).take_while(|_| !bad(network.anywhere(rng))).count() as f64);
        guard.push(1.0 + days_to_packets(own_guard(network, &host, hostile, rng)));
        behind_one.push(1.0 + one_layer(network, &bad, rng) as f64);
        behind_two.push(1.0 + second_layer(&layers, n, hostile, rng));
    }
    vec![
        until(n, hostile, "none: first hop drawn by packet", "the host", bare),
        until(n, hostile, "one or two", "the host", guard),
        until(n, hostile, "one", "the host's guard", behind_one),
        until(n, hostile, "two, as the product has", "the host's guard", behind_two),
    ]
}

/// Days until one of the host's own guards is hostile: those it has now, and those that follow when their life ends.
fn own_guard(network: &Network, host: &Identity, hostile: usize, rng: &mut StdRng) -> f64 {
    let mut guards = network.guards_of(host);
    let mut days = 0.0;
    while days < MAX_DAYS {
        if guards.iter().any(|g| usize::from(*g) < hostile) {
            return days;
        }
        // All three were chosen at one time and are replaced together.
        days += GUARD_LIFE_DAYS;
        guards = network.guards_of(&network.identity(rng));
    }
    MAX_DAYS
}

/// Answers until the mix behind the guard is hostile, when that is drawn by packet.
fn one_layer(network: &Network, bad: &impl Fn(u16) -> bool, rng: &mut StdRng) -> usize {
    (0..MAX_PACKETS).take_while(|_| !bad(network.anywhere(rng))).count()
}

/// Packets until a mix of the second layer is hostile, as its mixes are replaced one by one.
fn second_layer(layers: &Layers, n: usize, hostile: usize, rng: &mut StdRng) -> f64 {
    let share = hostile as f64 / n as f64;
    let mut soonest = f64::INFINITY;
    for _ in 0..layers.second {
        // Each place is taken by a mix drawn evenly for a life of its own; the first is in the middle of its life.
        let mut days = 0.0;
        let mut first = true;
        while days < MAX_DAYS.min(soonest) && !rng.random_bool(share) {
            let life = layers.life_days(rng);
            days += if first { life * rng.random::<f64>() } else { life };
            first = false;
        }
        soonest = soonest.min(days);
    }
    days_to_packets(soonest.min(MAX_DAYS))
}

/// What a flood of new relays gets of the network's paths, day by day.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Flood {
    pub(crate) rule: &'static str,
    pub(crate) relays: usize,
    pub(crate) owners: usize,
    /// The share of places on paths, by day.
    pub(crate) share: Vec<f64>,
    /// The share of hosts and visitors that both have a hostile guard, when the guards are drawn on the last day.
    pub(crate) both_ends: f64,
}

/// Days at which a flood's share is counted.
pub(crate) const FLOOD_DAYS: [f64; 6] = [0.0, 3.0, 7.0, 14.0, 30.0, 60.0];
/// Draws of a place on a path.
const FLOOD_DRAWS: usize = 20_000;

/// `honest` relays of long standing meet a flood of new ones, by rule: drawn evenly, weighed by age and reliability, and with a cap
/// on what one owner's relays weigh together besides.
pub(crate) fn flood(honest: usize, relays: usize, owners: usize, rng: &mut StdRng) -> Vec<Flood> {
    let rules: [(&'static str, bool, bool); 3] =
        [("evenly", false, false), ("by age and reliability", true, false), ("and a cap an owner", true, true)];
    rules
        .into_iter()
        .map(|(rule, weigh, cap)| {
            let mut share = Vec::new();
            let mut weight = Vec::new();
            for day in FLOOD_DAYS {
                let old = (0..honest).map(|i| Relay { owner: i, age_days: 60.0 + day, reliability: 0.95 });
                let new = (0..relays).map(|i| Relay { owner: honest + i % owners, age_days: day, reliability: 0.99 });
                let all: Vec<Relay> = old.chain(new).collect();
                weight = weights(&all, weigh, cap);
                let hits = (0..FLOOD_DRAWS).filter(|_| draw(&weight, rng) >= honest).count();
                share.push(hits as f64 / FLOOD_DRAWS as f64);
            }
            let hit = |rng: &mut StdRng| three(&weight, rng).into_iter().any(|g| g >= honest);
            let both = (0..FLOOD_DRAWS / 4).filter(|_| hit(rng) && hit(rng)).count();
            Flood { rule, relays, owners, share, both_ends: both as f64 / (FLOOD_DRAWS / 4) as f64 }
        })
        .collect()
}

fn draw(weights: &[f64], rng: &mut StdRng) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (at, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return at;
        }
    }
    0
}

/// Three different ones.
fn three(weights: &[f64], rng: &mut StdRng) -> Vec<usize> {
    let mut left = weights.to_vec();
    (0..3)
        .map(|_| {
            let at = draw(&left, rng);
            left[at] = 0.0;
            at
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn layers_hold_longer_than_none() {
        let mut rng = StdRng::seed_from_u64(1);
        let network = Network::new(100, &mut rng);
        let found = discovery(&network, 5, 200, &mut rng);
        let median = |i: usize| found[i].median_packets;
        assert!(median(0) < 40.0 && median(2) < 40.0, "{found:?}");
        assert!(median(1) > 1e6 && median(3) > 1e6, "{found:?}");
        assert!(found[3].at_once < 0.35, "{found:?}");
    }

    #[test]
    fn a_flood_is_nothing_before_its_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let floods = flood(50, 500, 1, &mut rng);
        assert!(floods[0].share[0] > 0.85 && floods[1].share[0] < 0.12 && floods[1].share[5] > 0.8, "{floods:?}");
        assert!(floods[2].share[5] < 0.12, "{floods:?}");
    }
}
