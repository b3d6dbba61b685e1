//! What an allocator keeps: members, invites, containers, instances, and every move with its time and reason, in SQLite (WAL).
//!
//! Invariants: a state changes only by a move that its machine has, stored in one transaction with its reason; a device's live instances
//! never hold more than it lends at the moment of reserving; the epoch of a container fences reservations of older plans.
//! Deliberately absent: what to do next (the allocator decides) and who is connected (that is not kept).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod container;
mod device;
mod error;
mod instance;
mod open;
mod transition;

pub use container::KeptContainer;
pub use device::{KeptDevice, RoleBits};
pub use error::{OpenError, StoreError};
pub use instance::{KeptInstance, Reservation, Reserved};
pub use open::Store;
