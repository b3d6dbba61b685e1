//! Signed bytes: what was signed is kept as it was signed, so that checking never depends on re-encoding.

use crate::frame::{FrameError, decode, encode};
use iroh::{PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// A message of type `T` with a signature. Its content is reachable only through [`Signed::open`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    bytes: Vec<u8>,
    signature: Signature,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

/// Why something signed is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// The signature is not this key's for these bytes in this context.
    #[error("the signature does not match")]
    Signature,
    /// Signed, but no such message.
    #[error("signed, but unreadable: {0}")]
    Content(#[source] FrameError),
}

impl<T: Serialize + DeserializeOwned> Signed<T> {
    /// Signs a message. `context` names what kind of statement it is ("fogbank directory 1"); no two kinds share one.
    ///
    /// # Errors
    /// When the message does not serialise.
    pub fn seal(key: &SecretKey, context: &str, message: &T) -> Result<Self, FrameError> {
        let bytes = encode(message)?;
        let signature = key.sign(&signed_bytes(context, &bytes));
        Ok(Self { bytes, signature, of: PhantomData })
    }

    /// The message, when this key signed it in this context.
    ///
    /// # Errors
    /// When it did not, or the bytes are no such message.
    pub fn open(&self, key: &PublicKey, context: &str) -> Result<T, SignedError> {
        key.verify(&signed_bytes(context, &self.bytes), &self.signature).map_err(|_| SignedError::Signature)?;
        decode(&self.bytes).map_err(SignedError::Content)
    }
}

impl<T> std::fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signed<{}>({} bytes)", std::any::type_name::<T>(), self.bytes.len())
    }
}

/// Context and message under one hash; the length in front keeps the border between them.
pub(crate) fn signed_bytes(context: &str, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("fogbank 2026 signed statement");
    hasher.update(&(context.len() as u64).to_be_bytes());
    hasher.update(context.as_bytes());
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_key_in_this_context() {
        let key = SecretKey::generate();
        let signed = Signed::seal(&key, "a", &5u32).unwrap();
        assert_eq!(signed.open(&key.public(), "a").unwrap(), 5);
        assert!(matches!(signed.open(&key.public(), "b"), Err(SignedError::Signature)));
        assert!(matches!(signed.open(&SecretKey::generate().public(), "a"), Err(SignedError::Signature)));
    }
}
