//! Random fogs and requests, and what a choice costs by the words of the design.

use fogbank_model::{DeviceId, OwnerId, Resources};
use fogbank_placement::{BatteryShare, DeviceSnapshot, Policy, Request, Snapshot};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use std::collections::HashSet;

fn resources(most: u64) -> impl Strategy<Value = Resources> {
    (1..most, 1..most, 1..most, 1..most).prop_map(|(cpu_millicores, memory_mb, storage_mb, bandwidth_kbps)| Resources {
        cpu_millicores,
        memory_mb,
        storage_mb,
        bandwidth_kbps,
    })
}

fn device(index: u8) -> impl Strategy<Value = DeviceSnapshot> {
    let battery = prop::option::of((0.0f64..1.0, any::<bool>()).prop_map(|(share, charging)| BatteryShare { share, charging }));
    (resources(1_000), 0.0f64..0.99, battery, 0.01f64..1.0, any::<bool>(), prop::bool::weighted(0.9)).prop_map(
        move |(free, availability, battery, reliability, hosts, suitable)| DeviceSnapshot {
            id: DeviceId([index; 32]),
            owner: OwnerId([index / 3; 32]),
            free,
            capacity: Resources::LIMIT,
            availability,
            battery,
            reliability,
            surcharge: 0.0,
            hosts,
            suitable,
        },
    )
}

/// A fog of up to so many devices, three to an owner, and a request that fits about half the time.
pub(crate) fn snapshot(most: u8) -> impl Strategy<Value = Snapshot> {
    let devices = (1..=most).prop_flat_map(|n| (0..n).map(device).collect::<Vec<_>>());
    let request = (resources(2_500), resources(150), 0u8..5, prop::option::of(0.1f64..0.999)).prop_map(
        |(requirements, minimum, instances, availability_target)| Request {
            requirements,
            minimum,
            instances,
            availability_target,
        },
    );
    (devices, request).prop_map(|(devices, request)| Snapshot { devices, request })
}

/// A fog of so many devices, each of another owner and worth another amount, and a request worth some fifteen of them.
pub(crate) fn large(seed: u64, devices: u16) -> Snapshot {
    let mut rng = StdRng::seed_from_u64(seed);
    let device = |n: u16| {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        DeviceSnapshot {
            id: DeviceId(id),
            owner: OwnerId(id),
            free: Resources::from_fn(|_| rng.random_range(100..1_000)),
            capacity: Resources::LIMIT,
            availability: 0.9,
            battery: None,
            reliability: rng.random_range(0.1..1.0),
            surcharge: 0.0,
            hosts: false,
            suitable: true,
        }
    };
    let devices = (0..devices).map(device).collect();
    let (requirements, minimum) = (Resources::from_fn(|_| 9_000), Resources::from_fn(|_| 1));
    Snapshot { devices, request: Request { requirements, minimum, instances: 1, availability_target: None } }
}

/// With and without a cap on changes, by either solver.
pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    (prop::option::of(0usize..10), prop_oneof![Just(0), Just(24)]).prop_map(|(churn_cap, exact_up_to)| Policy {
        churn_cap,
        exact_up_to,
        ..Policy::default()
    })
}

/// What a choice costs under the default weights.
pub(crate) fn cost_of(chosen: &[&DeviceSnapshot]) -> f64 {
    let one = |d: &DeviceSnapshot| {
        let charge = d.battery.map_or(1.0, |b| b.share.max(0.05));
        let penalty = if d.battery.is_some_and(|b| !b.charging) { 10.0 } else { 0.0 };
        1.0 / charge + 1.0 / d.reliability.max(0.05) + penalty + if d.hosts { 0.0 } else { 1.0 }
    };
    let owners: HashSet<OwnerId> = chosen.iter().map(|d| d.owner).collect();
    chosen.iter().map(|d| one(d)).sum::<f64>() + (chosen.len() - owners.len()) as f64
}
