//! The messages of the control interface. The UI's bindings are generated from these types and checked for drift.

use super::{
    container::{ContainerDetailDto, ContainerDto, ExplainedDto, FitDto, InstanceDto, RehearsedDto},
    federation::FederationDto,
    load::{LoadDto, LoadSpanDto},
    network::{NetworkDto, RelayStateDto},
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What can be asked of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub enum ControlRequest {
    /// How is this node? Answer: `status`.
    Status,
    /// Start a fog of which this node is the allocator. Answer: `done`.
    StartFog {
        /// Its name, shown to everyone in it.
        name: String,
        /// A test fog relaxes privacy rules, and says so everywhere.
        test: bool,
        /// The relay that its operator runs, as `fogbankd relay --listen` prints it, for devices behind home routers. Whoever runs it sees
        /// which devices talk with each other, though not what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        relay: Option<String>,
    },
    /// Start a practice fog: several nodes on this computer, no privacy. Answer: `done`.
    Practice,
    /// Join a fog. Answer: `done`.
    Join {
        /// The text of the invite.
        ticket: String,
    },
    /// Leave the fog: what runs here ends. A practice fog ends as a whole. Answer: `done`.
    Leave,
    /// Learn the way to a fog that this node only visits, from a `fogbank://` link. Answer: `done`.
    Visit {
        /// The link.
        link: String,
    },
    /// Lend this device or stop lending. Answer: `done`.
    Lend {
        /// Which.
        on: bool,
        /// Whether visitors who ask for it may come directly, to sites whose publishers offer it: they see this device's address. Not, unless it
        /// is said each time lending is switched.
        #[serde(default)]
        #[ts(optional, as = "Option<bool>")]
        direct: bool,
    },
    /// What the mix may take. Answer: `done`.
    RelayLimits {
        /// Kilobytes a second; absent: as many as come.
        rate_kb_s: Option<u32>,
        /// Gigabytes a month in and out; absent: as many as come.
        month_gb: Option<u32>,
    },
    /// Relay packets or stop relaying. Answer: `done`.
    Relay {
        /// Which.
        on: bool,
    },
    /// Lend nothing new and pause, or go on. Answer: `done`.
    Pause {
        /// Which.
        on: bool,
    },
    /// Ask the allocator to move everything away from this device (`on`), or take part again. Relaying goes on. Answer: `done`.
    Drain {
        /// Which.
        on: bool,
    },
    /// An invite. Answer: `ticket`.
    Invite {
        /// What the invited may do.
        roles: Vec<RoleDto>,
        /// For how long it is taken, seconds.
        valid_s: u32,
    },
    /// What is in this folder, and can it be put online? Nothing is read but names and sizes. Answer: `folder`.
    Folder {
        /// Absolute path.
        path: String,
    },
    /// Would this fit now? Answer: `fit`.
    Fit {
        /// R.
        requirements: Amounts,
        /// Copies at least.
        instances: u8,
        /// Probability in (0,1) with which at least one copy's device is to stay over the next hour; absent: the copies alone are asked for.
        #[serde(default)]
        #[ts(optional)]
        availability: Option<f64>,
        /// Bytes of the folder, when known.
        #[ts(type = "number")]
        bytes: u64,
    },
    /// What would its address be like over a week of this fog, with one, two and three copies? Takes some seconds. Answer: `rehearsed`.
    Rehearse {
        /// R.
        requirements: Amounts,
        /// Copies at least.
        instances: u8,
        /// Bytes of the folder, when known.
        #[ts(type = "number")]
        bytes: u64,
    },
    /// Put a folder online. Answer: `created`.
    Publish {
        /// Absolute path of the folder.
        folder: String,
        /// Shown in lists.
        name: String,
        /// R.
        requirements: Amounts,
        /// Copies at least.
        instances: u8,
        /// Probability in (0,1) with which at least one copy's device is to stay over the next hour; absent: the copies alone are asked for.
        #[serde(default)]
        #[ts(optional)]
        availability: Option<f64>,
        /// Copies at most, when those that there are have more to do than they should; absent: their number does not follow load.
        #[serde(default)]
        #[ts(optional)]
        most: Option<u8>,
        /// Delay on the way.
        level: LevelDto,
        /// Only for those who have the link with its key.
        #[serde(default)]
        #[ts(optional, as = "Option<bool>")]
        private: bool,
        /// Whether visitors who ask for it may come without mixes, to hosts whose owners agree: both then see each other's address. For
        /// development. It can't be taken back, and nothing private offers it.
        #[serde(default)]
        #[ts(optional, as = "Option<bool>")]
        direct: bool,
    },
    /// How far is the folder that is being put online? Answer: `progress`.
    Progress,
    /// My containers. Answer: `containers`.
    Containers,
    /// One of them. Answer: `container`.
    Container {
        /// Which.
        id: String,
    },
    /// Ask for other numbers of copies, from now on. Answer: `done`.
    Scale {
        /// Which.
        id: String,
        /// Copies at least.
        instances: u8,
        /// As when it was published; absent: the copies alone are asked for.
        #[serde(default)]
        #[ts(optional)]
        availability: Option<f64>,
        /// As when it was published; absent: the number of copies does not follow load.
        #[serde(default)]
        #[ts(optional)]
        most: Option<u8>,
    },
    /// How much are its copies asked, now and before? Answer: `load`.
    Load {
        /// Which.
        id: String,
        /// How finely, and for how long back.
        span: LoadSpanDto,
    },
    /// Remove a device from the fog for good, or let it join again. Administrators only. Answer: `removed`, or `done`.
    Remove {
        /// Its id.
        device: String,
        /// Also all other devices of its owner, and what the owner published.
        person: bool,
        /// Make all invites void as well: whoever has a ticket that holds could come back under another key.
        void_invites: bool,
        /// Whoever was removed with this device may join again, by a ticket.
        undo: bool,
    },
    /// Put other content under its address, copy by copy, without a visit that fails. Only where it was published. Answer: `updated`.
    Update {
        /// Which.
        id: String,
        /// The folder; absent: back to the content before.
        #[serde(default)]
        #[ts(optional)]
        folder: Option<String>,
    },
    /// Why does it run where it runs? Answer: `explained`.
    Explain {
        /// Which.
        id: String,
    },
    /// Stop it; it can be started again. Answer: `done`.
    Stop {
        /// Which.
        id: String,
    },
    /// Start it again. Answer: `done`.
    Restart {
        /// Which.
        id: String,
    },
    /// Stop it and forget it, its address included. Answer: `done`.
    Delete {
        /// Which.
        id: String,
    },
    /// The fog's devices (administrators). Answer: `devices`.
    Devices,
    /// The mix network as this node sees it. Answer: `network`.
    Network,
    /// Other fogs with which the one that this node coordinates is federated. Answer: `federation`.
    Federation,
    /// Name a fog to federate with: it counts once its operator names this one too. Answer: `done`.
    Federate {
        /// Its address, as `federation` says it there.
        peer: String,
    },
    /// Name it no more. Answer: `done`.
    EndFederation {
        /// Its id.
        fog: String,
    },
    /// So many of the other fogs must sign this one's list of mixes. Answer: `done`.
    NeedWitnesses {
        /// How many; absent for as many as is usual.
        needed: Option<u8>,
    },
    /// Let another fog change its witnesses as it likes for an hour, also to fewer. Answer: `done`.
    LetWitnesses {
        /// Its id.
        fog: String,
    },
    /// Give all witnesses up without asking them: members must leave this fog and join anew. Answer: `done`.
    AbandonWitnesses,
    /// End this node. Answer: `done`, then it ends.
    Quit,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "reply", content = "value")]
pub enum ControlReply {
    /// Done.
    Done,
    /// It was not done.
    Failed(ControlError),
    /// How the node is.
    Status(Box<StatusDto>),
    /// An invite's text.
    Ticket(String),
    /// What a folder holds.
    Folder(FolderDto),
    /// Whether it fits.
    Fit(FitDto),
    /// Why a container runs where it runs.
    Explained(Box<ExplainedDto>),
    /// How much a container's copies are asked.
    Load(Box<LoadDto>),
    /// So many devices were removed.
    Removed(u32),
    /// What was rehearsed.
    Rehearsed(Box<RehearsedDto>),
    /// An update was taken: how far it is, its container shows.
    Updated {
        /// The revision under which its content was signed.
        #[ts(type = "number")]
        revision: u64,
    },
    /// A container was created: its id and address.
    Created {
        /// Its id.
        id: String,
        /// Its onion address.
        onion: String,
    },
    /// How far it is; none when nothing is being put online.
    Progress(Option<ProgressDto>),
    /// A list.
    Containers(Vec<ContainerDto>),
    /// One in full.
    Container(Box<ContainerDetailDto>),
    /// Devices.
    Devices(Vec<DeviceDto>),
    /// The mix network.
    Network(Box<NetworkDto>),
    /// Other fogs.
    Federation(FederationDto),
}

/// Why something was not done: for people first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ControlError {
    /// For code.
    pub kind: ControlErrorKind,
    /// What happened.
    pub what: String,
    /// What to do about it; may be empty.
    pub todo: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ControlErrorKind {
    /// What was asked can't be.
    Invalid,
    /// It does not fit the fog now.
    Infeasible,
    /// This node is in no fog.
    NoFog,
    /// The allocator can't be reached now.
    AllocatorAway,
    /// Not allowed.
    Refused,
    /// No such thing.
    NotFound,
    /// It failed.
    Failed,
}

/// Amounts in the units that people use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct Amounts {
    /// Processor cores.
    pub cpu_cores: f64,
    /// Memory, MB.
    pub memory_mb: f64,
    /// Storage, MB.
    pub storage_mb: f64,
    /// Bandwidth, Mbit/s.
    pub bandwidth_mbps: f64,
}

/// A role that an invite grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RoleDto {
    /// Lend the device: run other people's instances and relay packets.
    Contribute,
    /// Publish containers.
    Publish,
    /// Invite others; see all devices and containers, and stop, restart or delete any container.
    Administer,
}

/// Delay on the way to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LevelDto {
    /// No added delay.
    Fast,
    /// Mean 15 ms a hop.
    Balanced,
    /// Mean 50 ms a hop and cover traffic.
    Strict,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StatusDto {
    /// Version of Fogbank.
    pub version: String,
    /// The process that runs it.
    pub pid: u32,
    /// Id of the device.
    pub device: String,
    /// The fog, when in one.
    pub fog: Option<FogDto>,
    /// What this device lends; none when it has not the role.
    pub lend: Option<LendDto>,
    /// Whether it relays packets, or why it does not.
    pub relaying: RelayStateDto,
    /// Address of the SOCKS5 proxy for visiting, when it is open.
    pub proxy: Option<String>,
}

/// The fog that a node is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct FogDto {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// A test fog gives no real privacy.
    pub test: bool,
    /// All its nodes run on this computer.
    pub practice: bool,
    /// Whether this node is its allocator.
    pub allocator: bool,
    /// Whether the allocator answers.
    pub connected: bool,
    /// Why it is not connected, for people; empty when it is.
    pub why: String,
    /// What this node may do.
    pub roles: Vec<RoleDto>,
    /// Address of the fog's relay, if it has one: who runs it sees which devices talk with each other.
    pub relay: Option<String>,
}

/// What a device lends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LendDto {
    /// Whether it takes instances now.
    pub open: bool,
    /// Why it does or does not, for people.
    pub why: String,
    /// Whether its owner has paused it.
    pub paused: bool,
    /// Whether it is being drained.
    pub draining: bool,
    /// Whether visitors who ask for it come directly, and so see this device's address.
    pub direct: bool,
    /// What it lends.
    pub lent: Amounts,
    /// Instances that it runs.
    pub instances: Vec<InstanceDto>,
}

/// A folder that can be put online.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FolderDto {
    /// Its name: a proposal for the container's.
    pub name: String,
    /// Files in it.
    pub files: u32,
    /// Bytes of them together.
    #[ts(type = "number")]
    pub bytes: u64,
}

/// How far a folder on its way online is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ProgressDto {
    /// For people: "reading files".
    pub step: String,
    /// Bytes done.
    #[ts(type = "number")]
    pub done_bytes: u64,
    /// Bytes in all, when known.
    #[ts(type = "number")]
    pub total_bytes: u64,
}

/// A device of the fog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DeviceDto {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is connected.
    pub connected: bool,
    /// What it may do.
    pub roles: Vec<RoleDto>,
    /// What it lends.
    pub lent: Amounts,
    /// What of it is free.
    pub free: Amounts,
    /// Probability in [0,1] that it stays for the next hour when it is there, by its own past.
    pub availability: f64,
    /// Share in (0,1) of what it took on that it kept.
    pub reliability: f64,
    /// Live instances on it.
    pub instances: u32,
    /// Why it lends or does not, for people.
    pub why: String,
}
