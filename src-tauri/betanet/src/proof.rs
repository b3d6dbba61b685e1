//! The proof chain's first link: who may speak for an address in a period, without holding the address's key.
//!
//! ```text
//! address → blinded key (anyone who knows the address computes it)
//!         → period record: the blinded key names a descriptor key    (signed by the publisher, ahead of time)
//!         → descriptor and leases                                    (signed by the descriptor key, by the allocator)
//! ```
//!
//! Invariants: identity and blinded secrets exist only inside [`ContainerIdentity`] and never leave the publisher (a blinded secret gives
//! away the identity); what is handed over signs for its own period only.
//! Deliberately absent: keeping the identity (the node's profile does), and Tor publishing.

use crate::address::{AccessKey, Address, AddressError, Blinded, Period};
use crate::seal::{Mark, SiteSeal};
use fogbank_model::{DurationMs, Onion, UnixMs};
use fogbank_wire::{ServiceProof, decode, encode};
use iroh::{PublicKey, SecretKey, Signature};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use std::fmt;
use tor_hscrypto::pk::HsIdKeypair;
use tor_llcrypto::pk::ed25519::{Ed25519SigningKey as _, ExpandedKeypair, Keypair};
use zeroize::Zeroizing;

/// Version of the record, first in it.
const RECORD_VERSION: u16 = 1;
/// No other statement is signed by a blinded key.
const RECORD_CONTEXT: &str = "fogbank 2026 period record 1";
/// How long before and after its period a record holds: the life of a lease, so that one given in the last minute of a period holds for
/// its whole life, and clocks may differ by hours.
pub const RECORD_SLACK: DurationMs = DurationMs::from_s(24 * 3600);
/// Days for which a publisher signs ahead at most: 200 periods are below 40 KB.
pub const MAX_DAYS_AHEAD: u32 = 400;
/// Periods that a proof holds at most, by [`MAX_DAYS_AHEAD`] and the slack at both ends.
pub const MAX_PERIODS: usize = MAX_DAYS_AHEAD as usize / 2 + 3;
/// A signed record: two versions, period, two keys, an expiry and a signature are below 170 bytes.
pub const MAX_RECORD_BYTES: usize = 200;

/// What a blinded key says about its period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodRecord {
    /// Version of the format.
    pub version: u16,
    /// Which period.
    pub period: Period,
    /// The blinded key, which signs this.
    pub blinded: [u8; 32],
    /// The Ed25519 key that signs descriptors and leases in this period.
    pub descriptor_key: [u8; 32],
    /// Nothing signed by the descriptor key is believed after this.
    pub expires: UnixMs,
    /// What the publisher alone can say of the service.
    pub terms: Terms,
}

/// What a publisher says of its service in each record, so that neither allocator nor host can say otherwise. Mixes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub struct Terms {
    /// The service is a sealed site: a descriptor without its seal is not believed.
    pub sealed: bool,
    /// Visitors who ask for it may come to a copy without mixes, where its host's owner agrees: both then see each other's address.
    pub direct: bool,
}

impl From<Terms> for u8 {
    fn from(terms: Terms) -> Self {
        Self::from(terms.sealed) | Self::from(terms.direct) << 1
    }
}

impl TryFrom<u8> for Terms {
    type Error = &'static str;

    /// A term that this version does not know is not ignored.
    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        if bits > 3 { Err("unknown terms") } else { Ok(Self { sealed: bits & 1 != 0, direct: bits & 2 != 0 }) }
    }
}

/// Why a proof, a record or what hangs on it is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The address is none.
    #[error(transparent)]
    Address(AddressError),
    /// The bytes are no such statement.
    #[error("the bytes are no {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
    /// Of a version that this program does not read.
    #[error("{what} has version {theirs}, this Fogbank reads {RECORD_VERSION}: update the older of the two")]
    Version {
        /// What.
        what: &'static str,
        /// Its version.
        theirs: u16,
    },
    /// A signature in the chain does not match.
    #[error("the signature of the {what} does not match")]
    Signature {
        /// Of what.
        what: &'static str,
    },
    /// It speaks for another service or period.
    #[error("the {what} is for another service, instance or period")]
    Other {
        /// What.
        what: &'static str,
    },
    /// It is not valid at this time.
    #[error("the {what} has expired or is not valid yet")]
    Expired {
        /// What.
        what: &'static str,
    },
    /// Too many periods, introduction points or the like.
    #[error("the {what} is over its limit")]
    TooMuch {
        /// What.
        what: &'static str,
    },
    /// The descriptor holds, but opens only with an access key that was not given.
    #[error("the service is private, and its access key is missing or has changed")]
    Locked,
    /// The proof does not cover a period that was asked for.
    #[error("the publisher has signed no record for this period: it must come online to sign ahead")]
    NoPeriod,
}

/// A record with the blinded key's signature, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    bytes: Vec<u8>,
    signature: Signature,
}

impl SignedRecord {
    /// What the publisher says of the service; nothing is checked.
    pub(crate) fn terms_unchecked(&self) -> Result<Terms, ProofError> {
        decode::<PeriodRecord>(&self.bytes)
            .map(|record| record.terms)
            .map_err(|_| ProofError::Malformed { what: "period record" })
    }

    /// The same signature under a record that says something else: a lie.
    #[cfg(test)]
    pub(crate) fn with_terms(&self, terms: Terms) -> Self {
        let record: PeriodRecord = decode(&self.bytes).unwrap();
        Self { bytes: encode(&PeriodRecord { terms, ..record }).unwrap(), signature: self.signature }
    }

    /// The record, when its own blinded key signed it and it holds now. Whether that blinded key is the wanted one, the caller checks
    /// (or uses [`Self::open_for`]).
    ///
    /// # Errors
    /// When it did not, or holds no more.
    pub fn open(&self, now: UnixMs) -> Result<PeriodRecord, ProofError> {
        const WHAT: &str = "period record";
        let version = postcard::take_from_bytes::<u16>(&self.bytes).map_err(|_| ProofError::Malformed { what: WHAT })?.0;
        if version != RECORD_VERSION {
            return Err(ProofError::Version { what: WHAT, theirs: version });
        }
        let record: PeriodRecord = decode(&self.bytes).map_err(|_| ProofError::Malformed { what: WHAT })?;
        let key = PublicKey::from_bytes(&record.blinded).map_err(|_| ProofError::Signature { what: WHAT })?;
        key.verify(&signed_bytes(&self.bytes), &self.signature).map_err(|_| ProofError::Signature { what: WHAT })?;
        let from = record.period.start().plus(DurationMs(-RECORD_SLACK.0));
        let latest = record.period.end().plus(RECORD_SLACK);
        if now < from || now >= record.expires || record.expires > latest {
            return Err(ProofError::Expired { what: WHAT });
        }
        Ok(record)
    }

    /// The record, when it is this blinded key's for its period and holds now.
    ///
    /// # Errors
    /// As [`Self::open`], and when it is another's.
    pub fn open_for(&self, blinded: &Blinded, now: UnixMs) -> Result<PeriodRecord, ProofError> {
        let record = self.open(now)?;
        if record.blinded != blinded.key || record.period != blinded.period {
            return Err(ProofError::Other { what: "period record" });
        }
        Ok(record)
    }
}

fn signed_bytes(record: &[u8]) -> [u8; 32] {
    blake3::derive_key(RECORD_CONTEXT, record)
}

/// A container's identity: the secret behind its address. Only the publisher has it.
pub struct ContainerIdentity {
    seed: Zeroizing<[u8; 32]>,
    address: Address,
    direct: bool,
}

impl ContainerIdentity {
    /// A fresh one.
    ///
    /// # Errors
    /// Never in practice: every seed gives a key.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, ProofError> {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// The one of this Ed25519 seed.
    ///
    /// # Errors
    /// Never in practice: every seed gives a key.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, ProofError> {
        let seed = Zeroizing::new(seed);
        let public = Keypair::from_bytes(&seed).verifying_key().to_bytes();
        Ok(Self { address: Address::from_public(public).map_err(ProofError::Address)?, seed, direct: false })
    }

    /// Whether what it signs from now on offers a direct connection ([`Terms::direct`]); not, unless it is said here.
    #[must_use]
    pub fn offering_direct(self, direct: bool) -> Self {
        Self { direct, ..self }
    }

    /// Whether it offers a direct connection.
    pub fn offers_direct(&self) -> bool {
        self.direct
    }

    /// The seed, to be kept in the publisher's profile or keyring and nowhere else.
    pub fn seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.seed
    }

    /// The address.
    pub fn onion(&self) -> &Onion {
        self.address.onion()
    }

    /// Signs records for the coming days (and for the moment's neighbours), each with a fresh descriptor key. What comes back goes to the allocator.
    /// Nothing is sealed: visitors can't check what hosts serve.
    ///
    /// # Errors
    /// When more than [`MAX_DAYS_AHEAD`] are asked for.
    pub fn pre_sign(&self, now: UnixMs, days: u32, rng: &mut impl CryptoRng) -> Result<ServiceProof, ProofError> {
        self.sign_from(Period::at(now.plus(DurationMs(-RECORD_SLACK.0))), now, days, false, rng)
    }

    /// As [`Self::pre_sign`], for a site that consists of what this seal says and nothing else.
    ///
    /// # Errors
    /// As there.
    pub fn pre_sign_sealed(
        &self,
        now: UnixMs,
        days: u32,
        seal: &SiteSeal,
        rng: &mut impl CryptoRng,
    ) -> Result<ServiceProof, ProofError> {
        let proof = self.sign_from(Period::at(now.plus(DurationMs(-RECORD_SLACK.0))), now, days, true, rng)?;
        Ok(ServiceProof { seal: Some(seal.sign(self)?), ..proof })
    }

    /// As [`Self::pre_sign`] for the periods after what has been signed for (`until`, the end of a period) only; `sealed` as it was at first. The
    /// seal itself is not signed anew.
    ///
    /// # Errors
    /// When more than [`MAX_DAYS_AHEAD`] are asked for.
    pub fn sign_further(
        &self,
        until: UnixMs,
        now: UnixMs,
        days: u32,
        sealed: bool,
        rng: &mut impl CryptoRng,
    ) -> Result<ServiceProof, ProofError> {
        let first = Period::at(now.plus(DurationMs(-RECORD_SLACK.0)));
        self.sign_from(first.max(Period::at(until)), now, days, sealed, rng)
    }

    fn sign_from(
        &self,
        first: Period,
        now: UnixMs,
        days: u32,
        sealed: bool,
        rng: &mut impl CryptoRng,
    ) -> Result<ServiceProof, ProofError> {
        if days > MAX_DAYS_AHEAD {
            return Err(ProofError::TooMuch { what: "number of days" });
        }
        let last = Period::at(now.plus(DurationMs::from_s(i64::from(days) * 86_400)).plus(RECORD_SLACK));
        let keypair = HsIdKeypair::from(ExpandedKeypair::from(&Keypair::from_bytes(&self.seed)));
        let terms = Terms { sealed, direct: self.direct };
        let mut periods = Vec::new();
        for period in (first.0..=last.0).map(Period) {
            let mut secret = [0; 32];
            rng.fill_bytes(&mut secret);
            periods.push((self.sign_period(&keypair, period, &secret, terms)?, secret));
        }
        Ok(ServiceProof { onion: self.onion().clone(), periods, access: None, seal: None })
    }

    fn sign_period(
        &self,
        keypair: &HsIdKeypair,
        period: Period,
        descriptor: &[u8; 32],
        terms: Terms,
    ) -> Result<Vec<u8>, ProofError> {
        const WHAT: &str = "period record";
        let (public, blinded, _) =
            keypair.compute_blinded_key(period.tor()).map_err(|_| ProofError::Address(AddressError::Key))?;
        let record = PeriodRecord {
            version: RECORD_VERSION,
            period,
            blinded: *public.id().as_ref(),
            descriptor_key: *SecretKey::from_bytes(descriptor).public().as_bytes(),
            expires: period.end().plus(RECORD_SLACK),
            terms,
        };
        let bytes = encode(&record).map_err(|_| ProofError::Malformed { what: WHAT })?;
        let signature = Signature::from_bytes(&blinded.sign(&signed_bytes(&bytes)).to_bytes());
        encode(&SignedRecord { bytes, signature }).map_err(|_| ProofError::Malformed { what: WHAT })
    }
}

impl fmt::Debug for ContainerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContainerIdentity(…)")
    }
}

/// One period's right to sign descriptors and leases, as the allocator uses it.
pub struct DescriptorSigner {
    pub(crate) signed: SignedRecord,
    pub(crate) blinded: Blinded,
    pub(crate) record: PeriodRecord,
    pub(crate) key: SecretKey,
}

impl DescriptorSigner {
    /// The signer of a period, checked against the proof's own address.
    ///
    /// # Errors
    /// When the proof does not cover the period or its record does not hold.
    pub fn of(proof: &ServiceProof, period: Period, now: UnixMs) -> Result<Self, ProofError> {
        let address = Address::parse(&proof.onion).map_err(ProofError::Address)?;
        let blinded = address.blinded(period).map_err(ProofError::Address)?.with(proof.access.map(AccessKey).as_ref());
        for (bytes, secret) in &proof.periods {
            let Ok(signed) = decode_record(bytes) else { continue };
            let Ok(record) = signed.open_for(&blinded, now) else { continue };
            let key = SecretKey::from_bytes(secret);
            if key.public().as_bytes() == &record.descriptor_key {
                return Ok(Self { signed, blinded, record, key });
            }
        }
        Err(ProofError::NoPeriod)
    }

    /// Which period.
    pub fn period(&self) -> Period {
        self.record.period
    }

    /// The blinded key: what mixes know the service by in this period.
    pub fn blinded(&self) -> [u8; 32] {
        self.blinded.key
    }

    /// Until when what it signs can be believed.
    pub fn expires(&self) -> UnixMs {
        self.record.expires
    }

    /// By what a lease says that its instance serves the content of this seal; of what is not sealed, nothing.
    pub fn mark(&self, seal: Option<&SiteSeal>) -> Mark {
        seal.map_or_else(Mark::default, |seal| seal.mark(&self.blinded))
    }
}

impl fmt::Debug for DescriptorSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DescriptorSigner({:?})", self.record.period)
    }
}

fn decode_record(bytes: &[u8]) -> Result<SignedRecord, ProofError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(ProofError::TooMuch { what: "period record" });
    }
    decode(bytes).map_err(|_| ProofError::Malformed { what: "period record" })
}

/// The period of a record, and whether the record and its descriptor secret are what they should be for this address.
pub(crate) fn check_period(address: &Address, bytes: &[u8], secret: &[u8; 32], sealed: bool) -> Result<Period, ProofError> {
    const WHAT: &str = "period record";
    let signed = decode_record(bytes)?;
    let period = decode::<PeriodRecord>(&signed.bytes).map_err(|_| ProofError::Malformed { what: WHAT })?.period;
    let blinded = address.blinded(period).map_err(ProofError::Address)?;
    // Each is checked as of the start of its own period: most are for later.
    let record = signed.open_for(&blinded, period.start())?;
    if record.terms.sealed != sealed {
        return Err(ProofError::Other { what: "seal" });
    }
    if SecretKey::from_bytes(secret).public().as_bytes() == &record.descriptor_key {
        Ok(period)
    } else {
        Err(ProofError::Other { what: WHAT })
    }
}

/// The period that a record says it is for; nothing is checked.
pub(crate) fn period_of(bytes: &[u8]) -> Option<Period> {
    Some(decode::<PeriodRecord>(&decode_record(bytes).ok()?.bytes).ok()?.period)
}

/// Checks what a publisher hands over: every record is the address's for its period, with the secret of the descriptor key that it
/// names, and the current period is among them. Returns the end of the last period.
///
/// # Errors
/// The first thing that is not so.
pub fn check(proof: &ServiceProof, now: UnixMs) -> Result<UnixMs, ProofError> {
    let address = Address::parse(&proof.onion).map_err(ProofError::Address)?;
    if proof.periods.len() > MAX_PERIODS {
        return Err(ProofError::TooMuch { what: "number of period records" });
    }
    if let Some(seal) = &proof.seal {
        SiteSeal::open(seal, &address)?;
    }
    let mut last: Option<Period> = None;
    let mut covered = false;
    for (bytes, secret) in &proof.periods {
        let period = check_period(&address, bytes, secret, proof.seal.is_some())?;
        if last.is_some_and(|l| l >= period) {
            return Err(ProofError::Other { what: "period record" });
        }
        covered |= period == Period::at(now);
        last = Some(period);
    }
    match last {
        Some(last) if covered => Ok(last.end()),
        _ => Err(ProofError::NoPeriod),
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
