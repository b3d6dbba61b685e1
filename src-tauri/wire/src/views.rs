//! What lists and detail pages show.

use crate::{Power, Roles};
use fogbank_model::{
    Container, ContainerId, ContainerState, DeviceId, Instance, InstanceState, Onion, Outlook, OwnerId, Resources, Revision,
    Transition, UnixMs,
};
use serde::{Deserialize, Serialize};

/// A line in the list of containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSummary {
    /// Which.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub onion: Onion,
    /// Where it stands.
    pub state: ContainerState,
    /// Why, for people.
    pub reason: String,
    /// Instances that serve now.
    pub ready: u32,
    /// Instances wanted.
    pub wanted: u32,
    /// When it was created.
    pub created: UnixMs,
    /// Until when its publisher has signed ahead.
    pub signed_until: UnixMs,
}

/// One instance on a detail page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// The instance.
    pub instance: Instance,
    /// Its device's name.
    pub device_name: String,
}

/// A container in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerDetail {
    /// As kept.
    pub container: Container,
    /// Instances, live ones first.
    pub instances: Vec<InstanceView>,
    /// Every state with its time and reason, oldest first.
    pub history: Vec<Transition>,
    /// Devices other than the publisher's that hold the bundle whole.
    pub holders: u32,
    /// Probability that at least one of the devices whose copies serve stays over the next hour.
    pub availability: f64,
    /// Instances wanted.
    pub wanted: u32,
    /// How much its copies are asked and how many are wanted for it, for people; of one whose copies follow load.
    pub load: Option<String>,
    /// Why the instances are where they are: cost, lower bound, binding constraint.
    pub placement: Option<String>,
    /// The update that was asked for last, if there was one.
    pub update: Option<UpdateView>,
    /// The seal of the highest revision that was taken, as its publisher signed it: by this also a publisher of an old backup learns which
    /// revisions it has signed already.
    pub seal: Option<Vec<u8>>,
}

/// An update, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateView {
    /// The content that was asked for.
    pub revision: Revision,
    /// How far it is and what it waits for, or what became of it, for people.
    pub words: String,
    /// Copies that serve it, or would if visitors were told of it.
    pub ready: u32,
    /// Copies wanted.
    pub wanted: u32,
}

/// Why a container runs where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// What it costs where it is, held against the least that it could cost now.
    pub plan: String,
    /// How much its copies are asked and how many are wanted for it; of one whose copies follow load.
    pub load: Option<String>,
    /// Why devices were chosen or passed over: those that run it, and for administrators the others.
    pub devices: Vec<ExplainedDevice>,
    /// Of the others, what they have in common and how many that are.
    pub others: Vec<(String, u32)>,
    /// Where what is asked for does not fit: changes after each of which it would, the smallest first.
    pub remedies: Vec<String>,
}

/// One device, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedDevice {
    /// Its name.
    pub name: String,
    /// Whether a copy is there or on its way there.
    pub runs: bool,
    /// Why.
    pub words: String,
}

/// What a container's address would be like over a week of this fog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// With so many copies each.
    pub outlooks: Vec<Outlook>,
    /// Devices that lend, or did.
    pub devices: u32,
    /// For how many hours each was watched on average, older ones weighing less.
    pub watched_h: f64,
}

/// A device in the list of a fog's devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Which.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Whose.
    pub owner: OwnerId,
    /// What it may do.
    pub granted: Roles,
    /// Whether it is connected.
    pub connected: bool,
    /// What it lends now.
    pub lent: Resources,
    /// What of it is free.
    pub free: Resources,
    /// Its power.
    pub power: Option<Power>,
    /// Probability in [0,1] that it stays for the next hour when it is there, by its own past.
    pub availability: f64,
    /// Share in (0,1) of what it took on that it kept.
    pub reliability: f64,
    /// How often in a row it has refused what it offers, and until when it is left alone for that.
    pub aside: Option<(u8, UnixMs)>,
    /// Live instances on it with their states.
    pub instances: Vec<(ContainerId, InstanceState)>,
    /// Why it lends or does not, for people.
    pub why: String,
}
