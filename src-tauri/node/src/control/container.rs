//! What the control interface says of containers: whether they fit, how they would fare, and how they are.

use super::types::{Amounts, LevelDto};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Whether something fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct FitDto {
    /// Whether it does.
    pub fits: bool,
    /// For people: "fits on 3 of 9 devices", or what is short and by how much.
    pub words: String,
    /// Free in all.
    pub free: Amounts,
    /// Devices that lend now.
    pub devices: u32,
    /// Of these, how many could take one copy.
    pub suitable: u32,
    /// The largest request that would fit.
    pub largest: Option<Amounts>,
}

/// What a container's address would be like over a week of this fog, by how its devices came and went before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct RehearsedDto {
    /// Devices that lend, or did.
    pub devices: u32,
    /// For how many days each was watched on average; what is not known yet is taken to be as usual.
    pub watched_days: f64,
    /// With so many copies each.
    pub outlooks: Vec<OutlookDto>,
}

/// The same with one number of copies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct OutlookDto {
    /// So many.
    pub copies: u8,
    /// Share of the time in which at least one serves.
    pub availability: f64,
    /// How far that may be off: two standard errors.
    pub within: f64,
    /// Share of requests that no copy serves within the time that visitors wait.
    pub failed: f64,
    /// Copies lost a day, and replaced where there was room.
    pub losses_a_day: f64,
    /// The longest time in which none served, seconds.
    pub longest_outage_s: f64,
}

/// Why a container runs where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ExplainedDto {
    /// What it costs where it is, held against the least that it could cost now.
    pub plan: String,
    /// How much its copies are asked and how many are wanted for it; of one whose copies follow load.
    pub load: Option<String>,
    /// Why devices were chosen or passed over: those that run it, and for administrators the others.
    pub devices: Vec<VerdictDto>,
    /// Of the others, what they have in common and how many that are.
    pub others: Vec<(String, u32)>,
    /// Where what is asked for does not fit: changes after each of which it would, the smallest first.
    pub remedies: Vec<String>,
}

/// Why one device runs a container or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct VerdictDto {
    /// Its name.
    pub name: String,
    /// Whether a copy is there or on its way there.
    pub runs: bool,
    /// Why, for people.
    pub words: String,
}

/// A line in the list of containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ContainerDto {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its onion address.
    pub onion: String,
    /// Whether the address opens only with the key, which its link holds.
    pub private: bool,
    /// Whether it was published here as one that visitors may come to directly: host and visitor then see each other's address.
    pub direct: bool,
    /// State: pending, allocating, starting, running, migrating, stopping, stopped or failed.
    pub state: String,
    /// Why, for people.
    pub reason: String,
    /// Instances that serve.
    pub ready: u32,
    /// Instances wanted.
    pub wanted: u32,
    /// When it was created.
    #[ts(type = "number")]
    pub created_ms: i64,
}

/// A container in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ContainerDetailDto {
    /// The line of the list.
    pub container: ContainerDto,
    /// The link to share: `fogbank://…`.
    pub link: String,
    /// R.
    pub requirements: Amounts,
    /// Probability with which at least one copy's device is to stay over the next hour, where that was asked for.
    pub availability: Option<f64>,
    /// The same as it is now, of the devices whose copies serve.
    pub expected_availability: f64,
    /// Copies at most, where their number follows load.
    pub most: Option<u8>,
    /// How much its copies are asked and how many are wanted for it, where their number follows load.
    pub load: Option<String>,
    /// Delay on the way.
    pub level: LevelDto,
    /// Bytes of the site.
    #[ts(type = "number")]
    pub bytes: u64,
    /// Files of the site.
    pub files: u32,
    /// Devices other than the publisher's that hold the content whole.
    pub holders: u32,
    /// Why the instances are where they are, for people.
    pub placement: String,
    /// States with times and reasons, oldest first.
    pub history: Vec<StepDto>,
    /// Instances, live ones first.
    pub instances: Vec<InstanceDto>,
    /// Of the content that visitors are told of: rises with each content that its publisher signed, the time of signing in milliseconds or more.
    #[ts(type = "number")]
    pub revision: u64,
    /// The update that was asked for last, if there was one.
    pub update: Option<UpdateDto>,
    /// Whether this node has the content of before, to go back to.
    pub back: bool,
}

/// An update of a container's content, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct UpdateDto {
    /// Under which revision.
    #[ts(type = "number")]
    pub revision: u64,
    /// coming (visitors don't hear of it yet), moving (copy by copy), served, or given_up (what was there before goes on).
    pub state: String,
    /// How far it is and what it waits for, or what became of it, for people.
    pub words: String,
    /// Copies that serve it.
    pub ready: u32,
    /// Copies wanted.
    pub wanted: u32,
    /// When it was asked for.
    #[ts(type = "number")]
    pub began_ms: i64,
    /// Bytes of the new content.
    #[ts(type = "number")]
    pub bytes: u64,
}

/// A step in a container's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StepDto {
    /// When.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// To which state.
    pub state: String,
    /// Why, for people.
    pub reason: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct InstanceDto {
    /// Its id.
    pub id: String,
    /// Its container's id.
    pub container: String,
    /// Its device's id.
    pub device: String,
    /// Its device's name.
    pub device_name: String,
    /// State: reserved, fetching, starting, ready, unready, draining, ended or lost.
    pub state: String,
    /// Why, for people.
    pub reason: String,
    /// What it was given.
    pub given: Amounts,
    /// Of the content that it serves; 0 where it is not known.
    #[ts(type = "number")]
    pub revision: u64,
}
