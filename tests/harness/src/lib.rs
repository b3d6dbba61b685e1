//! Whole fogs of real `fogbankd` processes on loopback or in network namespaces, for the demo and the scenario tests.
//!
//! Invariants: every process has a profile folder of its own below one temporary folder, is ended with the value that stands for it, and is
//! spoken to only through its control socket. Deliberately absent: anything that looks into a node's files.

pub mod capture;
mod curl;
mod fog;
mod nets;
mod placed;
mod process;
mod relay;
pub mod two_sample;

pub use curl::{Curl, Fetched};
pub use fog::{Fog, FogPlan};
pub use nets::{INTERFACE, Nets, Place, Router, in_namespace};
pub use placed::{Does, PlacedFog};
pub use process::{Process, wait_for};
pub use relay::RelayProcess;
