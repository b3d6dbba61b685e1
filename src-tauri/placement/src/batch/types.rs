//! What goes in and what comes out when many containers are placed at once.

use crate::types::{DeviceSnapshot, Request};
use fogbank_model::{DeviceId, Resources};
use std::fmt;

/// The devices that many containers share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fog {
    /// All devices, each once; what is free on them counts as such with all of these containers' own instances gone. Whether they host something is said
    /// by [`Container::hosts`], and not read here.
    pub devices: Vec<DeviceSnapshot>,
}

/// One container of many.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What is asked for.
    pub request: Request,
    /// Where it stands now.
    pub hosts: Vec<DeviceId>,
    /// Affinity: containers with the same number stand on the same devices.
    pub together: Option<u32>,
    /// Anti-affinity: containers with the same number share no device. Those that stand together count as one, and keep the number of the first.
    pub apart: Option<u32>,
}

/// Where one of them goes: what each chosen device gives, by device id. `None` where no place was found for it.
pub type Placement = Option<Vec<(DeviceId, Resources)>>;

/// Where many containers go.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    /// In the order of the containers.
    pub placements: Vec<Placement>,
    /// What those that were placed cost: devices, further copies at one owner, and fragmentation.
    pub cost: f64,
    /// The part of it that is fragmentation.
    pub fragmentation: f64,
    /// What placing these costs at least.
    pub lower_bound: f64,
    /// (cost − bound) / bound.
    pub gap: f64,
}

impl BatchPlan {
    /// How many were placed.
    pub fn placed(&self) -> usize {
        self.placements.iter().filter(|p| p.is_some()).count()
    }
}

impl fmt::Display for BatchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} placed at cost {:.2}, ", self.placed(), self.placements.len(), self.cost)?;
        write!(f, "at most {:.1} % above the least, which is {:.2} or more", self.gap * 100.0, self.lower_bound)
    }
}
