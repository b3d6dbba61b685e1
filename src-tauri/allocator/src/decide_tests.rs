//! Decisions on small worlds.

use super::*;
use crate::{conduct::Expected, place::snapshot_for};
use fogbank_model::{BundleId, Container, ContainerSpec, Image, Instance, Level, OwnerId, Resources, UnixMs};
use fogbank_placement::{Outcome, Policy, plan};
use fogbank_wire::Roles;

const NOW: UnixMs = UnixMs(1_000_000);

pub(crate) fn device(n: u8) -> SeenDevice {
    SeenDevice {
        id: DeviceId([n; 32]),
        owner: OwnerId([n; 32]),
        name: format!("device {n}"),
        granted: Roles::ALL,
        connected: true,
        lost: false,
        open: true,
        draining: None,
        lent: Resources::LIMIT,
        held: Resources::ZERO,
        full: false,
        mute: false,
        power: None,
        why: String::new(),
        expected: Expected { availability: 0.9, reliability: 0.8, goes_soon: false, aside: None },
        bundles: vec![BundleId([1; 32])],
        listed: Some(Vec::new()),
    }
}

pub(crate) fn instance(n: u8, state: InstanceState) -> SeenInstance {
    SeenInstance {
        instance: Instance {
            id: InstanceId([n; 16]),
            container: ContainerId([1; 16]),
            device: DeviceId([n; 32]),
            given: Resources::ZERO,
            state,
            reason: String::new(),
            since: NOW,
            epoch: 1,
            revision: 1,
        },
        expires: UnixMs(NOW.0 + 1),
        introduction_key: (state != InstanceState::Reserved).then_some([n; 32]),
        traffic: None,
    }
}

pub(crate) fn world(state: ContainerState, instances: Vec<SeenInstance>) -> World {
    let spec = ContainerSpec {
        name: "site".parse().unwrap(),
        image: Image::Site { bundle: BundleId([1; 32]), bytes: 1, files: 1 },
        requirements: Resources::ZERO,
        instances: 2,
        availability: None,
        most: None,
        level: Level::Fast,
    };
    let container = Container {
        id: ContainerId([1; 16]),
        owner: OwnerId([9; 32]),
        onion: format!("{}.onion", "a".repeat(56)).parse().unwrap(),
        spec,
        state,
        reason: if state == ContainerState::Running { "every copy serves".to_owned() } else { String::new() },
        created: NOW,
        epoch: 1,
        revision: 1,
    };
    let mut devices: Vec<SeenDevice> = (1..=4).map(device).collect();
    for i in &instances {
        let d = devices.iter_mut().find(|d| d.id == i.instance.device).unwrap();
        d.listed.as_mut().unwrap().push(i.instance.id);
    }
    let container = SeenContainer {
        container,
        publisher: DeviceId([99; 32]),
        deleting: false,
        instances,
        rests: false,
        apart: Vec::new(),
        lacks: None,
        scaled: None,
        signed_until: UnixMs(i64::MAX),
        revisions: Vec::new(),
        told: true,
    };
    World { now: NOW, began: UnixMs(0), routable: Some(UnixMs(0)), devices, containers: vec![container] }
}

fn moved(actions: &[Action], to: ContainerState) -> bool {
    actions.iter().any(|a| matches!(a, Action::MoveContainer { to: t, .. } if *t == to))
}

#[test]
fn a_running_container_with_all_ready_needs_nothing() {
    let ready = vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)];
    assert_eq!(decide(&world(ContainerState::Running, ready)), []);
}

#[test]
fn it_runs_once_its_copies_are_ready_however_few_hold_the_content() {
    let ready = vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)];
    let mut w = world(ContainerState::Starting, ready);
    // One of the two lending devices is the publisher's own.
    w.devices.truncate(2);
    w.containers[0].publisher = w.devices[0].id;
    assert!(moved(&decide(&w), ContainerState::Running));
    // Where another device lends, it is asked to hold the content, too.
    w.devices.push(SeenDevice { bundles: Vec::new(), ..device(3) });
    let actions = decide(&w);
    assert!(moved(&actions, ContainerState::Running));
    assert!(actions.iter().any(|a| matches!(a, Action::Keep { device: DeviceId([3, ..]), .. })), "{actions:?}");
}

#[test]
fn it_runs_when_all_that_fits_serves_and_moves_when_more_does() {
    let lacks = Some("does not fit: devices: 1 copy asked, no device could take one".to_owned());
    let one = |state, lacks: &Option<String>| {
        let mut w = world(state, vec![instance(1, InstanceState::Ready)]);
        w.containers[0].lacks = lacks.clone();
        w
    };
    for state in [ContainerState::Starting, ContainerState::Migrating] {
        assert!(moved(&decide(&one(state, &lacks)), ContainerState::Running), "{state}");
        assert!(!moved(&decide(&one(state, &None)), ContainerState::Running), "{state}: a place is being sought");
    }
    let runs = one(ContainerState::Running, &lacks);
    assert!(!moved(&decide(&runs), ContainerState::Migrating));
    // A restart of the allocator, which has not sought room yet, is no news.
    assert!(!moved(&decide(&one(ContainerState::Running, &None)), ContainerState::Migrating));
    // What ended meanwhile is, and so is a copy that starts.
    let mut ended = one(ContainerState::Running, &None);
    ended.containers[0].instances.push(instance(2, InstanceState::Lost));
    assert!(moved(&decide(&ended), ContainerState::Migrating));
    ended.began = UnixMs(NOW.0 + 1);
    assert!(!moved(&decide(&ended), ContainerState::Migrating), "it ended before");
    let two = vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Fetching)];
    assert!(moved(&decide(&world(ContainerState::Running, two)), ContainerState::Migrating));
    // Without any copy it does not run.
    let mut none = world(ContainerState::Running, Vec::new());
    none.containers[0].lacks = lacks;
    assert!(moved(&decide(&none), ContainerState::Migrating));
}

#[test]
fn a_lost_device_loses_its_instance_and_a_place_is_sought() {
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)]);
    w.devices[0].connected = false;
    w.devices[0].lost = true;
    let actions = decide(&w);
    let lost = Action::MoveInstance {
        instance: InstanceId([1; 16]),
        to: InstanceState::Lost,
        reason: "device 1 is gone without a word".to_owned(),
    };
    assert!(actions.contains(&lost) && actions.contains(&Action::Place { container: ContainerId([1; 16]) }));
    assert!(moved(&actions, ContainerState::Migrating));
    // After a restart of the allocator it is away, but not lost: nothing is moved, ended or revoked because of that.
    w.devices[0].lost = false;
    assert_eq!(decide(&w), []);
}

#[test]
fn a_drained_device_serves_until_the_replacement_is_ready() {
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)]);
    w.devices[0].draining = Some("lid closed".to_owned());
    let actions = decide(&w);
    assert!(actions.contains(&Action::Place { container: ContainerId([1; 16]) }));
    assert!(!actions.iter().any(|a| matches!(a, Action::Drain { .. } | Action::End { .. })), "{actions:?}");
    let w3 = {
        let instances =
            vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready), instance(3, InstanceState::Ready)];
        let mut w = world(ContainerState::Migrating, instances);
        w.devices[0].draining = Some("lid closed".to_owned());
        w
    };
    let actions = decide(&w3);
    assert!(actions.iter().any(|a| matches!(a, Action::Drain { instance, .. } if *instance == InstanceId([1; 16]))));
}

#[test]
fn an_interrupted_allocation_starts_what_is_reserved_or_begins_again() {
    let w = world(ContainerState::Allocating, vec![instance(1, InstanceState::Reserved)]);
    assert!(decide(&w).iter().any(|a| matches!(a, Action::Start { .. })));
    assert!(moved(&decide(&world(ContainerState::Allocating, vec![])), ContainerState::Pending));
}

#[test]
fn a_restarted_device_lost_what_it_no_longer_lists_and_ends_what_nobody_wants() {
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)]);
    w.devices[0].listed = Some(vec![InstanceId([77; 16])]);
    let actions = decide(&w);
    assert!(actions.contains(&Action::End { device: DeviceId([1; 32]), instance: InstanceId([77; 16]) }));
    assert!(actions.iter().any(|a| matches!(a, Action::MoveInstance { to: InstanceState::Lost, .. })));
    w.devices[0].listed = None;
    assert!(!decide(&w).iter().any(|a| matches!(a, Action::MoveInstance { .. })), "before its first report nothing is known");
}

#[test]
fn who_stopped_lending_is_not_said_to_have_been_restarted() {
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)]);
    w.devices[0].listed = Some(Vec::new());
    let why = |w: &World| {
        decide(w).into_iter().find_map(|a| match a {
            Action::MoveInstance { to: InstanceState::Lost, reason, .. } => Some(reason),
            _ => None,
        })
    };
    assert_eq!(why(&w).as_deref(), Some("device 1 was restarted"));
    (w.devices[0].open, w.devices[0].why) = (false, "its owner stopped lending".to_owned());
    assert_eq!(why(&w).as_deref(), Some("device 1 ended it: its owner stopped lending"));
}

#[test]
fn what_a_device_has_not_reported_yet_is_not_lost() {
    let mut w = world(ContainerState::Starting, vec![instance(1, InstanceState::Fetching), instance(2, InstanceState::Fetching)]);
    // Its last report is older than the reservation.
    w.devices[0].listed = Some(Vec::new());
    w.containers[0].instances[0].introduction_key = None;
    assert!(!decide(&w).iter().any(|a| matches!(a, Action::MoveInstance { .. })));
    w.containers[0].instances[0].introduction_key = Some([1; 32]);
    assert!(decide(&w).iter().any(|a| matches!(a, Action::MoveInstance { to: InstanceState::Lost, .. })));
}

#[test]
fn what_does_not_become_ready_is_given_up_and_another_device_is_preferred() {
    use InstanceState::{Fetching, Ready, Starting, Unready};
    let given_up = |w: &World| decide(w).iter().any(|a| matches!(a, Action::MoveInstance { to: InstanceState::Lost, .. }));
    let minutes = |n: i64| UnixMs(NOW.0 + DurationMs::from_s(n * 60).0);
    for (state, allowed) in [(Fetching, 10), (Starting, 5), (Unready, 5)] {
        let mut w = world(ContainerState::Starting, vec![instance(1, state), instance(2, Ready)]);
        w.now = UnixMs(minutes(allowed).0 - 1);
        assert!(!given_up(&w), "{state}");
        w.now = minutes(allowed);
        assert!(given_up(&w), "{state}");
        // Neither an allocator that was away nor a fog without mixes enough is a device's fault.
        let since = UnixMs(NOW.0 + 1);
        let (late, unroutable) =
            (World { began: since, routable: Some(since), ..w.clone() }, World { routable: None, ..w.clone() });
        assert!(!given_up(&late) && given_up(&unroutable) == (state == Fetching), "{state}");
        if state == Fetching {
            let Image::Site { bytes, .. } = &mut w.containers[0].container.spec.image;
            *bytes = 60 * SLOWEST_BYTES_S;
            assert!(!given_up(&w));
            w.now = minutes(allowed + 1);
            assert!(given_up(&w), "a large site gets longer, but not for ever");
        }
        // Once it is given up, a place is sought, and where it failed is the last choice.
        w.containers[0].instances[0].instance.state = InstanceState::Lost;
        assert!(decide(&w).contains(&Action::Place { container: ContainerId([1; 16]) }));
        w.containers[0].container.spec.requirements = Resources { memory_mb: 1, ..Resources::ZERO };
        for d in &mut w.devices {
            d.lent = Resources { cpu_millicores: 1_000, memory_mb: 1_000, storage_mb: 1_000, bandwidth_kbps: 1_000 };
        }
        let placed = |w: &World| match plan(&snapshot_for(w, &w.containers[0]), &Policy::default()) {
            Outcome::Placed(plan) => plan.assignments[0].0,
            Outcome::Infeasible(why) => panic!("{why}"),
        };
        assert_ne!(placed(&w), DeviceId([1; 32]));
        w.devices.retain(|d| d.id.0[0] <= 2);
        assert_eq!(placed(&w), DeviceId([1; 32]), "there is no other");
    }
}

#[test]
fn stopping_ends_everything_then_stops() {
    let w = world(ContainerState::Stopping, vec![instance(1, InstanceState::Ready)]);
    assert_eq!(decide(&w), [Action::End { device: DeviceId([1; 32]), instance: InstanceId([1; 16]) }]);
    let ended = world(ContainerState::Stopping, vec![]);
    assert!(moved(&decide(&ended), ContainerState::Stopped));
}

#[test]
fn a_device_that_lists_strays_without_end_is_asked_for_a_few_at_a_time() {
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)]);
    let strays = (0..10_000u16).map(|n| InstanceId([&n.to_be_bytes()[..], &[200; 14]].concat().try_into().unwrap()));
    w.devices[3].listed.as_mut().unwrap().extend(strays);
    assert_eq!(decide(&w).len(), STRAYS);
}

#[test]
fn without_signatures_it_ends_and_says_why() {
    let ready = || vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)];
    for state in [ContainerState::Pending, ContainerState::Starting, ContainerState::Running, ContainerState::Migrating] {
        let mut world = world(state, ready());
        world.containers[0].signed_until = UnixMs(NOW.0 + 1);
        assert!(!moved(&decide(&world), ContainerState::Stopping));
        world.now = UnixMs(NOW.0 + 1);
        assert!(moved(&decide(&world), ContainerState::Stopping), "{state:?}");
    }
    let mut ended = world(ContainerState::Stopping, Vec::new());
    ended.containers[0].signed_until = NOW;
    let last = decide(&ended);
    let why = last.iter().find_map(|a| match a {
        Action::MoveContainer { to: ContainerState::Stopped, reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some(SIGNATURES_ENDED), "the reason stays in sight");
}

#[test]
fn where_not_all_fits_it_is_said_what_is_missing_and_room_is_sought_on() {
    let said =
        |w: &World| decide(w).into_iter().find_map(|a| if let Action::Explain { reason, .. } = a { Some(reason) } else { None });
    let lacks = Some("does not fit: devices: 1 copy asked, no device could take one".to_owned());
    let mut w = world(ContainerState::Pending, Vec::new());
    w.containers[0].lacks = lacks.clone();
    assert!(said(&w).unwrap().starts_with("waiting for room: it does not fit"));
    assert!(decide(&w).contains(&Action::Place { container: ContainerId([1; 16]) }));
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready)]);
    w.containers[0].lacks = lacks;
    let reason = said(&w).unwrap();
    assert!(reason.starts_with("1 of 2 copies ready") && reason.contains("1 copy asked"), "{reason}");
    // Said once, and kept while the next look for room is not due.
    w.containers[0].container.reason = reason;
    w.containers[0].rests = true;
    assert_eq!(said(&w), None);
}

#[test]
fn copies_that_give_less_than_was_asked_for_get_company_and_none_of_them_is_too_many() {
    let given = |n, memory_mb| {
        let mut i = instance(n, InstanceState::Ready);
        i.instance.given = Resources { memory_mb, ..Resources::ZERO };
        i
    };
    let asked = |mut w: World, memory_mb| {
        w.containers[0].container.spec.requirements = Resources { memory_mb, ..Resources::ZERO };
        decide(&w)
    };
    let place = Action::Place { container: ContainerId([1; 16]) };
    let drained = |actions: &[Action]| actions.iter().filter(|a| matches!(a, Action::Drain { .. })).count();
    let two = || world(ContainerState::Running, vec![given(1, 10), given(2, 10)]);
    assert!(asked(two(), 21).contains(&place) && !asked(two(), 20).contains(&place));
    let three = || world(ContainerState::Running, vec![given(1, 10), given(2, 10), given(3, 10)]);
    assert_eq!((drained(&asked(three(), 21)), drained(&asked(three(), 20))), (0, 1));
}

/// Devices of these tests stay for the next hour with a probability of 0.9.
#[test]
fn as_many_copies_run_as_the_availability_takes_and_they_do_not_come_and_go_with_the_hour() {
    let place = Action::Place { container: ContainerId([1; 16]) };
    let asked = |copies: u8, availability| {
        let mut w = world(ContainerState::Running, (1..=copies).map(|n| instance(n, InstanceState::Ready)).collect());
        w.containers[0].container.spec.instances = 1;
        w.containers[0].container.spec.availability = Some(availability);
        assert!(!decide(&w).iter().any(|a| matches!(a, Action::Drain { .. })), "not before a quarter of an hour");
        w.now = NOW.plus(SURPLUS_AGE);
        let actions = decide(&w);
        let drained = actions.iter().filter(|a| matches!(a, Action::Drain { .. })).count();
        (actions.contains(&place), drained, snapshot_for(&w, &w.containers[0]).request.availability_target)
    };
    assert_eq!(asked(1, 0.9), (false, 0, None));
    let (more, _, left) = asked(1, 0.99);
    assert!(more && (left.unwrap() - 0.9).abs() < 1e-9, "one more as good as the first: {left:?}");
    assert_eq!(asked(2, 0.99), (false, 0, None));
    // The third goes where the other two are gone half as often as they may be; where they are gone just as often, it stays.
    assert_eq!((asked(3, 0.98).1, asked(3, 0.99).1), (1, 0));
    assert_eq!(asked(3, 0.5).1, 2);
}

#[test]
fn what_the_availability_lacks_is_said_of_all_copies() {
    let mut w = world(ContainerState::Running, vec![instance(1, InstanceState::Ready)]);
    w.containers[0].container.spec =
        ContainerSpec { instances: 1, availability: Some(0.999), ..w.containers[0].container.spec.clone() };
    w.devices.truncate(2);
    let Outcome::Infeasible(why) = plan(&snapshot_for(&w, &w.containers[0]), &Policy::default()) else { panic!() };
    let said = crate::place::in_all(why, &w, &w.containers[0]).to_string();
    assert!(said.contains("availability: 99.900 % asked, all devices together reach 99.000 %"), "{said}");
}
