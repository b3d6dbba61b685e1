//! From what is seen to the planner's snapshot.

use crate::world::{SeenContainer, SeenDevice, SeenInstance, World};
use fogbank_model::{ContainerSpec, DeviceId, Infeasible, InstanceState, Resources, Shortfall};
use fogbank_placement::{BatteryShare, DeviceSnapshot, Request, Snapshot};
use fogbank_wire::Power;

/// The fog as the planner sees it for a container: what its staying instances cover is taken off the request, their devices are left out. While its
/// content is replaced, copies of the old one cover nothing and their devices may take a new copy, too; some are asked for at a time.
pub(crate) fn snapshot_for(world: &World, container: &SeenContainer) -> Snapshot {
    let spec = &container.container.spec;
    let staying = staying(world, container);
    let covered = staying.clone().fold(Resources::ZERO, |sum, i| sum.plus(&i.instance.given));
    let live = || container.instances.iter().filter(|i| i.instance.state.is_live());
    let mut taken: Vec<DeviceId> = container.apart.clone();
    taken.extend(live().filter(|i| container.is_current(i)).map(|i| i.instance.device));
    let missing = u8::try_from(container.wanted().saturating_sub(staying.clone().count())).unwrap_or(u8::MAX);
    let step = container.step(missing);
    let request = Request {
        requirements: share(&container.requirements().minus(&covered), step, missing),
        minimum: container.target().1.minimum(),
        instances: step,
        availability_target: spec
            .availability
            .filter(|_| step == missing && !world.lasts(spec.availability, 1.0, staying.clone()))
            .map(|asked| left_of(asked, world.availability(staying.clone()))),
    };
    let mut snapshot = snapshot(world, request, &taken);
    // Where a copy of the old content is, both would be lost at once.
    for old in live().filter(|i| !container.is_current(i)) {
        for device in snapshot.devices.iter_mut().filter(|d| d.id == old.instance.device) {
            device.reliability /= 2.0;
        }
    }
    // Where it was lost lately it may be lost again: another device is tried first.
    for lost in container.instances.iter().filter(|i| i.instance.state == InstanceState::Lost) {
        for device in snapshot.devices.iter_mut().filter(|d| d.id == lost.instance.device) {
            device.reliability /= 2.0;
        }
    }
    snapshot
}

/// What does not fit of a container, in terms of all of it: of the availability only what those that stay leave open was asked of the planner.
pub(crate) fn in_all(mut why: Infeasible, world: &World, container: &SeenContainer) -> Infeasible {
    for shortfall in &mut why.shortfalls {
        if let (Shortfall::Availability { asked, reach }, Some(target)) = (shortfall, container.container.spec.availability) {
            let staying = world.availability(staying(world, container));
            (*asked, *reach) = (target, 1.0 - (1.0 - *reach) * (1.0 - staying));
        }
    }
    why
}

/// What so many of the missing copies are given of what all of them are to be given together.
fn share(all: &Resources, of: u8, missing: u8) -> Resources {
    let part = |units: u64| match missing {
        0 => units,
        missing => (u128::from(units) * u128::from(of)).div_ceil(missing.into()).try_into().unwrap_or(u64::MAX),
    };
    Resources::from_fn(|dimension| part(all.get(dimension)))
}

/// Instances that count and serve what new ones will, on devices that nobody leaves.
pub(crate) fn staying<'a>(world: &'a World, container: &'a SeenContainer) -> impl Iterator<Item = &'a SeenInstance> + Clone {
    let leaving = |id: DeviceId| world.device(id).is_none_or(|d| d.draining.is_some() || d.lost);
    container.counting().filter(move |i| container.is_current(i) && !leaving(i.instance.device))
}

/// The availability that further instances must have so that all together have what is asked for, when those that stay have less.
fn left_of(asked: f64, staying: f64) -> f64 {
    1.0 - (1.0 - asked) / (1.0 - staying)
}

/// The fog as the planner sees it for a request of someone who has nothing yet.
pub(crate) fn snapshot_of(world: &World, spec: &ContainerSpec) -> Snapshot {
    let request = Request {
        requirements: spec.requirements,
        minimum: spec.minimum(),
        instances: spec.instances,
        availability_target: spec.availability,
    };
    snapshot(world, request, &[])
}

/// The fog as it would be without the container's instances, on whose devices it counts as hosted.
pub(crate) fn snapshot_without(world: &World, container: &SeenContainer) -> Snapshot {
    let mut snapshot = snapshot_of(world, &container.container.spec);
    snapshot.request.requirements = container.requirements();
    snapshot.request.instances = u8::try_from(container.wanted()).unwrap_or(u8::MAX);
    for i in container.counting() {
        for device in snapshot.devices.iter_mut().filter(|d| d.id == i.instance.device) {
            device.free = device.free.plus(&i.instance.given);
            device.hosts = true;
        }
    }
    snapshot
}

fn snapshot(world: &World, request: Request, taken: &[DeviceId]) -> Snapshot {
    let devices = world.devices.iter().map(|d| seen(d, !taken.contains(&d.id))).collect();
    Snapshot { devices, request }
}

/// A device as the planner sees it; `free`: it has no instance of the container yet.
pub(crate) fn seen(d: &SeenDevice, free: bool) -> DeviceSnapshot {
    let battery = match d.power {
        Some(Power::Battery { share, charging }) => Some(BatteryShare { share: f64::from(share), charging }),
        Some(Power::Mains) | None => None,
    };
    DeviceSnapshot {
        id: d.id,
        owner: d.owner,
        free: d.lent.minus(&d.held),
        capacity: d.lent,
        availability: d.expected.availability,
        battery,
        reliability: d.expected.reliability,
        surcharge: 0.0,
        hosts: false,
        suitable: free && d.connected && d.open && !d.full && !d.mute && d.draining.is_none() && d.expected.aside.is_none(),
    }
}
