//! The handshake: Noise NK (`Noise_NK_25519_ChaChaPoly_BLAKE2s`), by which the visitor knows the instance and stays unknown itself.
//!
//! The first message travels inside the introduction, the answer is the first datagram at the rendezvous; after that every datagram is a
//! stateless transport message under its number.

use rand::Rng as _;
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

const PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";
/// An ephemeral key and an authenticator; a payload comes on top.
const OVERHEAD_BYTES: usize = 32 + 16;
/// A handshake message fits one packet beside what is around it.
const MAX_MESSAGE_BYTES: usize = 4_096;

/// A handshake did not work out.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Not for this key, or changed on the way.
    #[error("the handshake message is not for this key or was changed")]
    NotAuthentic(#[source] snow::Error),
    /// Longer than a packet takes.
    #[error("the handshake message is too long")]
    TooLong,
}

/// An instance's secret introduction key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IntroductionKey([u8; 32]);

impl IntroductionKey {
    /// A fresh key.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Its public part.
    pub fn public(&self) -> [u8; 32] {
        x25519_dalek::x25519(self.0, x25519_dalek::X25519_BASEPOINT_BYTES)
    }
}

impl fmt::Debug for IntroductionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntroductionKey(…)")
    }
}

/// The visitor's half-done handshake.
pub struct Initiation(HandshakeState);

/// The host's half-done handshake.
pub struct Response(HandshakeState);

/// The keys of a tunnel.
pub struct Keys(StatelessTransportState);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// Begins as the visitor, towards an instance's public key. Both ends must give the same prologue.
///
/// # Errors
/// When the key is none, or the payload too long.
pub fn initiate(to: &[u8; 32], prologue: &[u8], payload: &[u8]) -> Result<(Initiation, Vec<u8>), HandshakeError> {
    let mut state = builder()?
        .prologue(prologue)
        .and_then(|b| b.remote_public_key(to))
        .and_then(Builder::build_initiator)
        .map_err(HandshakeError::NotAuthentic)?;
    let message = write(&mut state, payload)?;
    Ok((Initiation(state), message))
}

/// Reads a first message as the host; gives what the visitor said.
///
/// # Errors
/// When it is not for this key and prologue.
pub fn respond(key: &IntroductionKey, prologue: &[u8], first: &[u8]) -> Result<(Response, Vec<u8>), HandshakeError> {
    let mut state = builder()?
        .prologue(prologue)
        .and_then(|b| b.local_private_key(&key.0))
        .and_then(Builder::build_responder)
        .map_err(HandshakeError::NotAuthentic)?;
    let payload = read(&mut state, first)?;
    Ok((Response(state), payload))
}

impl Initiation {
    /// Reads the host's answer.
    ///
    /// # Errors
    /// When it is not of the instance that was meant.
    pub fn finish(mut self, answer: &[u8]) -> Result<(Keys, Vec<u8>), HandshakeError> {
        let payload = read(&mut self.0, answer)?;
        let keys = self.0.into_stateless_transport_mode().map_err(HandshakeError::NotAuthentic)?;
        Ok((Keys(keys), payload))
    }
}

impl Response {
    /// Writes the answer.
    ///
    /// # Errors
    /// When the payload is too long.
    pub fn answer(mut self, payload: &[u8]) -> Result<(Keys, Vec<u8>), HandshakeError> {
        let message = write(&mut self.0, payload)?;
        let keys = self.0.into_stateless_transport_mode().map_err(HandshakeError::NotAuthentic)?;
        Ok((Keys(keys), message))
    }
}

impl Keys {
    /// Bytes around a datagram's content: its number, and the authenticator.
    pub(super) const OVERHEAD_BYTES: usize = 8 + 16;

    /// Seals a datagram under its number, which is never used again.
    pub(super) fn seal(&self, number: u64, content: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = vec![0; Self::OVERHEAD_BYTES + content.len()];
        let (head, body) = datagram.split_at_mut(8);
        head.copy_from_slice(&number.to_be_bytes());
        self.0.write_message(number, content, body).ok()?;
        Some(datagram)
    }

    /// Opens a datagram; `None` when it is none of this tunnel's.
    pub(super) fn open(&self, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (number, body) = datagram.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        // The largest number is reserved by Noise.
        if number == u64::MAX {
            return None;
        }
        let mut content = vec![0; body.len()];
        let length = self.0.read_message(number, body, &mut content).ok()?;
        content.truncate(length);
        Some((number, content))
    }
}

fn builder<'a>() -> Result<Builder<'a>, HandshakeError> {
    PATTERN.parse().map(Builder::new).map_err(HandshakeError::NotAuthentic)
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if payload.len() + OVERHEAD_BYTES > MAX_MESSAGE_BYTES {
        return Err(HandshakeError::TooLong);
    }
    let mut message = vec![0; payload.len() + OVERHEAD_BYTES];
    let length = state.write_message(payload, &mut message).map_err(HandshakeError::NotAuthentic)?;
    message.truncate(length);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(HandshakeError::TooLong);
    }
    let mut payload = vec![0; message.len()];
    let length = state.read_message(message, &mut payload).map_err(HandshakeError::NotAuthentic)?;
    payload.truncate(length);
    Ok(payload)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::tunnel) fn pair() -> (Keys, Keys) {
        let key = IntroductionKey::generate();
        let (initiation, first) = initiate(&key.public(), b"here", b"meet me").unwrap();
        let (response, payload) = respond(&key, b"here", &first).unwrap();
        assert_eq!(payload, b"meet me");
        let (host, answer) = response.answer(b"come").unwrap();
        let (visitor, word) = initiation.finish(&answer).unwrap();
        assert_eq!(word, b"come");
        (visitor, host)
    }

    #[test]
    fn keys_agree_and_datagrams_are_bound_to_their_number() {
        let (visitor, host) = pair();
        let mut sealed = visitor.seal(7, b"hello").unwrap();
        assert_eq!(host.open(&sealed).unwrap(), (7, b"hello".to_vec()));
        sealed[7] ^= 1;
        assert!(host.open(&sealed).is_none());
        assert!(visitor.open(&visitor.seal(7, b"x").unwrap()).is_none(), "a reflected datagram was taken");
    }

    #[test]
    fn another_key_prologue_or_changed_bytes_fail() {
        let key = IntroductionKey::generate();
        let (initiation, first) = initiate(&key.public(), b"here", b"").unwrap();
        assert!(respond(&IntroductionKey::generate(), b"here", &first).is_err());
        assert!(respond(&key, b"there", &first).is_err());
        for length in 0..first.len() {
            assert!(respond(&key, b"here", &first[..length]).is_err());
        }
        let (response, _) = respond(&key, b"here", &first).unwrap();
        let (_, mut answer) = response.answer(b"").unwrap();
        *answer.last_mut().unwrap() ^= 1;
        assert!(initiation.finish(&answer).is_err());
    }
}
