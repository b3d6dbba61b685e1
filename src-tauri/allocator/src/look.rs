//! Looking at the fog: who is connected and what is kept, as plain values for [`decide`](crate::decide::decide).

use crate::{
    conduct::Standing,
    registry::PROBE,
    roles::from_bits,
    session::is_member,
    start::Shared,
    world::{SeenContainer, SeenDevice, SeenInstance, World},
};
use fogbank_betanet::{address::Period, renewal};
use fogbank_model::{ContainerId, DeviceId, DurationMs, Instance, InstanceState, UnixMs};
use fogbank_store::{KeptContainer, KeptRevision, StoreError};
use fogbank_wire::{Power, ServiceProof, decode};
use std::{
    collections::{HashMap, HashSet},
    sync::PoisonError,
    time::Duration,
};

/// What ended is shown for an hour.
const SHOWN: DurationMs = DurationMs::from_s(3600);

/// Below this charge a device that does not charge is drained.
const LOW_BATTERY: f32 = 0.2;

/// Whether a device should be left because its battery runs low.
fn runs_low(power: Power) -> bool {
    matches!(power, Power::Battery { share, charging: false } if share < LOW_BATTERY)
}

/// A device that is connected and leaves out so many heartbeats has stopped doing anything but keep its line: one may be late, and one lost with
/// the stream that carried it.
const MISSED: u32 = 3;
/// And a moment.
const LATE: Duration = Duration::from_secs(5);

/// Whether a member that is not connected is lost. One that has not come back since the allocator started is given time; one that was here and
/// went (`away` since) is not.
fn lost(away: Option<Duration>, settling: bool) -> bool {
    away.map_or(!settling, |away| away >= PROBE)
}

/// Until when containers' publishers have signed ahead. Proofs are long, and all are looked at four times a second: each is read once in a period.
#[derive(Default)]
pub(crate) struct SignedAhead(HashMap<ContainerId, (blake3::Hash, Period, UnixMs)>);

impl SignedAhead {
    fn of(&mut self, kept: &KeptContainer, now: UnixMs) -> UnixMs {
        let (hash, period) = (blake3::hash(&kept.proof), Period::at(now));
        let known = self.0.get(&kept.container.id).filter(|(of, at, _)| (*of, *at) == (hash, period));
        known.map(|(.., until)| *until).unwrap_or_else(|| {
            let until = decode::<ServiceProof>(&kept.proof).map_or(UnixMs(0), |proof| renewal::signed_until(&proof, now));
            self.0.insert(kept.container.id, (hash, period, until));
            until
        })
    }
}

/// Everything at this moment, but for what the actor remembers.
pub(crate) async fn look(shared: &Shared) -> Result<World, StoreError> {
    let devices = shared.store.devices().await?;
    let containers = shared.store.containers().await?;
    let mut revisions: HashMap<ContainerId, Vec<KeptRevision>> = HashMap::new();
    for revision in shared.store.revisions().await? {
        revisions.entry(revision.container).or_default().push(revision);
    }
    let instances = shared.store.instances(shared.now().plus(DurationMs(-SHOWN.0))).await?;
    // After the store: what a report brought into it is then in the report that is seen.
    let clock = shared.instant();
    let members = shared.registry.snapshot(clock);
    let now = shared.now();
    let mut live: HashMap<DeviceId, usize> = HashMap::new();
    for i in instances.iter().map(|i| &i.instance).filter(|i| i.state.is_live()) {
        *live.entry(i.device).or_default() += 1;
    }
    let silence = Duration::from_millis(shared.config.heartbeat.0.unsigned_abs()) * MISSED + LATE;
    let mut book = shared.book();
    for i in instances.iter().map(|i| &i.instance).filter(|i| i.state == InstanceState::Ready) {
        book.ready(i.container, i.device, i.since, now);
    }
    let mut standings = Vec::new();
    let devices: Vec<SeenDevice> = devices
        .into_iter()
        .map(|kept| {
            let here = members.here.get(&kept.id);
            let gone = members.gone.get(&kept.id);
            let silent = here.is_some_and(|m| m.roles.agent && clock.duration_since(m.heard()) >= silence);
            let away =
                here.is_none() && (!is_member(&kept) || lost(gone.map(|g| clock.duration_since(g.since)), shared.settling()));
            let lost = silent || away;
            let report = here.or(gone.map(|g| &g.last)).and_then(|m| m.report.as_ref());
            let fresh = here.and_then(|m| m.report.as_ref().filter(|(_, at)| *at >= m.connected));
            let draining = report.and_then(|(r, _)| {
                let battery = runs_low(r.power).then(|| "its battery runs low".to_owned());
                r.drain.clone().or(battery)
            });
            let open = !silent && here.is_some_and(|m| m.roles.agent) && report.is_some_and(|(r, _)| r.offer.open);
            let standing = match (here, report) {
                _ if lost => Standing::Vanished,
                (Some(_), Some(_)) if open && draining.is_none() => Standing::There,
                (Some(_), Some(_)) => Standing::Left,
                _ => Standing::Unknown,
            };
            let power = report.map(|(r, _)| r.power);
            standings.push((kept.id, standing));
            let expected = book.expected(kept.id, power, now);
            // Its copies move while it is still there. That it takes nothing new meanwhile is not its doing, so it is no departure.
            let draining = draining.or_else(|| expected.goes_soon.then(|| "it is expected to go soon".to_owned()));
            SeenDevice {
                expected,
                id: kept.id,
                owner: kept.owner,
                name: kept.name,
                granted: from_bits(kept.granted),
                connected: here.is_some(),
                lost,
                open,
                draining,
                mute: false,
                lent: kept.lent,
                full: live.get(&kept.id).is_some_and(|live| *live >= Instance::MAX_ON_DEVICE),
                held: kept.held,
                power,
                why: report.map_or_else(|| "has not reported".to_owned(), |(r, _)| r.offer.why.clone()),
                // Only who was let in to host is believed to hold what others look for.
                bundles: report
                    .filter(|_| here.is_some_and(|m| m.roles.agent))
                    .map(|(r, _)| r.bundles.clone())
                    .unwrap_or_default(),
                listed: fresh.map(|(r, _)| r.instances.iter().map(|i| i.instance).collect()),
            }
        })
        .collect();
    book.look(&standings, |device| live.contains_key(&device), now);
    let mut ahead = shared.signed_ahead.lock().unwrap_or_else(PoisonError::into_inner);
    let all: HashSet<ContainerId> = containers.iter().map(|kept| kept.container.id).collect();
    ahead.0.retain(|id, _| all.contains(id));
    // Only of an instance that serves, and by its own device.
    let traffic = |instance: &Instance| {
        let serves = matches!(instance.state, InstanceState::Ready | InstanceState::Unready);
        let (report, _) = members.here.get(&instance.device).filter(|_| serves)?.report.as_ref()?;
        report.instances.iter().find(|said| said.instance == instance.id)?.traffic
    };
    let containers = containers.into_iter().map(|kept| SeenContainer {
        apart: book.apart(kept.container.id, now),
        publisher: kept.publisher,
        deleting: kept.deleting,
        rests: false,
        lacks: None,
        revisions: revisions.remove(&kept.container.id).unwrap_or_default(),
        told: false,
        signed_until: ahead.of(&kept, now),
        scaled: None,
        instances: instances
            .iter()
            .filter(|i| i.instance.container == kept.container.id)
            .map(|i| SeenInstance {
                traffic: traffic(&i.instance),
                instance: i.instance.clone(),
                expires: i.expires,
                introduction_key: i.introduction_key,
            })
            .collect(),
        container: kept.container,
    });
    let before = i64::try_from(clock.duration_since(shared.started).as_millis()).unwrap_or(i64::MAX);
    let began = now.plus(DurationMs(before.saturating_neg()));
    let mut containers: Vec<SeenContainer> = containers.collect();
    let scaler = shared.scaler();
    containers.iter_mut().for_each(|c| c.scaled = scaler.of(c));
    Ok(World { now, began, routable: None, containers, devices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_restart_members_get_time_to_come_back() {
        assert!(!lost(None, true) && lost(None, false));
        for settling in [true, false] {
            assert!(!lost(Some(PROBE / 2), settling), "a short interruption");
            assert!(lost(Some(PROBE), settling), "it was here and went");
        }
    }
}
