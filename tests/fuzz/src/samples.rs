//! One fog, one container and what they sign, the same in every run; and the forms of signed statements, to sign any bytes as their content.
//!
//! The forms and context strings repeat what is private in the product. A seed that no longer opens shows that one has changed.

use fogbank_betanet::{
    address::{Address, Blinded, Period},
    directory::{Directory, MixEntry, UNMEASURED, mix_id},
    epoch,
    proof::{ContainerIdentity, DescriptorSigner, SignedRecord},
};
use fogbank_model::{DurationMs, FogId, OwnerId, UnixMs};
use fogbank_sphinx::MixSecret;
use fogbank_wire::{PacketKeys, ServiceProof, decode};
use iroh::{SecretKey, Signature};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// When everything happens.
pub(crate) const NOW: UnixMs = UnixMs(1_790_000_000_000);

/// The moments at which statements are opened: now, at the ends of their lives, and at the ends of time.
pub(crate) fn moment(choice: u8) -> UnixMs {
    let hours = |n: i64| NOW.plus(DurationMs::from_s(n * 3_600));
    match choice % 8 {
        1 => hours(25),
        2 => hours(-25),
        3 => hours(24 * 40),
        4 => UnixMs(i64::MAX),
        5 => UnixMs(i64::MIN),
        6 => UnixMs(0),
        _ => NOW,
    }
}

/// Randomness that is the same in every run.
pub(crate) fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

pub(crate) fn fog() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

pub(crate) fn fog_id() -> FogId {
    FogId(*fog().public().as_bytes())
}

/// A directory of so many mixes, two an owner.
pub(crate) fn directory(test: bool, mixes: u8) -> Directory {
    let entries = (0..mixes).map(|i| {
        let key = *SecretKey::from_bytes(&[i + 100; 32]).public().as_bytes();
        let packet_keys = (0..13).map(|n| MixSecret::from_bytes([i + n + 1; 32]).public().0).collect();
        MixEntry {
            relay: None,
            id: mix_id(&key),
            key,
            life: [1; 8],
            packet_keys: PacketKeys { first: epoch::at(NOW).0, keys: packet_keys },
            owner: OwnerId([i / 2; 32]),
            addrs: vec![([10, i, 0, 1], 4_000).into()],
            since: UnixMs(0),
            reliability: UNMEASURED,
        }
    });
    Directory::new(fog_id(), test, 1, NOW, [9; 32], entries.collect())
}

/// A container, and its right to sign in the present period.
pub(crate) struct Container {
    pub(crate) proof: ServiceProof,
    pub(crate) blinded: Blinded,
    pub(crate) signer: DescriptorSigner,
    pub(crate) record: SignedRecord,
    key: SecretKey,
}

pub(crate) static CONTAINER: LazyLock<Container> = LazyLock::new(|| {
    let identity = ContainerIdentity::from_seed([5; 32]).unwrap();
    let proof = identity.pre_sign(NOW, 4, &mut rng()).unwrap();
    let period = Period::at(NOW);
    let signer = DescriptorSigner::of(&proof, period, NOW).unwrap();
    let blinded = Address::parse(&proof.onion).unwrap().blinded(period).unwrap();
    let of_now = |(record, secret): &(Vec<u8>, [u8; 32])| {
        let record: SignedRecord = decode(record).ok()?;
        record.open_for(&blinded, NOW).ok()?;
        Some((record, SecretKey::from_bytes(secret)))
    };
    let (record, key) = proof.periods.iter().find_map(of_now).unwrap();
    Container { proof, blinded, signer, record, key }
});

/// What a signed statement is on the wire, whatever is in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct RawSigned {
    pub(crate) bytes: Vec<u8>,
    signature: Signature,
}

/// A statement of a descriptor key on the wire.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    version: u16,
    record: SignedRecord,
    pub(crate) signed: RawSigned,
}

/// Signs any bytes as the content of a statement.
pub(crate) fn sign(key: &SecretKey, context: &str, bytes: &[u8]) -> RawSigned {
    let mut hasher = blake3::Hasher::new_derive_key("fogbank 2026 signed statement");
    hasher.update(&(context.len() as u64).to_be_bytes());
    hasher.update(context.as_bytes()).update(bytes);
    RawSigned { bytes: bytes.to_vec(), signature: key.sign(hasher.finalize().as_bytes()) }
}

impl Container {
    /// Signs any bytes by the period's descriptor key, with its record.
    pub(crate) fn sign(&self, context: &str, bytes: &[u8]) -> Vec<u8> {
        let signed = sign(&self.key, context, bytes);
        postcard::to_stdvec(&Envelope { version: 1, record: self.record.clone(), signed }).unwrap()
    }
}

/// An input: the mode, then the rest.
pub(crate) fn mode(mode: u8, rest: &[u8]) -> Vec<u8> {
    [&[mode], rest].concat()
}
