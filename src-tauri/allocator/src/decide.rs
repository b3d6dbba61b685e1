//! What should be done, from what is seen: a pure function, decided afresh each time.

use crate::{
    revising,
    world::{SeenContainer, SeenDevice, SeenInstance, World},
};
use fogbank_model::{
    BundleId, ContainerId, ContainerState, DeviceId, DurationMs, Image, InstanceId, InstanceState, Resources, RevisionState,
};
use std::collections::HashSet;

/// Copies of a bundle on devices other than the publisher's, so that the publisher may leave. Where there are fewer devices, the container
/// runs all the same, and its publisher is told.
pub(crate) const HOLDERS: usize = 2;

/// Why a container whose publisher stayed away ends, for people.
pub(crate) const SIGNATURES_ENDED: &str = "what its publisher signed ahead has ended: open Fogbank on the publisher's device, \
    which signs anew, and start the container again";

/// A copy that was added so that one stays is one too many when the others are all gone this much less often than they may be: what devices are
/// expected to do changes by the hour, and copies should not come and go with it.
const SURPLUS: f64 = 0.5;
/// And once it has been ready for so long: who says now that it is on mains and now that it is not would else have copies fetched without end.
const SURPLUS_AGE: DurationMs = DurationMs::from_s(15 * 60);

/// Instances and bundles that nobody wants, ended on one device at a time: it lists the rest again, and one that lists without end holds
/// nobody up.
const STRAYS: usize = 8;

/// A device that was told to start an instance has this long to fetch the content, and as long again as it takes at [`SLOWEST_BYTES_S`]: room
/// for the agent's three rounds over a few sources.
pub(crate) const FETCH: DurationMs = DurationMs::from_s(10 * 60);
/// A quarter of a megabit a second: a slow home line's share when a few devices fetch from it.
pub(crate) const SLOWEST_BYTES_S: u64 = 32_000;
/// An instance that has its content and that no introduction point knows for so long is given up: registering takes seconds, and replacing
/// all three points, one after another, about 70.
pub(crate) const FOUND: DurationMs = DurationMs::from_s(5 * 60);

/// One thing to do. Each can be done twice without harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// An instance's state changes in the store.
    MoveInstance { instance: InstanceId, to: InstanceState, reason: String },
    /// A container's state changes in the store.
    MoveContainer { container: ContainerId, to: ContainerState, reason: String },
    /// A container's reason changes.
    Explain { container: ContainerId, reason: String },
    /// A container did not come up on a device: others are tried first.
    Failed { container: ContainerId, device: DeviceId },
    /// Find places for a container: what it needs beyond the instances that stay.
    Place { container: ContainerId },
    /// Hold reservations on their devices, then start them; if one refuses, none is started.
    Start { container: ContainerId, instances: Vec<InstanceId> },
    /// Let visitors go elsewhere, then end it.
    Drain { instance: InstanceId, reason: String },
    /// End it on its device.
    End { device: DeviceId, instance: InstanceId },
    /// Let a device hold a copy of a container's bundle.
    Keep { container: ContainerId, device: DeviceId },
    /// Let a device's copy of a bundle go.
    LetGo { device: DeviceId, bundle: BundleId },
    /// Tell visitors of the content that was coming, from now on.
    Switch { container: ContainerId, revision: u64, reason: String },
    /// A content is given up, or served by all copies.
    Revise { container: ContainerId, revision: u64, to: RevisionState, reason: String },
    /// Forget a container that was deleted and has stopped.
    Forget { container: ContainerId },
}

/// Decides.
pub(crate) fn decide(world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    for container in &world.containers {
        losses(world, container, &mut actions);
        if world.now >= container.signed_until && container.container.state.wants_instances() {
            actions.push(Action::MoveContainer {
                container: container.container.id,
                to: ContainerState::Stopping,
                reason: SIGNATURES_ENDED.to_owned(),
            });
            continue;
        }
        revising::steps(world, container, &mut actions);
        match container.container.state {
            ContainerState::Pending => pending(container, &mut actions),
            ContainerState::Allocating => allocating(container, &mut actions),
            ContainerState::Starting | ContainerState::Running | ContainerState::Migrating => {
                serving(world, container, &mut actions);
            }
            ContainerState::Stopping => stopping(world, container, &mut actions),
            ContainerState::Stopped | ContainerState::Failed => {
                if container.deleting {
                    actions.push(Action::Forget { container: container.container.id });
                }
            }
        }
    }
    strangers(world, &mut actions);
    actions
}

fn live(container: &SeenContainer) -> impl Iterator<Item = &SeenInstance> {
    container.instances.iter().filter(|i| i.instance.state.is_live())
}

/// Instances whose device is gone, has forgotten them, or does not get them ready.
fn losses(world: &World, container: &SeenContainer, actions: &mut Vec<Action>) {
    for i in live(container) {
        let instance = &i.instance;
        let reason = match world.device(instance.device) {
            None => "its device was removed".to_owned(),
            Some(d) if d.lost => format!("{} is gone without a word", d.name),
            Some(d) if forgot(d, i) && d.open => format!("{} was restarted", d.name),
            // Its own words: its owner stopped lending, or it was restarted and lends no more.
            Some(d) if forgot(d, i) => format!("{} ended it: {}", d.name, d.why),
            Some(d) if overdue(world, container, i) => {
                actions.push(Action::Failed { container: container.container.id, device: d.id });
                match instance.state {
                    InstanceState::Fetching => format!("{} did not fetch the content in time", d.name),
                    _ => format!("visitors could not find it at {} for {} minutes", d.name, FOUND.0 / 60_000),
                }
            }
            Some(_) => {
                if instance.state == InstanceState::Reserved && i.expires < world.now {
                    let reason = "the reservation ended before it was used".to_owned();
                    actions.push(Action::MoveInstance { instance: instance.id, to: InstanceState::Ended, reason });
                }
                continue;
            }
        };
        actions.push(Action::MoveInstance { instance: instance.id, to: InstanceState::Lost, reason });
    }
}

/// What a device once reported with its key it goes on listing until the end is acknowledged. Before that its last report may be older than
/// the reservation.
fn forgot(device: &SeenDevice, i: &SeenInstance) -> bool {
    let reported = i.introduction_key.is_some();
    reported && device.connected && device.listed.as_ref().is_some_and(|listed| !listed.contains(&i.instance.id))
}

/// Whether an instance has had its time to become ready. Only time in which it could have, and this allocator have heard of it, counts.
fn overdue(world: &World, container: &SeenContainer, i: &SeenInstance) -> bool {
    let instance = &i.instance;
    let (able, allowed) = match instance.state {
        InstanceState::Fetching => {
            let Image::Site { bytes, .. } = container.image_of(i);
            let transfer = i64::try_from(bytes / SLOWEST_BYTES_S).unwrap_or(i64::MAX / 1_000);
            (Some(world.began), FETCH.0.saturating_add(DurationMs::from_s(transfer).0))
        }
        InstanceState::Starting | InstanceState::Unready => (world.routable, FOUND.0),
        _ => return false,
    };
    able.is_some_and(|able| world.now.since(instance.since.max(able)).0 >= allowed)
}

fn pending(container: &SeenContainer, actions: &mut Vec<Action>) {
    let id = container.container.id;
    if !container.rests {
        actions.push(Action::Place { container: id });
    }
    if let Some(lacks) = &container.lacks {
        explain(container, format!("waiting for room: it {lacks}"), actions);
    }
}

/// Says why a container stands where it stands, if that was not said already.
fn explain(container: &SeenContainer, reason: String, actions: &mut Vec<Action>) {
    if reason != container.container.reason {
        actions.push(Action::Explain { container: container.container.id, reason });
    }
}

fn allocating(container: &SeenContainer, actions: &mut Vec<Action>) {
    let id = container.container.id;
    let reserved = live(container).filter(|i| i.instance.state == InstanceState::Reserved && !container.abandoned(i));
    let reserved: Vec<InstanceId> = reserved.map(|i| i.instance.id).collect();
    if reserved.is_empty() {
        // Interrupted between planning and reserving, or all reservations were lost.
        actions.push(Action::MoveContainer {
            container: id,
            to: ContainerState::Pending,
            reason: "the places were lost".to_owned(),
        });
    } else {
        actions.push(Action::Start { container: id, instances: reserved });
    }
}

fn serving(world: &World, container: &SeenContainer, actions: &mut Vec<Action>) {
    let c = &container.container;
    let leaving = |i: &&SeenInstance| world.device(i.instance.device).is_none_or(|d| d.draining.is_some() || d.lost);
    let counts = |i: &&SeenInstance| i.instance.state.counts() && !container.abandoned(i);
    let stays: Vec<&SeenInstance> = live(container).filter(|i| counts(i) && !leaving(i)).collect();
    let ready = stays.iter().filter(|i| container.serves(i)).count();
    let (base, wanted) = (container.base(), container.wanted());

    let reserved: Vec<InstanceId> =
        stays.iter().filter(|i| i.instance.state == InstanceState::Reserved).map(|i| i.instance.id).collect();
    if !reserved.is_empty() {
        actions.push(Action::Start { container: c.id, instances: reserved });
    }
    let uncovered = container.uncovered(stays.iter().copied()) != Resources::ZERO;
    let likely_gone = !world.lasts(c.spec.availability, 1.0, stays.iter().copied());
    let room_for_more = container.beyond(world, stays.iter().copied()) > 0;
    let updating = container.coming().is_some() || !revising::old(container, &stays).is_empty();
    let short = match updating {
        true => revising::roll(world, container, &stays, actions),
        false => stays.len() < wanted || ((uncovered || likely_gone) && room_for_more),
    };
    if short && !container.rests {
        actions.push(Action::Place { container: c.id });
    }
    // While content is replaced, what a copy lacks that is beyond those wanted is the update's.
    let lacks = container.lacks.as_ref().filter(|_| short && !(updating && ready >= wanted));

    // Those on leaving devices go once enough others are ready; before that they go on serving. Room that is sought for load holds no device up.
    let enough = ready >= wanted || (ready >= base && lacks.is_some());
    for i in live(container).filter(|i| leaving(i) && counts(i)) {
        let why = world.device(i.instance.device).and_then(|d| d.draining.clone()).unwrap_or_default();
        if container.serves(i) && enough {
            actions.push(Action::Drain { instance: i.instance.id, reason: format!("drained: {why}") });
        } else if !container.serves(i) {
            actions.push(Action::End { device: i.instance.device, instance: i.instance.id });
        }
    }
    // More than wanted: a device that was thought lost came back. What the others need of it to give what was asked for stays.
    let mut kept = stays.clone();
    for i in stays.iter().rev().filter(|i| container.serves(i) && ready >= wanted && !updating) {
        let others = || kept.iter().copied().filter(|other| other.instance.id != i.instance.id);
        let young = c.spec.availability.is_some() && world.now.since(i.instance.since) < SURPLUS_AGE;
        let needed = young
            || container.uncovered(others()) != container.uncovered(kept.iter().copied())
            || !world.lasts(c.spec.availability, SURPLUS, others());
        if kept.len() > wanted && !needed {
            kept = others().collect();
            actions.push(Action::Drain { instance: i.instance.id, reason: too_many(container) });
        }
    }

    let holders = world.holders(container);
    // Of what comes nobody holds more than serves it, until visitors are told of it.
    if holders < HOLDERS && ready > 0 && container.coming().is_none() {
        let bundle = container.bundle();
        let keeper = world
            .devices
            .iter()
            .filter(|d| {
                d.connected && d.open && d.draining.is_none() && d.id != container.publisher && !d.bundles.contains(&bundle)
            })
            .max_by_key(|d| (d.lent.minus(&d.held).storage_mb, d.id));
        if let Some(keeper) = keeper {
            actions.push(Action::Keep { container: c.id, device: keeper.id });
        }
    }
    let coming = stays.iter().find(|i| i.instance.state != InstanceState::Ready);
    let moving = coming.is_some() || live(container).any(|i| leaving(&i));
    // All that fits serves: what else is wanted waits for room, not for a device.
    let as_far_as_fits = ready >= base || (ready > 0 && lacks.is_some() && !moving);
    let to = |to, reason: String| Action::MoveContainer { container: c.id, to, reason };
    let update = revising::words(world, container).map_or_else(String::new, |words| format!("; update: {words}"));
    let standing = |lacks| standing(container, ready, lacks) + &update;
    match c.state {
        ContainerState::Starting | ContainerState::Migrating if as_far_as_fits => {
            actions.push(to(ContainerState::Running, standing(lacks)));
        }
        ContainerState::Running if !as_far_as_fits => {
            if let Some(why) = disturbed(world, container, coming.copied(), ready) {
                actions.push(to(ContainerState::Migrating, format!("{ready} of {base} copies ready: {why}")));
            }
        }
        _ => explain(container, standing(lacks), actions),
    }
}

/// How far a container is, for people.
fn standing(container: &SeenContainer, ready: usize, lacks: Option<&String>) -> String {
    let (base, wanted) = (container.base(), container.wanted());
    let raised = container.scaled.as_ref().filter(|s| s.raised);
    let for_load = raised.map_or_else(|| "for load".to_owned(), |s| format!("for {}", s.why));
    if wanted > base && ready >= base {
        let more =
            if ready + 1 == wanted { "one more is".to_owned() } else { format!("{} more are", wanted.saturating_sub(ready)) };
        return match lacks {
            Some(lacks) if ready < wanted => {
                format!("{ready} of {wanted} copies ready, {more} wanted {for_load}, and waiting for room: it {lacks}")
            }
            None if ready < wanted => format!("{ready} of {wanted} copies ready, {more} wanted {for_load}"),
            _ => format!("every copy serves; {} beyond the {base} asked for, {for_load}", wanted - base),
        };
    }
    match lacks {
        Some(lacks) if ready < wanted => {
            format!("{ready} of {wanted} copies ready, waiting for room for the rest: it {lacks}")
        }
        Some(lacks) => format!("every copy serves, with less than was asked for: it {lacks}"),
        None if ready < wanted => format!("{ready} of {wanted} copies ready"),
        None => "every copy serves".to_owned(),
    }
}

/// Why a container that ran is on the move: a device leaves or is gone just now, a copy is not ready (yet), or one has ended since this
/// allocator looks. `None` when nothing has happened: after a restart of the allocator room is sought anew before anything is said.
fn disturbed(world: &World, container: &SeenContainer, coming: Option<&SeenInstance>, ready: usize) -> Option<String> {
    let going = live(container).find_map(|i| {
        let device = world.device(i.instance.device)?;
        device.draining.clone().or_else(|| device.lost.then(|| format!("{} is gone without a word", device.name)))
    });
    let coming = coming.map(|i| match i.instance.state {
        InstanceState::Unready => i.instance.reason.clone(),
        _ => "another one starts".to_owned(),
    });
    let ended = container.instances.iter().filter(|i| !i.instance.state.is_live()).max_by_key(|i| i.instance.since);
    let news = ended.filter(|i| i.instance.since >= world.began).map(|i| i.instance.reason.clone());
    going.or(coming).or(news).or_else(|| (ready == 0).then(|| "none is left".to_owned()))
}

/// Why a copy goes that others make up for, for people.
fn too_many(container: &SeenContainer) -> String {
    match &container.scaled {
        Some(s) if !s.raised && !s.why.is_empty() => format!("one copy too many: {}", s.why),
        _ => "one copy too many".to_owned(),
    }
}

fn stopping(world: &World, container: &SeenContainer, actions: &mut Vec<Action>) {
    let id = container.container.id;
    let mut left = 0;
    for i in live(container) {
        left += 1;
        if i.instance.state == InstanceState::Reserved && world.device(i.instance.device).is_none_or(|d| !d.connected) {
            let reason = "stopped before it began".to_owned();
            actions.push(Action::MoveInstance { instance: i.instance.id, to: InstanceState::Ended, reason });
        } else {
            actions.push(Action::End { device: i.instance.device, instance: i.instance.id });
        }
    }
    if left == 0 {
        actions.push(Action::MoveContainer {
            container: id,
            to: ContainerState::Stopped,
            reason: if world.now >= container.signed_until { SIGNATURES_ENDED } else { "all copies have ended" }.to_owned(),
        });
    }
}

/// Instances and bundles that devices list and nobody wants (any more).
fn strangers(world: &World, actions: &mut Vec<Action>) {
    let live: HashSet<InstanceId> = world.containers.iter().flat_map(live).map(|i| i.instance.id).collect();
    let wanted: HashSet<BundleId> = world.containers.iter().flat_map(SeenContainer::wanted_bundles).collect();
    for device in world.devices.iter().filter(|d| d.connected) {
        let unknown = device.listed.iter().flatten().filter(|listed| !live.contains(listed));
        actions.extend(unknown.take(STRAYS).map(|listed| Action::End { device: device.id, instance: *listed }));
        // Devices list what they hold for others only, so none of these is a publisher's own that is on its way here.
        let unknown = device.bundles.iter().filter(|held| !wanted.contains(held));
        actions.extend(unknown.take(STRAYS).map(|held| Action::LetGo { device: device.id, bundle: *held }));
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
pub(crate) mod tests;
