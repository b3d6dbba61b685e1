//! Ten thousand containers at once on a hundred thousand devices, all rows on: a least for each copy, two to four copies, availability, a cap on changes for
//! the fifth that stand somewhere already, fragmentation, and some that stand together or apart.

use super::fogs::fog;
use crate::{figure::Figure, run::say};
use fogbank_model::Resources;
use fogbank_placement::{Container, Fog, Policy, Request, plan_all};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::time::Instant;

const DEVICES: usize = 100_000;
const CONTAINERS: u32 = 10_000;
/// What a container asks for in each dimension, in parts of what a device has free on average.
const ASKS: std::ops::Range<f64> = 0.1..1.0;
const TARGETS: [f64; 3] = [0.9, 0.99, 0.999];
/// Hosts given up and added at most, for each container.
const CHANGES: usize = 8;
/// Of so many containers the first two stand together, and the last two apart.
const NEIGHBOURS: u32 = 50;

pub(crate) fn figures() -> Vec<Figure> {
    say(format!("{CONTAINERS} containers are placed on {DEVICES} devices"));
    let snapshot = fog(DEVICES, 1);
    let mut rng = StdRng::seed_from_u64(1);
    let total = snapshot.devices.iter().fold(Resources::ZERO, |sum, d| sum.plus(&d.free));
    let mut containers = Vec::new();
    for (number, target) in (0..CONTAINERS).zip(TARGETS.into_iter().cycle()) {
        let mut ask = |d| (total.get(d) as f64 / DEVICES as f64 * rng.random_range(ASKS)) as u64;
        let requirements = Resources::from_fn(&mut ask);
        let request =
            Request { requirements, instances: rng.random_range(2..=4), availability_target: Some(target), ..snapshot.request };
        let known = if number % 5 == 0 { 3 } else { 0 };
        let hosts = (0..known).map(|_| snapshot.devices[rng.random_range(0..DEVICES)].id).collect();
        let (block, place) = (number / NEIGHBOURS, number % NEIGHBOURS);
        let (together, apart) = ((place < 2).then_some(block), (place >= NEIGHBOURS - 2).then_some(block));
        containers.push(Container { request, hosts, together, apart });
    }
    let fog = Fog { devices: snapshot.devices };
    let policy = Policy { churn_cap: Some(CHANGES), ..Policy::default() };
    let began = Instant::now();
    let plan = plan_all(&fog, &containers, &policy);
    let took_s = began.elapsed().as_secs_f64();
    let note = format!("{} of {CONTAINERS} placed", plan.placed());
    let gap = if plan.placed() == containers.len() { plan.gap * 100.0 } else { f64::NAN };
    vec![
        Figure::at_most("placement.batch_s", took_s, "s", 60.0).with_note(&note),
        Figure::at_most("placement.batch_gap_pct", gap, "%", 2.0).with_note("above its lower bound, fragmentation included"),
    ]
}
