//! Betanet: a mix network with onion services. Mixes relay fixed-size packets; hosts and visitors meet at a mix and never contact
//! a hop that the other side alone has chosen.
//!
//! Invariants: identity secrets never leave the publisher; every message is bounded before it is parsed; nothing is sent for an address
//! while fewer mixes are usable than privacy asks for (fail closed).
//! Deliberately absent: who runs what where (the allocator's), and what is said in streams (sites and HTTP are the proxy's and the agent's).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod address;
pub mod client;
pub mod clock;
pub mod descriptor;
pub mod direct;
pub mod directory;
pub mod epoch;
pub mod lease;
pub mod link;
pub mod message;
pub mod meter;
pub mod mixnode;
pub mod paths;
pub mod proof;
pub mod puzzle;
mod rendezvous;
pub mod renewal;
pub mod schedule;
pub mod seal;
pub mod service;
pub mod sim;
pub mod tunnel;
pub mod uplink;
