//! What it costs to use a device. The weights live here and nowhere else.

use crate::types::DeviceSnapshot;

/// Weights and limits of placement. Costs have no unit: a trusted device on mains that hosts already costs 2.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Times 1 / charge of the battery: a device at 20 % costs five times one that is full. Mains counts as full.
    pub battery: f64,
    /// Times 1 / reliability.
    pub reliability: f64,
    /// Added for a device on a battery that does not charge: as much as the difference between a full battery and one at 9 %.
    pub not_charging: f64,
    /// Added for a device that does not host the container yet: moving costs a transfer and a start, about as much as half the charge.
    pub moving: f64,
    /// Added for each copy at an owner who has one already: copies at one person's home share its power and its router. A preference, no
    /// rule: a fog of one owner still places. As much as one move, so that spreading alone moves nothing that runs.
    pub same_owner: f64,
    /// Times `Σ ((free − given) / capacity)²` over the four resources of each device in use, when many containers are placed at once: a device that is
    /// used and left all but empty costs as much as two tenths of a move. A preference between devices that cost about the same.
    pub fragmentation: f64,
    /// |A′ Δ A| ≤ k: hosts given up and hosts added, at most, in one plan. A host that was lost or is leaving counts as one change and its
    /// replacement as another. `None` for no cap.
    pub churn_cap: Option<usize>,
    /// Up to so many devices that could take a copy are solved by branch and bound where the search has not proved its plan the optimum.
    pub exact_up_to: usize,
    /// How often the search may look at a device, in all its steps: preparing counts 30 for each device, and an eighth is left for the search at least.
    /// A million takes some twenty milliseconds, so that one plan takes about a tenth of a second at most, however many devices there are.
    pub effort: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            battery: 1.0,
            reliability: 1.0,
            not_charging: 10.0,
            moving: 1.0,
            same_owner: 1.0,
            fragmentation: 0.05,
            churn_cap: None,
            exact_up_to: 24,
            effort: 4_000_000,
        }
    }
}

/// Charge and reliability count as at least this, so that a device costs at most twenty good ones by either. Below it a device can't be
/// told from a broken one, and the cost would only blow up the solver's numbers.
const LEAST_SHARE: f64 = 0.05;

/// A surcharge counts as at most this, far above all other costs together.
const MOST_SURCHARGE: f64 = 1e6;

/// cost(d) = battery / charge + reliability / reliability(d) + not_charging if so + moving if new + surcharge(d).
pub(crate) fn cost_of_device(device: &DeviceSnapshot, policy: &Policy) -> f64 {
    // What is no number gets the worst.
    let tame = |share: f64| if share.is_finite() { share.clamp(LEAST_SHARE, 1.0) } else { LEAST_SHARE };
    let (charge, penalty) = match device.battery {
        None => (1.0, 0.0),
        Some(battery) => (tame(battery.share), if battery.charging { 0.0 } else { policy.not_charging }),
    };
    let moving = if device.hosts { 0.0 } else { policy.moving };
    let surcharge = if device.surcharge.is_finite() { device.surcharge.clamp(0.0, MOST_SURCHARGE) } else { MOST_SURCHARGE };
    policy.battery / charge + policy.reliability / tame(device.reliability) + penalty + moving + surcharge
}
