//! One node from its roles: agent, publisher, mixnode, allocator, and the visitor that every node is.
//!
//! Invariants: one process a profile; the command line and the window speak to that process only through [`control`]; a role's parts run
//! exactly while the role is on.
//! Deliberately absent: what the roles do (their own crates) and anything about windows.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod aligning;
mod answers;
mod container_keys;
pub mod control;
mod directory;
mod door;
mod ending;
mod federating;
mod fog;
mod guards;
mod identity;
mod joining;
mod membership;
mod mix_port;
mod net;
mod node;
mod parts;
mod practice;
mod privacy;
mod profile;
mod publishing;
mod relaying;
mod renewing;
mod requests;
mod session;
mod settings;
mod start;
mod updating;
mod visited_keys;
mod visits;

pub use fog::FogError;
pub use identity::{Identity, IdentityError};
pub use net::NetError;
pub use node::Node;
pub use profile::{Profile, ProfileError, usual_profile};
pub use session::{Session, SessionError};
pub use settings::SettingsError;
pub use start::{NodeOptions, ProxyPort, ProxyPortError, StartError};
