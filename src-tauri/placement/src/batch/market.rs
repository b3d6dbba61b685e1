//! The devices that many containers share: what is left of each, and what using it up costs others.
//!
//! A price of each device's resources makes containers independent of each other: each pays for what it takes, and what it pays comes back once, as
//! `Σ price·free`. For any prices that is a lower bound (Lagrange). These prices come from four: what a unit of each resource is worth in the whole fog.
//! A device whose resources are worth more than it costs has a rent, and its resources are dear in proportion.

use crate::{
    cost::{Policy, cost_of_device},
    problem::{MOST_AVAILABLE, log_odds},
    types::DeviceSnapshot,
};
use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use std::collections::HashMap;

/// A device in the market.
#[derive(Debug, Clone)]
pub(crate) struct Stall {
    pub(crate) id: DeviceId,
    pub(crate) owner: OwnerId,
    pub(crate) free: Resources,
    pub(crate) capacity: Resources,
    /// What one who does not stand there yet pays for a copy.
    pub(crate) cost: f64,
    pub(crate) log_availability: f64,
}

/// All devices that may be chosen, by id.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    pub(crate) stalls: Vec<Stall>,
    pub(crate) places: HashMap<DeviceId, usize>,
    /// What is not given to anybody yet.
    pub(crate) left: Vec<Resources>,
}

impl Market {
    pub(crate) fn new(devices: &[DeviceSnapshot], policy: &Policy) -> Self {
        let stall = |d: &DeviceSnapshot| Stall {
            id: d.id,
            owner: d.owner,
            free: d.free.min(&Resources::LIMIT),
            capacity: d.capacity.min(&Resources::LIMIT),
            cost: cost_of_device(&DeviceSnapshot { hosts: false, ..d.clone() }, policy),
            log_availability: log_odds(d.availability, MOST_AVAILABLE),
        };
        let mut stalls: Vec<Stall> = devices.iter().filter(|d| d.suitable).map(stall).collect();
        stalls.sort_by_key(|s| s.id);
        stalls.dedup_by_key(|s| s.id);
        let places = stalls.iter().enumerate().map(|(i, s)| (s.id, i)).collect();
        let left = stalls.iter().map(|s| s.free).collect();
        Self { stalls, places, left }
    }

    /// What a unit of each device's resources costs, when a unit of each resource is worth so much, and a copy on any device so much.
    pub(crate) fn prices(&self, worth: &[f64; 4], copy: f64) -> Vec<[f64; 4]> {
        let price = |stall: &Stall| {
            let all = value(worth, &stall.free);
            let rent = (all - (stall.cost - copy).max(0.0)).max(0.0);
            if rent > 0.0 { worth.map(|w| w * rent / all) } else { [0.0; 4] }
        };
        self.stalls.iter().map(price).collect()
    }
}

/// `Σ_k (left / capacity)²`.
pub(crate) fn wasted(left: &Resources, capacity: &Resources) -> f64 {
    let share = |d: Dimension| left.get(d) as f64 / capacity.get(d).max(1) as f64;
    Dimension::ALL.map(|d| share(d).min(1.0).powi(2)).into_iter().sum()
}

/// `Σ_k price_k · amount_k`.
pub(crate) fn value(price: &[f64; 4], amount: &Resources) -> f64 {
    price.iter().zip(Dimension::ALL).map(|(price, d)| price * amount.get(d) as f64).sum()
}
