//! What the control interface says of the mix network: whether it can be used, what it hides from whom, and what is open.

use super::types::LevelDto;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// The mix network as this node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct NetworkDto {
    /// Mixes that this node could use now.
    pub usable: u32,
    /// Mixes that privacy asks for.
    pub needed: u32,
    /// Why addresses can't be opened now, for people; empty when they can.
    pub waiting: String,
    /// Mixes in the directory.
    pub mixes: u32,
    /// What others could learn of a visit; absent while there is no list of mixes.
    pub privacy: Option<PrivacyDto>,
    /// Addresses that are open or being opened from here.
    pub visits: Vec<VisitDto>,
    /// This node's mix, as others' lists of peers name it; it need not relay.
    pub own_mix: String,
    /// What this node's mix may take, and has taken this month.
    pub relay: RelayDto,
    /// Counters of this node's mix, by name; empty when it does not relay.
    #[ts(type = "Record<string, number>")]
    pub mix_counters: BTreeMap<String, u64>,
    /// Counters of the visiting side, by name.
    #[ts(type = "Record<string, number>")]
    pub visit_counters: BTreeMap<String, u64>,
    /// Counters of the hosting side, by name.
    #[ts(type = "Record<string, number>")]
    pub host_counters: BTreeMap<String, u64>,
    /// Guards with which the visiting side exchanges packets.
    pub peers: Vec<PeerDto>,
    /// Socket addresses of the visiting side.
    pub own_addrs: Vec<String>,
    /// Guards with which the hosting side exchanges packets.
    pub host_peers: Vec<PeerDto>,
    /// Socket addresses of the hosting side.
    pub host_addrs: Vec<String>,
}

/// The owner's limits on relaying, and how much of the month is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RelayDto {
    /// Whether its owner lets it relay.
    pub on: bool,
    /// Kilobytes a second that the mix takes; absent: as many as come.
    pub rate_kb_s: Option<u32>,
    /// Gigabytes a month in and out; absent: as many as come.
    pub month_gb: Option<u32>,
    /// Megabytes relayed this month, in and out.
    #[ts(type = "number")]
    pub month_used_mb: u64,
    /// Whether the mix relays now, and if it does not though its owner lets it, why.
    pub state: RelayStateDto,
}

/// Whether a mix relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RelayStateDto {
    /// It does.
    On,
    /// Its owner does not let it.
    Off,
    /// It rests until next month, because the owner's limit for this month is used up.
    MonthUsed,
    /// It rests, because this node is in no fog or the fog does not let it relay.
    NotGranted,
    /// It may relay and does not yet, or could not be started; the node's log says why.
    Starting,
}

/// A guard, as seen from the side that uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PeerDto {
    /// The mix.
    pub mix: String,
    /// Its socket address.
    pub addr: String,
    /// Whether the link is up.
    pub up: bool,
    /// By which way packets go: "direct", "relay", or "none" while the link is down.
    pub way: String,
}

/// An address that is open or being opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct VisitDto {
    /// The address.
    pub onion: String,
    /// For people: "open", "waiting: 3 of 4 mixes".
    pub words: String,
    /// Whether what it shows is its publisher's.
    pub trust: TrustDto,
    /// Copies that were caught giving something else than the publisher signed, and left.
    pub caught: u32,
    /// Of a visit that was asked for without mixes, so that its host and this computer see each other's address: what the meter says of it,
    /// whoever looks. Absent of all others: they are as private as their level.
    #[ts(optional)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<GradeDto>,
}

/// Whether what an address shows is its publisher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TrustDto {
    /// Not known yet.
    Unknown,
    /// It can't be checked: an app, whose host could alter it.
    NotVerified,
    /// Checked against the publisher's signature, byte by byte.
    Verified,
    /// No copy gives what the publisher signed; nothing is shown.
    Broken,
}

/// What others could learn of a visit from here: the privacy meter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PrivacyDto {
    /// A test fog gives no privacy.
    pub test: bool,
    /// Mixes that can be used, the own one aside.
    pub mixes: u32,
    /// Of how many owners they are.
    pub owners: u32,
    /// People who could be the one who sends, at least.
    pub users_at_least: u32,
    /// People who could be the one who sends, at most; a count that nobody vouches for.
    pub users_at_most: u32,
    /// The reading at each level.
    pub levels: Vec<LevelPrivacyDto>,
}

/// The privacy meter at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LevelPrivacyDto {
    /// Which.
    pub level: LevelDto,
    /// Whether hosts of this fog offer it: at strict, only with cover in both directions.
    pub offered: bool,
    /// Bytes a second that this device sends as cover while it visits.
    #[ts(type = "number")]
    pub cover_bytes_s: u64,
    /// Entropy of a single packet's sender to one who watches all links, bits; absent when nothing was measured with the cover that is sent.
    pub packet_bits: Option<f64>,
    /// Share in [0,1] of pages that one who watches both ends finds, as measured in simulation.
    pub pages_found: f64,
    /// Probability in [0,1] that one of the own guards is a host's guard too.
    pub mix_both_ends: f64,
    /// Probability in [0,1] that the owner who stands best has mixes at both ends.
    pub owner_both_ends: f64,
    /// What each adversary could learn.
    pub views: Vec<ViewDto>,
}

/// What one adversary could learn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ViewDto {
    /// Who.
    pub adversary: AdversaryDto,
    /// How much protection there is.
    pub grade: GradeDto,
    /// For people: one or two sentences.
    pub words: String,
}

/// Who might look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum AdversaryDto {
    /// The device that serves the address.
    Host,
    /// The own guard.
    Mix,
    /// The fog's allocator.
    Allocator,
    /// One owner with all its mixes.
    Owner,
    /// Whoever watches the lines of both ends.
    Global,
}

/// How much protection there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum GradeDto {
    /// None to build on.
    None,
    /// Some; not against somebody who tries.
    Weak,
    /// Against most who try.
    Fair,
    /// As much as the design gives.
    Good,
}
