//! What a device does for its fog: it says what it lends, holds bundles, and runs instances of sites.
//!
//! Invariants: no more is reserved than is lent; a bundle's files are believed only by their hashes and only within its manifest's sizes; a peer
//! fetches only what it shows a permit for; a visitor's path never leads out of the manifest; every state of an instance is reported.
//! Deliberately absent: the connection to the allocator (node), addresses and mixes (betanet), WebAssembly and Docker (they join [`site`] as
//! runtimes of their own).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod actor;
mod agent;
pub mod bundle;
mod instance;
mod meter;
mod offer;
mod publish;
mod sensors;
pub mod site;
pub mod table;

pub use agent::{Agent, AgentConfig, Listed};
pub use offer::Share;
pub use publish::{Publish, Published};
