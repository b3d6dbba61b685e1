//! The crate and the book side by side on random packets, honest and hostile: whatever a sender writes under valid keys, both say the same.

use crate::book::{self, Hop, Last, Out};
use fogbank_sphinx::{MixSecret, PACKET_BYTES, Packet, Unwrapped, open};
use proptest::prelude::*;

fn hop() -> impl Strategy<Value = Hop> {
    (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u32>()).prop_map(|(id, secret, ephemeral, delay_ms)| Hop {
        id: id.to_vec(),
        secret: secret.to_vec(),
        ephemeral: ephemeral.to_vec(),
        delay_ms,
    })
}

/// The book's words for what the crate says.
fn crates(secret: &[u8], packet: &[u8]) -> Result<Out, String> {
    let secret = MixSecret::from_bytes(secret.try_into().unwrap());
    let unwrapped =
        Packet::from_bytes(packet).and_then(|packet| open(&secret, packet)?.peel()).map_err(|why| format!("{why:?}"))?;
    Ok(match unwrapped {
        Unwrapped::Forward { next, delay_ms, packet } => {
            Out::Forward { next: next.to_vec(), delay_ms, packet: packet.into_vec() }
        }
        Unwrapped::Arrived { payload } => Out::Arrive { payload },
        Unwrapped::Reply { client, surb, delay_ms, body } => {
            Out::Reply { client: client.to_vec(), surb: surb.to_vec(), delay_ms, body }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_say_the_same(
        hops in proptest::collection::vec(hop(), 1..=4),
        command in prop_oneof![0u8..5, any::<u8>()],
        surb: [u8; 16],
        epoch in 0u8..2,
        random in proptest::collection::vec(any::<u8>(), 207),
        check in prop_oneof![3 => Just(0u8), 1 => any::<u8>()],
        length in prop_oneof![0u32..7_840, any::<u32>()],
    ) {
        if PACKET_BYTES != book::PACKET {
            return Ok(());
        }
        let mut inside = book::bare_body(b"something");
        inside[7] = check;
        inside[32..36].copy_from_slice(&length.to_be_bytes());
        let last = Last { command, id: vec![3; 16], surb: surb.to_vec() };
        let mut packet = book::packet(epoch, &hops, &last, &random[..69 * (4 - hops.len())], inside);
        for hop in &hops {
            let by_book = book::mix(&hop.secret, &packet).map(|(_, out)| out).map_err(str::to_owned);
            let by_crate = crates(&hop.secret, &packet);
            // Not shown whole: a packet is long.
            prop_assert!(by_book == by_crate, "they differ at command {command}, length {length}");
            let Ok(Out::Forward { packet: next, .. }) = by_book else { break };
            prop_assert_eq!(next.len(), PACKET_BYTES);
            packet = next;
        }
    }
}
