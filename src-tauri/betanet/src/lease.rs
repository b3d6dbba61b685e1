//! Leases: the leave of one instance to serve a container for a while, and taking it back.
//!
//! ```text
//! issued:    public part, token                      allocator → instance
//! presented: public part, the token's share for one  instance → introduction point
//! public:    lease and commitments to the shares     introduction point → visitors
//! ```
//!
//! Invariants: signed by the period's descriptor key, whose record travels with it, so that an introduction point that knows nothing can
//! check it; a lease names its instance, the key to introduce oneself to it by, and where. Only who has the token can register: visitors
//! see the public part, and a point sees its own share, so neither can take an instance's place at a point. It says by a mark which content its
//! instance serves, so that while a site is updated nobody takes a copy of the other revision for a liar.
//! Deliberately absent: renewing (the allocator's reconciler) and registering (service).

use crate::{
    address::{Blinded, Period},
    descriptor::MAX_INTRODUCTION_POINTS,
    proof::{DescriptorSigner, PeriodRecord, ProofError, SignedRecord, Terms},
    seal::Mark,
};
use fogbank_model::{ContainerSpec, DurationMs, InstanceId, MixId, UnixMs};
use fogbank_wire::{Signed, decode, encode};
use iroh::PublicKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How long a lease of an instance without writable state holds; renewed at half time.
pub const LEASE_LIFE: DurationMs = DurationMs::from_s(24 * 3600);
/// A signed record (170), ids, keys and a mark (168), three commitments and a lock (70), a signature, a token and a door (140): below 552.
pub const MAX_LEASE_BYTES: usize = 576;
/// Instances in one revocation: all of a container, twice over.
pub const MAX_REVOKED: usize = 2 * ContainerSpec::MAX_INSTANCES as usize;
/// A revocation of [`MAX_REVOKED`] ids of 16 bytes, a record and a signature.
pub const MAX_REVOCATION_BYTES: usize = 1_500;

const VERSION: u16 = 1;
const LEASE: &str = "lease";
/// What a descriptor key signs a lease as.
pub const LEASE_CONTEXT: &str = "fogbank lease 1";
/// Tokens and their shares are hashes of the descriptor secret; each context makes a different one.
const TOKEN_CONTEXT: &str = "fogbank 2026 lease token";
const SHARE_CONTEXT: &str = "fogbank 2026 lease token share";
const COMMITMENT_CONTEXT: &str = "fogbank 2026 lease token commitment";
const REVOCATION: &str = "revocation";
/// What a descriptor key signs a revocation as.
pub const REVOCATION_CONTEXT: &str = "fogbank revocation 1";

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
    /// Which seal the instance serves ([`crate::seal::SiteSeal::mark`]).
    pub mark: Mark,
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
    /// Of a private service's lease: listed only for those who say what hashes to this; see [`opens`].
    pub lock: Option<[u8; 16]>,
    /// The statement as signed, fit to be handed on.
    pub public: Vec<u8>,
}

/// On what an instance takes visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    /// What visitors of a private service must know; `None` when it is open to all.
    pub(crate) door: Option<[u8; 32]>,
    /// Whether its publisher lets them come directly.
    pub(crate) direct: bool,
}

type Share = [u8; 16];

/// A lease, and for each of its introduction points a commitment to the share that the instance presents there.
#[derive(Serialize, Deserialize)]
struct Granting {
    lease: Lease,
    commitments: Vec<Share>,
    /// Of a private service: a commitment to what visitors say to have its leases listed.
    lock: Option<Share>,
}

#[derive(Serialize, Deserialize)]
struct Issued {
    public: Vec<u8>,
    token: [u8; 32],
    /// Of a private service: what its visitors must know for an introduction to be answered.
    door: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct Presented {
    public: Vec<u8>,
    share: Share,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Envelope<T> {
    version: u16,
    record: SignedRecord,
    signed: Signed<T>,
}

impl Lease {
    /// Signs a lease, for the instance alone. Its end is cut to the end of the signer's record; its period is the signer's.
    ///
    /// # Errors
    /// When there are no introduction points or too many, or the weight is zero.
    pub fn issue(mut self, signer: &DescriptorSigner) -> Result<Vec<u8>, ProofError> {
        self.period = signer.period();
        self.expires = self.expires.min(signer.expires());
        self.check()?;
        let mut hasher = blake3::Hasher::new_derive_key(TOKEN_CONTEXT);
        hasher.update(&signer.key.to_bytes());
        hasher.update(&encode(&self).map_err(|_| ProofError::Malformed { what: LEASE })?);
        let token = *hasher.finalize().as_bytes();
        let commitments = self.introduction_points.iter().map(|point| commitment(&share(&token, *point))).collect();
        let lock = signer.blinded.unlock().map(|unlock| commitment(&unlock));
        let public = seal(signer, LEASE_CONTEXT, LEASE, &Granting { lease: self, commitments, lock })?;
        encode(&Issued { public, token, door: signer.blinded.door }).map_err(|_| ProofError::Malformed { what: LEASE })
    }

    /// What an instance shows to one introduction point of an issued lease.
    ///
    /// # Errors
    /// When the bytes are no issued lease.
    pub fn present(issued: &[u8], point: MixId) -> Result<Vec<u8>, ProofError> {
        let Issued { public, token, .. } = bounded(issued)?;
        encode(&Presented { public, share: share(&token, point) }).map_err(|_| ProofError::Malformed { what: LEASE })
    }

    /// What an introduction point checks: the chain, the times, that it is meant, and that the instance itself presents it. It keeps
    /// [`Under::public`] for visitors.
    ///
    /// # Errors
    /// When a link of the chain does not hold, or the lease names other introduction points.
    pub fn open_at(presented: &[u8], point: MixId, now: UnixMs) -> Result<Under<Self>, ProofError> {
        let Presented { public, share } = bounded(presented)?;
        let (under, _, commitments) = Self::unseal(&public, now)?;
        let place = under.said.introduction_points.iter().position(|id| *id == point);
        let committed = place.and_then(|i| commitments.get(i)).ok_or(ProofError::Other { what: LEASE })?;
        // Both are hashes: how long comparing takes tells nothing of the share.
        if *committed != commitment(&share) {
            return Err(ProofError::Other { what: LEASE });
        }
        Ok(under)
    }

    /// What a visitor checks of the public part: the chain from the address on, and the times.
    ///
    /// # Errors
    /// When a link of the chain does not hold, or it is another service's.
    pub fn open_for(public: &[u8], blinded: &Blinded, now: UnixMs) -> Result<Self, ProofError> {
        let (under, record, _) = Self::unseal(public, now)?;
        record.open_for(blinded, now)?;
        Ok(under.said)
    }

    /// What a host checks of a lease that its allocator issued: the chain, the times, and that it is its own instance's with its own key.
    ///
    /// # Errors
    /// When a link of the chain does not hold, or it is another's.
    pub fn open_own(issued: &[u8], instance: InstanceId, key: &[u8; 32], now: UnixMs) -> Result<Under<Self>, ProofError> {
        let Issued { public, .. } = bounded(issued)?;
        let (under, ..) = Self::unseal(&public, now)?;
        if under.said.instance != instance || under.said.introduction_key != *key {
            return Err(ProofError::Other { what: LEASE });
        }
        Ok(under)
    }

    /// On what an instance takes visitors under an issued lease, which was checked before.
    pub(crate) fn conditions(issued: &[u8]) -> Result<Conditions, ProofError> {
        let Issued { public, door, .. } = bounded(issued)?;
        let envelope: Envelope<Granting> = decode(&public).map_err(|_| ProofError::Malformed { what: LEASE })?;
        let Terms { direct, .. } = envelope.record.terms_unchecked()?;
        // What only some may find is not offered without mixes.
        Ok(Conditions { direct: direct && door.is_none(), door })
    }

    fn unseal(public: &[u8], now: UnixMs) -> Result<(Under<Self>, SignedRecord, Vec<Share>), ProofError> {
        if public.len() > MAX_LEASE_BYTES {
            return Err(ProofError::TooMuch { what: LEASE });
        }
        let (envelope, record, Granting { lease, commitments, lock }) = unseal::<Granting>(public, LEASE_CONTEXT, LEASE, now)?;
        lease.check()?;
        if lease.period != record.period || commitments.len() != lease.introduction_points.len() {
            return Err(ProofError::Other { what: LEASE });
        }
        if now >= lease.expires || lease.expires > record.expires {
            return Err(ProofError::Expired { what: LEASE });
        }
        let under = Under { blinded: record.blinded, record_expires: record.expires, said: lease, lock, public: public.to_vec() };
        Ok((under, envelope.record, commitments))
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
        Ok(Under { blinded: record.blinded, record_expires: record.expires, said, lock: None, public: bytes.to_vec() })
    }
}

fn bounded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProofError> {
    if bytes.len() > MAX_LEASE_BYTES {
        return Err(ProofError::TooMuch { what: LEASE });
    }
    decode(bytes).map_err(|_| ProofError::Malformed { what: LEASE })
}

/// Whether what a visitor says opens the lock that a lease may have.
pub(crate) fn opens(lock: Option<&[u8; 16]>, unlock: Option<&[u8; 16]>) -> bool {
    lock.is_none_or(|lock| unlock.is_some_and(|unlock| commitment(unlock) == *lock))
}

fn share(token: &[u8; 32], point: MixId) -> Share {
    short(blake3::Hasher::new_derive_key(SHARE_CONTEXT).update(token).update(&point.0).finalize())
}

fn commitment(share: &Share) -> Share {
    short(blake3::Hasher::new_derive_key(COMMITMENT_CONTEXT).update(share).finalize())
}

fn short(hash: blake3::Hash) -> Share {
    let mut short = Share::default();
    short.copy_from_slice(&hash.as_bytes()[..size_of::<Share>()]);
    short
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
    use fogbank_wire::ServiceProof;
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
            mark: Mark::default(),
        }
    }

    #[test]
    fn checked_at_each_end() {
        let signer = signer(1);
        let issued = lease().issue(&signer).unwrap();
        assert!(issued.len() <= MAX_LEASE_BYTES - 24, "{}", issued.len());
        let presented = Lease::present(&issued, POINT).unwrap();
        let at = Lease::open_at(&presented, POINT, NOW).unwrap();
        assert_eq!(at.blinded, signer.blinded());
        assert_eq!(Lease::open_for(&at.public, &signer.blinded, NOW).unwrap(), at.said);
        assert!(Lease::open_own(&issued, InstanceId([5; 16]), &[6; 32], NOW).is_ok());

        assert!(matches!(Lease::open_at(&presented, MixId([9; 16]), NOW), Err(ProofError::Other { .. })));
        let elsewhere = super::tests::signer(2).blinded;
        assert!(matches!(Lease::open_for(&at.public, &elsewhere, NOW), Err(ProofError::Other { .. })));
        assert!(matches!(Lease::open_own(&issued, InstanceId([4; 16]), &[6; 32], NOW), Err(ProofError::Other { .. })));
        assert!(matches!(Lease::open_own(&issued, InstanceId([5; 16]), &[7; 32], NOW), Err(ProofError::Other { .. })));
        let late = at.said.expires;
        assert!(matches!(Lease::open_at(&presented, POINT, late), Err(ProofError::Expired { .. })));
    }

    #[test]
    fn nobody_else_can_take_an_instances_place() {
        let issued = lease().issue(&signer(1)).unwrap();
        let mine = Lease::present(&issued, POINT).unwrap();
        let public = Lease::open_at(&mine, POINT, NOW).unwrap().public;
        // A visitor has the public part and guesses; a point has its own share and tries it at another point.
        for share in [Share::default(), short(blake3::hash(&public))] {
            let guessed = encode(&Presented { public: public.clone(), share }).unwrap();
            assert!(matches!(Lease::open_at(&guessed, POINT, NOW), Err(ProofError::Other { .. })));
        }
        assert!(matches!(Lease::open_at(&mine, MixId([1; 16]), NOW), Err(ProofError::Other { .. })));
        assert!(Lease::open_at(&public, POINT, NOW).is_err() && Lease::present(&public, POINT).is_err());
    }

    #[test]
    fn a_publisher_alone_lets_visitors_come_directly() {
        let issued = |direct: bool, access: Option<[u8; 32]>| {
            let identity = ContainerIdentity::from_seed([1; 32]).unwrap().offering_direct(direct);
            let proof = ServiceProof { access, ..identity.pre_sign(NOW, 2, &mut rand::rng()).unwrap() };
            lease().issue(&DescriptorSigner::of(&proof, Period::at(NOW), NOW).unwrap()).unwrap()
        };
        let direct = |issued: &[u8]| Lease::conditions(issued).unwrap().direct;
        assert!(direct(&issued(true, None)));
        assert!(!direct(&issued(false, None)), "not unless it is said");
        let private = Lease::conditions(&issued(true, Some([7; 32]))).unwrap();
        assert!(!private.direct && private.door.is_some(), "what is private is not offered without mixes");
        // Who issues leases can't say so in the publisher's place: the record's signature does not hold any more.
        let mut forged: Issued = bounded(&issued(false, None)).unwrap();
        let mut envelope: Envelope<Granting> = decode(&forged.public).unwrap();
        envelope.record = envelope.record.with_terms(Terms { sealed: false, direct: true });
        forged.public = encode(&envelope).unwrap();
        let lying = encode(&forged).unwrap();
        assert!(direct(&lying));
        assert!(Lease::open_own(&lying, lease().instance, &lease().introduction_key, NOW).is_err(), "a host takes no such lease");
    }

    #[test]
    fn another_services_key_signs_nothing_here() {
        // A signer of one service wraps its lease in another service's record.
        let (mine, theirs) = (signer(1), signer(2));
        let forged = DescriptorSigner { signed: theirs.signed.clone(), key: mine.key.clone(), ..signer(2) };
        let Issued { public, .. } = bounded(&lease().issue(&forged).unwrap()).unwrap();
        assert!(matches!(Lease::open_for(&public, &theirs.blinded, NOW), Err(ProofError::Signature { .. })));
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
        let Issued { public, .. } = bounded(&lease().issue(&signer).unwrap()).unwrap();
        assert!(Revocation::open(&public, NOW).is_err(), "a lease is no revocation");
        assert!(Revocation::issue(&[InstanceId([5; 16]); MAX_REVOKED + 1], NOW, &signer).is_err());
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused(at in 0usize..500, flip in 1u8.., bytes: Vec<u8>) {
            let _ = Revocation::open(&bytes, NOW);
            let _ = Lease::present(&bytes, POINT);
            let good = Lease::present(&lease().issue(&signer(1)).unwrap(), POINT).unwrap();
            let at = at % good.len();
            let mut bad = good.clone();
            bad[at] ^= flip;
            prop_assert!(Lease::open_at(&bad, POINT, NOW).is_err());
            prop_assert!(Lease::open_at(&good[..at], POINT, NOW).is_err());
        }
    }
}
