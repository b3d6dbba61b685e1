//! The allocator: coordinates one fog. It knows members and containers, decides where instances run, and signs directory, descriptors and
//! leases; it never holds an address's identity key.
//!
//! Plan and act are apart: [`decide`](decide::decide) is a pure function from what is seen to what should be done; acting is idempotent and
//! small, and can be killed between any two steps, because every decision is made afresh from the store and from what devices report.
//! Invariants: what devices hold is reserved in the store first and on the device second; nobody but the owner of a container (or an
//! administrator) sees or touches it.
//! Deliberately absent: how devices are reached (the node's endpoint hands connections in), several allocators.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod act;
mod answering;
mod api;
mod asking;
mod charter;
mod clock;
mod conduct;
mod decide;
mod dialling;
mod directory;
mod explaining;
mod federation;
mod line;
mod look;
mod mixes;
mod place;
mod registry;
mod rehearsing;
mod removing;
mod report;
mod revising;
mod revoking;
mod roles;
mod scaling;
mod serve;
mod service;
mod session;
mod signing;
#[cfg(test)]
mod sim;
mod start;
mod stopped;
mod telling;
mod updating;
mod witnessing;
mod world;

pub use federation::{AskPeerError, PeerView};
pub use signing::WitnessView;
pub use start::{Allocator, AllocatorConfig, StartError};
