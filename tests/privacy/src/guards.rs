//! How long guards keep an adversary away from a host: packets until one of its mixes stands beside the host or beside the host's guard,
//! under a visitor who sends without end; and what a flood of new relays gains.
//!
//! The host's guards are the product's: refreshed with directories of later and later days, from one end of a life to the next (between them a
//! refresh changes nothing), and what its packets pass is drawn by the product's choice of paths. A visitor who works with mixes knows when the host
//! answers, so its mix recognises the host's packets and sees who handed them on. It has the host meet it at a mix that is not its own: one that is
//! the end of a way is not between its ends.
//! Deliberately absent: mixes that come and go, and owners and networks of several mixes.

use crate::{
    adapter::{Identity, LONGEST_LIFE_DAYS, Network, Relay, weights},
    stats::quantile,
};
use fogbank_model::Level;
use rand::{RngExt as _, rngs::StdRng};

/// Answers a second that the visitor gets out of the host: about 0.8 MB/s, what a home connection gives.
pub(crate) const PACKETS_A_SECOND: f64 = 100.0;
/// A search ends here: forty lives of a guard.
const MAX_DAYS: f64 = 3_650.0;
/// Packets until it ends for layers drawn by packet: at 100 a second, a tenth of an hour; a thousand mixes need 1,000 on average.
const MAX_PACKETS: usize = 36_000;

/// When the adversary begins: the host has been there for one to two of the longest lives, so that its guards are of all ages.
const BEGINS_DAYS: std::ops::Range<f64> = LONGEST_LIFE_DAYS..2.0 * LONGEST_LIFE_DAYS;
/// Packets drawn while the guards stay the same: one of four or three mixes is missed so often less than once in 10¹².
const DRAWN: usize = 100;

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

/// What the product has, for the host and for its guard; and beside it what would be without guards, and without a second layer.
pub(crate) fn discovery(network: &Network, hostile: usize, hosts: usize, rng: &mut StdRng) -> Vec<Until> {
    let n = network.len();
    let bad = |mix: u16| usize::from(mix) < hostile;
    let mut network = network.clone();
    let [mut bare, mut one_layer, mut host, mut guard] = [0; 4].map(|_| Vec::with_capacity(hosts));
    let drawn =
        |network: &Network, rng: &mut StdRng| 1.0 + (0..MAX_PACKETS).take_while(|_| !bad(network.anywhere(rng))).count() as f64;
    for _ in 0..hosts {
        bare.push(drawn(&network, rng));
        one_layer.push(drawn(&network, rng));
        let [beside_host, beside_guard] = search(&mut network, &bad, rng);
        host.push(beside_host);
        guard.push(beside_guard);
    }
    vec![
        until(n, hostile, "none: first hop drawn by packet", "the host", bare),
        until(n, hostile, "one: second hop drawn by packet", "the host's guard", one_layer),
        until(n, hostile, "the product's", "the host", host),
        until(n, hostile, "the product's", "the host's guard", guard),
    ]
}

/// One host of the product: packets until a hostile mix stands beside it, and until one stands beside its guard.
fn search(network: &mut Network, bad: &impl Fn(u16) -> bool, rng: &mut StdRng) -> [f64; 2] {
    network.on_day(0.0);
    let mut host = network.identity(rng);
    let begin = rng.random_range(BEGINS_DAYS);
    let mut day = 0.0;
    while let Some(end) = network.next_end(&host).filter(|end| *end <= begin) {
        day = pass(network, &mut host, day, end, rng);
    }
    day = begin;
    let honest: Vec<u16> = (0..network.len()).filter_map(|mix| u16::try_from(mix).ok()).filter(|mix| !bad(*mix)).collect();
    // Where no mix is honest any will do.
    let meeting = if honest.is_empty() { 0 } else { honest[rng.random_range(0..honest.len())] };
    let never = 1.0 + days_to_packets(MAX_DAYS);
    let mut found = [never; 2];
    while day < begin + MAX_DAYS && found.contains(&never) {
        let end = network.next_end(&host).map_or(f64::INFINITY, |end| end.min(begin + MAX_DAYS));
        let passed = days_to_packets(day - begin);
        for (found, at) in found.iter_mut().zip(meets(network, &host, meeting, days_to_packets(end - day), bad, rng)) {
            if let Some(at) = at.filter(|_| *found == never) {
                *found = passed + at;
            }
        }
        day = pass(network, &mut host, day, end, rng);
    }
    found
}

/// Time passes up to a day on which something of a host's guards ends.
fn pass(network: &mut Network, host: &mut Identity, day: f64, end: f64, rng: &mut StdRng) -> f64 {
    // Rounding must not let time stand still.
    let end = end.max(day + 1e-6);
    if end.is_finite() {
        network.on_day(end);
        network.refresh(host, rng);
    }
    end
}

/// While its guards are these, for at most so many packets: the first that puts a hostile mix beside the host, and beside its guard. Each
/// packet that comes is answered, and both take a way of their own.
fn meets(
    network: &Network,
    host: &Identity,
    meeting: u16,
    packets: f64,
    bad: &impl Fn(u16) -> bool,
    rng: &mut StdRng,
) -> [Option<f64>; 2] {
    let second = network.second_of(host);
    // Only a hostile mix in a layer can be met there; without a second layer all others are behind the guard.
    let mut open = [network.guards_of(host).into_iter().any(bad), second.is_empty() || second.into_iter().any(bad)];
    let mut met = [None; 2];
    for number in 1..=DRAWN.min(packets.ceil() as usize) {
        if open == [false; 2] {
            break;
        }
        let (answer, asks) = (network.out(host, meeting, Level::Fast, rng), network.back(host, meeting, Level::Fast, rng));
        let steps =
            |place: usize| [answer.get(place), asks.iter().rev().nth(place)].into_iter().flatten().any(|step| bad(step.mix));
        for place in 0..2 {
            if open[place] && steps(place) {
                (open[place], met[place]) = (false, Some(number as f64));
            }
        }
    }
    met
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

    fn found(n: usize, hostile: usize, hosts: usize) -> Vec<Until> {
        let mut rng = StdRng::seed_from_u64(1);
        let network = Network::new(n, &mut rng);
        discovery(&network, hostile, hosts, &mut rng)
    }

    #[test]
    fn layers_hold_longer_than_none() {
        let found = found(100, 5, 200);
        let median = |i: usize| found[i].median_packets;
        assert!(median(0) < 40.0 && median(1) < 40.0, "{found:?}");
        assert!(median(2) > 1e8 && median(3) > 1e6 && median(2) > median(3), "{found:?}");
    }

    #[test]
    fn who_owns_all_stands_there_at_once_and_who_owns_none_never_does() {
        for n in [7, 20] {
            assert!(found(n, n, 20).iter().all(|u| u.at_once == 1.0 && u.median_packets == 1.0));
            let none = &found(n, 0, 3)[2..];
            assert!(none.iter().all(|u| u.at_once == 0.0 && u.early_packets == 1.0 + days_to_packets(MAX_DAYS)), "{none:?}");
        }
    }

    /// Three of a hundred are guards and four the second layer, whenever one looks; the rest follows from how often they are replaced.
    #[test]
    fn the_product_s_guards_are_met_as_often_as_they_are_few() {
        let found = found(100, 1, 3_000);
        let (host, guard) = (&found[2], &found[3]);
        assert!((host.at_once - 0.03).abs() < 0.012 && (guard.at_once - 0.04).abs() < 0.014, "{found:?}");
        // Lives of 90 days on average at three places: each year 12.2 mixes more, of a hundred. Half of the hosts have met the one after
        // (ln 0.5 / ln 0.99 − 3) / 12.2 years; behind the guard, with four places of 7 days, after (69 − 4) / 208.6.
        let years = |u: &Until| u.median_packets / days_to_packets(365.25);
        assert!((years(host) - 5.4).abs() < 0.6 && (years(guard) - 0.31).abs() < 0.05, "{} {}", years(host), years(guard));
    }

    #[test]
    fn a_small_net_has_no_second_layer_and_gives_guards_away_at_once() {
        let found = found(7, 1, 200);
        assert!(found[3].at_once > 0.95 && found[2].at_once < 0.6, "{found:?}");
    }

    #[test]
    fn a_flood_is_nothing_before_its_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let floods = flood(50, 500, 1, &mut rng);
        assert!(floods[0].share[0] > 0.85 && floods[1].share[0] < 0.12 && floods[1].share[5] > 0.8, "{floods:?}");
        assert!(floods[2].share[5] < 0.12, "{floods:?}");
    }
}
