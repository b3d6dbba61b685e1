//! What the control interface says of other fogs with which this one is federated.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The fog that this node coordinates among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FederationDto {
    /// What another fog's operator names it by. Nothing in it is secret.
    pub address: String,
    /// The fogs that are named here.
    pub fogs: Vec<FederatedFogDto>,
}

/// A fog that is named here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FederatedFogDto {
    /// Its id.
    pub fog: String,
    /// Where it was said to be.
    pub address: String,
    /// Whether its allocator is connected now.
    pub connected: bool,
    /// Why not; empty when it is.
    pub why: String,
    /// Whether it names this fog too.
    pub mutual: bool,
    /// Whether its sites can be opened and its mixes found.
    pub counts: bool,
    /// Whether its mixes are drawn for ways through the network.
    pub drawn: bool,
    /// How it stands, for people.
    pub words: String,
    /// Mixes that it lists.
    pub mixes: u32,
    /// When it made the list that is here, milliseconds since 1970 by its clock; absent while there is none.
    #[ts(type = "number | null")]
    pub made_ms: Option<i64>,
}
