//! The one place where the simulator takes what the product decides: directory, guards, paths, delays, cover, rates.
//!
//! When the product's functions change, this file changes and no other. What the product has no function for yet is marked *planned* here.

use crate::net::Step;
use fogbank_betanet::{
    directory::{Directory, MixEntry, mix_id},
    paths::{Guards, forward_path, rendezvous, reply_path},
    schedule,
};
use fogbank_model::{FogId, Level, MixId, OwnerId, UnixMs};
use rand::{RngExt as _, rngs::StdRng};
use std::{collections::HashMap, net::SocketAddr, time::Duration};

use fogbank_betanet::paths::GUARD_LIFE;

/// What is compared: a level of the product, a part of it, or a model of Tor's relays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Design {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    /// One path for a whole session, through one guard, as a circuit; else a path a packet.
    pub(crate) circuit: bool,
    /// Loops of a client while in use, and of every mix.
    pub(crate) client_loops: Option<Duration>,
    pub(crate) mix_loops: Option<Duration>,
    /// Constant rate from client to guard, and from guards to client.
    pub(crate) constant_up: Option<Duration>,
    pub(crate) constant_down: Option<Duration>,
}

impl Design {
    /// Tor's relays: one circuit, no delay, no cover; the same packets otherwise.
    pub(crate) const TOR: Self = Self { name: "tor model", circuit: true, ..Self::FAST };
    /// Level fast.
    pub(crate) const FAST: Self = Self {
        name: "fast",
        level: Level::Fast,
        circuit: false,
        client_loops: None,
        mix_loops: None,
        constant_up: None,
        constant_down: None,
    };
    /// Level balanced, with loops (planned: the uplink and the mixnode are to send them).
    pub(crate) const BALANCED: Self = Self {
        name: "balanced",
        level: Level::Balanced,
        client_loops: Some(schedule::CLIENT_LOOP_MEAN),
        mix_loops: Some(schedule::MIX_LOOP_MEAN),
        ..Self::FAST
    };
    /// Level strict, with loops and constant rate both ways (planned: the uplink and the mixnode are to keep it).
    pub(crate) const STRICT: Self = Self {
        name: "strict",
        level: Level::Strict,
        constant_up: Some(schedule::CONSTANT_SLOT),
        constant_down: Some(schedule::CONSTANT_SLOT),
        ..Self::BALANCED
    };
    /// What is compared for every size of network.
    pub(crate) const ALL: [Self; 4] = [Self::TOR, Self::FAST, Self::BALANCED, Self::STRICT];

    const HALF_SLOT: Duration = Duration::from_nanos(schedule::CONSTANT_SLOT.as_nanos() as u64 / 2);
    /// The same without a part or with more of it, under another name.
    pub(crate) const PARTS: [Self; 5] = [
        Self { name: "balanced, delays alone", client_loops: None, mix_loops: None, ..Self::BALANCED },
        Self { name: "strict, delays alone", level: Level::Strict, ..Self::FAST },
        Self { name: "strict, delays and loops", constant_up: None, constant_down: None, ..Self::STRICT },
        Self { name: "strict, constant rate up only", constant_down: None, ..Self::STRICT },
        Self {
            name: "strict at twice the rate",
            constant_up: Some(Self::HALF_SLOT),
            constant_down: Some(Self::HALF_SLOT),
            ..Self::STRICT
        },
    ];
}

/// The product's directory of `n` mixes, by number.
pub(crate) struct Network {
    directory: Directory,
    numbers: HashMap<MixId, u16>,
}

/// What a client keeps.
#[derive(Clone)]
pub(crate) struct Identity {
    guards: Guards,
}

impl Network {
    /// Mixes of an owner and a network each: what a normal fog's rules like best.
    pub(crate) fn new(n: usize, rng: &mut StdRng) -> Self {
        let entries = (0..n).map(|i| {
            let key: [u8; 32] = rng.random();
            let mut owner = [0; 32];
            owner[..8].copy_from_slice(&i.to_be_bytes());
            let (a, b) = (20 + i / 250, i % 250);
            let addrs = vec![SocketAddr::from(([u8::try_from(a).unwrap_or(255), u8::try_from(b).unwrap_or(255), 0, 1], 4000))];
            MixEntry { id: mix_id(&key), key, packet_key: key, owner: OwnerId(owner), addrs }
        });
        let directory = Directory::new(FogId([1; 32]), false, 1, UnixMs(1_790_000_000_000), [9; 32], entries.collect());
        let numbers = directory.mixes.iter().map(|m| m.id).zip(0u16..).collect();
        Self { directory, numbers }
    }

    pub(crate) fn len(&self) -> usize {
        self.directory.mixes.len()
    }

    /// A client with guards of its own.
    pub(crate) fn identity(&self, rng: &mut StdRng) -> Identity {
        let mut guards = Guards::new();
        guards.refresh(&self.directory, &[], rng);
        Identity { guards }
    }

    /// Its guards, in their order.
    pub(crate) fn guards_of(&self, identity: &Identity) -> Vec<u16> {
        identity.guards.ids().filter_map(|id| self.numbers.get(&id).copied()).collect()
    }

    /// A mix to meet at, as a visitor draws it.
    pub(crate) fn rendezvous(&self, identity: &Identity, rng: &mut StdRng) -> u16 {
        rendezvous(&self.directory, &identity.guards, &[], rng).and_then(|id| self.numbers.get(&id).copied()).unwrap_or(0)
    }

    /// Any mix: where loops turn round and drops end.
    pub(crate) fn anywhere(&self, rng: &mut StdRng) -> u16 {
        self.numbers.len().checked_sub(1).map_or(0, |last| u16::try_from(rng.random_range(0..=last)).unwrap_or(0))
    }

    fn id(&self, mix: u16) -> MixId {
        self.directory.mixes.get(usize::from(mix)).map_or(MixId([0; 16]), |m| m.id)
    }

    fn steps(&self, hops: &[fogbank_sphinx::Hop]) -> Vec<Step> {
        hops.iter().filter_map(|h| Some(Step { mix: *self.numbers.get(&MixId(h.id))?, delay_ms: h.delay_ms })).collect()
    }

    /// A way out to a mix: guard, two mixes, and that mix.
    pub(crate) fn out(&self, identity: &Identity, to: u16, level: Level, rng: &mut StdRng) -> Vec<Step> {
        let path = forward_path(&self.directory, &identity.guards, &[], &|_| true, self.id(to), level, rng);
        path.map(|hops| self.steps(&hops)).unwrap_or_default()
    }

    /// A way back from a mix: two mixes and the guard.
    pub(crate) fn back(&self, identity: &Identity, from: u16, level: Level, rng: &mut StdRng) -> Vec<Step> {
        let path = reply_path(&self.directory, &identity.guards, &[], &|_| true, self.id(from), level, rng);
        path.map(|hops| self.steps(&hops)).unwrap_or_default()
    }

    /// A mix's loop over two others back to itself (planned).
    pub(crate) fn mix_loop(&self, mix: u16, level: Level, rng: &mut StdRng) -> Vec<Step> {
        let mut others: Vec<u16> = Vec::with_capacity(2);
        while others.len() < 2 {
            let other = self.anywhere(rng);
            if other != mix && !others.contains(&other) {
                others.push(other);
            }
        }
        let delayed = |mix, rng: &mut StdRng| Step { mix, delay_ms: schedule::hop_delay_ms(level, rng) };
        let mut steps: Vec<Step> = others.into_iter().map(|m| delayed(m, rng)).collect();
        steps.push(Step { mix, delay_ms: 0 });
        steps
    }
}

/// A guard's life in days.
pub(crate) const GUARD_LIFE_DAYS: f64 = GUARD_LIFE.0 as f64 / 86_400_000.0;

/// The second layer behind the guards (planned): how many mixes, and how long each stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers {
    pub(crate) second: usize,
    min_days: f64,
    max_days: f64,
}

impl Layers {
    /// Four mixes, each for the longer of two draws from 1 to 22 days: the shape of Tor's vanguards (proposals 292 and 333), numbers our own.
    pub(crate) const PLANNED: Self = Self { second: 4, min_days: 1.0, max_days: 22.0 };

    /// A life, in days.
    pub(crate) fn life_days(&self, rng: &mut StdRng) -> f64 {
        let mut draw = || rng.random_range(self.min_days..self.max_days);
        draw().max(draw())
    }
}

/// A relay as weights see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relay {
    pub(crate) owner: usize,
    pub(crate) age_days: f64,
    pub(crate) reliability: f64,
}

/// Days before a relay weighs anything, and days until it weighs all it can (planned).
const YOUNG_DAYS: f64 = 7.0;
const GROWN_DAYS: f64 = 30.0;
/// The most that one owner's relays weigh together, as a share of all (planned): a tenth, so that ten owners at least are in every draw.
const OWNER_SHARE: f64 = 0.1;

/// How likely each relay is drawn, up to a factor (planned; the product draws evenly now): nothing before a week, rising to a month,
/// times the square of its reliability; an owner with more than its share is scaled down to it.
pub(crate) fn weights(relays: &[Relay], weigh: bool, cap: bool) -> Vec<f64> {
    let grown = |r: &Relay| ((r.age_days - YOUNG_DAYS) / (GROWN_DAYS - YOUNG_DAYS)).clamp(0.0, 1.0);
    let mut all: Vec<f64> = relays.iter().map(|r| if weigh { grown(r) * r.reliability.powi(2) } else { 1.0 }).collect();
    if cap {
        let mut owners: HashMap<usize, f64> = HashMap::new();
        relays.iter().zip(&all).for_each(|(r, w)| *owners.entry(r.owner).or_default() += w);
        let total: f64 = all.iter().sum();
        // The share is of what the others weigh, so that one owner's weight can't raise its own limit.
        for (relay, weight) in relays.iter().zip(&mut all) {
            let own = owners.get(&relay.owner).copied().unwrap_or(0.0);
            let limit = OWNER_SHARE / (1.0 - OWNER_SHARE) * (total - own);
            if own > limit {
                *weight *= limit / own;
            }
        }
    }
    all
}
