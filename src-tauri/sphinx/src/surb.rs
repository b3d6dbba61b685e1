//! Single-use reply blocks: a way back that its holder can use once and cannot read.

use crate::{
    BuildError, Epoch, Geometry, Hop, PACKET_BYTES, Refusal,
    header::{self, Command},
    lioness::Lioness,
    packet::{Packet, read_body},
};
use rand::CryptoRng;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A way back. Whoever holds it can send one packet to its maker without learning who or where that is.
#[derive(Clone, PartialEq, Eq)]
pub struct Surb {
    first: [u8; Geometry::ID_BYTES],
    header: [u8; Geometry::HEADER_BYTES],
    key: [u8; 32],
}

/// What the maker keeps to read the reply.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SurbSecret {
    /// The replier's key.
    key: [u8; 32],
    /// The hops' body keys, first hop first.
    hops: Vec<[u8; 32]>,
}

impl Surb {
    /// As it travels.
    pub fn to_bytes(&self) -> [u8; Geometry::SURB_BYTES] {
        let mut bytes = [0; Geometry::SURB_BYTES];
        let (first, rest) = bytes.split_at_mut(Geometry::ID_BYTES);
        let (header, key) = rest.split_at_mut(Geometry::HEADER_BYTES);
        first.copy_from_slice(&self.first);
        header.copy_from_slice(&self.header);
        key.copy_from_slice(&self.key);
        bytes
    }

    /// From bytes of the wire; any bytes of the right number are taken, and lead nowhere when they were made up.
    ///
    /// # Errors
    /// When they are not [`Geometry::SURB_BYTES`] many.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() != Geometry::SURB_BYTES {
            return Err(Refusal::Length);
        }
        let (first, rest) = bytes.split_at(Geometry::ID_BYTES);
        let (header, key) = rest.split_at(Geometry::HEADER_BYTES);
        let mut surb = Self { first: [0; Geometry::ID_BYTES], header: [0; Geometry::HEADER_BYTES], key: [0; 32] };
        surb.first.copy_from_slice(first);
        surb.header.copy_from_slice(header);
        surb.key.copy_from_slice(key);
        Ok(surb)
    }

    /// The mix that a reply goes to first.
    pub fn first_hop(&self) -> [u8; Geometry::ID_BYTES] {
        self.first
    }
}

impl fmt::Debug for Surb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surb(…)")
    }
}

impl fmt::Debug for SurbSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SurbSecret(…)")
    }
}

/// Makes a way back along a path whose last mix knows the maker's connection by `client`; the reply comes with `id`.
///
/// # Errors
/// When the path is empty or too long, or a key in it is of small order.
pub fn make_surb(
    rng: &mut impl CryptoRng,
    epoch: Epoch,
    path: &[Hop],
    client: [u8; Geometry::ID_BYTES],
    id: [u8; Geometry::ID_BYTES],
) -> Result<(Surb, SurbSecret), BuildError> {
    let built = header::build(rng, epoch, path, Command::Reply { client, surb: id })?;
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    let hops = built.keys.iter().map(|k| k.body).collect();
    Ok((Surb { first: path[0].id, header: built.header, key }, SurbSecret { key, hops }))
}

/// Sends a payload along a way back: the packet, and the mix to hand it to. On the wire it looks like any packet.
///
/// # Errors
/// When the payload is over [`Geometry::REPLY_PAYLOAD_BYTES`].
pub fn reply(surb: Surb, payload: &[u8]) -> Result<([u8; Geometry::ID_BYTES], Packet), BuildError> {
    let mut packet = Packet::holding(payload)?;
    Lioness::new(&surb.key).seal(packet.bytes_mut());
    packet.set_header(&surb.header);
    Ok((surb.first, packet))
}

/// Reads a reply. The secret is used up.
///
/// # Errors
/// When the body has a wrong length or was changed on the way.
pub fn open_reply(secret: SurbSecret, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    if body.len() != Geometry::BODY_BYTES {
        return Err(Refusal::Length);
    }
    let mut packet = vec![0; PACKET_BYTES];
    packet[Geometry::HEADER_BYTES..].copy_from_slice(body);
    // Each hop took a layer off that was never put on: putting them on again, last hop first, gives what the replier sent.
    for key in secret.hops.iter().rev() {
        Lioness::new(key).seal(&mut packet);
    }
    Lioness::new(&secret.key).peel(&mut packet);
    read_body(packet, Geometry::HEADER_BYTES)
}
