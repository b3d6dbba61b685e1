//! Looking at the fog: who is connected and what is kept, as plain values for [`decide`](crate::decide::decide).

use crate::{
    availability::runs_low,
    registry::PROBE,
    roles::from_bits,
    start::{Shared, now},
    world::{SeenContainer, SeenDevice, SeenInstance, World},
};
use fogbank_model::DurationMs;
use fogbank_store::StoreError;
use std::time::{Duration, Instant};

/// After a start members get this long to come back before they count as lost: their longest pause between attempts, with jitter.
const COME_BACK: Duration = Duration::from_secs(11);
/// What ended is shown for an hour.
const SHOWN: DurationMs = DurationMs::from_s(3600);

/// Everything at this moment.
pub(crate) async fn look(shared: &Shared) -> Result<World, StoreError> {
    let clock = Instant::now();
    let members = shared.registry.snapshot(clock);
    let devices = shared.store.devices().await?;
    let containers = shared.store.containers().await?;
    let instances = shared.store.instances(now().plus(DurationMs(-SHOWN.0))).await?;
    let devices = devices.into_iter().map(|kept| {
        let here = members.here.get(&kept.id);
        let gone = members.gone.get(&kept.id);
        let lost = here.is_none() && gone.is_none_or(|g| clock.duration_since(g.since) >= PROBE);
        let report = here.or(gone.map(|g| &g.last)).and_then(|m| m.report.as_ref());
        let fresh = here.and_then(|m| m.report.as_ref().filter(|(_, at)| *at >= m.connected));
        let draining = report.and_then(|(r, _)| {
            let battery = runs_low(r.power).then(|| "its battery runs low".to_owned());
            r.drain.clone().or(battery)
        });
        SeenDevice {
            id: kept.id,
            owner: kept.owner,
            name: kept.name,
            granted: from_bits(kept.granted),
            connected: here.is_some(),
            lost,
            open: here.is_some_and(|m| m.roles.agent) && report.is_some_and(|(r, _)| r.offer.open),
            draining,
            lent: kept.lent,
            held: kept.held,
            power: report.map(|(r, _)| r.power),
            why: report.map_or_else(|| "has not reported".to_owned(), |(r, _)| r.offer.why.clone()),
            bundles: report.map(|(r, _)| r.bundles.clone()).unwrap_or_default(),
            listed: fresh.map(|(r, _)| r.instances.iter().map(|i| i.instance).collect()),
        }
    });
    let containers = containers.into_iter().map(|kept| SeenContainer {
        publisher: kept.publisher,
        deleting: kept.deleting,
        rests: false,
        instances: instances
            .iter()
            .filter(|i| i.instance.container == kept.container.id)
            .map(|i| SeenInstance { instance: i.instance.clone(), expires: i.expires, introduction_key: i.introduction_key })
            .collect(),
        container: kept.container,
    });
    Ok(World {
        now: now(),
        devices: devices.collect(),
        containers: containers.collect(),
        settling: shared.started.elapsed() < COME_BACK,
    })
}
