//! One node from its roles: agent, publisher, mixnode, allocator, and the visitor that every node is.
//!
//! Invariants: one process a profile; the command line and the window speak to that process only through [`control`]; a role's parts run
//! exactly while the role is on.
//! Deliberately absent: what the roles do (their own crates) and anything about windows.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod control;
mod identity;
mod membership;
mod net;
mod profile;
mod settings;

pub use identity::{Identity, IdentityError};
pub use profile::{Profile, ProfileError};
