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
    /// How this fog's list of mixes is witnessed.
    pub witnesses: WitnessesDto,
}

/// The other fogs that sign this one's list of mixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct WitnessesDto {
    /// Who they are, and what each answered last; empty for one that signed.
    pub fogs: Vec<(String, String)>,
    /// How many of them must sign.
    pub needed: u8,
    /// What the operator said that the number should be, if that was said.
    pub wish: Option<u8>,
    /// Whether nobody can be shown a list of his own as long as no witness is false.
    pub one_view: bool,
    /// When the list in use was made, milliseconds since 1970; absent while there is none.
    #[ts(type = "number | null")]
    pub made_ms: Option<i64>,
    /// Until when it holds.
    #[ts(type = "number | null")]
    pub expires_ms: Option<i64>,
    /// Why there is no newer one, for people; empty when all is well.
    pub troubles: Vec<String>,
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
