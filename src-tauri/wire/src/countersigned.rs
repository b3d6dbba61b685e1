//! Statements that others have to countersign: the bytes as their author signed them, and the signatures of witnesses over the same bytes.
//!
//! Invariants: whose signatures count is the reader's to say, never the statement's; each key counts once; a witness signs under a context of
//! its own, so that what it witnessed can't be passed off as its own statement.
//! Deliberately absent: what a witness looks at before it signs, and how many must have signed (betanet's directories).

use crate::{
    frame::{FrameError, decode, encode},
    signed::{SignedError, signed_bytes},
};
use fogbank_model::FogId;
use iroh::{PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// Countersignatures of a statement at most: of the witnesses of two charters, where one follows the other (15 each), rounded up.
pub const MAX_COUNTERSIGNATURES: usize = 32;

/// A message of type `T`, signed by its author and by witnesses. Its content is reachable only through [`Countersigned::open`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countersigned<T> {
    bytes: Vec<u8>,
    signature: Signature,
    witnesses: Vec<Countersignature>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

/// One witness's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countersignature {
    /// Whose it is.
    pub witness: FogId,
    signature: Signature,
}

impl<T: Serialize + DeserializeOwned> Countersigned<T> {
    /// Signs a message as its author. `context` names what kind of statement it is, as for [`crate::Signed`].
    ///
    /// # Errors
    /// When the message does not serialise.
    pub fn seal(key: &SecretKey, context: &str, message: &T) -> Result<Self, FrameError> {
        let bytes = encode(message)?;
        let signature = key.sign(&signed_bytes(context, &bytes));
        Ok(Self { bytes, signature, witnesses: Vec::new(), of: PhantomData })
    }

    /// The message, when this author signed it in this context. Who countersigned it is not looked at.
    ///
    /// # Errors
    /// When it did not, or the bytes are no such message.
    pub fn open(&self, author: &FogId, context: &str) -> Result<T, SignedError> {
        if !holds(author, &signed_bytes(context, &self.bytes), &self.signature) {
            return Err(SignedError::Signature);
        }
        decode(&self.bytes).map_err(SignedError::Content)
    }
}

impl<T> Countersigned<T> {
    /// What a witness signs: the same for the same bytes in the same context.
    pub fn body(&self, context: &str) -> [u8; 32] {
        signed_bytes(&format!("{context}, witnessed"), &self.bytes)
    }

    /// Signs it as a witness.
    pub fn countersign(&self, key: &SecretKey, context: &str) -> Countersignature {
        Countersignature { witness: FogId(*key.public().as_bytes()), signature: key.sign(&self.body(context)) }
    }

    /// Adds a witness's signature; whether it holds and is the first of this witness.
    pub fn add(&mut self, of: Countersignature, context: &str) -> bool {
        let new = self.witnesses.len() < MAX_COUNTERSIGNATURES
            && !self.witnesses.iter().any(|known| known.witness == of.witness)
            && holds(&of.witness, &self.body(context), &of.signature);
        if new {
            self.witnesses.push(of);
        }
        new
    }

    /// How many of these keys have signed. Checks at most one signature a key, however many the statement brings.
    pub fn signed_by(&self, keys: &[FogId], context: &str) -> usize {
        let body = self.body(context);
        let mut counted: Vec<FogId> = Vec::with_capacity(keys.len().min(MAX_COUNTERSIGNATURES));
        for of in self.witnesses.iter().take(MAX_COUNTERSIGNATURES) {
            if keys.contains(&of.witness) && !counted.contains(&of.witness) && holds(&of.witness, &body, &of.signature) {
                counted.push(of.witness);
            }
        }
        counted.len()
    }
}

fn holds(key: &FogId, body: &[u8; 32], signature: &Signature) -> bool {
    PublicKey::from_bytes(&key.0).is_ok_and(|key| key.verify(body, signature).is_ok())
}

impl<T> std::fmt::Debug for Countersigned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bytes, witnesses) = (self.bytes.len(), self.witnesses.len());
        write!(f, "Countersigned<{}>({bytes} bytes, {witnesses} witnesses)", std::any::type_name::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signed;
    use proptest::prelude::*;

    fn fog(key: &SecretKey) -> FogId {
        FogId(*key.public().as_bytes())
    }

    #[test]
    fn each_witness_counts_once_and_strangers_do_not() {
        let keys: Vec<SecretKey> = (1..6).map(|n| SecretKey::from_bytes(&[n; 32])).collect();
        let [author, a, b, c, stranger] = &keys[..] else { panic!() };
        let witnesses = [fog(a), fog(b), fog(c)];
        let mut statement = Countersigned::seal(author, "x", &7u32).unwrap();
        assert_eq!(statement.open(&fog(author), "x").unwrap(), 7);
        assert!(statement.open(&fog(a), "x").is_err() && statement.open(&fog(author), "y").is_err());
        assert_eq!(statement.signed_by(&witnesses, "x"), 0);
        assert!(statement.add(statement.countersign(a, "x"), "x"));
        assert!(!statement.add(statement.countersign(a, "x"), "x"), "twice");
        assert!(!statement.add(statement.countersign(b, "y"), "x"), "in another context");
        let of_another = Countersigned::seal(author, "x", &8u32).unwrap().countersign(b, "x");
        assert!(!statement.add(of_another, "x"), "replayed from another statement");
        assert!(statement.add(statement.countersign(stranger, "x"), "x"), "it is a signature, but");
        assert_eq!(statement.signed_by(&witnesses, "x"), 1, "nobody asked for a stranger's");
        // One key three times, as a forger would write it.
        let again = statement.witnesses[0];
        statement.witnesses = vec![again; 3];
        assert_eq!(statement.signed_by(&witnesses, "x"), 1);
        assert_eq!(statement.signed_by(&[fog(a), fog(a)], "x"), 1);
    }

    #[test]
    fn what_was_witnessed_is_no_statement_of_the_witness() {
        let (author, witness) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
        let statement = Countersigned::seal(&author, "x", &7u32).unwrap();
        let signature = statement.countersign(&witness, "x").signature;
        let turned = Countersigned::<u32> { signature, ..statement };
        assert!(turned.open(&fog(&witness), "x").is_err());
        assert!(Signed::<u32>::seal(&author, "x", &7).unwrap().open(&author.public(), "x").is_ok());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, at in 0usize..300, flip in 1u8..) {
            if let Ok(statement) = decode::<Countersigned<u32>>(&bytes) {
                let _ = statement.open(&FogId([3; 32]), "x");
                let _ = statement.signed_by(&[FogId([3; 32])], "x");
            }
            let (author, witness) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
            let mut statement = Countersigned::seal(&author, "x", &7u32).unwrap();
            statement.add(statement.countersign(&witness, "x"), "x");
            let mut bytes = encode(&statement).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(changed) = decode::<Countersigned<u32>>(&bytes) {
                let whole = changed.open(&fog(&author), "x").is_ok() && changed.signed_by(&[fog(&witness)], "x") == 1;
                prop_assert!(!whole, "a changed byte leaves both signatures whole");
            }
        }
    }
}
