//! What goes in and what comes out.

use fogbank_model::{DeviceId, Dimension, Infeasible, OwnerId, Resources};
use std::fmt;

/// A battery as the planner sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatteryShare {
    /// Charge in [0,1].
    pub share: f64,
    /// Whether it charges.
    pub charging: bool,
}

/// A device as the planner sees it. Its numbers may come from afar: what is no number counts as the worst.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSnapshot {
    /// Which.
    pub id: DeviceId,
    /// Whose.
    pub owner: OwnerId,
    /// What it has free, with what this container's own instance on it holds counted as free.
    pub free: Resources,
    /// What it lends in all.
    pub capacity: Resources,
    /// Probability in [0,1] that it stays.
    pub availability: f64,
    /// Its battery, if it has one.
    pub battery: Option<BatteryShare>,
    /// Reliability in (0,1].
    pub reliability: f64,
    /// What else makes it dear, beyond battery and reliability: heat, a metered line. In units of cost.
    pub surcharge: f64,
    /// Whether it hosts this container now.
    pub hosts: bool,
    /// Whether it may be chosen: it lends, is connected, and is not leaving.
    pub suitable: bool,
}

impl DeviceSnapshot {
    /// Whether one copy fits.
    pub fn can_host(&self, request: &Request) -> bool {
        self.suitable && self.free.covers(&request.minimum)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// R: what all copies together are given at least.
    pub requirements: Resources,
    /// m: what one copy needs at least.
    pub minimum: Resources,
    /// Copies at least; 0 counts as 1.
    pub instances: u8,
    /// Availability in [0,1) at least, when one is asked for.
    pub availability_target: Option<f64>,
}

/// The fog as it is, for one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// All devices, each once, with the present hosts even where they can't be chosen any more.
    pub devices: Vec<DeviceSnapshot>,
    /// What is asked for.
    pub request: Request,
}

/// What the fog could take now.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// Free in all, on devices that may be chosen.
    pub free: Resources,
    /// Lent in all, by the same.
    pub lent: Resources,
    /// Devices that may be chosen.
    pub devices: u32,
    /// Of these, how many could take one copy of what was asked.
    pub suitable: u32,
    /// `None` when what was asked fits.
    pub infeasible: Option<Infeasible>,
}

/// Which solver found a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solver {
    /// The optimum: nothing is cheaper.
    Exact,
    /// Search around the linear relaxation.
    Dual,
    /// First fit decreasing, when the others found nothing.
    FirstFit,
}

/// What keeps a plan from being cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// This resource: the chosen devices have less of it to spare than of any other.
    Resource(Dimension),
    /// The number of copies.
    Copies,
    /// The availability target.
    Availability,
    /// The cap on changes: without it there is a cheaper plan.
    Churn,
}

/// Where instances go.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What each chosen device gives (y_d), by device id.
    pub assignments: Vec<(DeviceId, Resources)>,
    /// What it costs.
    pub cost: f64,
    /// What any plan costs at least.
    pub lower_bound: f64,
    /// (cost − bound) / bound.
    pub gap: f64,
    /// What keeps it from being cheaper.
    pub binding: Binding,
    /// How it was found.
    pub solver: Solver,
}

/// A plan, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It fits.
    Placed(Plan),
    /// It does not.
    Infeasible(Infeasible),
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(dimension) => write!(f, "{dimension}"),
            Self::Copies => f.write_str("the number of copies"),
            Self::Availability => f.write_str("the availability target"),
            Self::Churn => f.write_str("the cap on changes"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, cost) = (self.assignments.len(), self.cost);
        let devices = if count == 1 { "device" } else { "devices" };
        write!(f, "on {count} {devices} at cost {cost:.2} (")?;
        match self.solver {
            Solver::Exact => f.write_str("the optimum")?,
            Solver::FirstFit => f.write_str("first fit, may be far above the optimum")?,
            Solver::Dual => {
                write!(f, "at most {:.1} % above the optimum, which is at least {:.2}", self.gap * 100.0, self.lower_bound)?;
            }
        }
        write!(f, "); limited by {}", self.binding)
    }
}
