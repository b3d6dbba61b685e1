//! Every length of the format, derived from the packet's size and the number of hops.

use crate::MAX_HOPS;

/// Bytes of a whole packet on the wire: one size for everything.
///
/// A build with `FOGBANK_PACKET_BYTES` in its environment has another size. That is for the sweep by which the size is chosen, nothing
/// else: networks of two sizes don't understand each other, and whoever built another one would be told from all others.
pub const PACKET_BYTES: usize = packet_bytes(option_env!("FOGBANK_PACKET_BYTES"));

/// What is shipped.
const SHIPPED_BYTES: usize = 8_192;

/// The lengths of packets of the shipped size.
pub type Geometry = Lengths<PACKET_BYTES>;

/// The lengths that follow from a packet's size and [`MAX_HOPS`]. The header's don't depend on the packet's.
#[derive(Debug, Clone, Copy)]
pub struct Lengths<const PACKET: usize>;

impl<const PACKET: usize> Lengths<PACKET> {
    /// α, an X25519 public key.
    pub const ALPHA_BYTES: usize = 32;
    /// γ, a truncated keyed hash: 128 bits against forgery of a header that is tried once.
    pub const GAMMA_BYTES: usize = 16;
    /// Name of a mix, a client's tag, or a SURB's id.
    pub const ID_BYTES: usize = 16;
    /// One hop's routing block: command, next id, delay, next α, next γ (for a reply's last hop the SURB's id stands in γ's place).
    pub const ROUTE_BYTES: usize = 1 + Self::ID_BYTES + 4 + Self::ALPHA_BYTES + Self::GAMMA_BYTES;
    /// β: a block for each hop that a path can have.
    pub const BETA_BYTES: usize = MAX_HOPS * Self::ROUTE_BYTES;
    /// α, γ, the key epoch's bit in a byte of its own, β.
    pub const HEADER_BYTES: usize = Self::ALPHA_BYTES + Self::GAMMA_BYTES + 1 + Self::BETA_BYTES;
    /// The wide block.
    pub const BODY_BYTES: usize = PACKET - Self::HEADER_BYTES;
    /// Zeros at the head of a body: what shows at its end that nobody changed it. Being wide-block, a change anywhere makes all of them
    /// random.
    pub const CHECK_BYTES: usize = 32;
    /// Length of the payload, in four bytes behind the zeros.
    pub const LENGTH_BYTES: usize = 4;
    /// Usable bytes in a forward packet.
    pub const PAYLOAD_BYTES: usize = Self::BODY_BYTES - Self::CHECK_BYTES - Self::LENGTH_BYTES;
    /// Usable bytes in a reply.
    pub const REPLY_PAYLOAD_BYTES: usize = Self::PAYLOAD_BYTES;
    /// A single-use reply block: first hop, header, the replier's key.
    pub const SURB_BYTES: usize = Self::ID_BYTES + Self::HEADER_BYTES + 32;
    /// The packet whose payload has this many bytes.
    pub const fn packet_for(payload: usize) -> usize {
        Self::HEADER_BYTES + Self::CHECK_BYTES + Self::LENGTH_BYTES + payload
    }
}

const _: () = assert!(Geometry::BODY_BYTES > 1024, "the packet is too small for its header");

/// The size that the environment names while this is compiled, or the shipped one.
const fn packet_bytes(chosen: Option<&str>) -> usize {
    let Some(text) = chosen else { return SHIPPED_BYTES };
    let digits = text.as_bytes();
    // The largest of the sweep is 32 KiB; a link's frame and a message's fields have room for nothing above 64 KiB.
    assert!(!digits.is_empty() && digits.len() <= 5, "FOGBANK_PACKET_BYTES is a number of at most five digits");
    let (mut bytes, mut i) = (0, 0);
    while i < digits.len() {
        assert!(digits[i].is_ascii_digit(), "FOGBANK_PACKET_BYTES is a number");
        bytes = bytes * 10 + (digits[i] - b'0') as usize;
        i += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_and_its_payload_leads_back_to_it() {
        assert_eq!(packet_bytes(None), 8_192);
        assert_eq!(packet_bytes(Some("32768")), 32_768);
        assert_eq!(Geometry::packet_for(Geometry::PAYLOAD_BYTES), PACKET_BYTES);
        assert_eq!(Lengths::<2_048>::PAYLOAD_BYTES, 2_048 - 325 - 36);
    }
}
