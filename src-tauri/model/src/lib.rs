//! The words of Fogbank as types: ids, resource vectors, containers and instances with their state machines.
//!
//! Invariants: a value of these types is valid by construction (parsed at the border, trusted inside);
//! a state changes only by a move that its machine allows.
//! Deliberately absent: I/O, clocks, randomness, cryptography beyond naming keys. Times come in as [`UnixMs`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod container;
mod explain;
mod id;
mod instance;
mod name;
mod resources;
mod revision;
mod time;

pub use container::{Container, ContainerSpec, ContainerState, Image, Level, SpecError, Transition};
pub use explain::{Dimension, Infeasible, Outlook, Shortfall};
pub use id::{BundleId, ContainerId, DeviceId, FogId, IdError, InstanceId, MixId, OwnerId};
pub use instance::{Instance, InstanceState};
pub use name::{ContainerName, NameError, Onion, OnionError};
pub use resources::{RequirementError, Resources};
pub use revision::{Revision, RevisionState};
pub use time::{DurationMs, UnixMs};

/// A move that a state machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{machine} can't go from {from} to {to}")]
pub struct IllegalMove {
    /// Which machine: `container` or `instance`.
    pub machine: &'static str,
    /// The state it is in.
    pub from: &'static str,
    /// The state that was asked for.
    pub to: &'static str,
}
