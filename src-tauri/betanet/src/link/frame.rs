//! What travels on a link, one frame a stream: a kind, its content, and zeros up to [`LINK_FRAME_BYTES`]. Pure.
//!
//! Invariant: every kind has the same length on the wire, so that who counts bytes learns from a frame that there was one.
//!
//! | kind | content |
//! |---|---|
//! | 1 packet | the packet |
//! | 2 delivery | SURB id, body |
//! | 3 have | fog (32), serial (8), made (8): of a directory that the sender has |
//! | 4 want | fog (32), serial (8): give me the one that you said you have |
//! | 5 part | fog (32), serial (8), index (2), count (2), length (2), bytes: a piece of the signed directory |
//! | 6 shape | 1 or 0: begin or end to send me one frame a slot |
//! | 7 shaped | 1 or 0: what was asked for begins, or is refused or over |
//! | 8 dummy | nothing: a slot in which nothing waited |

use super::{DELIVERY_BYTES, LINK_FRAME_BYTES};
use bytes::Bytes;
use fogbank_model::{FogId, UnixMs};
use fogbank_sphinx::PACKET_BYTES;
use tokio::sync::OwnedSemaphorePermit;

const PACKET: u8 = 1;
const DELIVERY: u8 = 2;
const HAVE: u8 = 3;
const WANT: u8 = 4;
const PART: u8 = 5;
const SHAPE: u8 = 6;
const SHAPED: u8 = 7;
const DUMMY: u8 = 8;

const PART_FRONT: usize = FogId::BYTES + 8 + 2 + 2 + 2;
/// Bytes of a directory in one frame.
pub const PART_BYTES: usize = PACKET_BYTES - PART_FRONT;
const _: () = assert!(PART_BYTES <= u16::MAX as usize, "a part's length fits its two bytes");

/// What a peer sends on a link.
#[derive(Debug)]
pub enum Frame {
    /// A packet to unwrap.
    Packet(Vec<u8>),
    /// To a client: a reply that came for it: SURB id, then the body.
    Delivery(Vec<u8>),
    /// Which directory the sender has.
    Have {
        /// Whose it is.
        fog: FogId,
        /// Its serial.
        serial: u64,
        /// When it was made.
        made: UnixMs,
    },
    /// The sender wants the directory that the peer said it has.
    Want {
        /// Whose it is.
        fog: FogId,
        /// Its serial.
        serial: u64,
    },
    /// A piece of a signed directory.
    Part(Part),
    /// From a client: begin (or end) to send one frame a slot.
    Shape(bool),
    /// To a client: that begins, or is refused or over.
    Shaped(bool),
    /// To a client: nothing waited for this slot.
    Dummy,
    /// One of these, and a place that is given back once QUIC has it. Never comes from a peer.
    Held(Box<Frame>, OwnedSemaphorePermit),
}

/// A piece of a signed directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose it is.
    pub fog: FogId,
    /// Of which.
    pub serial: u64,
    /// Which piece.
    pub index: u16,
    /// Of how many.
    pub count: u16,
    /// Its bytes, at most [`PART_BYTES`].
    pub bytes: Vec<u8>,
}

impl Frame {
    /// The pieces of a frame, none of which is copied if it is long.
    pub(super) fn pieces(self) -> [Bytes; 3] {
        match self {
            Self::Packet(bytes) => padded(&[PACKET], bytes),
            Self::Delivery(bytes) => padded(&[DELIVERY], bytes),
            Self::Have { fog, serial, made } => {
                padded(&[HAVE], [&fog.0[..], &serial.to_be_bytes(), &made.0.to_be_bytes()].concat())
            }
            Self::Want { fog, serial } => padded(&[WANT], [&fog.0[..], &serial.to_be_bytes()].concat()),
            Self::Part(part) => {
                let length = u16::try_from(part.bytes.len()).unwrap_or(u16::MAX);
                let numbers = [part.index, part.count, length].map(u16::to_be_bytes).concat();
                padded(&[&[PART], &part.fog.0[..], &part.serial.to_be_bytes(), &numbers].concat(), part.bytes)
            }
            Self::Shape(on) => padded(&[SHAPE, u8::from(on)], Vec::new()),
            Self::Shaped(on) => padded(&[SHAPED, u8::from(on)], Vec::new()),
            Self::Dummy => padded(&[DUMMY], Vec::new()),
            Self::Held(frame, _place) => frame.pieces(),
        }
    }

    /// The frame of this kind with these bytes behind it; `None` when there is no such frame.
    pub fn parse(kind: u8, mut body: Vec<u8>) -> Option<Self> {
        if body.len() != PACKET_BYTES {
            return None;
        }
        match kind {
            PACKET => Some(Self::Packet(body)),
            DELIVERY => {
                body.truncate(DELIVERY_BYTES);
                Some(Self::Delivery(body))
            }
            HAVE => {
                let (fog, serial, rest) = named(&body)?;
                let made = UnixMs(i64::from_be_bytes(*rest.first_chunk()?));
                Some(Self::Have { fog, serial, made })
            }
            WANT => named(&body).map(|(fog, serial, _)| Self::Want { fog, serial }),
            PART => {
                let (fog, serial, rest) = named(&body)?;
                let (index, rest) = rest.split_first_chunk()?;
                let (count, rest) = rest.split_first_chunk()?;
                let (length, rest) = rest.split_first_chunk()?;
                let bytes = rest.get(..u16::from_be_bytes(*length).into())?.to_vec();
                let [index, count] = [index, count].map(|n| u16::from_be_bytes(*n));
                Some(Self::Part(Part { fog, serial, index, count, bytes }))
            }
            SHAPE => flag(&body).map(Self::Shape),
            SHAPED => flag(&body).map(Self::Shaped),
            DUMMY => Some(Self::Dummy),
            _ => None,
        }
    }
}

/// Which directory is meant, and what comes behind.
fn named(body: &[u8]) -> Option<(FogId, u64, &[u8])> {
    let (fog, rest) = body.split_first_chunk()?;
    let (serial, rest) = rest.split_first_chunk()?;
    Some((FogId(*fog), u64::from_be_bytes(*serial), rest))
}

fn flag(body: &[u8]) -> Option<bool> {
    match body.first()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn padded(front: &[u8], bytes: Vec<u8>) -> [Bytes; 3] {
    static ZEROS: [u8; LINK_FRAME_BYTES] = [0; LINK_FRAME_BYTES];
    let rest = LINK_FRAME_BYTES.saturating_sub(front.len() + bytes.len());
    [Bytes::copy_from_slice(front), bytes.into(), Bytes::from_static(&ZEROS[..rest])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_is_one_length_and_comes_back() {
        let part = |length| Part { fog: FogId([6; 32]), serial: u64::MAX, index: 3, count: 900, bytes: vec![7; length] };
        for frame in [
            Frame::Packet(vec![1; PACKET_BYTES]),
            Frame::Delivery(vec![2; DELIVERY_BYTES]),
            Frame::Have { fog: FogId([5; 32]), serial: 5, made: UnixMs(-1) },
            Frame::Want { fog: FogId([6; 32]), serial: 6 },
            Frame::Part(part(0)),
            Frame::Part(part(PART_BYTES)),
            Frame::Shape(true),
            Frame::Shaped(false),
            Frame::Dummy,
        ] {
            let said = format!("{frame:?}");
            let bytes = frame.pieces().concat();
            assert_eq!(bytes.len(), LINK_FRAME_BYTES, "{said}");
            assert_eq!(format!("{:?}", Frame::parse(bytes[0], bytes[1..].to_vec()).unwrap()), said);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind: u8, front in prop::collection::vec(any::<u8>(), 0..40), length in 0..2 * PACKET_BYTES) {
            let mut body = front;
            body.resize(length, 255);
            if let Some(Frame::Part(part)) = Frame::parse(kind, body.clone()) {
                prop_assert!(part.bytes.len() <= PART_BYTES);
            }
            body.resize(PACKET_BYTES, 255);
            let _ = Frame::parse(kind, body);
        }
    }
}
