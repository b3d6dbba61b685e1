//! Sphinx: unwrapping and building packets, next to the bare key exchange that every unwrap contains and to Nym's `sphinx-packet`.
//!
//! Everything in turn on one thread, in that thread's own CPU time; each unwrap begins with the bytes from the wire and ends with those for
//! the next hop (theirs: with the packet that they would be written from). Nym's packets carry payloads of exactly our lengths.

use crate::figure::Figure;
use anyhow::{Result, bail, ensure};
use fogbank_sphinx::{Epoch, Geometry, Hop, Lengths, MixSecret, PACKET_BYTES, SizedPacket, Unwrapped, open_with, x25519};
use rustix::time::{ClockId, clock_gettime};
use sphinx_packet::{
    ProcessedPacketData, SphinxPacket, SphinxPacketBuilder,
    constants::{DESTINATION_ADDRESS_LENGTH, IDENTIFIER_LENGTH, NODE_ADDRESS_LENGTH},
    header::delays::Delay,
    payload::PAYLOAD_OVERHEAD_SIZE,
    route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes},
};
use std::hint::black_box;
use x25519_dalek::{PublicKey, StaticSecret};

/// Rounds of each in turn; the median of the rounds' ratios is not moved by a neighbour's burst.
const ROUNDS: usize = 21;
/// Operations in one round: some 10 ms each.
const OPERATIONS: u32 = 200;
/// Hops of what is built.
const HOPS: usize = 3;
/// The payload that both formats are compared with.
const PAYLOAD: usize = 2_048;
/// Our packet for it.
const SMALL: usize = Lengths::<0>::packet_for(PAYLOAD);

/// What one round took of each, in seconds an operation.
#[derive(Clone, Copy)]
struct Round {
    exchange: f64,
    dalek: f64,
    small: Pair,
    shipped: Pair,
    nym_small: Pair,
    nym_shipped: Pair,
}

#[derive(Clone, Copy)]
struct Pair {
    unwrap: f64,
    build: f64,
}

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let ours = Ours::new();
    let nyms = Nyms::new();
    let (small, shipped) = (ours.wire::<SMALL>(PAYLOAD)?, ours.wire::<PACKET_BYTES>(Geometry::PAYLOAD_BYTES)?);
    let (nym_small, nym_shipped) = (nyms.wire(PAYLOAD)?, nyms.wire(Geometry::PAYLOAD_BYTES)?);
    let public = ours.path[0].key.0;

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(Round {
            exchange: time(|| x25519::exchange(black_box(&[7; 32]), black_box(&public))),
            dalek: time(|| x25519_dalek::x25519(black_box([7; 32]), black_box(public))),
            small: ours.time::<SMALL>(&small, PAYLOAD),
            nym_small: nyms.time(&nym_small, PAYLOAD),
            shipped: ours.time::<PACKET_BYTES>(&shipped, Geometry::PAYLOAD_BYTES),
            nym_shipped: nyms.time(&nym_shipped, Geometry::PAYLOAD_BYTES),
        });
    }
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    let us = |of: &dyn Fn(&Round) -> f64| median(of) * 1e6;
    let bare = format!("{}, one exchange ({:.1} us)", x25519::backend(), us(&|r| r.exchange));
    let nym = |what: &str, payload: usize, of: &dyn Fn(&Round) -> f64| {
        format!("sphinx-packet 0.8, {what}, payload of {payload} ({:.1} us)", us(of))
    };
    Ok(vec![
        Figure::times_at_least(
            "sphinx.unwrap_vs_nym",
            &nym("unwrap", PAYLOAD, &|r| r.nym_small.unwrap),
            median(&|r| r.nym_small.unwrap / r.small.unwrap),
            1.0,
            3.0,
        ),
        Figure::times("sphinx.unwrap_vs_dh", &bare, median(&|r| r.small.unwrap / r.exchange), 1.0, 1.6),
        Figure::times_at_least(
            "sphinx.shipped_bytes_vs_nym",
            &nym("unwrap", Geometry::PAYLOAD_BYTES, &|r| r.nym_shipped.unwrap),
            median(&|r| r.nym_shipped.unwrap / r.shipped.unwrap),
            1.0,
            3.0,
        ),
        Figure::times_at_least(
            "sphinx.build_vs_nym",
            &nym("build", PAYLOAD, &|r| r.nym_small.build),
            median(&|r| r.nym_small.build / r.small.build),
            1.0,
            2.0,
        ),
        Figure::plain("sphinx.shipped_vs_dh", median(&|r| r.shipped.unwrap / r.exchange), "x"),
        Figure::plain("sphinx.dh_us", us(&|r| r.exchange), "us"),
        Figure::plain("sphinx.dh_vs_dalek", median(&|r| r.exchange / r.dalek), "x"),
        Figure::plain("sphinx.unwrap_us", us(&|r| r.small.unwrap), "us"),
        Figure::plain("sphinx.build_us", us(&|r| r.small.build), "us"),
        Figure::plain("sphinx.shipped_unwrap_us", us(&|r| r.shipped.unwrap), "us"),
        Figure::plain("sphinx.shipped_build_us", us(&|r| r.shipped.build), "us"),
        Figure::plain("sphinx.shipped_mb_s", PACKET_BYTES as f64 / median(&|r| r.shipped.unwrap) / 1e6, "MB/s"),
    ])
}

/// Our mixes, and a path over them.
struct Ours {
    first: MixSecret,
    path: Vec<Hop>,
}

impl Ours {
    fn new() -> Self {
        let secrets: Vec<_> = (0..HOPS).map(|_| MixSecret::generate(&mut rand::rng())).collect();
        let path = secrets.iter().map(|s| Hop { id: [1; 16], key: s.public(), delay_ms: 10 }).collect();
        Self { first: secrets[0].clone(), path }
    }

    /// A packet as it reaches the first mix, after a look that it is sent on from there.
    fn wire<const BYTES: usize>(&self, payload: usize) -> Result<Vec<u8>> {
        let packet = self.build::<BYTES>(payload)?;
        ensure!(matches!(self.unwrap::<BYTES>(packet.as_bytes()), Some(Unwrapped::Forward { .. })), "our packet is not sent on");
        Ok(packet.into_vec())
    }

    fn build<const BYTES: usize>(&self, payload: usize) -> Result<SizedPacket<BYTES>> {
        Ok(SizedPacket::build(&mut rand::rng(), Epoch(0), &self.path, black_box(&vec![7; payload]))?)
    }

    fn unwrap<const BYTES: usize>(&self, wire: &[u8]) -> Option<Unwrapped<BYTES>> {
        let packet = SizedPacket::from_bytes(wire).ok()?;
        open_with(&self.first, &self.path[0].key, packet).ok()?.peel().ok()
    }

    fn time<const BYTES: usize>(&self, wire: &[u8], payload: usize) -> Pair {
        Pair { unwrap: time(|| self.unwrap::<BYTES>(black_box(wire))), build: time(|| self.build::<BYTES>(payload)) }
    }
}

/// The same in Nym's format.
struct Nyms {
    first: StaticSecret,
    path: Vec<Node>,
    delays: Vec<Delay>,
    destination: Destination,
}

impl Nyms {
    fn new() -> Self {
        let secrets: Vec<_> = (0..HOPS).map(|_| StaticSecret::random()).collect();
        let node = |s| Node::new(NodeAddressBytes::from_bytes([1; NODE_ADDRESS_LENGTH]), PublicKey::from(s));
        Self {
            path: secrets.iter().map(node).collect(),
            first: secrets[0].clone(),
            delays: vec![Delay::new_from_millis(10); HOPS],
            destination: Destination::new(
                DestinationAddressBytes::from_bytes([3; DESTINATION_ADDRESS_LENGTH]),
                [4; IDENTIFIER_LENGTH],
            ),
        }
    }

    fn wire(&self, payload: usize) -> Result<Vec<u8>> {
        let Ok(packet) = self.build(payload) else { bail!("their packet is not built") };
        let wire = packet.to_bytes();
        let sent_on = matches!(self.unwrap(&wire), Some(ProcessedPacketData::ForwardHop { .. }));
        ensure!(sent_on, "their packet is not sent on");
        Ok(wire)
    }

    fn build(&self, payload: usize) -> sphinx_packet::Result<SphinxPacket> {
        SphinxPacketBuilder::new().with_payload_size(payload + PAYLOAD_OVERHEAD_SIZE).build_packet(
            black_box(&vec![7; payload]),
            &self.path,
            &self.destination,
            &self.delays,
        )
    }

    fn unwrap(&self, wire: &[u8]) -> Option<ProcessedPacketData> {
        Some(SphinxPacket::from_bytes(wire).ok()?.process(&self.first).ok()?.data)
    }

    fn time(&self, wire: &[u8], payload: usize) -> Pair {
        Pair { unwrap: time(|| self.unwrap(black_box(wire))), build: time(|| self.build(payload)) }
    }
}

/// Seconds of this thread's CPU time that one operation takes.
fn time<T>(mut operation: impl FnMut() -> T) -> f64 {
    let began = spent();
    for _ in 0..OPERATIONS {
        black_box(operation());
    }
    (spent() - began) / f64::from(OPERATIONS)
}

fn spent() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}
