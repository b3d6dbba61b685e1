//! Building a forward packet, and unwrapping any packet at a mix.

use crate::{
    BuildError, Epoch, Geometry, Hop, Lengths, PACKET_BYTES, Refusal,
    header::{self, Command, EPOCH_AT},
    keys::{HopKeys, MixPublic, MixSecret},
    lioness::Lioness,
};
use rand::CryptoRng;
use std::fmt;
use subtle::ConstantTimeEq;

// The same for every size.
const ALPHA: usize = Geometry::ALPHA_BYTES;
const ID: usize = Geometry::ID_BYTES;
const HEADER: usize = Geometry::HEADER_BYTES;
const CHECK: usize = Geometry::CHECK_BYTES;
const LENGTH: usize = Geometry::LENGTH_BYTES;

/// A packet of the one size that is shipped.
pub type Packet = SizedPacket<PACKET_BYTES>;

/// A packet, all of it. Other sizes than [`Packet`]'s are for measurements.
#[derive(Clone, PartialEq, Eq)]
pub struct SizedPacket<const BYTES: usize>(Box<[u8; BYTES]>);

impl<const BYTES: usize> SizedPacket<BYTES> {
    /// Takes bytes from the wire. Only their number is checked here.
    ///
    /// # Errors
    /// When they are not as many as a packet has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        // Looked at first, so that nothing long is copied to be refused.
        if bytes.len() == BYTES { Self::from_vec(bytes.to_vec()) } else { Err(Refusal::Length) }
    }

    /// [`Self::from_bytes`] without a copy, when the vector has no room to spare.
    ///
    /// # Errors
    /// As there.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, Refusal> {
        bytes.into_boxed_slice().try_into().map(Self).map_err(|_| Refusal::Length)
    }

    /// The bytes for the wire, without a copy.
    pub fn into_vec(self) -> Vec<u8> {
        let bytes: Box<[u8]> = self.0;
        bytes.into_vec()
    }

    /// Builds a packet for the last mix of a path whose keys are all of one epoch.
    ///
    /// # Errors
    /// When the path is empty or too long, a key in it is of small order, or the payload is longer than a packet of this size carries.
    pub fn build(rng: &mut impl CryptoRng, epoch: Epoch, path: &[Hop], payload: &[u8]) -> Result<Self, BuildError> {
        // First, since it is the cheapest to find out.
        let mut packet = Self::holding(payload)?;
        let built = header::build(rng, epoch, path, Command::Arrive)?;
        for keys in built.keys.iter().rev() {
            Lioness::new(&keys.body).seal(packet.bytes_mut());
        }
        packet.set_header(&built.header);
        Ok(packet)
    }

    /// A packet without a header and without layers. Its body: zeros, length, payload, zeros; under the layers the padding is as good as
    /// random.
    pub(crate) fn holding(payload: &[u8]) -> Result<Self, BuildError> {
        const { assert!(BYTES > HEADER + CHECK + LENGTH, "the packet is too small for its header") };
        let limit = Lengths::<BYTES>::PAYLOAD_BYTES;
        let too_long = BuildError::PayloadLength { bytes: payload.len(), limit };
        let length = u32::try_from(payload.len()).map_err(|_| too_long.clone())?;
        if payload.len() > limit {
            return Err(too_long);
        }
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.resize(HEADER + CHECK, 0);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(BYTES, 0);
        Self::from_vec(bytes).map_err(|_| too_long)
    }

    /// The bytes for the wire.
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The bit that tells which of its two live keys a mix should use: [`Epoch::bit`] of the sender's epoch.
    pub fn epoch_bit(&self) -> bool {
        self.0[EPOCH_AT] & 1 == 1
    }

    pub(crate) fn set_header(&mut self, header: &[u8; HEADER]) {
        self.0[..HEADER].copy_from_slice(header);
    }

    /// All of it, for a layer to be put on or taken off.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0[..]
    }
}

impl<const BYTES: usize> fmt::Debug for SizedPacket<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packet(…)")
    }
}

/// Builds a packet of the shipped size for the last mix of a path whose keys are all of one epoch.
///
/// # Errors
/// When the path is empty or too long, a key in it is of small order, or the payload is over [`Geometry::PAYLOAD_BYTES`].
pub fn build(rng: &mut impl CryptoRng, epoch: Epoch, path: &[Hop], payload: &[u8]) -> Result<Packet, BuildError> {
    Packet::build(rng, epoch, path, payload)
}

/// Leaves the payload of what ends with a body without layers, when nobody changed it on the way; `body_at` is where the body begins.
pub(crate) fn read_body(mut bytes: Vec<u8>, body_at: usize) -> Result<Vec<u8>, Refusal> {
    let body = bytes.get(body_at..).ok_or(Refusal::Length)?;
    let (check, rest) = body.split_at_checked(CHECK).ok_or(Refusal::Length)?;
    let (length, room) = rest.split_first_chunk::<LENGTH>().ok_or(Refusal::Length)?;
    if !bool::from(check.ct_eq(&[0; CHECK])) {
        return Err(Refusal::Garbled);
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > room.len() {
        return Err(Refusal::Garbled);
    }
    // In place: the vector is as long as a packet already.
    bytes.drain(..body_at + CHECK + LENGTH);
    bytes.truncate(length);
    Ok(bytes)
}

/// A packet whose header is this mix's and authentic, not yet peeled: look at its replay tag first.
pub struct Opened<const BYTES: usize = PACKET_BYTES> {
    keys: HopKeys,
    packet: SizedPacket<BYTES>,
}

/// What a packet turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwrapped<const BYTES: usize = PACKET_BYTES> {
    /// To be sent on.
    Forward {
        /// Which mix is next.
        next: [u8; ID],
        /// How long to hold it, ms, as its sender chose.
        delay_ms: u32,
        /// What to send.
        packet: SizedPacket<BYTES>,
    },
    /// This mix is the recipient.
    Arrived {
        /// What it was sent.
        payload: Vec<u8>,
    },
    /// To be handed to a client of this mix.
    Reply {
        /// The client's tag.
        client: [u8; ID],
        /// By this the client knows which SURB it was.
        surb: [u8; ID],
        /// How long to hold it, ms.
        delay_ms: u32,
        /// What to hand over: a body, as long as each.
        body: Vec<u8>,
    },
}

/// Checks that a packet is meant for this mix and its header unchanged. Nothing is remembered or done before that.
///
/// # Errors
/// When the epoch byte is neither 0 nor 1, α is of small order, or γ does not authenticate epoch and β under this mix's key.
pub fn open<const BYTES: usize>(secret: &MixSecret, packet: SizedPacket<BYTES>) -> Result<Opened<BYTES>, Refusal> {
    open_with(secret, &secret.public(), packet)
}

/// [`open`] for a mix that keeps its public key at hand, which saves a multiplication a packet.
///
/// # Errors
/// As [`open`].
pub fn open_with<const BYTES: usize>(
    secret: &MixSecret,
    public: &MixPublic,
    packet: SizedPacket<BYTES>,
) -> Result<Opened<BYTES>, Refusal> {
    let header = &packet.0[..HEADER];
    let alpha = header.first_chunk::<ALPHA>().ok_or(Refusal::Length)?;
    // More than the bit would be a mark that stays with the packet from mix to mix.
    if header[EPOCH_AT] > 1 {
        return Err(Refusal::Header);
    }
    let keys = secret.hop_keys(alpha, alpha, public)?;
    if header::authentic(&keys, header) { Ok(Opened { keys, packet }) } else { Err(Refusal::Header) }
}

impl<const BYTES: usize> Opened<BYTES> {
    /// The same for the same packet, whatever its body; to be remembered for as long as the key lives.
    pub fn replay_tag(&self) -> [u8; 16] {
        self.keys.replay_tag
    }

    /// Takes this mix's layer off.
    ///
    /// # Errors
    /// When the routing block says what no block says, or the payload of an arrived packet was changed on the way.
    pub fn peel(self) -> Result<Unwrapped<BYTES>, Refusal> {
        let Self { keys, mut packet } = self;
        let peeled = header::peel(&keys, &packet.0[..HEADER])?;
        Lioness::new(&keys.body).peel(packet.bytes_mut());
        let delay_ms = peeled.delay_ms;
        Ok(match peeled.command {
            Command::Forward { next } => {
                packet.set_header(&peeled.next);
                Unwrapped::Forward { next, delay_ms, packet }
            }
            Command::Arrive => Unwrapped::Arrived { payload: read_body(packet.into_vec(), HEADER)? },
            Command::Reply { client, surb } => {
                let mut body = packet.into_vec();
                body.drain(..HEADER);
                Unwrapped::Reply { client, surb, delay_ms, body }
            }
        })
    }
}
