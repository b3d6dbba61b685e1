//! Tests of the proof chain.

use super::*;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_790_000_000_000);

fn identity() -> ContainerIdentity {
    ContainerIdentity::from_seed([42; 32]).unwrap()
}

fn proof() -> ServiceProof {
    identity().pre_sign(NOW, 30, &mut rand::rng()).unwrap()
}

#[test]
fn thirty_days_are_covered() {
    let proof = proof();
    let end = check(&proof, NOW).unwrap();
    assert!(end >= NOW.plus(DurationMs::from_s(30 * 86_400)));
    for day in 0..=30 {
        let now = NOW.plus(DurationMs::from_s(day * 86_400));
        let period = Period::at(now);
        for neighbour in [period, Period::at(now.plus(DurationMs(-RECORD_SLACK.0))), Period::at(now.plus(RECORD_SLACK))] {
            let signer = DescriptorSigner::of(&proof, neighbour, now).unwrap();
            assert_eq!(signer.period(), neighbour);
        }
    }
    let later = NOW.plus(DurationMs::from_s(60 * 86_400));
    assert!(matches!(DescriptorSigner::of(&proof, Period::at(later), later), Err(ProofError::NoPeriod)));
    assert!(matches!(check(&proof, later), Err(ProofError::NoPeriod)));
    assert!(identity().pre_sign(NOW, MAX_DAYS_AHEAD, &mut rand::rng()).unwrap().periods.len() <= MAX_PERIODS);
    assert!(identity().pre_sign(NOW, MAX_DAYS_AHEAD + 1, &mut rand::rng()).is_err());
}

#[test]
fn no_secret_of_the_identity_is_handed_over() {
    let identity = identity();
    let proof = proof();
    let handed = encode(&proof).unwrap();
    let expanded = ExpandedKeypair::from(&Keypair::from_bytes(&identity.seed)).to_secret_key_bytes();
    let mut secrets: Vec<[u8; 32]> = vec![*identity.seed];
    secrets.extend(expanded.chunks_exact(32).map(|half| <[u8; 32]>::try_from(half).unwrap()));
    let keypair = HsIdKeypair::from(ExpandedKeypair::from(&Keypair::from_bytes(&identity.seed)));
    for (record, _) in &proof.periods {
        let period = decode::<PeriodRecord>(&decode_record(record).unwrap().bytes).unwrap().period;
        let (_, blinded, _) = keypair.compute_blinded_key(period.tor()).unwrap();
        let blinded: &ExpandedKeypair = blinded.as_ref();
        secrets.extend(blinded.to_secret_key_bytes().chunks_exact(32).map(|half| <[u8; 32]>::try_from(half).unwrap()));
    }
    for secret in &secrets {
        // A quarter of one would be telling, too.
        assert!(!secret.chunks_exact(8).any(|part| handed.windows(8).any(|w| w == part)));
    }
    // What is handed over is a right to sign and no function of the identity: signing ahead again gives other descriptor keys.
    let again = super::tests::proof();
    assert!(proof.periods.iter().zip(&again.periods).all(|(a, b)| a.1 != b.1));
    let shown = format!("{proof:?}{identity:?}");
    assert!(!shown.contains("42, 42"), "{shown}");
}

#[test]
fn what_the_allocator_holds_signs_for_no_other_period() {
    let proof = proof();
    let address = Address::parse(&proof.onion).unwrap();
    let now = proof_end(&proof);
    let beyond = address.blinded(Period::at(now)).unwrap();
    let last = proof.periods.last().unwrap();
    let held = decode_record(&last.0).unwrap();
    let descriptor = SecretKey::from_bytes(&last.1);
    // The record of the last period, changed to the next and signed by every key that was handed over.
    let mut record: PeriodRecord = decode(&held.bytes).unwrap();
    record.period = beyond.period;
    record.blinded = beyond.key;
    record.expires = beyond.period.end();
    let bytes = encode(&record).unwrap();
    for (_, secret) in &proof.periods {
        let signature = SecretKey::from_bytes(secret).sign(&signed_bytes(&bytes));
        let forged = SignedRecord { bytes: bytes.clone(), signature };
        assert!(matches!(forged.open_for(&beyond, now), Err(ProofError::Signature { .. })));
    }
    // And with the true signature of another period, or naming its own key as the blinded one.
    let forged = SignedRecord { bytes: bytes.clone(), signature: held.signature };
    assert!(matches!(forged.open_for(&beyond, now), Err(ProofError::Signature { .. })));
    record.blinded = *descriptor.public().as_bytes();
    let bytes = encode(&record).unwrap();
    let signature = descriptor.sign(&signed_bytes(&bytes));
    let forged = SignedRecord { bytes, signature };
    assert!(matches!(forged.open_for(&beyond, now), Err(ProofError::Other { .. })));
}

fn proof_end(proof: &ServiceProof) -> UnixMs {
    check(proof, NOW).unwrap().plus(RECORD_SLACK)
}

#[test]
fn a_mixed_up_proof_is_refused() {
    let good = proof();
    let other = ContainerIdentity::from_seed([43; 32]).unwrap();
    let mut renamed = good.clone();
    renamed.onion = other.onion().clone();
    assert!(check(&renamed, NOW).is_err());
    let mut swapped = good.clone();
    swapped.periods[0].1 = swapped.periods[1].1;
    assert!(check(&swapped, NOW).is_err());
    let mut doubled = good.clone();
    doubled.periods.push(doubled.periods[0].clone());
    assert!(check(&doubled, NOW).is_err());
    let mut empty = good;
    empty.periods.clear();
    assert!(matches!(check(&empty, NOW), Err(ProofError::NoPeriod)));
}

proptest! {
    #[test]
    fn changed_records_are_refused(at in 0usize..200, flip in 1u8.., bytes: Vec<u8>) {
        if let Ok(record) = decode_record(&bytes) {
            let _ = record.open(NOW);
        }
        let mut proof = identity().pre_sign(NOW, 0, &mut rand::rng()).unwrap();
        let record = &mut proof.periods[0].0;
        prop_assert!(record.len() <= MAX_RECORD_BYTES);
        let at = at % record.len();
        record[at] ^= flip;
        prop_assert!(check(&proof, NOW).is_err());
        proof.periods[0].0.truncate(at);
        prop_assert!(check(&proof, NOW).is_err());
    }
}

#[test]
fn terms_are_one_byte_and_unknown_ones_are_refused() {
    for (bits, sealed, direct) in [(0, false, false), (1, true, false), (2, false, true), (3, true, true)] {
        let terms = Terms { sealed, direct };
        assert_eq!(encode(&terms).unwrap(), [bits]);
        assert_eq!(decode::<Terms>(&[bits]).unwrap(), terms);
    }
    assert!(decode::<Terms>(&[4]).is_err() && decode::<Terms>(&[255]).is_err());
}

#[test]
fn nobody_but_the_publisher_offers_a_direct_connection() {
    let now = NOW;
    let record = |direct| {
        let proof = identity().offering_direct(direct).pre_sign(now, 0, &mut rand::rng()).unwrap();
        DescriptorSigner::of(&proof, Period::at(now), now).unwrap().signed
    };
    assert!(record(true).open(now).unwrap().terms.direct);
    assert!(!record(false).open(now).unwrap().terms.direct);
    let lie = record(false).with_terms(Terms { sealed: false, direct: true });
    assert!(matches!(lie.open(now), Err(ProofError::Signature { .. })));
}
