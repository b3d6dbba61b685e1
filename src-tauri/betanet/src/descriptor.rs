//! Descriptors: where to ask for a service's live leases, readable only by those who know its address.
//!
//! Invariants: a directory mix can check that the blinded key's descriptor key signed it, and which of two is newer, without reading it;
//! at most [`MAX_DESCRIPTOR_BYTES`].
//! Deliberately absent: instances (leases name them, so hosts come and go without a new descriptor).

use crate::{
    address::Blinded,
    proof::{DescriptorSigner, PeriodRecord, ProofError, SignedRecord, Terms},
};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use fogbank_model::{Level, MixId, UnixMs};
use fogbank_wire::{Signed, decode, encode};
use iroh::PublicKey;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

/// The design's bound, so that a descriptor fits every way of carrying it; a test holds it.
pub const MAX_DESCRIPTOR_BYTES: usize = 1_000;
/// Introduction points of a service: three, so that two may be gone.
pub const MAX_INTRODUCTION_POINTS: usize = 3;

const VERSION: u16 = 1;
const WHAT: &str = "descriptor";
/// What a descriptor key signs a descriptor as.
pub const CONTEXT: &str = "fogbank descriptor 1";
const KEY_CONTEXT: &str = "fogbank 2026 descriptor sealing key";
const NONCE_BYTES: usize = 24;

/// What a visitor learns from a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Where instances register and visitors ask, at most [`MAX_INTRODUCTION_POINTS`]. None: the service was stopped or deleted, and nobody
    /// need look for a copy.
    pub introduction_points: Vec<MixId>,
    /// The delay that the publisher chose.
    pub level: Level,
    /// The site's seal, as signed: there when the period's record says that the service is sealed, and only then.
    pub seal: Option<Vec<u8>>,
}

/// What a directory mix learns from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// What the service is known by in this period.
    pub blinded: [u8; 32],
    /// Of two, the higher one is kept.
    pub revision: u64,
    /// Forgotten after this.
    pub expires: UnixMs,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u16,
    record: SignedRecord,
    sealed: Signed<Sealed>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    revision: u64,
    expires: UnixMs,
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
}

impl Descriptor {
    /// Signs and seals. `revision` must rise each time (the time in milliseconds will do). Holds as long as the period's record.
    ///
    /// # Errors
    /// When there are too many introduction points.
    pub fn make(&self, signer: &DescriptorSigner, revision: u64, rng: &mut impl CryptoRng) -> Result<Vec<u8>, ProofError> {
        if self.introduction_points.len() > MAX_INTRODUCTION_POINTS {
            return Err(ProofError::TooMuch { what: "number of introduction points" });
        }
        if self.seal.is_some() != signer.record.terms.sealed {
            return Err(ProofError::Other { what: "seal" });
        }
        let mut nonce = [0; NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        let plain = encode(self).map_err(|_| ProofError::Malformed { what: WHAT })?;
        let payload = Payload { msg: &plain, aad: &signer.blinded.key };
        let ciphertext =
            cipher(&signer.blinded).encrypt(&nonce.into(), payload).map_err(|_| ProofError::Malformed { what: WHAT })?;
        let sealed = Sealed { revision, expires: signer.expires(), nonce, ciphertext };
        let sealed = Signed::seal(&signer.key, CONTEXT, &sealed).map_err(|_| ProofError::Malformed { what: WHAT })?;
        let envelope = Envelope { version: VERSION, record: signer.signed.clone(), sealed };
        let bytes = encode(&envelope).map_err(|_| ProofError::Malformed { what: WHAT })?;
        if bytes.len() > MAX_DESCRIPTOR_BYTES {
            return Err(ProofError::TooMuch { what: WHAT });
        }
        Ok(bytes)
    }

    /// What a visitor who knows the address reads.
    ///
    /// # Errors
    /// When a link of the chain does not hold.
    pub fn open(bytes: &[u8], blinded: &Blinded, now: UnixMs) -> Result<Self, ProofError> {
        Self::open_revision(bytes, blinded, now).map(|(descriptor, ..)| descriptor)
    }

    /// As [`Self::open`], with the revision (of several copies the highest counts) and what the publisher says of the service.
    ///
    /// # Errors
    /// When a link of the chain does not hold.
    pub fn open_revision(bytes: &[u8], blinded: &Blinded, now: UnixMs) -> Result<(Self, u64, Terms), ProofError> {
        let (envelope, record, sealed) = unseal(bytes, now)?;
        envelope.record.open_for(blinded, now)?;
        debug_assert_eq!(record.blinded, blinded.key);
        let payload = Payload { msg: &sealed.ciphertext, aad: &blinded.key };
        let plain = cipher(blinded).decrypt(&sealed.nonce.into(), payload).map_err(|_| ProofError::Locked)?;
        let descriptor: Self = decode(&plain).map_err(|_| ProofError::Malformed { what: WHAT })?;
        if descriptor.introduction_points.len() > MAX_INTRODUCTION_POINTS {
            return Err(ProofError::TooMuch { what: "number of introduction points" });
        }
        if descriptor.seal.is_some() != record.terms.sealed {
            return Err(ProofError::Other { what: "seal" });
        }
        Ok((descriptor, sealed.revision, record.terms))
    }
}

/// What a directory mix checks before it keeps one.
///
/// # Errors
/// When a link of the chain does not hold.
pub fn check_outside(bytes: &[u8], now: UnixMs) -> Result<Outside, ProofError> {
    let (_, record, sealed) = unseal(bytes, now)?;
    Ok(Outside { blinded: record.blinded, revision: sealed.revision, expires: sealed.expires })
}

fn unseal(bytes: &[u8], now: UnixMs) -> Result<(Envelope, PeriodRecord, Sealed), ProofError> {
    if bytes.len() > MAX_DESCRIPTOR_BYTES {
        return Err(ProofError::TooMuch { what: WHAT });
    }
    let version = postcard::take_from_bytes::<u16>(bytes).map_err(|_| ProofError::Malformed { what: WHAT })?.0;
    if version != VERSION {
        return Err(ProofError::Version { what: WHAT, theirs: version });
    }
    let envelope: Envelope = decode(bytes).map_err(|_| ProofError::Malformed { what: WHAT })?;
    let record = envelope.record.open(now)?;
    let key = PublicKey::from_bytes(&record.descriptor_key).map_err(|_| ProofError::Signature { what: WHAT })?;
    let sealed = envelope.sealed.open(&key, CONTEXT).map_err(|_| ProofError::Signature { what: WHAT })?;
    if now >= sealed.expires || sealed.expires > record.expires {
        return Err(ProofError::Expired { what: WHAT });
    }
    Ok((envelope, record, sealed))
}

fn cipher(blinded: &Blinded) -> XChaCha20Poly1305 {
    // The credential is a hash of the identity key and the blinded key: known to those who know the address.
    XChaCha20Poly1305::new(&blake3::derive_key(KEY_CONTEXT, &blinded.credential).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::{AccessKey, Address, Period},
        proof::ContainerIdentity,
        seal::SiteSeal,
    };
    use fogbank_wire::ServiceProof;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn fixture(seed: u8) -> (Vec<u8>, Blinded, Descriptor) {
        let identity = ContainerIdentity::from_seed([seed; 32]).unwrap();
        let seal = SiteSeal { root: [255; 32], revision: u64::MAX };
        let proof = identity.pre_sign_sealed(NOW, 2, &seal, &mut rand::rng()).unwrap();
        let signer = DescriptorSigner::of(&proof, Period::at(NOW), NOW).unwrap();
        let points = (1..=3).map(|i| MixId([i; 16])).collect();
        let descriptor = Descriptor { introduction_points: points, level: Level::Strict, seal: proof.seal.clone() };
        (descriptor.make(&signer, u64::MAX, &mut rand::rng()).unwrap(), signer.blinded, descriptor)
    }

    #[test]
    fn read_by_who_knows_the_address_only() {
        let (bytes, blinded, descriptor) = fixture(1);
        assert!(bytes.len() <= MAX_DESCRIPTOR_BYTES, "{}", bytes.len());
        assert_eq!(Descriptor::open(&bytes, &blinded, NOW).unwrap(), descriptor);
        let outside = check_outside(&bytes, NOW).unwrap();
        assert_eq!((outside.blinded, outside.revision), (blinded.key, u64::MAX));
        assert!(!bytes.windows(16).any(|w| w == [1; 16]), "introduction points are sealed");
        let stranger = Blinded { credential: [0; 32], ..blinded };
        assert!(matches!(Descriptor::open(&bytes, &stranger, NOW), Err(ProofError::Locked)));
        let (_, other, _) = fixture(2);
        assert!(matches!(Descriptor::open(&bytes, &other, NOW), Err(ProofError::Other { .. })));
    }

    #[test]
    fn a_private_one_is_read_with_its_key_only() {
        let identity = ContainerIdentity::from_seed([1; 32]).unwrap();
        let access = AccessKey([7; 32]);
        let proof = ServiceProof { access: Some(access.0), ..identity.pre_sign(NOW, 2, &mut rand::rng()).unwrap() };
        let signer = DescriptorSigner::of(&proof, Period::at(NOW), NOW).unwrap();
        let descriptor = Descriptor { introduction_points: vec![MixId([1; 16])], level: Level::Fast, seal: None };
        let bytes = descriptor.make(&signer, 1, &mut rand::rng()).unwrap();
        let address = Address::parse(identity.onion()).unwrap();
        let plain = address.blinded(Period::at(NOW)).unwrap();
        assert_eq!(plain.key, signer.blinded(), "it is found under the address");
        assert!(matches!(Descriptor::open(&bytes, &plain, NOW), Err(ProofError::Locked)));
        let wrong = plain.clone().with(Some(&AccessKey([8; 32])));
        assert!(matches!(Descriptor::open(&bytes, &wrong, NOW), Err(ProofError::Locked)));
        assert_eq!(Descriptor::open(&bytes, &plain.with(Some(&access)), NOW).unwrap(), descriptor);
        // Who lacks the key learns that it is there, and its length: the same as of an open one.
        assert_eq!(
            bytes.len(),
            descriptor.make(&signer_of(&ServiceProof { access: None, ..proof }), 1, &mut rand::rng()).unwrap().len()
        );
    }

    fn signer_of(proof: &ServiceProof) -> DescriptorSigner {
        DescriptorSigner::of(proof, Period::at(NOW), NOW).unwrap()
    }

    #[test]
    fn a_seal_can_be_neither_left_out_nor_put_in() {
        let identity = ContainerIdentity::from_seed([1; 32]).unwrap();
        let seal = SiteSeal { root: [1; 32], revision: 1 };
        let sealed = identity.pre_sign_sealed(NOW, 2, &seal, &mut rand::rng()).unwrap();
        let plain = identity.pre_sign(NOW, 2, &mut rand::rng()).unwrap();
        let signer = |proof| DescriptorSigner::of(proof, Period::at(NOW), NOW).unwrap();
        let make = |signer: &DescriptorSigner, seal: &Option<Vec<u8>>| {
            let points = vec![MixId([1; 16])];
            Descriptor { introduction_points: points, level: Level::Fast, seal: seal.clone() }.make(signer, 1, &mut rand::rng())
        };
        // An honest allocator's own check.
        assert!(make(&signer(&sealed), &None).is_err() && make(&signer(&plain), &sealed.seal).is_err());
        // A dishonest one signs it all the same.
        for (proof, seal) in [(&sealed, &None), (&plain, &sealed.seal)] {
            let mut lying = signer(proof);
            lying.record.terms.sealed = !lying.record.terms.sealed;
            let bytes = make(&lying, seal).unwrap();
            assert!(check_outside(&bytes, NOW).is_ok(), "a mix can't tell");
            let refused = Descriptor::open(&bytes, &lying.blinded, NOW);
            assert!(matches!(refused, Err(ProofError::Other { what: "seal" })), "{refused:?}");
        }
    }

    #[test]
    fn ends_with_its_period() {
        let (bytes, blinded, _) = fixture(1);
        let end = blinded.period.end().plus(crate::proof::RECORD_SLACK);
        assert!(matches!(Descriptor::open(&bytes, &blinded, end), Err(ProofError::Expired { .. })));
        assert!(matches!(check_outside(&bytes, UnixMs(0)), Err(ProofError::Expired { .. })));
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused(at in 0usize..1000, flip in 1u8.., bytes: Vec<u8>) {
            let _ = check_outside(&bytes, NOW);
            let (good, _, _) = fixture(1);
            let at = at % good.len();
            let mut bad = good.clone();
            bad[at] ^= flip;
            prop_assert!(check_outside(&bad, NOW).is_err());
            prop_assert!(check_outside(&good[..at], NOW).is_err());
        }
    }
}
