//! The one place where the simulator takes what the product decides: directory, guards, paths, delays, cover, rates.
//!
//! When the product's functions change, this file changes and no other. Where the simulator is simpler than the product, it says so here.

use crate::net::Step;
use fogbank_betanet::{
    directory::{Directory, MixEntry, UNMEASURED, mix_id},
    epoch,
    paths::{GUARD_LIFE_MS, Guards, Net},
    schedule,
};
use fogbank_model::{DurationMs, FogId, Level, MixId, OwnerId, UnixMs};
use fogbank_wire::PacketKeys;
use rand::{RngExt as _, rngs::StdRng};
use std::{collections::HashMap, net::SocketAddr, time::Duration};

/// When the simulated directories are made.
const MADE: UnixMs = UnixMs(1_790_000_000_000);

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
    /// Level balanced, with loops.
    pub(crate) const BALANCED: Self = Self {
        name: "balanced",
        level: Level::Balanced,
        client_loops: Some(schedule::CLIENT_LOOP_MEAN),
        mix_loops: Some(schedule::MIX_LOOP_MEAN),
        ..Self::FAST
    };
    /// Level strict, with loops and constant rate both ways, with one guard.
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
#[derive(Clone)]
pub(crate) struct Network {
    directory: Directory,
    numbers: HashMap<MixId, u16>,
}

/// What a client keeps.
#[derive(Clone)]
pub(crate) struct Identity {
    guards: Guards,
    /// The only guard that is used.
    only: Option<MixId>,
}

impl Identity {
    /// With one guard alone, as the product keeps constant rate up; it takes the first that has room.
    pub(crate) fn with_one_guard(self) -> Self {
        let first = self.guards.ids().next();
        Self { only: first, ..self }
    }

    fn uses(&self, guard: MixId) -> bool {
        self.only.is_none_or(|only| only == guard)
    }
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
            mix(key, OwnerId(owner), addrs, UnixMs(0), UNMEASURED)
        });
        let directory = Directory::new(FogId([1; 32]), false, 1, MADE, [9; 32], entries.collect());
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
        Identity { guards, only: None }
    }

    /// Makes a directory of the same mixes so many days later: what they weigh stays, since all have long been there.
    pub(crate) fn on_day(&mut self, day: f64) {
        self.directory.made = MADE.plus(DurationMs((day * DAY_MS).ceil() as i64));
    }

    /// Brings a client's guards up to date with the directory of the day.
    pub(crate) fn refresh(&self, identity: &mut Identity, rng: &mut StdRng) {
        identity.guards.refresh(&self.directory, &[], rng);
    }

    /// On which day the next of its guards has to go, those of the second layer among them.
    pub(crate) fn next_end(&self, identity: &Identity) -> Option<f64> {
        identity.guards.next_end().map(|end| end.since(MADE).0 as f64 / DAY_MS)
    }

    /// Its second layer: empty where the net is too small for one.
    pub(crate) fn second_of(&self, identity: &Identity) -> Vec<u16> {
        identity.guards.second().filter_map(|id| self.numbers.get(&id).copied()).collect()
    }

    /// The guards that it uses, in their order.
    pub(crate) fn guards_of(&self, identity: &Identity) -> Vec<u16> {
        identity.guards.ids().filter(|id| identity.uses(*id)).filter_map(|id| self.numbers.get(&id).copied()).collect()
    }

    /// A mix to meet at, as a visitor draws it.
    pub(crate) fn rendezvous(&self, identity: &Identity, rng: &mut StdRng) -> u16 {
        // Besides a mix that is in no directory: where the visitor's introduction goes is not simulated.
        let met = self.net(identity, &|id| identity.uses(id)).rendezvous(MixId([0; 16]), rng);
        met.and_then(|id| self.numbers.get(&id).copied()).unwrap_or(0)
    }

    /// Any mix: where loops turn round and drops end.
    pub(crate) fn anywhere(&self, rng: &mut StdRng) -> u16 {
        self.numbers.len().checked_sub(1).map_or(0, |last| u16::try_from(rng.random_range(0..=last)).unwrap_or(0))
    }

    fn net<'a>(&'a self, identity: &'a Identity, guard_up: &'a dyn Fn(MixId) -> bool) -> Net<'a> {
        let epoch = epoch::at(MADE);
        Net { directory: &self.directory, epoch, guards: &identity.guards, exclude: &[], guard_up }
    }

    fn id(&self, mix: u16) -> MixId {
        self.directory.mixes.get(usize::from(mix)).map_or(MixId([0; 16]), |m| m.id)
    }

    fn steps(&self, hops: &[fogbank_sphinx::Hop]) -> Vec<Step> {
        hops.iter().filter_map(|h| Some(Step { mix: *self.numbers.get(&MixId(h.id))?, delay_ms: h.delay_ms })).collect()
    }

    /// A way out to a mix: guard, two mixes, and that mix.
    pub(crate) fn out(&self, identity: &Identity, to: u16, level: Level, rng: &mut StdRng) -> Vec<Step> {
        let path = self.net(identity, &|id| identity.uses(id)).forward(self.id(to), level, rng);
        path.map(|hops| self.steps(&hops)).unwrap_or_default()
    }

    /// A way back from a mix: two mixes and the guard.
    pub(crate) fn back(&self, identity: &Identity, from: u16, level: Level, rng: &mut StdRng) -> Vec<Step> {
        let path = self.net(identity, &|id| identity.uses(id)).reply(self.id(from), level, rng);
        path.map(|hops| self.steps(&hops)).unwrap_or_default()
    }

    /// A mix's loop over two others back to itself, drawn by weight (the product draws one in four evenly).
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

fn mix(key: [u8; 32], owner: OwnerId, addrs: Vec<SocketAddr>, since: UnixMs, reliability: u16) -> MixEntry {
    let packet_keys = PacketKeys { first: epoch::at(MADE).0, keys: vec![key] };
    MixEntry { id: mix_id(&key), key, life: [0; 8], packet_keys, owner, addrs, relay: None, since, reliability }
}

const DAY_MS: f64 = 86_400_000.0;

/// The longest life of a guard, in days.
pub(crate) const LONGEST_LIFE_DAYS: f64 = GUARD_LIFE_MS[1] as f64 / DAY_MS;

/// A relay as weights see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relay {
    pub(crate) owner: usize,
    pub(crate) age_days: f64,
    pub(crate) reliability: f64,
}

/// How likely each relay is drawn, up to a factor, as the product's directory has it. Without `weigh` all are of one age and reliability;
/// without `cap` each has an owner of its own.
pub(crate) fn weights(relays: &[Relay], weigh: bool, cap: bool) -> Vec<f64> {
    let number = |n: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes
    };
    let entries = relays.iter().enumerate().map(|(n, relay)| {
        let owner = OwnerId(number(if cap { relay.owner } else { n }));
        let age_ms = if weigh { relay.age_days * DAY_MS } else { 0.0 };
        let reliability = if weigh { (relay.reliability * 1_000.0).round() as u16 } else { UNMEASURED };
        mix(number(n), owner, Vec::new(), MADE.plus(DurationMs(-(age_ms as i64))), reliability)
    });
    // Ids are numbers in order, so the directory keeps the order.
    let directory = Directory::new(FogId([1; 32]), false, 1, MADE, [9; 32], entries.collect());
    (0..relays.len()).map(|n| directory.weight(n)).collect()
}
