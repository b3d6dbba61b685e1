//! Properties of the format over its public interface.

#![allow(clippy::unwrap_used, reason = "tests")]

use fogbank_sphinx::{
    BuildError, Epoch, Geometry, Hop, Lengths, MAX_HOPS, MixPublic, MixSecret, PACKET_BYTES, Packet, Refusal, SizedPacket, Surb,
    Unwrapped, build, make_surb, open, open_reply, reply,
};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

fn mixes(rng: &mut StdRng, count: usize) -> Vec<(MixSecret, Hop)> {
    (0..count)
        .map(|i| {
            let secret = MixSecret::generate(rng);
            let hop = Hop { id: [i as u8 + 1; 16], key: secret.public(), delay_ms: 10 * i as u32 };
            (secret, hop)
        })
        .collect()
}

fn path(mixes: &[(MixSecret, Hop)]) -> Vec<Hop> {
    mixes.iter().map(|(_, hop)| *hop).collect()
}

/// Walks a packet along its path; returns what the last mix saw.
fn walk(mixes: &[(MixSecret, Hop)], mut packet: Packet) -> Result<Unwrapped, Refusal> {
    for (i, (secret, hop)) in mixes.iter().enumerate() {
        match open(secret, packet)?.peel()? {
            Unwrapped::Forward { next, delay_ms, packet: inner } => {
                assert_eq!(next, mixes[i + 1].1.id);
                assert_eq!(delay_ms, hop.delay_ms);
                assert_eq!(inner.as_bytes().len(), PACKET_BYTES);
                packet = inner;
            }
            end => {
                assert_eq!(i, mixes.len() - 1, "it ended early");
                return Ok(end);
            }
        }
    }
    panic!("it did not end")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arrives_over_any_number_of_hops(seed: u64, hops in 1usize..=MAX_HOPS, payload in proptest::collection::vec(any::<u8>(), 0..1_500)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mixes = mixes(&mut rng, hops);
        let packet = build(&mut rng, Epoch(0), &path(&mixes), &payload).unwrap();
        prop_assert_eq!(walk(&mixes, packet).unwrap(), Unwrapped::Arrived { payload });
    }

    #[test]
    fn a_flipped_bit_is_refused_or_garbles_the_whole_payload(seed: u64, hop in 0usize..3, bit in 0usize..PACKET_BYTES * 8) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mixes = mixes(&mut rng, 4);
        let mut packet = build(&mut rng, Epoch(0), &path(&mixes), b"hello").unwrap();
        for (secret, _) in &mixes[..hop] {
            let Unwrapped::Forward { packet: next, .. } = open(secret, packet).unwrap().peel().unwrap() else { panic!() };
            packet = next;
        }
        let mut bytes = *packet.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = Packet::from_bytes(&bytes).unwrap();
        let refused = walk(&mixes[hop..], changed).unwrap_err();
        if bit / 8 < Geometry::HEADER_BYTES {
            // The highest bit of α is ignored by X25519 (RFC 7748), but the key derivation sees it.
            prop_assert!(matches!(refused, Refusal::Header | Refusal::SmallOrder));
        } else {
            prop_assert_eq!(refused, Refusal::Garbled);
        }
    }

    #[test]
    fn replies_come_back_over_any_number_of_hops(seed: u64, hops in 1usize..=3, payload in proptest::collection::vec(any::<u8>(), 0..1_500)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mixes = mixes(&mut rng, hops);
        let (surb, secret) = make_surb(&mut rng, Epoch(0), &path(&mixes), [7; 16], [9; 16]).unwrap();
        let surb = Surb::from_bytes(&surb.to_bytes()).unwrap();
        let (first, packet) = reply(surb, &payload).unwrap();
        prop_assert_eq!(first, mixes[0].1.id);
        let Unwrapped::Reply { client, surb, body, .. } = walk(&mixes, packet).unwrap() else { panic!() };
        prop_assert_eq!((client, surb), ([7; 16], [9; 16]));
        prop_assert_eq!(open_reply(secret, &body[..]).unwrap(), payload);
    }

    #[test]
    fn a_reply_changed_on_the_way_is_garbled_for_its_maker(seed: u64, hop in 0usize..3, bit in Geometry::HEADER_BYTES * 8..PACKET_BYTES * 8) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mixes = mixes(&mut rng, 3);
        let (surb, secret) = make_surb(&mut rng, Epoch(0), &path(&mixes), [7; 16], [9; 16]).unwrap();
        let (_, mut packet) = reply(surb, b"hello").unwrap();
        for (secret, _) in &mixes[..hop] {
            let Unwrapped::Forward { packet: next, .. } = open(secret, packet).unwrap().peel().unwrap() else { panic!() };
            packet = next;
        }
        let mut bytes = packet.into_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Unwrapped::Reply { body, .. } = walk(&mixes[hop..], Packet::from_vec(bytes).unwrap()).unwrap() else { panic!() };
        prop_assert_eq!(open_reply(secret, &body).unwrap_err(), Refusal::Garbled);
    }

    #[test]
    fn a_mix_or_a_replier_sees_one_length_whatever_is_inside(seed: u64, hops in 1usize..=MAX_HOPS, payload in proptest::collection::vec(any::<u8>(), 0..1_500)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let path = path(&mixes(&mut rng, hops));
        let (surb, _) = make_surb(&mut rng, Epoch(1), &path, [7; 16], [9; 16]).unwrap();
        prop_assert_eq!(surb.to_bytes().len(), Geometry::SURB_BYTES);
        prop_assert_eq!(build(&mut rng, Epoch(1), &path, &payload).unwrap().into_vec().len(), PACKET_BYTES);
        prop_assert_eq!(reply(surb, &payload).unwrap().1.into_vec().len(), PACKET_BYTES);
    }

    #[test]
    fn packets_of_other_sizes_are_the_same_format(seed: u64, payload in proptest::collection::vec(any::<u8>(), 0..=700)) {
        const BYTES: usize = Lengths::<0>::packet_for(700);
        let mut rng = StdRng::seed_from_u64(seed);
        let mixes = mixes(&mut rng, 2);
        let packet = SizedPacket::<BYTES>::build(&mut rng, Epoch(0), &path(&mixes), &payload).unwrap();
        let Unwrapped::Forward { packet, .. } = open(&mixes[0].0, packet).unwrap().peel().unwrap() else { panic!() };
        prop_assert_eq!(open(&mixes[1].0, packet).unwrap().peel().unwrap(), Unwrapped::Arrived { payload });
    }

    #[test]
    fn foreign_bytes_never_panic(seed: u64, bytes in proptest::collection::vec(any::<u8>(), 0..600), fill: u8) {
        let mut rng = StdRng::seed_from_u64(seed);
        let secret = MixSecret::generate(&mut rng);
        prop_assert_eq!(Packet::from_bytes(&bytes).unwrap_err(), Refusal::Length);
        prop_assert!(Packet::from_vec(bytes.clone()).is_err());
        let _ = Surb::from_bytes(&bytes);
        let path = path(&mixes(&mut rng, 1));
        let (_, kept) = make_surb(&mut rng, Epoch(0), &path, [1; 16], [2; 16]).unwrap();
        prop_assert_eq!(open_reply(kept, &bytes).unwrap_err(), Refusal::Length);
        let mut made_up = vec![fill; Geometry::SURB_BYTES];
        made_up[..bytes.len().min(Geometry::SURB_BYTES)].copy_from_slice(&bytes[..bytes.len().min(Geometry::SURB_BYTES)]);
        let (_, nowhere) = reply(Surb::from_bytes(&made_up).unwrap(), &bytes).unwrap();
        prop_assert!(open(&secret, nowhere).is_err());
        let mut whole = [fill; PACKET_BYTES];
        whole[..bytes.len()].copy_from_slice(&bytes);
        prop_assert!(open(&secret, Packet::from_bytes(&whole).unwrap()).is_err());
    }
}

#[test]
fn a_point_of_small_order_is_refused() {
    let mut rng = StdRng::seed_from_u64(1);
    let mixes = mixes(&mut rng, 2);
    let mut bytes = *build(&mut rng, Epoch(0), &path(&mixes), b"x").unwrap().as_bytes();
    for alpha in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        bytes[..32].copy_from_slice(&alpha);
        let refused = open(&mixes[0].0, Packet::from_bytes(&bytes).unwrap()).err();
        assert_eq!(refused, Some(Refusal::SmallOrder));
    }
    let bad = Hop { id: [1; 16], key: MixPublic([0; 32]), delay_ms: 0 };
    assert!(matches!(build(&mut rng, Epoch(0), &[bad], b"x"), Err(BuildError::BadKey { .. })));
}

#[test]
fn limits_are_kept() {
    let mut rng = StdRng::seed_from_u64(2);
    let mixes = mixes(&mut rng, 5);
    let path = path(&mixes);
    assert!(matches!(build(&mut rng, Epoch(0), &path, b""), Err(BuildError::PathLength { hops: 5 })));
    assert!(matches!(build(&mut rng, Epoch(0), &[], b""), Err(BuildError::PathLength { hops: 0 })));
    assert!(build(&mut rng, Epoch(0), &path[..4], &vec![1; Geometry::PAYLOAD_BYTES]).is_ok());
    assert!(matches!(
        build(&mut rng, Epoch(0), &path[..4], &vec![1; Geometry::PAYLOAD_BYTES + 1]),
        Err(BuildError::PayloadLength { .. })
    ));
}

#[test]
fn the_replay_tag_is_the_packets_own() {
    let mut rng = StdRng::seed_from_u64(3);
    let mixes = mixes(&mut rng, 3);
    let path = path(&mixes);
    let one = build(&mut rng, Epoch(0), &path, b"x").unwrap();
    let other = build(&mut rng, Epoch(0), &path, b"x").unwrap();
    let tag = |packet: &Packet| open(&mixes[0].0, packet.clone()).unwrap().replay_tag();
    assert_eq!(tag(&one), tag(&one));
    assert_ne!(tag(&one), tag(&other));
    // A replay with another body is the same replay.
    let mut bytes = *one.as_bytes();
    bytes[PACKET_BYTES - 1] ^= 1;
    assert_eq!(tag(&Packet::from_bytes(&bytes).unwrap()), tag(&one));
}

#[test]
fn a_packet_opens_for_its_mix_only() {
    let mut rng = StdRng::seed_from_u64(4);
    let mixes = mixes(&mut rng, 3);
    let packet = build(&mut rng, Epoch(0), &path(&mixes), b"x").unwrap();
    assert_eq!(open(&mixes[1].0, packet.clone()).err(), Some(Refusal::Header));
    assert_eq!(open(&MixSecret::generate(&mut rng), packet).err(), Some(Refusal::Header));
}

#[test]
fn headers_show_no_hop_number() {
    // Whatever the path's length, all of β is taken up by what looks random: no run of zeros that padding would leave.
    let mut rng = StdRng::seed_from_u64(5);
    let mixes = mixes(&mut rng, 4);
    for hops in 1..=4 {
        let mut packet = build(&mut rng, Epoch(0), &path(&mixes[..hops]), b"").unwrap();
        for (secret, _) in &mixes[..hops] {
            let zeros = packet.as_bytes()[49..Geometry::HEADER_BYTES].windows(4).filter(|w| *w == [0; 4]).count();
            assert_eq!(zeros, 0, "{hops} hops");
            match open(secret, packet).unwrap().peel().unwrap() {
                Unwrapped::Forward { packet: next, .. } => packet = next,
                _ => break,
            }
        }
    }
}

#[test]
fn a_packet_shows_its_epochs_bit_and_nobody_can_turn_it() {
    let mut rng = StdRng::seed_from_u64(6);
    let mixes = mixes(&mut rng, 3);
    for epoch in [Epoch(6), Epoch(7)] {
        let packet = build(&mut rng, epoch, &path(&mixes), b"x").unwrap();
        assert_eq!(packet.epoch_bit(), epoch.bit());
        let mut turned = *packet.as_bytes();
        turned[48] ^= 1;
        assert_eq!(open(&mixes[0].0, Packet::from_bytes(&turned).unwrap()).err(), Some(Refusal::Header));
        turned[48] ^= 1 | 1 << 5;
        assert_eq!(open(&mixes[0].0, Packet::from_bytes(&turned).unwrap()).err(), Some(Refusal::Header), "a mark beside the bit");
        assert!(walk(&mixes, packet).is_ok());
    }
}
