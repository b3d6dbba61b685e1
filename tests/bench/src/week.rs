//! A week of a thousand devices that come and go as a university's computers do, in virtual time: what an address is like with one, two and three
//! copies. Each departure is one without warning; a copy is planned anew by `plan` and serves again after 20 s where there is room.

use crate::figure::Figure;
use anyhow::Result;
use fogbank_model::{DeviceId, DurationMs, OwnerId, Resources, UnixMs};
use fogbank_placement::{DeviceSnapshot, Policy, Request};
use fogbank_rehearsal::{Churn, Device, Now, Rehearsal, rehearse};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const DEVICES: u16 = 1_000;
/// Of the Weibull distribution of times there, and mean hours there and away.
const UNIVERSITY: Churn = Churn::Usual { shape: 0.45, there_h: 13.7, away_h: 4.25 };
const REPAIR: DurationMs = DurationMs::from_s(20);
const WEEK: DurationMs = DurationMs::from_s(7 * 24 * 3600);
const RUNS: u32 = 16;
const SEED: u64 = 1;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let devices = (0..DEVICES).map(|n| device(n, &mut rng)).collect();
    let one = Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 10, bandwidth_kbps: 1_000 };
    let request = Request { requirements: one, minimum: one, instances: 0, availability_target: None };
    let begin = UnixMs(1_790_000_000_000);
    let week = Rehearsal { devices, request, policy: Policy::default(), repair: REPAIR, begin, span: WEEK, runs: RUNS };
    let mut figures = Vec::new();
    for seen in rehearse(&week, &[1, 2, 3], SEED) {
        let (name, percent) = (format!("sim.availability_{}_pct", seen.copies), seen.availability * 100.0);
        let figure =
            if seen.copies == 2 { Figure::at_least(&name, percent, "%", 99.9) } else { Figure::plain(&name, percent, "%") };
        let note = format!(
            "± {:.4}; {:.5} % of requests fail; {:.1} copies lost a day; longest outage {} s",
            seen.within * 100.0,
            seen.failed * 100.0,
            seen.losses_a_day,
            seen.longest_outage.0 / 1_000
        );
        figures.push(figure.with_note(&note));
    }
    Ok(figures)
}

fn device(n: u16, rng: &mut StdRng) -> Device {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    let free = Resources {
        cpu_millicores: rng.random_range(500..8_000),
        memory_mb: rng.random_range(500..16_000),
        storage_mb: rng.random_range(1_000..100_000),
        bandwidth_kbps: rng.random_range(5_000..100_000),
    };
    let snapshot = DeviceSnapshot {
        id: DeviceId(id),
        owner: OwnerId(id),
        free,
        capacity: free,
        availability: 0.9,
        battery: None,
        reliability: rng.random_range(0.5..1.0),
        surcharge: 0.0,
        hosts: false,
        suitable: true,
    };
    Device { snapshot, churn: UNIVERSITY, now: Now::Anywhere }
}
