//! The control protocol: what a node asks of its allocator, and what an allocator asks of a device.
//!
//! A node keeps one connection to its allocator. Each request is one bidirectional stream: a frame out, a frame back.
//! Leases, descriptors, period records and directories are betanet's and travel here as bytes that it signs and checks.

use crate::{
    BundlePermit, Call, ContainerDetail, ContainerSummary, DeviceView, Explained, LoadSpan, LoadView, MixInfo, OwnerCertificate,
    Rehearsed, Signed, Ticket, Traffic,
};
use fogbank_model::{
    BundleId, ContainerId, ContainerSpec, DeviceId, DurationMs, Image, Infeasible, InstanceId, InstanceState, MixId, Onion,
    Resources, UnixMs,
};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr};

/// What a node does in a fog, or may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Roles {
    /// Runs other people's instances.
    pub agent: bool,
    /// Relays packets.
    pub mixnode: bool,
    /// Publishes containers.
    pub publisher: bool,
    /// Invites, sees all devices and containers, and may stop, restart or delete any container.
    pub admin: bool,
}

impl Roles {
    /// Every role.
    pub const ALL: Self = Self { agent: true, mixnode: true, publisher: true, admin: true };

    /// Those of `self` that `granted` holds too.
    pub const fn within(self, granted: Self) -> Self {
        Self {
            agent: self.agent && granted.agent,
            mixnode: self.mixnode && granted.mixnode,
            publisher: self.publisher && granted.publisher,
            admin: self.admin && granted.admin,
        }
    }

    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self {
            agent: self.agent || other.agent,
            mixnode: self.mixnode || other.mixnode,
            publisher: self.publisher || other.publisher,
            admin: self.admin || other.admin,
        }
    }
}

/// How a node presents itself to its allocator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrol {
    /// Whose device it is.
    pub certificate: OwnerCertificate,
    /// What it is called in lists.
    pub name: String,
    /// What it wants to do now; more than it was granted is refused.
    pub roles: Roles,
    /// Its mix, when it relays.
    pub mix: Option<MixInfo>,
    /// Where its device endpoint listens.
    pub addrs: Vec<SocketAddr>,
    /// As what it comes.
    pub comes: Coming,
}

/// As what a node comes to its allocator. What an invite lets it do is bound to the invite alone: who left, or joins anew, has nothing of what it
/// was before.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coming {
    /// A member, known by its key.
    Back,
    /// Joining, by the secret of an invite that holds. What it was in the fog before is over.
    Joins([u8; 16]),
    /// A member that may do more by another invite. One that does not hold adds nothing.
    Adds([u8; 16]),
}

impl fmt::Debug for Coming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Back => "Back",
            Self::Joins(_) => "Joins(…)",
            Self::Adds(_) => "Adds(…)",
        })
    }
}

/// What a fog says to a node that it lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The fog's name.
    pub fog: String,
    /// Whether it is a test fog, in which privacy rules are relaxed.
    pub test: bool,
    /// What the node may do.
    pub granted: Roles,
    /// The allocator's clock.
    pub now: UnixMs,
    /// How often to report.
    pub heartbeat: DurationMs,
}

/// A no, for people and for code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For code.
    pub kind: RefusalKind,
    /// For people: what happened, what it means, what to do.
    pub message: String,
}

/// Kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalKind {
    /// Versions differ.
    Version,
    /// The key is not known here.
    UnknownKey,
    /// The invite is wrong.
    Invite,
    /// The invite has expired.
    Expired,
    /// Known, but not for this.
    NotGranted,
    /// No such thing.
    NotFound,
    /// The request can't be.
    Invalid,
    /// Not in this state.
    WrongState,
    /// Too much at once; later.
    Busy,
    /// This node does not serve that.
    NotServed,
    /// It failed inside.
    Failed,
}

impl Refusal {
    /// A no.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A no to who wants something for which this endpoint is not there.
    pub fn not_served(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotServed, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a device lends now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it has in all.
    pub capacity: Resources,
    /// What it lends of it now, running instances included. Zero while paused.
    pub lent: Resources,
    /// Whether it takes new instances.
    pub open: bool,
    /// Why it lends or does not, for people.
    pub why: String,
}

/// State of a device's power.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Power {
    /// No battery.
    Mains,
    /// On a battery.
    Battery {
        /// Charge in [0,1].
        share: f32,
        /// Whether it charges.
        charging: bool,
    },
}

/// An instance as its device sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Which.
    pub instance: InstanceId,
    /// Where it stands.
    pub state: InstanceState,
    /// Why, for people.
    pub reason: String,
    /// Its X25519 introduction key, once it has one.
    pub introduction_key: Option<[u8; 32]>,
    /// How much visitors ask of it, where the allocator asked for that ([`DeviceRequest::Measure`]).
    pub traffic: Option<Traffic>,
}

/// What a device reports at each heartbeat and whenever something changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it lends.
    pub offer: Offer,
    /// Its power.
    pub power: Power,
    /// Every instance it has, so that either side can find what the other forgot.
    pub instances: Vec<InstanceReport>,
    /// Bundles that it holds whole for others: its own publications are nobody's to count or to end.
    pub bundles: Vec<BundleId>,
    /// Whether its owner (or the system) asks to be drained, and why.
    pub drain: Option<String>,
}

/// What lets the allocator run a service without holding its identity: see betanet's `proof`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceProof {
    /// The address.
    pub onion: Onion,
    /// Pre-signed period records with the secret of the descriptor key that each names.
    pub periods: Vec<(Vec<u8>, [u8; 32])>,
    /// The access key of a private service.
    pub access: Option<[u8; 32]>,
    /// A site's seal, as signed by its identity (betanet's bytes): what the site consists of.
    pub seal: Option<Vec<u8>>,
}

impl fmt::Debug for ServiceProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceProof({}, {} periods)", self.onion, self.periods.len())
    }
}

/// A container to create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRequest {
    /// Chosen by the publisher, so that asking twice creates once.
    pub id: ContainerId,
    /// What to run.
    pub spec: ContainerSpec,
    /// Its address and who may sign for it.
    pub proof: ServiceProof,
}

/// What the fog could take now, for sliders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Free in all.
    pub free: Resources,
    /// Lent in all.
    pub lent: Resources,
    /// Devices that lend now.
    pub devices: u32,
    /// Of these, how many could take one copy of what was asked.
    pub suitable: u32,
    /// `None` when what was asked fits.
    pub infeasible: Option<Infeasible>,
}

/// Whom an administrator removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// This device.
    pub device: DeviceId,
    /// Also all other devices of its owner, and the containers that the owner published.
    pub person: bool,
    /// All invites are void from now on, so that no ticket that was kept brings them in under another key.
    pub void_invites: bool,
}

/// What a node asks of its allocator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// I am here; this is how I am. Answer: `Done`.
    Report(Report),
    /// My mix as it is now, with further packet keys, what it measured of others (the share of probes through each that came back, per mille),
    /// and how many clients are connected to it. Answer: `Done`.
    Relays {
        /// The mix.
        mix: Box<MixInfo>,
        /// Its measurements.
        probes: Vec<(MixId, u16)>,
        /// Its clients, visiting or hosting; which ones, it does not say.
        clients: u32,
    },
    /// The signed directory. Answer: `Directory`.
    Directory,
    /// Would this fit? Answer: `Capacity`.
    Ask(Box<ContainerSpec>),
    /// What would its address be like over a week, with one, two and three copies? For those who may publish. Answer: `Rehearsed`.
    Rehearse(Box<ContainerSpec>),
    /// Create a container of mine. Answer: `Created` or `Infeasible`.
    Create(Box<ContainerRequest>),
    /// My containers (an administrator: all). Answer: `Containers`.
    Containers,
    /// One of them in full. Answer: `Container`.
    Container(ContainerId),
    /// Why it runs where it runs. Answer: `Explained`.
    Explain(ContainerId),
    /// Ask for other numbers of copies, from now on. Answer: `Done`.
    Scale {
        /// Of which container.
        id: ContainerId,
        /// Copies at least.
        instances: u8,
        /// As in its specification.
        availability: Option<f64>,
        /// As in its specification.
        most: Option<u8>,
    },
    /// How much its copies are asked, now and before. Answer: `Load`.
    Load {
        /// Of which container.
        id: ContainerId,
        /// How finely, and for how long back.
        span: LoadSpan,
    },
    /// Stop it. Answer: `Done`.
    Stop(ContainerId),
    /// Start it again. Answer: `Done`.
    Restart(ContainerId),
    /// Further periods that the publisher has signed for. Answer: `Done`.
    Renew {
        /// For which container.
        id: ContainerId,
        /// The further periods, and the access key as it is now.
        proof: ServiceProof,
    },
    /// Put other content under its address, copy by copy: a bundle that this device holds, and its seal, of a revision above all before; `None` only
    /// asks whether it would fit. Asking twice is answered alike; another update under way gives way. Answer: `Done` or `Infeasible`.
    #[expect(missing_docs, reason = "said above")]
    Update { id: ContainerId, image: Image, seal: Option<Vec<u8>> },
    /// Stop and forget it. Answer: `Done`.
    Delete(ContainerId),
    /// An invite. Administrators only. Answer: `Ticket`.
    Invite {
        /// For what.
        roles: Roles,
        /// For how long.
        valid: DurationMs,
    },
    /// All devices. Administrators only. Answer: `Devices`.
    Devices,
    /// A device, or a person, is removed for good. Administrators only. Answer: `Removed`.
    Remove(Removal),
    /// Whoever was removed with this device may join again. Administrators only. Answer: `Done`.
    Pardon(DeviceId),
    /// This device leaves the fog for good: its roles end, and the connection. Answer: `Done`.
    Leave,
}

/// The allocator's answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum NodeReply {
    /// Done.
    Done,
    /// No.
    Refused(Refusal),
    /// The signed directory (betanet's bytes).
    Directory(Vec<u8>),
    /// What fits.
    Capacity(Box<Capacity>),
    /// What was rehearsed.
    Rehearsed(Box<Rehearsed>),
    /// Created (or was already, by the same request).
    Created(ContainerId),
    /// It does not fit now; nothing was created.
    Infeasible(Infeasible),
    /// A list.
    Containers(Vec<ContainerSummary>),
    /// One in full.
    Container(Box<ContainerDetail>),
    /// Why it runs where it runs.
    Explained(Box<Explained>),
    /// How much its copies are asked.
    Load(Box<LoadView>),
    /// An invite.
    Ticket(Ticket),
    /// So many devices were removed.
    Removed(u32),
    /// The devices.
    Devices(Vec<DeviceView>),
}

impl Call for NodeRequest {
    type Reply = NodeReply;
}

/// Everything that a device needs to start an instance it has reserved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// Which reservation.
    pub instance: InstanceId,
    /// What it is a copy of.
    pub container: ContainerId,
    /// Its address, for the owner's eyes: an owner may know what runs here.
    pub onion: Onion,
    /// What to run.
    pub spec: ContainerSpec,
    /// Who holds the bundle: device keys and where they listen, the publisher first.
    pub sources: Vec<(DeviceId, Vec<SocketAddr>)>,
    /// Leave to fetch it.
    pub permit: Signed<BundlePermit>,
}

/// What an allocator asks of a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum DeviceRequest {
    /// Are you there? Answer: `Done`.
    Ping,
    /// Hold these resources for an instance until `expires`, then forget it. Answer: `Done` or `Refused`.
    Reserve {
        /// Which.
        instance: InstanceId,
        /// Of what.
        container: ContainerId,
        /// How much.
        given: Resources,
        /// The reservation ends by itself then (the allocator's clock; see [`Welcome::now`]).
        expires: UnixMs,
        /// The container's epoch; a lower one than seen before is refused.
        epoch: u64,
    },
    /// Use the reservation: fetch, start, and report each state. Answer: `Done` or `Refused`.
    Confirm(Box<Assignment>),
    /// Drop a reservation that was not confirmed. Answer: `Done`.
    Release(InstanceId),
    /// These are your leases (betanet's bytes): register with them at the introduction points they name. Answer: `Done`.
    Lease {
        /// Whose.
        instance: InstanceId,
        /// One a period.
        leases: Vec<Vec<u8>>,
    },
    /// Tell your visitors to go elsewhere, finish what is open, end by then at the latest. Answer: `Done`.
    Drain {
        /// Which.
        instance: InstanceId,
        /// At the latest then.
        deadline: UnixMs,
    },
    /// End now. Answer: `Done`.
    End(InstanceId),
    /// Say in reports from now on how much visitors ask of it, or say it no more. Answer: `Done`.
    Measure {
        /// Of which instance.
        instance: InstanceId,
        /// Whether.
        on: bool,
    },
    /// Hold a copy of a bundle. Answer: `Done`; the next report names it once it is whole.
    Keep {
        /// Which.
        bundle: BundleId,
        /// How large, to be refused when it does not fit.
        bytes: u64,
        /// Who holds it.
        sources: Vec<(DeviceId, Vec<SocketAddr>)>,
        /// Leave to fetch it.
        permit: Signed<BundlePermit>,
    },
    /// No longer needed. Answer: `Done`.
    Forget(BundleId),
    /// The newest signed directory (betanet's bytes). Answer: `Done`.
    Directory(Vec<u8>),
    /// Mixes: keep this descriptor (betanet's bytes) for those who ask. Answer: `Done`.
    PutDescriptor(Vec<u8>),
    /// Mixes: these leases (betanet's lease ids, signed) are void from now on. Answer: `Done`.
    Revoke(Vec<u8>),
}

/// A device's answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceReply {
    /// Done.
    Done,
    /// No.
    Refused(Refusal),
}

impl Call for DeviceRequest {
    type Reply = DeviceReply;
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
