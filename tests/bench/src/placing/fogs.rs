//! Seeded fogs of phones and laptops.

use crate::figure::Figure;
use anyhow::{Result, bail};
use fogbank_model::{DeviceId, OwnerId, Resources};
use fogbank_placement::{BatteryShare, DeviceSnapshot, Outcome, Policy, Request, Snapshot, plan};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::time::Instant;

/// Fogs of each size; the worst of them is shown.
const SEEDS: u64 = 5;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for devices in [100, 1_000, 10_000, 100_000] {
        let (mut slowest_ms, mut widest) = (0.0f64, 0.0f64);
        for seed in 0..SEEDS {
            let fog = fog(devices, seed);
            let began = Instant::now();
            let Outcome::Placed(plan) = plan(&fog, &Policy::default()) else { bail!("the request of seed {seed} does not fit") };
            slowest_ms = slowest_ms.max(began.elapsed().as_secs_f64() * 1e3);
            widest = widest.max(plan.gap);
        }
        figures.push(Figure::plain(&format!("placement.n{devices}_ms"), slowest_ms, "ms"));
        figures.push(Figure::plain(&format!("placement.n{devices}_gap"), widest * 100.0, "%"));
    }
    Ok(figures)
}

/// A fog in which two in five devices are phones, and a request worth eight of its devices.
pub(super) fn fog(devices: usize, seed: u64) -> Snapshot {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut total = Resources::ZERO;
    let devices: Vec<DeviceSnapshot> = (0..devices)
        .map(|n| {
            let phone = rng.random_bool(0.4);
            let (cores, memory, storage) = if phone { (2, 1_000, 2_000) } else { (6, 4_000, 10_000) };
            let mut share = |most: u64| rng.random_range(most / 4..=most);
            let free = Resources {
                cpu_millicores: share(cores * 1_000),
                memory_mb: share(memory),
                storage_mb: share(storage),
                bandwidth_kbps: share(8_000),
            };
            total = total.plus(&free);
            let battery = rng.random_bool(if phone { 1.0 } else { 0.5 });
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
            DeviceSnapshot {
                id: DeviceId(id),
                owner: OwnerId(id),
                free,
                capacity: free,
                availability: rng.random_range(0.5..0.99),
                battery: battery.then(|| BatteryShare { share: rng.random_range(0.2..1.0), charging: rng.random_bool(0.7) }),
                reliability: rng.random_range(0.5..1.0),
                surcharge: 0.0,
                hosts: false,
                suitable: true,
            }
        })
        .collect();
    let worth = |of: u64| of * 8 / devices.len() as u64;
    let requirements = Resources {
        cpu_millicores: worth(total.cpu_millicores),
        memory_mb: worth(total.memory_mb),
        storage_mb: worth(total.storage_mb),
        bandwidth_kbps: worth(total.bandwidth_kbps),
    };
    let minimum = Resources { cpu_millicores: 10, memory_mb: 16, storage_mb: 5, bandwidth_kbps: 100 };
    Snapshot { devices, request: Request { requirements, minimum, instances: 2, availability_target: Some(0.999) } }
}
