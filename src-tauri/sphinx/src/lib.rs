//! Sphinx packets with per-hop ephemeral keys: the format in which Betanet's mixes relay.
//!
//! Invariants: every packet has [`PACKET_BYTES`] bytes at every hop; a mix learns the next hop, and of how far it is
//! from either end only whether it is the last;
//! a header that was changed is refused before anything is remembered; a body that was changed is noise at its end.
//! No function panics on foreign bytes. Deliberately absent: I/O, clocks, key storage, remembering replay tags (the mixnode's).
//!
#![doc = include_str!("../SPECIFICATION.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod geometry;
mod header;
mod keys;
mod lioness;
mod packet;
mod surb;
pub mod x25519;

pub use geometry::{Geometry, Lengths, PACKET_BYTES};
pub use keys::{MixPublic, MixSecret};
pub use packet::{Opened, Packet, SizedPacket, Unwrapped, build, open, open_with};
pub use surb::{Surb, SurbSecret, make_surb, open_reply, reply};

/// Mixes on a path at most: three, and the mix or the client at the end.
pub const MAX_HOPS: usize = 4;

/// The number of a key epoch. A packet is built with keys of one epoch and shows its lowest bit, so that a mix with two live keys knows
/// which to use without trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// What packets of this epoch show.
    pub fn bit(self) -> bool {
        self.0 & 1 == 1
    }

    fn byte(self) -> u8 {
        u8::from(self.bit())
    }
}

/// One step of a path, as the sender plans it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The mix's name in the directory.
    pub id: [u8; Geometry::ID_BYTES],
    /// Its packet key.
    pub key: MixPublic,
    /// How long it holds the packet, ms.
    pub delay_ms: u32,
}

/// Why a packet or a SURB can't be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Too few or too many hops.
    #[error("a path of {hops} hops: 1 to {MAX_HOPS} can be built")]
    PathLength {
        /// How many.
        hops: usize,
    },
    /// A mix published a key that gives no secret.
    #[error("the packet key of mix {mix:02x?} is of small order")]
    BadKey {
        /// Which.
        mix: [u8; Geometry::ID_BYTES],
    },
    /// Too much to say.
    #[error("a payload of {bytes} bytes does not fit into one packet ({limit})")]
    PayloadLength {
        /// How much.
        bytes: usize,
        /// What fits.
        limit: usize,
    },
}

/// Why bytes of the wire are not taken. None of these says more to a sender than a silent drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the one length.
    #[error("wrong length")]
    Length,
    /// α gives an all-zero secret.
    #[error("a key of small order")]
    SmallOrder,
    /// Not for this key, or changed on the way.
    #[error("the header is not authentic")]
    Header,
    /// An authentic header with a command that does not exist.
    #[error("an unknown command")]
    Command,
    /// The body was changed on the way.
    #[error("the body was changed on the way")]
    Garbled,
}
