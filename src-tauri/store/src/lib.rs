//! What an allocator keeps: members, invites, containers, instances, and every move with its time and reason, in SQLite (WAL).
//!
//! Invariants: a state changes only by a move that its machine has, stored in one transaction with its reason; a device's live instances
//! never hold more than it lends at the moment of reserving; the epoch of a container fences reservations of older plans.
//! An invite is taken any number of times until it expires, so that one ticket serves a household or a class; only its hash is kept.
//! What grows is bounded: invites, the history, instances that are over, rows of load.
//! Deliberately absent: what to do next (the allocator decides) and who is connected (that is not kept).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod container;
#[cfg(debug_assertions)]
mod cut;
mod device;
mod error;
mod instance;
mod load;
mod open;
mod revision;
mod transition;

pub use container::KeptContainer;
#[cfg(debug_assertions)]
pub use cut::Cut;
pub use device::{KeptDevice, MAX_BANNED, MAX_INVITES, RoleBits};
pub use error::{OpenError, StoreError};
pub use instance::{KeptInstance, MAX_PAST_INSTANCES, Reservation, Reserved};
pub use load::{KeptLoad, LoadStep};
pub use open::Store;
pub use revision::KeptRevision;
pub use transition::MAX_HISTORY;
