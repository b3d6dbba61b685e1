//! Frames of links: each as it is read, and any sequence of them as a node that looks for directories hears it from two peers.

use crate::samples::{NOW, directory, fog, fog_id, mode};
use fogbank_betanet::{
    directory::{DirectoryHub, gossip::Gossip},
    link::{DELIVERY_BYTES, Frame, LINK_FRAME_BYTES, PART_BYTES},
};
use fogbank_model::MixId;
use std::time::{Duration, Instant};

/// Kinds, as the table of frames numbers them.
const HAVE: u8 = 3;
const WANT: u8 = 4;
const PART: u8 = 5;
const SHAPE: u8 = 6;
/// Frames of one sequence that are looked at: each is as long as a packet.
const FRAMES: usize = 200;

/// A step of a sequence: who says it and how long after the last, the kind, the length of what is not zero, and that.
fn step(who: u8, kind: u8, front: &[u8]) -> Vec<u8> {
    let length = u16::try_from(front.len()).unwrap().to_be_bytes();
    [&[who, kind][..], &length, front].concat()
}

fn have(serial: u64) -> Vec<u8> {
    [&fog_id().0[..], &serial.to_be_bytes(), &NOW.0.to_be_bytes()].concat()
}

fn part(serial: u64, index: u16, count: u16, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&fog_id().0[..], &serial.to_be_bytes(), &[index, count, length].map(u16::to_be_bytes).concat(), bytes].concat()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let signed = directory(true, 2).seal(&fog()).unwrap();
    let (front, rest) = signed.split_at(signed.len() / 2);
    let whole = [step(0, HAVE, &have(1)), step(0, PART, &part(1, 0, 1, &signed))].concat();
    let halves = [
        step(1, HAVE, &have(1)),
        step(0, HAVE, &have(0)),
        step(1, PART, &part(1, 1, 2, rest)),
        step(0, SHAPE, &[1]),
        step(1, PART, &part(1, 0, 2, front)),
    ];
    // A peer that lies is left for the other.
    let lie = [step(0, HAVE, &have(7)), step(0, PART, &part(7, 0, 1, b"none")), whole.clone()].concat();
    let other = [step(0, HAVE, &have(7)), step(1, HAVE, &have(1)), step(255, PART, &part(7, 0, 1, &signed))].concat();
    let mut seeds: Vec<Vec<u8>> = [whole, halves.concat(), lie, other].iter().map(|steps| mode(1, steps)).collect();
    for (kind, front) in [
        (1, vec![7; 20]),
        (2, vec![8; 20]),
        (HAVE, have(5)),
        (WANT, [&fog_id().0[..], &6u64.to_be_bytes()].concat()),
        (PART, part(9, 3, 900, &[1; 50])),
        (SHAPE, vec![1]),
        (7, vec![0]),
        (8, Vec::new()),
    ] {
        seeds.push(mode(0, &mode(kind, &front)));
    }
    seeds
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    match (mode % 2, rest.split_first()) {
        (0, Some((kind, body))) => {
            // Of any other length it is none.
            assert!(body.len() == LINK_FRAME_BYTES - 1 || Frame::parse(*kind, body.to_vec()).is_none());
            read(*kind, body).is_some()
        }
        (1, Some(_)) => heard(rest),
        _ => false,
    }
}

/// A frame that begins so, as a link reads it.
fn read(kind: u8, front: &[u8]) -> Option<Frame> {
    let mut body = front.to_vec();
    body.resize(LINK_FRAME_BYTES - 1, 0);
    let frame = Frame::parse(kind, body);
    match &frame {
        Some(Frame::Packet(bytes)) => assert_eq!(bytes.len(), LINK_FRAME_BYTES - 1),
        Some(Frame::Delivery(bytes)) => assert_eq!(bytes.len(), DELIVERY_BYTES),
        Some(Frame::Part(part)) => assert!(part.bytes.len() <= PART_BYTES),
        Some(Frame::Held(..)) => panic!("a peer made a place of ours"),
        _ => {}
    }
    frame
}

/// Whether a directory came of it.
fn heard(mut steps: &[u8]) -> bool {
    let (mut gossip, hub, mut now) = (Gossip::default(), DirectoryHub::new(), Instant::now());
    let mut asked = None;
    for _ in 0..FRAMES {
        let Some(([who, kind, high, low], rest)) = steps.split_first_chunk() else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (front, rest) = rest.split_at(length);
        steps = rest;
        let from = MixId([who % 2; 16]);
        now += Duration::from_millis(u64::from(who / 2) * 150);
        match read(*kind, front) {
            Some(Frame::Have { fog, serial, .. }) => gossip.heard(from, fog, serial, now),
            Some(Frame::Part(part)) => {
                let (fog, serial) = (part.fog, part.serial);
                if let Some(fetched) = gossip.part(from, part, now) {
                    let told = (fetched.from, fetched.fog, fetched.serial);
                    assert_eq!(asked.take(), Some(told), "what nobody was asked for is put together");
                    assert_eq!(told, (from, fog, serial));
                    let learned = hub.learn(&fog_id(), fetched.signed, NOW);
                    if learned.is_err() || hub.serial(&fog) < serial {
                        gossip.blame(from, now);
                    }
                }
            }
            Some(Frame::Shape(true)) => gossip.gone(from),
            Some(Frame::Want { .. }) => gossip.unasked(from),
            _ => {}
        }
        let wanted = hub.current().map_or_else(|| vec![(fog_id(), 0)], |known| known.wanted());
        if let Some((peer, fog, serial)) = gossip.next(&wanted, now) {
            assert!(wanted.iter().any(|(of, kept)| *of == fog && serial > *kept), "an older one, or a stranger's, is asked for");
            asked = Some((peer, fog, serial));
        }
    }
    hub.serial(&fog_id()) > 0
}
