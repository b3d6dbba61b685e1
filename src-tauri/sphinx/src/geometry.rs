//! Every length of the format, derived from the packet's size and the number of hops.

use crate::MAX_HOPS;

/// Bytes of a whole packet on the wire. One size for everything; the sweep that chooses it belongs to the network's measurements.
pub const PACKET_BYTES: usize = 8192;

/// The lengths that follow from [`PACKET_BYTES`] and [`MAX_HOPS`].
#[derive(Debug, Clone, Copy)]
pub struct Geometry;

impl Geometry {
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
    pub const BODY_BYTES: usize = PACKET_BYTES - Self::HEADER_BYTES;
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
}

const _: () = assert!(Geometry::BODY_BYTES > 1024, "the packet is too small for its header");
