//! A client's access link and one end of a tunnel, as the simulation holds them.

use crate::{
    adapter::{Design, Identity, Network},
    net::{self, Step, Us},
    page::{Serving, Visit},
};
use fogbank_betanet::{
    schedule::{ConstantRate, PoissonCover},
    sim::{Machine, SurbAccount},
    tunnel::{IntroductionKey, Keys, Side, TunnelConfig, initiate, respond},
};
use fogbank_model::Level;
use fogbank_sphinx::PACKET_BYTES;
use rand::{RngExt as _, rngs::StdRng};
use std::time::Instant;

/// What a client is about to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// To the rendezvous, for one end of a tunnel.
    Message { end: usize, relay: Option<Vec<u8>>, surbs: Vec<u64> },
    /// A loop.
    Loop,
    /// A drop packet.
    Drop,
}

/// What a guard has for a client.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// For which end; none: a loop has come home.
    pub(crate) end: Option<usize>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) left: u16,
}

/// A client and its access link.
pub(crate) struct Client {
    pub(crate) identity: Identity,
    pub(crate) guards: Vec<u16>,
    pub(crate) door: Us,
    /// How long its access link takes for a packet, and when it is free again.
    pub(crate) packet_us: Us,
    pub(crate) free: Us,
    pub(crate) up: Option<ConstantRate<Outgoing>>,
    /// What each guard does towards it.
    pub(crate) down: Vec<Option<ConstantRate<Delivery>>>,
    pub(crate) loops: Option<PoissonCover>,
    /// Its ends, and whose turn it is.
    pub(crate) ends: Vec<usize>,
    pub(crate) turn: usize,
}

impl Client {
    pub(crate) fn new(network: &Network, design: &Design, start: Instant, rng: &mut StdRng) -> Self {
        let identity = network.identity(rng);
        let identity = if design.constant_up.is_some() { identity.with_one_guard() } else { identity };
        let guards = network.guards_of(&identity);
        let log_rate = rng.random_range(net::ACCESS_BYTES_S.start.ln()..net::ACCESS_BYTES_S.end.ln());
        let guard_count = u32::try_from(guards.len()).unwrap_or(1).max(1);
        let mut shaped = || design.constant_down.map(|slot| ConstantRate::new(slot * guard_count, start, rng));
        let down = guards.iter().map(|_| shaped()).collect();
        Self {
            door: net::door(rng),
            packet_us: (PACKET_BYTES as f64 / log_rate.exp() * 1e6) as Us,
            free: 0,
            up: design.constant_up.map(|slot| ConstantRate::new(slot, start, rng)),
            down,
            loops: design.client_loops.map(|mean| PoissonCover::new(mean, start, rng)),
            identity,
            guards,
            ends: Vec::new(),
            turn: 0,
        }
    }

    /// Whether it takes something more to send now.
    pub(crate) fn has_room(&self) -> bool {
        self.up.as_ref().is_none_or(ConstantRate::has_room)
    }

    /// Which of its guards a mix is.
    pub(crate) fn guard_place(&self, mix: u16) -> u8 {
        self.guards.iter().position(|g| *g == mix).and_then(|p| u8::try_from(p).ok()).unwrap_or(0)
    }
}

/// What runs over an end.
pub(crate) enum Use {
    Visit(Visit),
    Serve(Serving),
}

/// One end of a tunnel.
pub(crate) struct End {
    pub(crate) client: usize,
    pub(crate) machine: Machine,
    pub(crate) account: SurbAccount,
    pub(crate) what: Use,
    pub(crate) rendezvous: u16,
    /// The circuit out and back, where a design has one.
    pub(crate) circuit: Option<[Vec<Step>; 2]>,
    pub(crate) began: Us,
    pub(crate) open: bool,
    pub(crate) heard: bool,
    pub(crate) again: usize,
    /// The timer that is set.
    pub(crate) timer: Option<Us>,
}

/// The two ends of a tunnel: the visitor's and the host's.
pub(crate) fn pair(max_bytes: usize, level: Level, now: Instant, rng: &mut StdRng) -> Option<[(Machine, SurbAccount, Use); 2]> {
    let (visitor, host) = keys()?;
    let machine = |keys, side| Machine::new(keys, side, TunnelConfig::default(), max_bytes, now);
    Some([
        (machine(visitor, Side::Visitor), SurbAccount::new(level, now), Use::Visit(Visit::new(rng))),
        (machine(host, Side::Host), SurbAccount::new(level, now), Use::Serve(Serving::default())),
    ])
}

/// The handshake, done at once. Its keys are not drawn from the seed; no moment and no length depends on them.
fn keys() -> Option<(Keys, Keys)> {
    let key = IntroductionKey::generate();
    let (initiation, first) = initiate(&key.public(), b"", b"").ok()?;
    let (response, _) = respond(&key, b"", &first).ok()?;
    let (host, answer) = response.answer(b"").ok()?;
    let (visitor, _) = initiation.finish(&answer).ok()?;
    Some((visitor, host))
}
