//! What is handed over, party by party: none of it yields the identity, or lets its holder pass for another service or instance.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use fogbank_betanet::{
    address::{AccessKey, Address, PERIOD_MINUTES, Period},
    descriptor::{Descriptor, check_outside},
    lease::{LEASE_LIFE, Lease, Revocation},
    proof::{ContainerIdentity, DescriptorSigner},
    renewal,
    tunnel::{IntroductionKey, initiate},
};
use fogbank_model::{InstanceId, Level, MixId, UnixMs};
use fogbank_wire::{ServiceProof, decode, encode};
use tor_hscrypto::{pk::HsIdKeypair, time::TimePeriod};
use tor_llcrypto::pk::ed25519::{ExpandedKeypair, Keypair};

const NOW: UnixMs = UnixMs(1_790_000_000_000);
const SEED: [u8; 32] = [42; 32];
const ACCESS: AccessKey = AccessKey([77; 32]);
const POINTS: [MixId; 3] = [MixId([1; 16]), MixId([2; 16]), MixId([3; 16])];
const INSTANCE: InstanceId = InstanceId([5; 16]);

/// One service with everything that its parties hold.
struct World {
    proof: ServiceProof,
    signer: DescriptorSigner,
    allocator: Vec<Vec<u8>>,
    host: Vec<Vec<u8>>,
    point: Vec<Vec<u8>>,
    directory_mix: Vec<Vec<u8>>,
}

fn world(seed: [u8; 32]) -> World {
    let identity = ContainerIdentity::from_seed(seed).unwrap();
    let further = identity.sign_further(NOW, NOW, 60, false, &mut rand::rng()).unwrap();
    let proof = ServiceProof { access: Some(ACCESS.0), ..identity.pre_sign(NOW, 30, &mut rand::rng()).unwrap() };
    let merged = renewal::merge(&proof, &ServiceProof { access: Some(ACCESS.0), ..further.clone() }, NOW).unwrap();
    let signer = DescriptorSigner::of(&proof, Period::at(NOW), NOW).unwrap();
    let key = IntroductionKey::generate();
    let issued = lease(&key).issue(&signer).unwrap();
    let presented = Lease::present(&issued, POINTS[0]).unwrap();
    let public = Lease::open_at(&presented, POINTS[0], NOW).unwrap().public;
    let revocation = Revocation::issue(&[INSTANCE], NOW, &signer).unwrap();
    let descriptor = Descriptor { introduction_points: POINTS.to_vec(), level: Level::Fast, seal: None }
        .make(&signer, 1, &mut rand::rng())
        .unwrap();
    let (_, hello) = initiate(&key.public(), b"whatever", b"whatever").unwrap();
    let allocator = vec![
        encode(&proof).unwrap(),
        encode(&further).unwrap(),
        encode(&merged).unwrap(),
        issued.clone(),
        revocation.clone(),
        descriptor.clone(),
    ];
    World {
        proof,
        signer,
        allocator,
        host: vec![issued],
        point: vec![presented, public, revocation, hello],
        directory_mix: vec![descriptor],
    }
}

fn lease(key: &IntroductionKey) -> Lease {
    Lease {
        instance: INSTANCE,
        introduction_key: key.public(),
        weight: 1,
        expires: NOW.plus(LEASE_LIFE),
        introduction_points: POINTS.to_vec(),
        period: Period(0),
        mark: [0; 8],
    }
}

/// Every secret of the identity: seed, expanded key, and the blinded keys of two hundred days.
fn identity_secrets() -> Vec<[u8; 32]> {
    let expanded = ExpandedKeypair::from(&Keypair::from_bytes(&SEED));
    let halves = |keypair: &ExpandedKeypair| -> Vec<[u8; 32]> {
        keypair.to_secret_key_bytes().chunks_exact(32).map(|half| half.try_into().unwrap()).collect()
    };
    let mut secrets = vec![SEED];
    secrets.extend(halves(&expanded));
    let keypair = HsIdKeypair::from(expanded);
    let first = Period::at(NOW).0 - 2;
    for period in first..first + 100 {
        let (_, blinded, _) = keypair.compute_blinded_key(TimePeriod::from_parts(PERIOD_MINUTES, period.into(), 0)).unwrap();
        secrets.extend(halves(blinded.as_ref()));
    }
    secrets
}

/// Whether a quarter of the secret stands anywhere in what somebody holds.
fn shows(held: &[Vec<u8>], secret: &[u8; 32]) -> bool {
    secret.chunks_exact(8).any(|part| held.iter().any(|bytes| bytes.windows(8).any(|w| w == part)))
}

#[test]
fn no_party_holds_a_secret_that_is_not_its_own() {
    let world = world(SEED);
    for secret in identity_secrets() {
        for (who, held) in [
            ("the allocator", &world.allocator),
            ("a host", &world.host),
            ("an introduction point", &world.point),
            ("a directory mix", &world.directory_mix),
        ] {
            assert!(!shows(held, &secret), "{who}");
        }
    }
    // The test would see one: the allocator does hold descriptor keys and the access key, and nobody else does.
    let descriptor_keys: Vec<[u8; 32]> = world.proof.periods.iter().map(|(_, secret)| *secret).collect();
    for secret in descriptor_keys.iter().chain([&ACCESS.0]) {
        assert!(shows(&world.allocator, secret));
        for held in [&world.host, &world.point, &world.directory_mix] {
            assert!(!shows(held, secret));
        }
    }
}

#[test]
fn descriptor_keys_sign_for_their_own_period_and_service_alone() {
    let world = world(SEED);
    let address = Address::parse(&world.proof.onion).unwrap();
    let key = IntroductionKey::generate();
    let issued = lease(&key).issue(&world.signer).unwrap();
    let public = Lease::open_at(&Lease::present(&issued, POINTS[0]).unwrap(), POINTS[0], NOW).unwrap().public;
    let this = address.blinded(Period::at(NOW)).unwrap();
    assert!(Lease::open_for(&public, &this, NOW).is_ok());
    for period in [Period::at(NOW).prev(), Period::at(NOW).next()] {
        assert!(Lease::open_for(&public, &address.blinded(period).unwrap(), NOW).is_err());
    }
    // Nothing of it is renewed into another period: the records in hand are for their own, and their keys make no others.
    let mut moved = world.proof.clone();
    moved.periods.reverse();
    let mine = ContainerIdentity::from_seed([9; 32]).unwrap();
    let foreign = mine.sign_further(renewal::signed_until(&world.proof, NOW), NOW, 60, false, &mut rand::rng()).unwrap();
    let forged = ServiceProof { onion: world.proof.onion.clone(), ..foreign };
    assert!(renewal::merge(&world.proof, &forged, NOW).is_err());
    let until = renewal::signed_until(&world.proof, NOW);
    assert!(renewal::merge(&world.proof, &moved, until).is_err(), "after the end its old records prolong nothing");
}

#[test]
fn nobody_passes_for_another_service_by_splicing_what_it_holds() {
    let (mine, theirs) = (world([9; 32]), world(SEED));
    let blinded = Address::parse(&theirs.proof.onion).unwrap().blinded(Period::at(NOW)).unwrap();
    let record_of = |world: &World| {
        let at = |bytes: &Vec<u8>| world.directory_mix[0].windows(bytes.len()).any(|w| w == bytes.as_slice());
        world.proof.periods.iter().map(|(record, _)| record.clone()).find(at).expect("the descriptor carries its record")
    };
    let (my_record, their_record) = (record_of(&mine), record_of(&theirs));
    let splice = |bytes: &[u8]| {
        let at = bytes.windows(my_record.len()).position(|w| w == my_record.as_slice()).expect("it carries its record");
        [&bytes[..at], &their_record, &bytes[at + my_record.len()..]].concat()
    };
    // An introduction point, a host or a directory mix that runs a service of its own wraps what it signed in the victim's record.
    let lease = splice(&mine.point[1]);
    assert!(Lease::open_for(&lease, &blinded, NOW).is_err());
    assert!(Lease::open_for(&mine.point[1], &blinded, NOW).is_err());
    let presented = splice(&mine.point[0]);
    assert!(Lease::open_at(&presented, POINTS[0], NOW).is_err());
    assert!(Revocation::open(&splice(&mine.point[2]), NOW).is_err());
    let descriptor = splice(&mine.directory_mix[0]);
    assert!(check_outside(&descriptor, NOW).is_err());
    assert!(Descriptor::open(&descriptor, &blinded.clone().with(Some(&ACCESS)), NOW).is_err());
    // The true ones hold.
    assert!(Lease::open_for(&theirs.point[1], &blinded, NOW).is_ok());
    assert!(Descriptor::open(&theirs.directory_mix[0], &blinded.with(Some(&ACCESS)), NOW).is_ok());
}

#[test]
fn a_hosts_lease_is_its_own_instances_and_keys() {
    let world = world(SEED);
    let issued = &world.host[0];
    let presented = Lease::present(issued, POINTS[1]).unwrap();
    let under = Lease::open_at(&presented, POINTS[1], NOW).unwrap();
    assert_eq!(under.said.instance, INSTANCE);
    for point in POINTS {
        // What one point was shown opens at no other.
        let there = Lease::open_at(&presented, point, NOW);
        assert_eq!(there.is_ok(), point == POINTS[1]);
    }
    assert!(Lease::open_own(issued, InstanceId([6; 16]), &under.said.introduction_key, NOW).is_err());
    assert!(Lease::open_own(issued, INSTANCE, &[7; 32], NOW).is_err());
    // Another id or key in the signed part: every such change of bytes breaks the signature.
    for (from, to) in [(INSTANCE.0.to_vec(), vec![6; 16]), (under.said.introduction_key.to_vec(), vec![7; 32])] {
        let at = presented.windows(from.len()).position(|w| w == from.as_slice()).expect("it stands there in the clear");
        let changed = [&presented[..at], &to, &presented[at + to.len()..]].concat();
        assert!(Lease::open_at(&changed, POINTS[1], NOW).is_err());
    }
    // Two shares of one token in hand tell nothing of the third.
    let shares: Vec<Vec<u8>> = POINTS.iter().map(|p| Lease::present(issued, *p).unwrap()).collect();
    let tail = |bytes: &Vec<u8>| bytes[bytes.len() - 16..].to_vec();
    let mixed = [&shares[2][..shares[2].len() - 16], &tail(&shares[0])].concat();
    assert!(Lease::open_at(&mixed, POINTS[2], NOW).is_err() && Lease::open_at(&shares[2], POINTS[2], NOW).is_ok());
    let whole: Result<ServiceProof, _> = decode(issued);
    assert!(whole.is_err());
}
