//! Sphinx packets with per-hop ephemeral keys: the format in which Betanet's mixes relay.
//!
//! Invariants: every packet has [`PACKET_BYTES`] bytes at every hop; a mix learns the next hop and nothing of how far it is from either end;
//! a header that was changed is refused before anything is remembered; a body that was changed is noise at its end.
//! No function panics on foreign bytes. Deliberately absent: I/O, clocks, key storage, remembering replay tags (the mixnode's).
//!
//! # Specification
//! Sources: Danezis and Goldberg, *Sphinx* (2009), for the shape; Katzenpost's *KEMSphinx* for a fresh key exchange a hop; Anderson and
//! Biham, *LIONESS* (1996), for the body. Sizes in bytes; integers are big-endian.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | α | 32 | X25519 public key, made for this hop alone |
//! | γ | 16 | keyed hash of epoch and β |
//! | epoch | 1 | the lowest bit of the key epoch; other bits are zero |
//! | β | 276 | four routing blocks of 69, under this hop's stream |
//! | body | 7,867 | a wide block under one layer a hop still to come |
//!
//! **Keys of a hop.** s = X25519(x, α); an all-zero s is refused. With BLAKE3 in key-derivation mode, context `fogbank sphinx 1 hop keys`,
//! over s ‖ α ‖ the mix's public key, the output stream gives: route key 32, hash key 32, body key 32, replay tag 16.
//!
//! **γ** = the first 16 bytes of BLAKE3 keyed with the hash key over epoch ‖ β.
//!
//! **β.** The mix appends 69 zeros, XORs ChaCha20's key stream (route key, zero nonce: each key is used once), reads the first 69 bytes and
//! keeps the other 276 as the next β. Block: command 1 (1 forward, 2 arrive, 3 reply) ‖ id 16 (next mix; for a reply the client's tag) ‖
//! delay in ms 4 ‖ next α 32 ‖ next γ 16 (for a reply the SURB's id). Since α of the next hop travels encrypted in β, a hop costs one
//! Diffie–Hellman where the blinding of the original costs two. The sender computes what the appended zeros become at the last hop (the
//! filler) and builds from the last hop to the first; unused blocks are random.
//!
//! **Body.** One layer is LIONESS with L of 32 bytes; its four keys come from the body key by BLAKE3 in key-derivation mode, context
//! `fogbank sphinx 1 body layer`. Inside all layers: 32 zeros ‖ payload length 4 ‖ payload ‖ zeros. The sender seals with the body keys from
//! last hop to first; each mix peels one. The recipient refuses a body whose first 32 bytes are not zero.
//!
//! **SURB** = first mix's id 16 ‖ header 325 ‖ key 32. The replier seals the same inside with that key, and sends header and body to the
//! first mix. Every mix peels a layer that was never put on; the maker seals them again in reverse and peels the replier's.
//!
//! **Why tagging gains nothing.** A changed bit anywhere in α, γ, epoch or β makes γ wrong at the next honest mix. A changed body becomes
//! noise in every bit at the next honest layer, so two colluding mixes can tell "was changed" from "was not" and no more, at the cost of
//! the packet.
//!
//! Packet hops are classical (X25519): who records packets now and has a quantum computer later can trace them.

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
    /// α (or γ under it) gives an all-zero secret.
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
