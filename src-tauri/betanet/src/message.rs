//! What travels inside packets: requests to a mix, its answers, and what two ends that meet tell each other first.
//!
//! Invariants: one version byte in front of everything; each message fits one packet, so its parts are bounded by the packet's payload;
//! a mix is asked and answers, it never starts a conversation.
//! Deliberately absent: what is said through a tunnel, which mixes can't read.

use crate::puzzle::{Puzzle, Task, Work};
use fogbank_model::{InstanceId, Level, MixId};
use fogbank_sphinx::Geometry;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// Version of every message here.
pub const MESSAGE_VERSION: u8 = 1;
/// SURBs in one message at most; the packet's size allows fewer, this bounds what is allocated for headers.
pub const MAX_SURBS: usize = 64;

/// How many SURBs a message with so many bytes to spare takes. Each has its length in front.
pub(crate) const fn surbs_in(bytes: usize) -> usize {
    let fit = bytes / (Geometry::SURB_BYTES + 2);
    if fit < MAX_SURBS { fit } else { MAX_SURBS }
}

/// The first byte that a visitor sends in each stream. It tells the host that the stream is there, also when the host is to speak first,
/// and a later version can say more with another.
pub const STREAM_OPENS: u8 = 1;

/// One end's mailbox at a rendezvous mix. Chosen at random, known to the two ends and that mix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MailboxId(pub [u8; 16]);

impl fmt::Debug for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailboxId({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What a mix can be asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMix {
    /// The descriptor under a blinded key. Answer: `Descriptor`.
    FetchDescriptor {
        /// Which.
        blinded: [u8; 32],
        /// For the answer.
        surb: Vec<u8>,
    },
    /// An instance at its introduction point, first and whenever it brings more SURBs; `flush` drops those it left before. Each SURB
    /// carries one `Introduction`, the last few `Restock`. Answer: `Registered`, by the first SURB of a registration that is new or
    /// flushed.
    Register {
        /// As presented there: see [`crate::lease::Lease::present`].
        lease: Vec<u8>,
        /// For introductions.
        surbs: Vec<Vec<u8>>,
        /// Whether what it left before is void.
        flush: bool,
        /// For a puzzle that was given: see [`ToMix::registration_task`].
        work: Option<Work>,
    },
    /// An instance leaves its introduction point.
    Unregister {
        /// The lease that it registered with, as presented.
        lease: Vec<u8>,
    },
    /// The live leases under a blinded key. Answer: `Leases`.
    FetchLeases {
        /// Which.
        blinded: [u8; 32],
        /// Of a private service: what shows that the asker has its key. Without, the point says that it has none.
        unlock: Option<[u8; 16]>,
        /// For the answer.
        surb: Vec<u8>,
    },
    /// Pass a first message to an instance. Answer: `Introduced`, `Puzzle` or `Refused`.
    Introduce {
        /// Of which service.
        blinded: [u8; 32],
        /// To which instance.
        instance: InstanceId,
        /// For the instance only.
        hello: Vec<u8>,
        /// For a puzzle that was given: see [`ToMix::introduction_task`].
        work: Option<Work>,
        /// For the answer.
        surb: Vec<u8>,
    },
    /// At a rendezvous: open or refill `mine`, and pass `relay` on to the owner of `peer` (only if that mailbox names `mine` as its peer).
    Mailbox {
        /// The sender's own.
        mine: MailboxId,
        /// The other end's.
        peer: MailboxId,
        /// For what comes back.
        surbs: Vec<Vec<u8>>,
        /// Whether what was left before is void.
        flush: bool,
        /// For the other end only.
        #[serde(with = "serde_bytes")]
        relay: Option<Vec<u8>>,
    },
    /// Forget `mine`.
    CloseMailbox {
        /// Which.
        mine: MailboxId,
    },
    /// Open `mine` for work, when mailboxes run out and a `Mailbox` was answered by `Puzzle`: see [`ToMix::mailbox_task`].
    PayMailbox {
        /// Which.
        mine: MailboxId,
        /// The other end's.
        peer: MailboxId,
        /// The work.
        work: Work,
    },
    /// A cover loop of the mix itself, back from its round. Anybody else's is of no consequence.
    Loop {
        /// Which.
        id: [u8; 16],
    },
    /// Cover that ends here.
    Drop,
}

/// What a mix answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromMix {
    /// The descriptor, if it has one.
    Descriptor(Option<Vec<u8>>),
    /// The leases of instances that are registered; as many as fit, drawn evenly.
    Leases(Vec<Vec<u8>>),
    /// The registration stands.
    Registered {
        /// SURBs that it has of the instance now.
        stock: u16,
    },
    /// The first message was passed on.
    Introduced,
    /// No, and why.
    Refused(String),
    /// To an instance: somebody introduces themself.
    Introduction {
        /// The first message.
        hello: Vec<u8>,
        /// SURBs left.
        stock: u16,
    },
    /// To one end: the other end sends this.
    Relayed {
        /// What.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        /// SURBs left.
        stock: u16,
    },
    /// To whoever left SURBs: they run out.
    Restock {
        /// SURBs left.
        stock: u16,
    },
    /// Too much is asked of the mix just now: ask again with this solved.
    Puzzle(Puzzle),
}

/// What a visitor tells an instance in the sealed first message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Where to meet: a mix of the signed directory.
    pub rendezvous: MixId,
    /// The visitor's mailbox there.
    pub visitor: MailboxId,
    /// The mailbox that the host opens there.
    pub host: MailboxId,
    /// The delay that the visitor uses.
    pub level: Level,
    /// When the visitor asks to come directly, without mixes: the fresh key by which it will. As long on the wire when it does not, so that
    /// nobody on the way sees which.
    #[serde(with = "as_long")]
    pub direct: Option<[u8; 32]>,
}

/// A key or none, alike in length: none is all zeros.
mod as_long {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &Option<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
        key.unwrap_or_default().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 32]>, D::Error> {
        let key = <[u8; 32]>::deserialize(from)?;
        Ok((key != <[u8; 32]>::default()).then_some(key))
    }
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Of another version.
    #[error("a message of version {theirs}, this Fogbank speaks {MESSAGE_VERSION}: update the older of the two")]
    Version {
        /// Its version.
        theirs: u8,
    },
    /// No message.
    #[error("the bytes are no message")]
    Malformed,
    /// More SURBs than [`MAX_SURBS`].
    #[error("a message with too many SURBs")]
    TooManySurbs,
    /// Something of another length in a SURB's place.
    #[error("a message with a SURB of another length")]
    SurbLength,
}

macro_rules! message {
    ($name:ident) => {
        impl $name {
            /// Its bytes.
            ///
            /// # Errors
            /// Never in practice: every message serialises.
            pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
                encode(self)
            }

            /// The message in these bytes; nothing may be left over.
            ///
            /// # Errors
            /// When they are none, or of another version.
            pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
                let message: Self = decode(bytes)?;
                message.check()?;
                Ok(message)
            }
        }
    };
}

message!(ToMix);
message!(FromMix);
message!(Meeting);

impl ToMix {
    /// What the work for a registration is spent on.
    pub fn registration_task(lease: &[u8]) -> Task {
        Task::of(&[b"register", lease])
    }

    /// What the work for an introduction is spent on.
    pub fn introduction_task(blinded: &[u8; 32], instance: InstanceId, hello: &[u8]) -> Task {
        Task::of(&[b"introduce", blinded, &instance.0, hello])
    }

    /// What the work for a mailbox is spent on.
    pub fn mailbox_task(mine: MailboxId) -> Task {
        Task::of(&[b"mailbox", &mine.0])
    }

    /// What a mix keeps is bounded by number and by length.
    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Register { surbs, .. } | Self::Mailbox { surbs, .. } if surbs.len() > MAX_SURBS => {
                Err(MessageError::TooManySurbs)
            }
            Self::Register { surbs, .. } | Self::Mailbox { surbs, .. }
                if surbs.iter().any(|surb| surb.len() != Geometry::SURB_BYTES) =>
            {
                Err(MessageError::SurbLength)
            }
            _ => Ok(()),
        }
    }
}

impl FromMix {
    /// Bytes that a `Leases` of these lengths takes at most: version, tag, count, and each lease with its length.
    pub fn leases_bytes(lengths: impl Iterator<Item = usize>) -> usize {
        const FRONT: usize = 8;
        lengths.fold(FRONT, |sum, length| sum + 3 + length)
    }

    fn check(&self) -> Result<(), MessageError> {
        Ok(())
    }
}

impl Meeting {
    fn check(&self) -> Result<(), MessageError> {
        Ok(())
    }
}

/// Bytes that a `Relayed` or a `Mailbox` without SURBs puts around the relayed data at most: version, tag, two mailboxes, two counts, two
/// flags and a length. A test holds it.
pub const RELAY_OVERHEAD_BYTES: usize = 48;

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, MessageError> {
    postcard::to_extend(message, vec![MESSAGE_VERSION]).map_err(|_| MessageError::Malformed)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    let (version, bytes) = bytes.split_first().ok_or(MessageError::Malformed)?;
    if *version != MESSAGE_VERSION {
        return Err(MessageError::Version { theirs: *version });
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(MessageError::Malformed),
    }
}

impl fmt::Debug for ToMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Kinds only: blinded keys and mailboxes would tie a log to a visit.
        f.write_str(match self {
            Self::FetchDescriptor { .. } => "FetchDescriptor",
            Self::Register { .. } => "Register",
            Self::Unregister { .. } => "Unregister",
            Self::FetchLeases { .. } => "FetchLeases",
            Self::Introduce { .. } => "Introduce",
            Self::Mailbox { .. } => "Mailbox",
            Self::CloseMailbox { .. } => "CloseMailbox",
            Self::PayMailbox { .. } => "PayMailbox",
            Self::Loop { .. } => "Loop",
            Self::Drop => "Drop",
        })
    }
}

impl fmt::Debug for FromMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(found) => write!(f, "Descriptor({})", if found.is_some() { "found" } else { "none" }),
            Self::Leases(leases) => write!(f, "Leases({})", leases.len()),
            Self::Registered { stock } => write!(f, "Registered({stock})"),
            Self::Introduced => f.write_str("Introduced"),
            Self::Refused(why) => write!(f, "Refused({why})"),
            Self::Introduction { stock, .. } => write!(f, "Introduction({stock} left)"),
            Self::Relayed { data, stock } => write!(f, "Relayed({} bytes, {stock} left)", data.len()),
            Self::Restock { stock } => write!(f, "Restock({stock})"),
            Self::Puzzle(puzzle) => write!(f, "Puzzle({})", puzzle.effort),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_and_back_and_versions() {
        let ask = ToMix::FetchLeases { blinded: [1; 32], unlock: None, surb: vec![2; 300] };
        let bytes = ask.encode().unwrap();
        assert_eq!(ToMix::decode(&bytes).unwrap(), ask);
        let newer = [&[9], &bytes[1..]].concat();
        assert!(matches!(ToMix::decode(&newer), Err(MessageError::Version { theirs: 9 })));
        assert!(matches!(ToMix::decode(&[&bytes[..], &[0]].concat()), Err(MessageError::Malformed)));
        let many = ToMix::Register { lease: vec![], surbs: vec![vec![]; MAX_SURBS + 1], flush: false, work: None };
        assert!(matches!(ToMix::decode(&many.encode().unwrap()), Err(MessageError::TooManySurbs)));
        for length in [0, Geometry::SURB_BYTES - 1, 7_700] {
            let hoard = ToMix::Register { lease: vec![], surbs: vec![vec![0; length]], flush: false, work: None };
            assert!(matches!(ToMix::decode(&hoard.encode().unwrap()), Err(MessageError::SurbLength)), "{length}");
        }
    }

    #[test]
    fn any_room_is_filled_by_surbs_that_are_taken() {
        for room in [0, Geometry::SURB_BYTES + 2, Geometry::PAYLOAD_BYTES, 60_000] {
            let surbs = vec![vec![0; Geometry::SURB_BYTES]; surbs_in(room)];
            let full = ToMix::Register { lease: vec![], surbs, flush: false, work: None };
            let bytes = full.encode().unwrap();
            assert!(bytes.len() <= room + RELAY_OVERHEAD_BYTES);
            assert_eq!(ToMix::decode(&bytes).unwrap(), full);
        }
    }

    #[test]
    fn the_overheads_hold() {
        let data = vec![0; 60_000];
        let out = ToMix::Mailbox {
            mine: MailboxId([255; 16]),
            peer: MailboxId([255; 16]),
            surbs: vec![],
            flush: true,
            relay: Some(data.clone()),
        };
        assert!(out.encode().unwrap().len() <= data.len() + RELAY_OVERHEAD_BYTES);
        let back = FromMix::Relayed { data: data.clone(), stock: u16::MAX };
        assert!(back.encode().unwrap().len() <= data.len() + RELAY_OVERHEAD_BYTES);
        let leases = FromMix::Leases(vec![vec![0; 400]; 40]);
        assert!(leases.encode().unwrap().len() <= FromMix::leases_bytes(std::iter::repeat_n(400, 40)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes: Vec<u8>) {
            let _ = (ToMix::decode(&bytes), FromMix::decode(&bytes), Meeting::decode(&bytes));
            bytes.insert(0, MESSAGE_VERSION);
            let _ = (ToMix::decode(&bytes), FromMix::decode(&bytes), Meeting::decode(&bytes));
        }
    }
}
