//! Rehearsing a container before it is published: what its address would be like over a week of this fog, with one, two and three copies.

use crate::{
    api::{failed, publisher},
    look::look,
    place::seen,
    registry::Member,
    start::Shared,
};
use fogbank_model::{ContainerSpec, DurationMs, Image, Resources};
use fogbank_placement::Request;
use fogbank_rehearsal::{Device, Rehearsal, rehearse};
use fogbank_wire::{NodeReply, Refusal, RefusalKind, Rehearsed};
use std::time::Duration;

/// A week, since habits are by its hours.
const SPAN: DurationMs = DurationMs::from_s(7 * 24 * 3600);
/// Devices that are rehearsed with at most, those that are there first: of a larger fog, what is missing is only more room.
const MOST_DEVICES: usize = 1_000;
/// Runs for few devices and for many: together they take a second or two.
const RUNS: [u32; 2] = [64, 8];
const FEW_DEVICES: usize = 100;
/// A device that is gone without a word is known to be lost within 5 s; the next one starts, and registers, within as long.
const NOTICE_AND_START: DurationMs = DurationMs::from_s(10);
/// Content comes at a rate that a home line gives, bytes/ms.
const FETCH_BYTES_MS: u64 = 1_000;

/// One person asks this often at most, so that the others have their turn.
const AGAIN: Duration = Duration::from_secs(15);

/// Rehearses. One at a time: it takes a core for a while.
pub(crate) async fn outlook(shared: &Shared, member: &Member, spec: &ContainerSpec) -> Result<NodeReply, Refusal> {
    publisher(member)?;
    spec.check().map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
    let busy = || Refusal::new(RefusalKind::Busy, "another container is being rehearsed: try again in a moment");
    let mut turns = shared.rehearsing.try_lock().map_err(|_| busy())?;
    let clock = shared.instant();
    turns.retain(|_, at| clock.duration_since(*at) < AGAIN);
    if turns.contains_key(&member.owner) {
        return Err(Refusal::new(RefusalKind::Busy, format!("one rehearsal each {} s: try again in a moment", AGAIN.as_secs())));
    }
    let world = look(shared).await.map_err(failed)?;
    let begin = shared.now();
    let (mut devices, mut watched_h) = (Vec::new(), 0.0);
    {
        let book = shared.book();
        let mut lenders: Vec<_> = world.devices.iter().filter(|d| d.granted.agent && d.lent != Resources::ZERO).collect();
        lenders.sort_by_key(|d| (!d.open, d.id));
        for device in lenders.into_iter().take(MOST_DEVICES) {
            let (churn, stands, watched) = book.churn(device.id, device.power, begin);
            let snapshot = fogbank_placement::DeviceSnapshot { suitable: true, ..seen(device, true) };
            devices.push(Device { snapshot, churn, now: stands });
            watched_h += watched;
        }
    }
    let Image::Site { bytes, .. } = spec.image;
    let fetch = DurationMs(i64::try_from(bytes / FETCH_BYTES_MS).unwrap_or(i64::MAX / 1_000));
    let request = Request { requirements: spec.requirements, minimum: spec.minimum(), instances: 0, availability_target: None };
    let count = devices.len();
    let rehearsal = Rehearsal {
        devices,
        request,
        policy: shared.config.policy.clone(),
        repair: DurationMs(NOTICE_AND_START.0.saturating_add(fetch.0).min(SPAN.0)),
        begin,
        span: SPAN,
        runs: RUNS[usize::from(count > FEW_DEVICES)],
    };
    let mut copies = vec![1, 2, 3];
    copies.extend(Some(spec.instances).filter(|asked| !copies.contains(asked)));
    let seed = shared.random();
    let outlooks = tokio::task::spawn_blocking(move || rehearse(&rehearsal, &copies, seed)).await;
    turns.insert(member.owner, clock);
    let outlooks = outlooks.map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))?;
    Ok(NodeReply::Rehearsed(Box::new(Rehearsed {
        outlooks,
        devices: u32::try_from(count).unwrap_or(u32::MAX),
        watched_h: watched_h / (count.max(1)) as f64,
    })))
}
