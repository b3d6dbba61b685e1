//! Packets, reply blocks and replies, at a mix and at the client: as they come, and as a true one with some of its bytes changed.

use crate::samples::{mode, rng};
use fogbank_sphinx::{
    Epoch, Geometry, Hop, MixSecret, PACKET_BYTES, Packet, Surb, Unwrapped, build, make_surb, open, open_reply, reply,
};
use std::sync::LazyLock;

const SECRET: [u8; 32] = [3; 32];
const PAYLOAD: &[u8] = b"what the last mix is told";

fn hop(name: u8) -> Hop {
    Hop { id: [name; 16], key: MixSecret::from_bytes(SECRET).public(), delay_ms: 5 }
}

static ARRIVES: LazyLock<Packet> = LazyLock::new(|| build(&mut rng(), Epoch(0), &[hop(1)], PAYLOAD).unwrap());
static FORWARD: LazyLock<Packet> = LazyLock::new(|| build(&mut rng(), Epoch(0), &[hop(1), hop(2)], PAYLOAD).unwrap());

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (surb, _) = make_surb(&mut rng(), Epoch(0), &[hop(1)], [8; 16], [9; 16]).unwrap();
    let unchanged = [0, 0];
    vec![
        mode(0, ARRIVES.as_bytes()),
        mode(0, &[1; 40]),
        mode(1, &unchanged),
        mode(2, &unchanged),
        mode(2, &[1, 80, 255]),
        mode(3, &surb.to_bytes()),
        mode(4, &unchanged),
        mode(4, &[2, 0, 1, 2, 3]),
    ]
}

/// Some bytes of another, XORed at a place: two bytes of offset, then the change.
fn changed(mut bytes: Vec<u8>, change: &[u8]) -> (Vec<u8>, bool) {
    let Some((at, change)) = change.split_first_chunk::<2>() else { return (bytes, false) };
    let at = usize::from(u16::from_be_bytes(*at));
    let before = bytes.clone();
    for (byte, flip) in bytes.iter_mut().skip(at).zip(change) {
        *byte ^= flip;
    }
    let differs = before != bytes;
    (bytes, differs)
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    let secret = MixSecret::from_bytes(SECRET);
    let unwrap = |packet: Packet| open(&secret, packet).and_then(|opened| opened.peel());
    match mode % 5 {
        0 => {
            let _ = Packet::from_bytes(rest);
            let mut whole = rest.to_vec();
            whole.resize(PACKET_BYTES, 0);
            unwrap(Packet::from_vec(whole).unwrap()).is_ok()
        }
        1 => {
            let (bytes, differs) = changed(ARRIVES.as_bytes().to_vec(), rest);
            let read = unwrap(Packet::from_vec(bytes).unwrap());
            if differs {
                assert!(read.is_err(), "a changed packet arrived");
            } else {
                assert_eq!(read, Ok(Unwrapped::Arrived { payload: PAYLOAD.to_vec() }));
            }
            !differs
        }
        2 => {
            let (bytes, _) = changed(FORWARD.as_bytes().to_vec(), rest);
            let header_differs = bytes[..Geometry::HEADER_BYTES] != FORWARD.as_bytes()[..Geometry::HEADER_BYTES];
            match unwrap(Packet::from_vec(bytes).unwrap()) {
                Ok(Unwrapped::Forward { next, delay_ms, .. }) => {
                    assert!(!header_differs && next == [2; 16] && delay_ms == 5, "a changed header was believed");
                    true
                }
                Ok(_) => panic!("a packet to be passed on ended here"),
                Err(_) => {
                    assert!(header_differs, "a true header was refused");
                    false
                }
            }
        }
        3 => {
            let _ = Surb::from_bytes(rest);
            let mut whole = rest.to_vec();
            whole.resize(Geometry::SURB_BYTES, 0);
            let (first, packet) = reply(Surb::from_bytes(&whole).unwrap(), PAYLOAD).unwrap();
            assert_eq!(first[..], whole[..16], "it goes where the block says");
            matches!(unwrap(packet), Ok(Unwrapped::Reply { .. }))
        }
        _ => {
            let (surb, kept) = make_surb(&mut rng(), Epoch(1), &[hop(1)], [8; 16], [9; 16]).unwrap();
            let (_, packet) = reply(surb, PAYLOAD).unwrap();
            let Ok(Unwrapped::Reply { body, .. }) = unwrap(packet) else { panic!("a reply is one") };
            let (body, differs) = changed(body, rest);
            let read = open_reply(kept, &body);
            assert_eq!(read.is_err(), differs, "a changed reply is noticed, a true one read");
            !differs
        }
    }
}
