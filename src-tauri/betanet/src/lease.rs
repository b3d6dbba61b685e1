//! Leases: the leave of one instance to serve a container for a while, and taking it back.
//!
//! Invariants: signed by the period's descriptor key, whose record travels with it, so that an introduction point that knows nothing can
//! check it; a lease names its instance, the key to introduce oneself to it by, and where.
//! Deliberately absent: renewing (the allocator's reconciler) and registering (service).

use crate::{
    address::{Blinded, Period},
    descriptor::MAX_INTRODUCTION_POINTS,
    proof::{DescriptorSigner, PeriodRecord, ProofError, SignedRecord},
};
use fogbank_model::{ContainerSpec, DurationMs, InstanceId, MixId, UnixMs};
use fogbank_wire::{Signed, decode, encode};
use iroh::PublicKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How long a lease of an instance without writable state holds; renewed at half time.
pub const LEASE_LIFE: DurationMs = DurationMs::from_s(24 * 3600);
/// A signed record (170), ids and keys (160), a signature: below 450.
pub const MAX_LEASE_BYTES: usize = 512;
/// Instances in one revocation: all of a container, twice over.
pub const MAX_REVOKED: usize = 2 * ContainerSpec::MAX_INSTANCES as usize;
/// A revocation of [`MAX_REVOKED`] ids of 16 bytes, a record and a signature.
pub const MAX_REVOCATION_BYTES: usize = 1_500;

const VERSION: u16 = 1;
const LEASE: &str = "lease";
const LEASE_CONTEXT: &str = "fogbank lease 1";
const REVOCATION: &str = "revocation";
const REVOCATION_CONTEXT: &str = "fogbank revocation 1";

/// What a lease grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// To which instance.
    pub instance: InstanceId,
    /// The instance's X25519 key for introductions.
    pub introduction_key: [u8; 32],
    /// Its share of visitors relative to the others; at least 1.
    pub weight: u16,
    /// Until when.
    pub expires: UnixMs,
    /// Where it registers.
    pub introduction_points: Vec<MixId>,
    /// In which period, that is under which blinded key.
    pub period: Period,
}

/// Leases taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Of these instances.
    pub instances: Vec<InstanceId>,
    /// When.
    pub at: UnixMs,
    /// In which period.
    pub period: Period,
}

/// A checked statement with the blinded key that it stands under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Under<T> {
    /// The service as mixes know it.
    pub blinded: [u8; 32],
    /// Nothing under this key's record is believed after this.
    pub record_expires: UnixMs,
    /// What is said.
    pub said: T,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Envelope<T> {
    version: u16,
    record: SignedRecord,
    signed: Signed<T>,
}

impl Lease {
    /// Signs a lease. Its end is cut to the end of the signer's record; its period is the signer's.
    ///
    /// # Errors
    /// When there are no introduction points or too many, or the weight is zero.
    pub fn issue(mut self, signer: &DescriptorSigner) -> Result<Vec<u8>, ProofError> {
        self.period = signer.period();
        self.expires = self.expires.min(signer.expires());
        self.check()?;
        seal(signer, LEASE_CONTEXT, LEASE, &self)
    }

    /// What an introduction point checks: the chain, the times, and that it is meant.
    ///
    /// # Errors
    /// When a link of the chain does not hold, or the lease names other introduction points.
    pub fn open_at(bytes: &[u8], point: MixId, now: UnixMs) -> Result<Under<Self>, ProofError> {
        let (under, _) = Self::unseal(bytes, now)?;
        if !under.said.introduction_points.contains(&point) {
            return Err(ProofError::Other { what: LEASE });
        }
        Ok(under)
    }

    /// What a visitor checks, and an instance of its own lease: the chain from the address on, and the times.
    ///
    /// # Errors
    /// When a link of the chain does not hold, or it is another service's.
    pub fn open_for(bytes: &[u8], blinded: &Blinded, now: UnixMs) -> Result<Self, ProofError> {
        let (under, record) = Self::unseal(bytes, now)?;
        record.open_for(blinded, now)?;
        Ok(under.said)
    }

    /// What a host checks of a lease that its allocator sent: the chain, the times, and that it is its own instance's with its own key.
    ///
    /// # Errors
    /// When a link of the chain does not hold, or it is another's.
    pub fn open_own(bytes: &[u8], instance: InstanceId, key: &[u8; 32], now: UnixMs) -> Result<Under<Self>, ProofError> {
        let (under, _) = Self::unseal(bytes, now)?;
        if under.said.instance != instance || under.said.introduction_key != *key {
            return Err(ProofError::Other { what: LEASE });
        }
        Ok(under)
    }

    fn unseal(bytes: &[u8], now: UnixMs) -> Result<(Under<Self>, SignedRecord), ProofError> {
        if bytes.len() > MAX_LEASE_BYTES {
            return Err(ProofError::TooMuch { what: LEASE });
        }
        let (envelope, record, lease) = unseal::<Self>(bytes, LEASE_CONTEXT, LEASE, now)?;
        lease.check()?;
        if lease.period != record.period {
            return Err(ProofError::Other { what: LEASE });
        }
        if now >= lease.expires || lease.expires > record.expires {
            return Err(ProofError::Expired { what: LEASE });
        }
        Ok((Under { blinded: record.blinded, record_expires: record.expires, said: lease }, envelope.record))
    }

    fn check(&self) -> Result<(), ProofError> {
        let points = self.introduction_points.len();
        if points == 0 || points > MAX_INTRODUCTION_POINTS {
            return Err(ProofError::TooMuch { what: "number of introduction points" });
        }
        if self.weight == 0 { Err(ProofError::Malformed { what: LEASE }) } else { Ok(()) }
    }
}

impl Revocation {
    /// Takes leases back.
    ///
    /// # Errors
    /// When it names more than [`MAX_REVOKED`] instances.
    pub fn issue(instances: &[InstanceId], at: UnixMs, signer: &DescriptorSigner) -> Result<Vec<u8>, ProofError> {
        if instances.len() > MAX_REVOKED {
            return Err(ProofError::TooMuch { what: REVOCATION });
        }
        let said = Self { instances: instances.to_vec(), at, period: signer.period() };
        seal(signer, REVOCATION_CONTEXT, REVOCATION, &said)
    }

    /// What an introduction point checks. It should drop the instances' registrations under this blinded key and refuse new ones until
    /// `record_expires`.
    ///
    /// # Errors
    /// When a link of the chain does not hold.
    pub fn open(bytes: &[u8], now: UnixMs) -> Result<Under<Self>, ProofError> {
        if bytes.len() > MAX_REVOCATION_BYTES {
            return Err(ProofError::TooMuch { what: REVOCATION });
        }
        let (_, record, said) = unseal::<Self>(bytes, REVOCATION_CONTEXT, REVOCATION, now)?;
        if said.period != record.period {
            return Err(ProofError::Other { what: REVOCATION });
        }
        if said.instances.len() > MAX_REVOKED {
            return Err(ProofError::TooMuch { what: REVOCATION });
        }
        Ok(Under { blinded: record.blinded, record_expires: record.expires, said })
    }
}

fn seal<T: Serialize + DeserializeOwned>(
    signer: &DescriptorSigner,
    context: &str,
    what: &'static str,
    said: &T,
) -> Result<Vec<u8>, ProofError> {
    let signed = Signed::seal(&signer.key, context, said).map_err(|_| ProofError::Malformed { what })?;
    let envelope = Envelope { version: VERSION, record: signer.signed.clone(), signed };
    encode(&envelope).map_err(|_| ProofError::Malformed { what })
}

fn unseal<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    context: &str,
    what: &'static str,
    now: UnixMs,
) -> Result<(Envelope<T>, PeriodRecord, T), ProofError> {
    let version = postcard::take_from_bytes::<u16>(bytes).map_err(|_| ProofError::Malformed { what })?.0;
    if version != VERSION {
        return Err(ProofError::Version { what, theirs: version });
    }
    let envelope: Envelope<T> = decode(bytes).map_err(|_| ProofError::Malformed { what })?;
    let record = envelope.record.open(now)?;
    let key = PublicKey::from_bytes(&record.descriptor_key).map_err(|_| ProofError::Signature { what })?;
    let said = envelope.signed.open(&key, context).map_err(|_| ProofError::Signature { what })?;
    Ok((envelope, record, said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::ContainerIdentity;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const POINT: MixId = MixId([2; 16]);

    fn signer(seed: u8) -> DescriptorSigner {
        let identity = ContainerIdentity::from_seed([seed; 32]).unwrap();
        let proof = identity.pre_sign(NOW, 2, &mut rand::rng()).unwrap();
        DescriptorSigner::of(&proof, Period::at(NOW), NOW).unwrap()
    }

    fn lease() -> Lease {
        Lease {
            instance: InstanceId([5; 16]),
            introduction_key: [6; 32],
            weight: 1,
            expires: NOW.plus(LEASE_LIFE),
            introduction_points: vec![MixId([1; 16]), POINT, MixId([3; 16])],
            period: Period(0),
        }
    }

    #[test]
    fn checked_at_each_end() {
        let signer = signer(1);
        let bytes = lease().issue(&signer).unwrap();
        assert!(bytes.len() <= MAX_LEASE_BYTES - 64, "{}", bytes.len());
        let at = Lease::open_at(&bytes, POINT, NOW).unwrap();
        assert_eq!(at.blinded, signer.blinded());
        assert_eq!(Lease::open_for(&bytes, &signer.blinded, NOW).unwrap(), at.said);
        assert!(Lease::open_own(&bytes, InstanceId([5; 16]), &[6; 32], NOW).is_ok());

        assert!(matches!(Lease::open_at(&bytes, MixId([9; 16]), NOW), Err(ProofError::Other { .. })));
        assert!(matches!(Lease::open_for(&bytes, &super::tests::signer(2).blinded, NOW), Err(ProofError::Other { .. })));
        assert!(matches!(Lease::open_own(&bytes, InstanceId([4; 16]), &[6; 32], NOW), Err(ProofError::Other { .. })));
        assert!(matches!(Lease::open_own(&bytes, InstanceId([5; 16]), &[7; 32], NOW), Err(ProofError::Other { .. })));
        let late = at.said.expires;
        assert!(matches!(Lease::open_at(&bytes, POINT, late), Err(ProofError::Expired { .. })));
    }

    #[test]
    fn another_services_key_signs_nothing_here() {
        // A signer of one service wraps its lease in another service's record.
        let (mine, theirs) = (signer(1), signer(2));
        let forged = DescriptorSigner { signed: theirs.signed.clone(), key: mine.key.clone(), ..signer(2) };
        let bytes = lease().issue(&forged).unwrap();
        assert!(matches!(Lease::open_for(&bytes, &theirs.blinded, NOW), Err(ProofError::Signature { .. })));
    }

    #[test]
    fn revocations_name_instances() {
        let signer = signer(1);
        let ids = vec![InstanceId([5; 16]); MAX_REVOKED];
        let bytes = Revocation::issue(&ids, NOW, &signer).unwrap();
        assert!(bytes.len() <= MAX_REVOCATION_BYTES, "{}", bytes.len());
        let under = Revocation::open(&bytes, NOW).unwrap();
        assert_eq!((under.blinded, under.said.instances), (signer.blinded(), ids));
        assert!(Lease::open_at(&bytes, POINT, NOW).is_err(), "a revocation is no lease");
        assert!(Revocation::open(&lease().issue(&signer).unwrap(), NOW).is_err(), "a lease is no revocation");
        assert!(Revocation::issue(&[InstanceId([5; 16]); MAX_REVOKED + 1], NOW, &signer).is_err());
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused(at in 0usize..500, flip in 1u8.., bytes: Vec<u8>) {
            let _ = Revocation::open(&bytes, NOW);
            let good = lease().issue(&signer(1)).unwrap();
            let at = at % good.len();
            let mut bad = good.clone();
            bad[at] ^= flip;
            prop_assert!(Lease::open_at(&bad, POINT, NOW).is_err());
            prop_assert!(Lease::open_at(&good[..at], POINT, NOW).is_err());
        }
    }
}
