//! The seal of a site: the publisher's own word for what the site consists of, so that no host can pass on anything else.
//!
//! ```text
//! identity (the address) ── signs ──→ seal: root of the manifest, revision     travels in the descriptor, readable with the address only
//! blinded key of a period ── signs ─→ period record: "sealed"                  so that leaving the seal out is noticed
//! descriptor key of a period ─ signs → lease: mark of the seal that its copy serves, so that copies of two revisions are told apart
//! ```
//!
//! Invariants: only the container's identity signs a seal, so neither the allocator, nor a mix, nor a host can make one; a visitor of a service
//! whose period record says that it is sealed opens nothing without a seal that holds; one that has seen a revision takes no older one, and
//! no other content under the same; a copy is asked only for what its lease's mark says that it serves.
//! Limit: what a visitor has seen is forgotten when its program ends, so an allocator could then show it an older seal of the same publisher.
//! Deliberately absent: the manifest itself (a host gives it, and it is checked against the root).

use crate::{
    address::{Address, Blinded},
    proof::{ContainerIdentity, ProofError},
};
use fogbank_wire::{Signed, decode, encode};
use iroh::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the seal, first in it.
const SEAL_VERSION: u16 = 1;
const WHAT: &str = "seal";
/// No other statement is signed by an identity under this.
const SEAL_CONTEXT: &str = "fogbank site seal 1";
/// A version, a root of 32 bytes, a revision of 10 at most, a signature of 64 and two lengths.
pub const MAX_SEAL_BYTES: usize = 128;
/// The highest revision: a number that every database keeps, hundreds of thousands of years ahead in milliseconds.
pub const MAX_REVISION: u64 = i64::MAX as u64;
const MARK_CONTEXT: &str = "fogbank 2026 mark of a seal in a lease";

/// Which seal an instance serves, told to those who know the address and to nobody else: to an introduction point it is a number that differs
/// between periods and says nothing of content or revision. Zero: what it serves has no seal. Two seals of one address have the same mark once
/// in 2⁶⁴ times, and then a visitor asks the wrong copy.
pub type Mark = [u8; 8];

/// What a publisher says of its site.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSeal {
    /// BLAKE3 hash of the manifest.
    pub root: [u8; 32],
    /// Rises with each seal of an address; the time of sealing in milliseconds will do.
    pub revision: u64,
}

impl fmt::Debug for SiteSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The root names the site: not for logs.
        write!(f, "SiteSeal(revision {})", self.revision)
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u16,
    signed: Signed<SiteSeal>,
}

impl SiteSeal {
    /// Its mark in leases of a period.
    pub fn mark(&self, blinded: &Blinded) -> Mark {
        let mut hasher = blake3::Hasher::new_derive_key(MARK_CONTEXT);
        hasher.update(&blinded.credential).update(&self.root).update(&self.revision.to_be_bytes());
        let mut mark = Mark::default();
        hasher.finalize_xof().fill(&mut mark);
        mark
    }

    /// Signs it.
    ///
    /// # Errors
    /// Never in practice: every seal serialises.
    pub fn sign(&self, identity: &ContainerIdentity) -> Result<Vec<u8>, ProofError> {
        let signed = Signed::seal(&SecretKey::from_bytes(identity.seed()), SEAL_CONTEXT, self);
        let signed = signed.map_err(|_| ProofError::Malformed { what: WHAT })?;
        encode(&Envelope { version: SEAL_VERSION, signed }).map_err(|_| ProofError::Malformed { what: WHAT })
    }

    /// The seal in these bytes, when the address' own key has signed it.
    ///
    /// # Errors
    /// When it has not, or they are none.
    pub fn open(bytes: &[u8], address: &Address) -> Result<Self, ProofError> {
        if bytes.len() > MAX_SEAL_BYTES {
            return Err(ProofError::TooMuch { what: WHAT });
        }
        let theirs = postcard::take_from_bytes::<u16>(bytes).map_err(|_| ProofError::Malformed { what: WHAT })?.0;
        if theirs != SEAL_VERSION {
            return Err(ProofError::Version { what: WHAT, theirs });
        }
        let Envelope { signed, .. } = decode(bytes).map_err(|_| ProofError::Malformed { what: WHAT })?;
        let key = PublicKey::from_bytes(&address.public()).map_err(|_| ProofError::Signature { what: WHAT })?;
        signed.open(&key, SEAL_CONTEXT).map_err(|_| ProofError::Signature { what: WHAT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEAL: SiteSeal = SiteSeal { root: [7; 32], revision: u64::MAX };

    fn fixture(seed: u8) -> (Vec<u8>, Address) {
        let identity = ContainerIdentity::from_seed([seed; 32]).unwrap();
        (SEAL.sign(&identity).unwrap(), Address::parse(identity.onion()).unwrap())
    }

    #[test]
    fn only_the_address_own_key_seals() {
        let (bytes, address) = fixture(1);
        assert!(bytes.len() <= MAX_SEAL_BYTES, "{}", bytes.len());
        assert_eq!(SiteSeal::open(&bytes, &address).unwrap(), SEAL);
        let (theirs, _) = fixture(2);
        assert!(matches!(SiteSeal::open(&theirs, &address), Err(ProofError::Signature { .. })));
        let newer = [&[9], &bytes[1..]].concat();
        assert!(matches!(SiteSeal::open(&newer, &address), Err(ProofError::Version { theirs: 9, .. })));
    }

    #[test]
    fn a_mark_tells_content_revision_and_period_apart() {
        let (_, address) = fixture(1);
        let [one, two] = [3, 4].map(|period| address.blinded(crate::address::Period(period)).unwrap());
        let marks = [
            SEAL.mark(&one),
            SEAL.mark(&two),
            SiteSeal { revision: 1, ..SEAL }.mark(&one),
            SiteSeal { root: [8; 32], ..SEAL }.mark(&one),
            SEAL.mark(&one.clone().with(Some(&crate::address::AccessKey([1; 32])))),
        ];
        for (n, mark) in marks.iter().enumerate() {
            assert!(*mark != Mark::default() && !marks[n + 1..].contains(mark));
        }
        assert_eq!(SEAL.mark(&one), marks[0]);
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused(at in 0usize..200, flip in 1u8.., bytes: Vec<u8>) {
            let (good, address) = fixture(1);
            let _ = SiteSeal::open(&bytes, &address);
            let at = at % good.len();
            let mut bad = good.clone();
            bad[at] ^= flip;
            prop_assert!(SiteSeal::open(&bad, &address).is_err());
            prop_assert!(SiteSeal::open(&good[..at], &address).is_err());
        }
    }
}
