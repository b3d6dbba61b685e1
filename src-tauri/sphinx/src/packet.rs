//! Building a forward packet, and unwrapping any packet at a mix.

use crate::{
    BuildError, Epoch, Geometry, Hop, PACKET_BYTES, Refusal,
    header::{self, Command, EPOCH_AT},
    keys::{HopKeys, MixSecret},
    lioness::Lioness,
};
use rand::CryptoRng;
use std::fmt;
use subtle::ConstantTimeEq;

const HEADER: usize = Geometry::HEADER_BYTES;
const CHECK: usize = Geometry::CHECK_BYTES;
const LENGTH: usize = Geometry::LENGTH_BYTES;

/// A packet, all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet(Box<[u8; PACKET_BYTES]>);

impl Packet {
    /// Takes bytes from the wire. Only their number is checked here.
    ///
    /// # Errors
    /// When they are not [`PACKET_BYTES`] many.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let bytes: Box<[u8]> = bytes.into();
        bytes.try_into().map(Self).map_err(|_| Refusal::Length)
    }

    /// A packet of zeros to be filled.
    pub(crate) fn empty() -> Self {
        let bytes: Box<[u8; PACKET_BYTES]> = match vec![0; PACKET_BYTES].into_boxed_slice().try_into() {
            Ok(bytes) => bytes,
            Err(_) => Box::new([0; PACKET_BYTES]),
        };
        Self(bytes)
    }

    /// The bytes for the wire.
    pub fn as_bytes(&self) -> &[u8; PACKET_BYTES] {
        &self.0
    }

    /// The bit that tells which of its two live keys a mix should use: [`Epoch::bit`] of the sender's epoch.
    pub fn epoch_bit(&self) -> bool {
        self.0[EPOCH_AT] & 1 == 1
    }

    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut [u8]) {
        self.0.split_at_mut(HEADER)
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packet(…)")
    }
}

/// Builds a packet for the last mix of a path whose keys are all of one epoch.
///
/// # Errors
/// When the path is empty or too long, a key in it is of small order, or the payload is over [`Geometry::PAYLOAD_BYTES`].
pub fn build(rng: &mut impl CryptoRng, epoch: Epoch, path: &[Hop], payload: &[u8]) -> Result<Packet, BuildError> {
    let built = header::build(rng, epoch, path, Command::Arrive)?;
    let mut packet = Packet::empty();
    let (head, body) = packet.parts();
    head.copy_from_slice(&built.header);
    fill_body(body, payload)?;
    for keys in built.keys.iter().rev() {
        Lioness::new(&keys.body).seal(body);
    }
    Ok(packet)
}

/// Zeros, length, payload, zeros. Under the layers the padding is as good as random.
pub(crate) fn fill_body(body: &mut [u8], payload: &[u8]) -> Result<(), BuildError> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let room = body.len() - CHECK - LENGTH;
    if payload.len() > room {
        return Err(BuildError::PayloadLength { bytes: payload.len(), limit: room });
    }
    body.fill(0);
    body[CHECK..CHECK + LENGTH].copy_from_slice(&length.to_be_bytes());
    body[CHECK + LENGTH..CHECK + LENGTH + payload.len()].copy_from_slice(payload);
    Ok(())
}

/// The payload of a body without layers, when nobody changed it on the way.
pub(crate) fn read_body(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    if !bool::from(body[..CHECK].ct_eq(&[0; CHECK])) {
        return Err(Refusal::Garbled);
    }
    let mut length = [0; LENGTH];
    length.copy_from_slice(&body[CHECK..CHECK + LENGTH]);
    let length = u32::from_be_bytes(length) as usize;
    body[CHECK + LENGTH..].get(..length).map(<[u8]>::to_vec).ok_or(Refusal::Garbled)
}

/// A packet whose header is this mix's and authentic, not yet peeled: look at its replay tag first.
pub struct Opened {
    keys: HopKeys,
    packet: Packet,
}

/// What a packet turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwrapped {
    /// To be sent on.
    Forward {
        /// Which mix is next.
        next: [u8; Geometry::ID_BYTES],
        /// How long to hold it, ms, as its sender chose.
        delay_ms: u32,
        /// What to send.
        packet: Packet,
    },
    /// This mix is the recipient.
    Arrived {
        /// What it was sent.
        payload: Vec<u8>,
    },
    /// To be handed to a client of this mix.
    Reply {
        /// The client's tag.
        client: [u8; Geometry::ID_BYTES],
        /// By this the client knows which SURB it was.
        surb: [u8; Geometry::ID_BYTES],
        /// How long to hold it, ms.
        delay_ms: u32,
        /// What to hand over.
        body: Box<[u8; Geometry::BODY_BYTES]>,
    },
}

/// Checks that a packet is meant for this mix and its header unchanged. Nothing is remembered or done before that.
///
/// # Errors
/// When α is of small order or γ does not authenticate β under this mix's key.
pub fn open(secret: &MixSecret, packet: Packet) -> Result<Opened, Refusal> {
    open_with(secret, &secret.public(), packet)
}

/// [`open`] for a mix that keeps its public key at hand, which saves a multiplication a packet.
///
/// # Errors
/// As [`open`].
pub fn open_with(secret: &MixSecret, public: &crate::MixPublic, packet: Packet) -> Result<Opened, Refusal> {
    let mut alpha = [0; Geometry::ALPHA_BYTES];
    alpha.copy_from_slice(&packet.0[..Geometry::ALPHA_BYTES]);
    let keys = secret.shared(&alpha)?.keys(&alpha, public);
    if header::authentic(&keys, &packet.0[..HEADER]) { Ok(Opened { keys, packet }) } else { Err(Refusal::Header) }
}

impl Opened {
    /// The same for the same packet, whatever its body; to be remembered for as long as the key lives.
    pub fn replay_tag(&self) -> [u8; 16] {
        self.keys.replay_tag
    }

    /// Takes this mix's layer off.
    ///
    /// # Errors
    /// When the routing block says what no block says, or the payload of an arrived packet was changed on the way.
    pub fn peel(self) -> Result<Unwrapped, Refusal> {
        let Self { keys, mut packet } = self;
        let (head, body) = packet.parts();
        let (command, delay_ms) = header::peel(&keys, head)?;
        Lioness::new(&keys.body).peel(body);
        Ok(match command {
            Command::Forward { next } => Unwrapped::Forward { next, delay_ms, packet },
            Command::Arrive => Unwrapped::Arrived { payload: read_body(body)? },
            Command::Reply { client, surb } => {
                let mut out = Box::new([0; Geometry::BODY_BYTES]);
                out.copy_from_slice(body);
                Unwrapped::Reply { client, surb, delay_ms, body: out }
            }
        })
    }
}
