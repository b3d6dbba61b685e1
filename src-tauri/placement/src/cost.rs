//! What it costs to use a device. The weights live here and nowhere else.

use crate::types::DeviceSnapshot;

/// Weights and limits of placement.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Times 1 / charge of the battery: a device at 20 % costs five times one that is full. Mains counts as full.
    pub battery: f64,
    /// Times 1 / reliability.
    pub reliability: f64,
    /// Added for a device on a battery that does not charge: as much as a device at 10 % charge.
    pub not_charging: f64,
    /// Added for a device that does not host the container yet: moving costs a transfer and a start, about as much as a device with half
    /// the charge.
    pub moving: f64,
    /// Hosts given up and added at most in one plan; `None` for no cap.
    pub churn_cap: Option<usize>,
    /// Up to so many candidates are solved exactly. At 24 the slowest of 2,000 random cases took microlp a few hundredths of a second.
    pub exact_up_to: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { battery: 1.0, reliability: 1.0, not_charging: 10.0, moving: 1.0, churn_cap: None, exact_up_to: 24 }
    }
}

/// Charge and reliability count as at least this, so that no device costs more than twenty good ones by one of them.
const LEAST_SHARE: f64 = 0.05;

pub(crate) fn cost_of_device(device: &DeviceSnapshot, policy: &Policy) -> f64 {
    let tame = |share: f64| if share.is_finite() { share.clamp(LEAST_SHARE, 1.0) } else { LEAST_SHARE };
    let (charge, penalty) = match device.battery {
        None => (1.0, 0.0),
        Some(battery) => (tame(battery.share), if battery.charging { 0.0 } else { policy.not_charging }),
    };
    let moving = if device.hosts { 0.0 } else { policy.moving };
    policy.battery / charge + policy.reliability / tame(device.reliability) + penalty + moving
}
