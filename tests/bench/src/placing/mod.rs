//! Placement: how long a plan takes and how far it is from the best that is known, beside PuLP with CBC on the same instances, and from its own
//! lower bound on seeded fogs of phones and laptops.

mod batch;
mod fogs;
mod pulp;

use crate::{
    figure::{Figure, median},
    run::{full, say, wanted},
};
use anyhow::{Result, bail};
use fogbank_model::{DeviceId, OwnerId, Resources};
use fogbank_placement::{DeviceSnapshot, Outcome, Plan, Policy, Request, Snapshot, plan};
use pulp::{Instance, Pulp};
use std::time::Instant;

/// In mean devices, what a container is worth.
const WORTH: [usize; 3] = [4, 32, 256];
/// Instances of each size and worth; of those with ten thousand devices two, unless the long run is asked for.
const SEEDS: usize = 5;
/// Looks for a better plan than either found, when the best that is known is asked for: some seconds an instance.
const THOROUGH: u64 = 60_000_000;
/// A plan is made so often, and the middle time counts.
const TIMES: usize = 5;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let any = |names: &[&str]| names.iter().any(|name| wanted(&format!("placement.{name}")));
    let mut figures = if any(&["n"]) { fogs::figures()? } else { Vec::new() };
    if any(&["batch_s", "batch_gap_pct"]) {
        figures.extend(batch::figures());
    }
    let [small, medium, large] =
        [["speedup_1k", "gap_1k_pct"], ["speedup_10k", "gap_10k_pct"], ["ms_100k", "gap_100k_pct"]].map(|n| any(&n));
    if !(small || medium || large) {
        return Ok(figures);
    }
    let Some(pulp) = Pulp::find()? else {
        say("no ../shared/bench beside the repository, or no Python with PuLP: placement is not measured beside it");
        return Ok(figures);
    };
    if small {
        figures.extend(beside_pulp(&pulp, 1_000, SEEDS, "1k")?);
    }
    if medium {
        figures.extend(beside_pulp(&pulp, 10_000, if full() { SEEDS } else { 2 }, "10k")?);
    }
    if large {
        figures.extend(on_many(&pulp)?);
    }
    Ok(figures)
}

/// The instances with so many devices.
fn names(devices: usize, seeds: usize) -> Vec<String> {
    let worth = WORTH.into_iter().filter(|worth| worth * 4 <= devices);
    worth.flat_map(|worth| (0..seeds).map(move |seed| format!("n{devices}_m{worth}_s{seed}.txt"))).collect()
}

fn beside_pulp(pulp: &Pulp, devices: usize, seeds: usize, label: &str) -> Result<Vec<Figure>> {
    let names = names(devices, seeds);
    say(format!("PuLP plans {} containers on {devices} devices, half a minute each at most", names.len()));
    let theirs = pulp.solve(&names)?;
    let (mut ours_s, mut theirs_s, mut least, mut gaps) = (0.0, 0.0, f64::INFINITY, Vec::new());
    for name in &names {
        let Some(their) = theirs.get(name) else { bail!("PuLP said nothing of {name}") };
        let instance = pulp.instance(name)?;
        // With making the snapshot, as PuLP's time is with making its model.
        let (took_s, ours) = timed(|| shipped(&snapshot_of(&instance)))?;
        let best = their.cost.min(thorough(&snapshot_of(&instance))?.cost).min(ours.cost);
        gaps.push((ours.cost / best - 1.0) * 100.0);
        (ours_s, theirs_s, least) = (ours_s + took_s, theirs_s + their.took_s, f64::min(least, their.took_s / took_s));
    }
    let peer = format!("PuLP and CBC, {theirs_s:.1} s for {} containers; {least:.0} times at least", names.len());
    Ok(vec![
        Figure::times_at_least(&format!("placement.speedup_{label}"), &peer, theirs_s, ours_s, 100.0),
        worst_gap(&format!("placement.gap_{label}_pct"), &gaps, 0.5),
    ])
}

/// One container on 100,000 devices.
fn on_many(pulp: &Pulp) -> Result<Vec<Figure>> {
    let (mut slowest_ms, mut gaps, mut proven) = (0.0_f64, Vec::new(), 0.0_f64);
    for name in names(100_000, if full() { 3 } else { 1 }) {
        let instance = pulp.instance(&name)?;
        let snapshot = snapshot_of(&instance);
        let (took_s, ours) = timed(|| shipped(&snapshot))?;
        let best = thorough(&snapshot)?.cost.min(ours.cost);
        slowest_ms = slowest_ms.max(took_s * 1e3);
        gaps.push((ours.cost / best - 1.0) * 100.0);
        proven = proven.max(ours.gap * 100.0);
    }
    let gap = worst_gap("placement.gap_100k_pct", &gaps, 1.0);
    let note = format!("{}; above the proven bound {proven:.2} at most", gap.peer.clone().unwrap_or_default());
    Ok(vec![Figure::at_most("placement.ms_100k", slowest_ms, "ms", 100.0), gap.with_note(&note)])
}

fn worst_gap(name: &str, gaps: &[f64], goal: f64) -> Figure {
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    let mean = gaps.iter().sum::<f64>() / gaps.len().max(1) as f64;
    Figure::at_most(name, worst, "%", goal)
        .with_note(&format!("the worst of {}, above the best known; {mean:.2} on average", gaps.len()))
}

/// What was made last of some, and the middle of the times that it took, seconds.
fn timed<T>(mut make: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..TIMES {
        let began = Instant::now();
        last = Some(make()?);
        times.push(began.elapsed().as_secs_f64());
    }
    let Some(last) = last else { bail!("nothing was planned") };
    Ok((median(times), last))
}

/// The plan as it ships.
fn shipped(snapshot: &Snapshot) -> Result<Plan> {
    planned(snapshot, Policy::default().effort)
}

fn thorough(snapshot: &Snapshot) -> Result<Plan> {
    planned(snapshot, THOROUGH)
}

/// A plan, with the devices' own costs.
fn planned(snapshot: &Snapshot, effort: u64) -> Result<Plan> {
    let policy =
        Policy { battery: 0.0, reliability: 0.0, not_charging: 0.0, moving: 0.0, same_owner: 0.0, effort, ..Policy::default() };
    match plan(snapshot, &policy) {
        Outcome::Placed(plan) => Ok(plan),
        Outcome::Infeasible(why) => bail!("{why}"),
    }
}

/// The fog of an instance, and what it asks for.
fn snapshot_of(instance: &Instance) -> Snapshot {
    let of = |[cpu_millicores, memory_mb, storage_mb, bandwidth_kbps]: [u64; 4]| Resources {
        cpu_millicores,
        memory_mb,
        storage_mb,
        bandwidth_kbps,
    };
    let devices = instance.devices.iter().zip(1_u64..).map(|((cost, free), number)| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        DeviceSnapshot {
            id: DeviceId(id),
            owner: OwnerId(id),
            free: of(*free),
            capacity: of(*free),
            availability: 0.9,
            battery: None,
            reliability: 1.0,
            surcharge: *cost as f64,
            hosts: false,
            suitable: true,
        }
    });
    let request = Request { requirements: of(instance.asked), minimum: Resources::ZERO, instances: 1, availability_target: None };
    Snapshot { devices: devices.collect(), request }
}
