//! The handshake: Noise NKpsk2 (`Noise_NKpsk2_25519_ChaChaPoly_BLAKE2s`) whose psk comes from ML-KEM-768, by which the visitor knows the
//! instance and stays unknown itself.
//!
//! ```text
//! visitor → host, in the introduction:        Noise message 1 { ML-KEM key 1,184 ‖ payload }
//! host → visitor, first at the rendezvous:    ML-KEM ciphertext 1,088 ‖ Noise message 2 { payload }
//! psk = BLAKE3-derive("fogbank tunnel 2 ml-kem-768 psk", shared secret ‖ key ‖ ciphertext), mixed in at the end of message 2
//! ```
//!
//! The tunnel's keys come from a chain over es, ee and psk. Who records everything and later breaks X25519 reads message 1 (and so the ML-KEM
//! key in it), but not the psk; who breaks ML-KEM has the psk, but not es and ee. So what the tunnel carries stays secret while *either*
//! holds, and with it the payload of message 2. The ML-KEM key is under message 1's authenticator and in its hash; the ciphertext is bound by
//! the psk: who changes either makes message 2 fail.
//!
//! What stays classical: that the other end is the instance (es alone), so a quantum computer *at the time of the handshake* can pass for it;
//! and the secrecy of message 1's payload (where to meet), for which there is no answer yet to take a key from. Every key pair but the
//! instance's is of one handshake.
//!
//! After that every datagram is a stateless transport message under its number. Known gap: `snow` does not wipe its own copies of the psk and
//! of its chaining key.

use super::kem::{self, KEY_BYTES, KeyPair};
use rand::Rng as _;
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

const PATTERN: &str = "Noise_NKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Where the psk goes in: at the end of the second message, which the visitor reads after the ciphertext.
const PSK_AT: usize = 2;
/// An ephemeral key and an authenticator; a payload comes on top.
const NOISE_BYTES: usize = 32 + 16;
/// What a first message is longer than its payload.
#[cfg(test)]
const FIRST_OVERHEAD_BYTES: usize = NOISE_BYTES + KEY_BYTES;
/// What an answer is longer than its payload.
#[cfg(test)]
const ANSWER_OVERHEAD_BYTES: usize = kem::CIPHERTEXT_BYTES + NOISE_BYTES;
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
    /// Too short to hold what every handshake message holds.
    #[error("the handshake message is too short")]
    TooShort,
    /// Authentic, but with an ML-KEM key that is none.
    #[error("the handshake message brings a key that is none")]
    BadKey,
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
pub struct Initiation {
    noise: HandshakeState,
    pair: KeyPair,
}

/// The host's half-done handshake.
pub struct Response {
    noise: HandshakeState,
    key: Box<[u8; KEY_BYTES]>,
}

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
    let mut noise = builder()?
        .prologue(prologue)
        .and_then(|b| b.remote_public_key(to))
        .and_then(Builder::build_initiator)
        .map_err(HandshakeError::NotAuthentic)?;
    let pair = KeyPair::generate(&mut rand::rng());
    let message = write(&mut noise, &[], &[pair.public(), payload].concat())?;
    Ok((Initiation { noise, pair }, message))
}

/// Reads a first message as the host; gives what the visitor said.
///
/// # Errors
/// When it is not for this key and prologue.
pub fn respond(key: &IntroductionKey, prologue: &[u8], first: &[u8]) -> Result<(Response, Vec<u8>), HandshakeError> {
    let mut noise = builder()?
        .prologue(prologue)
        .and_then(|b| b.local_private_key(&key.0))
        .and_then(Builder::build_responder)
        .map_err(HandshakeError::NotAuthentic)?;
    let content = read(&mut noise, first)?;
    let (key, payload) = content.split_first_chunk().ok_or(HandshakeError::TooShort)?;
    Ok((Response { noise, key: Box::new(*key) }, payload.to_vec()))
}

impl Initiation {
    /// Reads the host's answer.
    ///
    /// # Errors
    /// When it is not of the instance that was meant.
    pub fn finish(mut self, answer: &[u8]) -> Result<(Keys, Vec<u8>), HandshakeError> {
        let (ciphertext, message) = answer.split_first_chunk().ok_or(HandshakeError::TooShort)?;
        let psk = self.pair.open(ciphertext);
        self.noise.set_psk(PSK_AT, &psk[..]).map_err(HandshakeError::NotAuthentic)?;
        let payload = read(&mut self.noise, message)?;
        let keys = self.noise.into_stateless_transport_mode().map_err(HandshakeError::NotAuthentic)?;
        Ok((Keys(keys), payload))
    }
}

impl Response {
    /// Writes the answer.
    ///
    /// # Errors
    /// When the payload is too long, or the visitor's ML-KEM key is none.
    pub fn answer(mut self, payload: &[u8]) -> Result<(Keys, Vec<u8>), HandshakeError> {
        let (ciphertext, psk) = kem::seal(&mut rand::rng(), &self.key).ok_or(HandshakeError::BadKey)?;
        self.noise.set_psk(PSK_AT, &psk[..]).map_err(HandshakeError::NotAuthentic)?;
        let message = write(&mut self.noise, &ciphertext, payload)?;
        let keys = self.noise.into_stateless_transport_mode().map_err(HandshakeError::NotAuthentic)?;
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

/// Noise's next message behind what stands before it.
fn write(state: &mut HandshakeState, front: &[u8], payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let length = front.len() + payload.len() + NOISE_BYTES;
    if length > MAX_MESSAGE_BYTES {
        return Err(HandshakeError::TooLong);
    }
    let mut message = vec![0; length];
    let (head, body) = message.split_at_mut(front.len());
    head.copy_from_slice(front);
    let written = state.write_message(payload, body).map_err(HandshakeError::NotAuthentic)?;
    message.truncate(front.len() + written);
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
    use super::{super::kem::CIPHERTEXT_BYTES, *};
    use crate::{
        message::{FromMix, MailboxId, Meeting, ToMix},
        rendezvous::MAX_DATAGRAM_BYTES,
    };
    use fogbank_model::{InstanceId, Level, MixId};
    use fogbank_sphinx::Geometry;
    use proptest::prelude::*;

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
        let (_, first) = initiate(&key.public(), b"here", b"").unwrap();
        assert_eq!(first.len(), FIRST_OVERHEAD_BYTES);
        assert!(respond(&IntroductionKey::generate(), b"here", &first).is_err());
        assert!(respond(&key, b"there", &first).is_err());
        for length in (0..first.len()).step_by(7) {
            assert!(respond(&key, b"here", &first[..length]).is_err());
        }
        // Any bit of the first message: ephemeral key, ML-KEM key, authenticator.
        for at in (0..first.len()).step_by(11).chain([first.len() - 1]) {
            let mut changed = first.clone();
            changed[at] ^= 1;
            assert!(respond(&key, b"here", &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_changed_answer_fails() {
        let key = IntroductionKey::generate();
        for part in [0, CIPHERTEXT_BYTES / 2, CIPHERTEXT_BYTES - 1, CIPHERTEXT_BYTES, ANSWER_OVERHEAD_BYTES - 1] {
            let (initiation, first) = initiate(&key.public(), b"", b"").unwrap();
            let (_, mut answer) = respond(&key, b"", &first).unwrap().0.answer(b"").unwrap();
            assert_eq!(answer.len(), ANSWER_OVERHEAD_BYTES);
            answer[part] ^= 1;
            // A changed ciphertext is told no differently from a changed message behind it.
            assert!(matches!(initiation.finish(&answer), Err(HandshakeError::NotAuthentic(snow::Error::Decrypt))), "byte {part}");
        }
        let (initiation, first) = initiate(&key.public(), b"", b"").unwrap();
        let (_, other) = respond(&key, b"", &initiate(&key.public(), b"", b"").unwrap().1).unwrap().0.answer(b"").unwrap();
        let (_, answer) = respond(&key, b"", &first).unwrap().0.answer(b"").unwrap();
        // The ciphertext of another handshake, with this one's message.
        let mixed = [&other[..CIPHERTEXT_BYTES], &answer[CIPHERTEXT_BYTES..]].concat();
        assert!(initiation.finish(&mixed).is_err());
    }

    #[test]
    fn an_ml_kem_key_that_is_none_is_refused_and_not_answered() {
        let key = IntroductionKey::generate();
        let mut noise = builder().unwrap().remote_public_key(&key.public()).unwrap().build_initiator().unwrap();
        let first = write(&mut noise, &[], &[255; KEY_BYTES]).unwrap();
        let (response, _) = respond(&key, b"", &first).unwrap();
        assert!(matches!(response.answer(b""), Err(HandshakeError::BadKey)));
        let mut noise = builder().unwrap().remote_public_key(&key.public()).unwrap().build_initiator().unwrap();
        let first = write(&mut noise, &[], &[1; KEY_BYTES - 1]).unwrap();
        assert!(matches!(respond(&key, b"", &first), Err(HandshakeError::TooShort)));
    }

    /// What a first message and its answer take of a packet, with all that stands around them. At the shipped 8 KiB there is ample room, at
    /// 4 KiB some 2,000 bytes; at 2 KiB the introduction with its SURB would be some 70 bytes too long.
    #[test]
    fn both_messages_fit_a_packet() {
        let meeting = Meeting {
            rendezvous: MixId([255; 16]),
            visitor: MailboxId([255; 16]),
            host: MailboxId([255; 16]),
            level: Level::Strict,
            direct: None,
        };
        let hello = vec![255; FIRST_OVERHEAD_BYTES + meeting.encode().unwrap().len()];
        let introduce = ToMix::Introduce {
            blinded: [255; 32],
            instance: InstanceId([255; 16]),
            hello: hello.clone(),
            work: Some(crate::puzzle::Work { effort: u32::MAX, nonce: u64::MAX }),
            surb: vec![255; Geometry::SURB_BYTES],
        };
        let bytes = introduce.encode().unwrap().len();
        assert!(bytes <= Geometry::PAYLOAD_BYTES, "{bytes} bytes");
        assert!((1_700..1_800).contains(&(bytes - Geometry::SURB_BYTES + 374)), "the documentation's figure is another: {bytes}");
        let introduction = FromMix::Introduction { hello, stock: u16::MAX };
        assert!(introduction.encode().unwrap().len() <= Geometry::REPLY_PAYLOAD_BYTES);
        const { assert!(ANSWER_OVERHEAD_BYTES < MAX_DATAGRAM_BYTES) };
    }

    /// A datagram of a tunnel whose every random choice is given.
    fn sealed(visitor: [u8; 32], host: [u8; 32], psk: [u8; 32]) -> Vec<u8> {
        let key = IntroductionKey([9; 32]);
        let (public, visitor, host) = (key.public(), &visitor, &host);
        let mut ours = builder().unwrap().remote_public_key(&public).unwrap();
        ours = ours.fixed_ephemeral_key_for_testing_only(visitor);
        let mut theirs = builder().unwrap().local_private_key(&key.0).unwrap();
        theirs = theirs.fixed_ephemeral_key_for_testing_only(host);
        let (mut ours, mut theirs) = (ours.build_initiator().unwrap(), theirs.build_responder().unwrap());
        let first = write(&mut ours, &[], b"").unwrap();
        read(&mut theirs, &first).unwrap();
        for end in [&mut ours, &mut theirs] {
            end.set_psk(PSK_AT, &psk).unwrap();
        }
        let answer = write(&mut theirs, &[], b"").unwrap();
        read(&mut ours, &answer).unwrap();
        Keys(ours.into_stateless_transport_mode().unwrap()).seal(0, b"what is carried").unwrap()
    }

    #[test]
    fn the_keys_depend_on_both_secrets() {
        let whole = sealed([1; 32], [2; 32], [3; 32]);
        assert_eq!(sealed([1; 32], [2; 32], [3; 32]), whole, "nothing else goes in");
        assert_ne!(sealed([1; 32], [2; 32], [4; 32]), whole, "the same X25519 keys, another ML-KEM secret");
        assert_ne!(sealed([1; 32], [5; 32], [3; 32]), whole, "the same ML-KEM secret, another X25519 key of the host");
        assert_ne!(sealed([5; 32], [2; 32], [3; 32]), whole, "the same ML-KEM secret, another X25519 key of the visitor");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..MAX_MESSAGE_BYTES + 10)) {
            let key = IntroductionKey::generate();
            prop_assert!(respond(&key, b"", &bytes).is_err());
            let (initiation, _) = initiate(&key.public(), b"", b"").unwrap();
            prop_assert!(initiation.finish(&bytes).is_err());
            prop_assert!(pair().0.open(&bytes).is_none());
        }
    }
}
