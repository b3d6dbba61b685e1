//! What the rule of scaling needs of the world, and what is told of it: devices are asked to measure, minutes are kept, publishers are shown both.

use super::{Scaler, bounds};
use crate::{
    act::Actor,
    api::failed,
    start::Shared,
    telling::send,
    world::{SeenContainer, World},
};
use fogbank_model::{DurationMs, UnixMs};
use fogbank_placement::scaling::{Part, Sample};
use fogbank_store::{KeptLoad, LoadStep, StoreError};
use fogbank_wire::{DeviceRequest, LoadNow, LoadRow, LoadSpan, LoadView, Refusal};

/// A sample that is older is not what is now: two checks, and one that was missed.
const STALE: DurationMs = DurationMs::from_s(30);

impl Actor {
    /// Checks how much containers are asked, when that is due, and puts into the world how many copies of each are wanted.
    pub(crate) async fn scale(&self, world: &mut World) -> Result<(), StoreError> {
        let shared = &self.shared;
        let (orders, changed, rows) = {
            let mut scaler = shared.scaler();
            let rows = scaler.minute(world.now);
            let (orders, changed) = scaler.check(world);
            for container in &mut world.containers {
                container.scaled = scaler.of(container);
            }
            (orders, changed, rows)
        };
        for order in orders {
            if let Some(member) = shared.registry.member(order.device) {
                send(member, DeviceRequest::Measure { instance: order.instance, on: order.on });
            }
        }
        if changed {
            shared.wake.notify_one();
        }
        if rows.is_empty() { Ok(()) } else { shared.store.keep_loads(&rows, world.now).await }
    }
}

/// How much a container's copies are asked, now and before.
pub(crate) async fn told(shared: &Shared, seen: &SeenContainer, span: LoadSpan, now: UnixMs) -> Result<LoadView, Refusal> {
    let step = match span {
        LoadSpan::Day => LoadStep::Minute,
        LoadSpan::Month => LoadStep::Quarter,
    };
    let rows = shared.store.loads(seen.container.id, step, now).await.map_err(failed)?;
    let few = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    let (least, most) = bounds(seen);
    let (sample, why, changes, may) = shared.scaler().present(seen, now);
    Ok(LoadView {
        ready: few(seen.ready().count()),
        wanted: few(seen.wanted()),
        least: few(least),
        most: few(most),
        why,
        now: sample.as_ref().map(shown),
        changes: (few(changes), few(may)),
        rows: rows.iter().map(row).collect(),
    })
}

impl Scaler {
    /// The last sample, if it is of now; why as many copies are wanted, for people; how often that changed within the last hour, and how often it may.
    fn present(&self, seen: &SeenContainer, now: UnixMs) -> (Option<Sample>, String, usize, usize) {
        let may = self.policy.changes_an_hour;
        if !seen.container.spec.scales() {
            return (None, "the number of copies does not follow load: nothing is measured".to_owned(), 0, may);
        }
        let Some(track) = self.tracks.get(&seen.container.id) else {
            return (None, "it does not serve".to_owned(), 0, may);
        };
        let fresh = track.samples.back().filter(|s| now.since(s.at).0.abs() <= STALE.0).copied();
        (fresh, track.why.to_string(), track.changes.len(), may)
    }

    /// Load, number of copies and why, in one line for people; `None` of what does not scale.
    pub(crate) fn words(&self, seen: &SeenContainer, now: UnixMs) -> Option<String> {
        let spec = &seen.container.spec;
        let (sample, why, _, _) = spec.scales().then(|| self.present(seen, now))?;
        let load = match sample.and_then(|s| Some((s.load()?, s.traffic))) {
            Some(((load, part), traffic)) => {
                format!("load {:.0} % ({}), {traffic:.0} requests a second", load * 100.0, part.name())
            }
            None => "load not measured".to_owned(),
        };
        Some(format!("{load}; {} copies wanted, of {} to {}: {why}", seen.wanted(), spec.instances, spec.most()))
    }
}

fn shown(sample: &Sample) -> LoadNow {
    let part = |part: Part| sample.parts[part as usize];
    LoadNow {
        at: sample.at,
        network: part(Part::Network).unwrap_or(0.0),
        concurrency: part(Part::Concurrency).unwrap_or(0.0),
        latency: part(Part::Latency),
        traffic: sample.traffic,
    }
}

fn row(kept: &KeptLoad) -> LoadRow {
    let share = |thousandths: u16| f32::from(thousandths) / 1e3;
    LoadRow {
        at: kept.at,
        peak: share(kept.peak),
        network: share(kept.network),
        concurrency: share(kept.concurrency),
        latency: share(kept.latency),
        traffic: (f64::from(kept.traffic) / 1e2) as f32,
        ready: kept.ready,
        wanted: kept.wanted,
    }
}
