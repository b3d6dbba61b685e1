//! How nodes talk: one ALPN, a hello that says what a connection is for, bounded frames, and the control protocol.
//!
//! Invariants: every frame has a length limit checked before anything is allocated; every exchange has a deadline; foreign bytes give
//! typed errors and never panic; what is signed is signed with a context string, so that no signature means two things.
//! Deliberately absent: what mixes say to each other inside packets (betanet has that) and anything about storage.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod certificate;
mod control;
mod countersigned;
mod federate;
mod frame;
mod goodbye;
mod hello;
mod load;
mod mix;
mod permit;
mod relay;
mod shares;
mod signed;
mod strangers;
mod ticket;
mod views;

pub use certificate::OwnerCertificate;
pub use control::{
    Assignment, Capacity, Coming, ContainerRequest, DeviceReply, DeviceRequest, Enrol, InstanceReport, NodeReply, NodeRequest,
    Offer, Power, Refusal, RefusalKind, Removal, Report, Roles, ServiceProof, Welcome,
};
pub use countersigned::{Countersignature, Countersigned, MAX_COUNTERSIGNATURES};
pub use federate::{FederateReply, FederateRequest, PeerAddress, PeerAddressError};
pub use frame::{FrameError, MAX_FRAME_BYTES, decode, encode, read_frame, write_frame};
pub use goodbye::goodbye;
pub use hello::{
    ALPN, Call, CallError, EXCHANGE_DEADLINE, Greeting, HELLO_DEADLINE, Hello, Purpose, call, greet, receive_hello, welcome,
};
pub use load::{LoadNow, LoadRow, LoadSpan, LoadView, Traffic};
pub use mix::{MixInfo, MixLife, PacketKeys};
pub use permit::BundlePermit;
pub use relay::{RelayHint, RelayHintError, RelaySwitch, met_at, with_relay};
pub use shares::{Group, Holds, NoRoom, Shares};
pub use signed::{Signed, SignedError};
pub use strangers::{Refused, Stranger, Strangers};
pub use ticket::{Ticket, TicketError};
pub use views::{ContainerDetail, ContainerSummary, DeviceView, Explained, ExplainedDevice, InstanceView, Rehearsed, UpdateView};

/// Version of everything in this crate. A peer of another version is refused with a message that names both.
pub const VERSION: u16 = 4;
