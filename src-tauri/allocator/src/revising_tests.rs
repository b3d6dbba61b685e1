//! Updates of small worlds, step by step.

use super::*;
use crate::{conduct::Expected, decide::decide, place::snapshot_for, world::SeenDevice};
use InstanceState::{Draining, Ended, Fetching, Ready, Reserved, Starting};
use RevisionState::{Coming, GivenUp, Moving, Past, Served};
use fogbank_model::{Container, ContainerId, ContainerSpec, DeviceId, Instance, InstanceId, Level, OwnerId, Resources, UnixMs};
use fogbank_store::KeptRevision;
use fogbank_wire::Roles;

const NOW: UnixMs = UnixMs(1_000_000);
const ID: ContainerId = ContainerId([1; 16]);
const DEVICES: u8 = 6;

fn image(n: u64) -> Image {
    Image::Site { bundle: BundleId([n as u8; 32]), bytes: n * 1_000_000, files: 1 }
}

fn device(n: u8) -> SeenDevice {
    SeenDevice {
        id: DeviceId([n; 32]),
        owner: OwnerId([n; 32]),
        name: format!("device {n}"),
        granted: Roles::ALL,
        connected: true,
        mute: false,
        lost: false,
        open: true,
        draining: None,
        lent: Resources::LIMIT,
        held: Resources::ZERO,
        full: false,
        power: None,
        why: String::new(),
        expected: Expected { availability: 0.9, reliability: 0.8, goes_soon: false, aside: None },
        bundles: (1..4).map(|n| BundleId([n; 32])).collect(),
        listed: Some(Vec::new()),
    }
}

fn copy(n: u8, revision: u64, state: InstanceState) -> SeenInstance {
    let instance = Instance {
        id: InstanceId([n; 16]),
        container: ID,
        device: DeviceId([n; 32]),
        given: Resources::ZERO,
        state,
        reason: "the content could not be had".to_owned(),
        since: NOW,
        epoch: 1,
        revision,
    };
    SeenInstance { instance, expires: UnixMs(NOW.0 + 1), introduction_key: (state != Reserved).then_some([n; 32]), traffic: None }
}

/// A container that has content `has`, with these contents and copies.
fn world(wanted: u8, has: u64, contents: &[(u64, RevisionState)], instances: Vec<SeenInstance>) -> World {
    let mut devices: Vec<SeenDevice> = (1..=DEVICES).map(device).collect();
    for i in instances.iter().filter(|i| i.instance.state.is_live()) {
        if let Some(d) = devices.iter_mut().find(|d| d.id == i.instance.device) {
            d.listed.as_mut().unwrap().push(i.instance.id);
        }
    }
    let spec = ContainerSpec {
        name: "site".parse().unwrap(),
        image: image(has),
        requirements: Resources::ZERO,
        instances: wanted,
        availability: None,
        most: None,
        level: Level::Fast,
    };
    let container = Container {
        id: ID,
        owner: OwnerId([9; 32]),
        onion: format!("{}.onion", "a".repeat(56)).parse().unwrap(),
        spec,
        state: ContainerState::Running,
        reason: String::new(),
        created: NOW,
        epoch: 1,
        revision: has,
    };
    let kept = |(number, state): &(u64, RevisionState)| KeptRevision {
        container: ID,
        revision: Revision { number: *number, image: image(*number), state: *state, reason: String::new(), began: NOW },
        seal: Vec::new(),
    };
    let container = SeenContainer {
        scaled: None,
        container,
        publisher: DeviceId([1; 32]),
        deleting: false,
        instances,
        rests: false,
        apart: Vec::new(),
        lacks: None,
        signed_until: UnixMs(i64::MAX),
        revisions: contents.iter().map(kept).collect(),
        told: true,
    };
    World { now: NOW, began: UnixMs(0), routable: Some(UnixMs(0)), devices, containers: vec![container] }
}

/// What is done, but for words.
#[derive(Debug, PartialEq, Eq, Default)]
struct Done {
    placed: bool,
    drained: Vec<u8>,
    ended: Vec<u8>,
    switched: Option<u64>,
    revised: Option<(u64, RevisionState)>,
}

fn done(world: &World) -> Done {
    let mut done = Done::default();
    for action in decide(world) {
        match action {
            Action::Place { .. } => done.placed = true,
            Action::Drain { instance, .. } => done.drained.push(instance.0[0]),
            Action::End { instance, .. } => done.ended.push(instance.0[0]),
            Action::Switch { revision, .. } => done.switched = Some(revision),
            Action::Revise { revision, to, .. } => done.revised = Some((revision, to)),
            _ => {}
        }
    }
    done
}

const COMES: [(u64, RevisionState); 2] = [(1, Served), (2, Coming)];
const MOVES: [(u64, RevisionState); 2] = [(1, Past), (2, Moving)];

#[test]
fn one_more_comes_then_visitors_are_told_then_one_after_another_goes() {
    let two = || vec![copy(1, 1, Ready), copy(2, 1, Ready)];
    let with = |more: &[SeenInstance]| two().into_iter().chain(more.iter().cloned()).collect::<Vec<_>>();
    assert_eq!(done(&world(2, 1, &COMES, two())), Done { placed: true, ..Done::default() });
    for state in [Reserved, Fetching, Starting] {
        let waits = done(&world(2, 1, &COMES, with(&[copy(3, 2, state)])));
        assert_eq!(waits, Done::default(), "{state}: one at a time, and nobody leaves");
    }
    let ready = world(2, 1, &COMES, with(&[copy(3, 2, Ready)]));
    assert_eq!(done(&ready), Done { switched: Some(2), ..Done::default() });
    assert!(!ready.containers[0].serves(&ready.containers[0].instances[2]), "visitors do not know of it");

    // Visitors are told. Until they could have learnt nobody leaves.
    let mut told = world(2, 2, &MOVES, with(&[copy(3, 2, Ready)]));
    told.containers[0].told = false;
    assert_eq!(done(&told), Done::default());
    told.containers[0].told = true;
    assert_eq!(done(&told), Done { placed: true, drained: vec![1], ..Done::default() });
    let next = world(2, 2, &MOVES, vec![copy(1, 1, Draining), copy(2, 1, Ready), copy(3, 2, Ready), copy(4, 2, Fetching)]);
    assert_eq!(done(&next), Done::default(), "two are ready, so the other one stays until the third is");
    let last = world(2, 2, &MOVES, vec![copy(1, 1, Ended), copy(2, 1, Ready), copy(3, 2, Ready), copy(4, 2, Ready)]);
    assert_eq!(done(&last), Done { drained: vec![2], ..Done::default() });
    let over = world(2, 2, &MOVES, vec![copy(2, 1, Draining), copy(3, 2, Ready), copy(4, 2, Ready)]);
    assert_eq!(done(&over).revised, Some((2, Served)));
    assert_eq!(done(&world(2, 2, &[(1, Past), (2, Served)], vec![copy(3, 2, Ready), copy(4, 2, Ready)])), Done::default());
}

#[test]
fn a_quarter_of_many_moves_at_a_time_and_as_many_as_wanted_serve_throughout() {
    // The whole way, by the decisions alone: what is placed is ready after a look, what is drained has ended.
    for (wanted, few) in [(1, 1), (2, 1), (4, 1), (8, 2), (32, 8)] {
        let mut world = world(wanted, 1, &COMES, (1..=wanted).map(|n| copy(n, 1, Ready)).collect());
        world.devices = (1..=120).map(device).collect();
        let (mut next, mut looks) = (wanted, 0);
        while world.containers[0].revisions[1].revision.state != Served {
            looks += 1;
            assert!(looks < 200, "{wanted}: it ends");
            let (actions, step) = (decide(&world), usize::from(world.containers[0].step(wanted)));
            let seen = &mut world.containers[0];
            for action in actions {
                match action {
                    Action::Place { .. } => {
                        let missing = usize::from(wanted) - seen.counting().filter(|i| seen.is_current(i)).count();
                        for _ in 0..step.min(missing) {
                            next += 1;
                            let copy = copy(next, seen.target().0, Fetching);
                            seen.instances.push(copy);
                        }
                    }
                    Action::Drain { instance, .. } => seen.instances.retain(|i| i.instance.id != instance),
                    Action::Switch { revision, .. } => {
                        (seen.container.revision, seen.container.spec.image) = (revision, image(revision));
                        (seen.revisions[0].revision.state, seen.revisions[1].revision.state) = (Past, Moving);
                    }
                    Action::Revise { to, .. } => seen.revisions[1].revision.state = to,
                    _ => {}
                }
            }
            assert!(seen.ready().filter(|i| seen.serves(i)).count() >= usize::from(wanted), "{wanted}: as many as wanted serve");
            assert!(seen.counting().count() <= usize::from(wanted) + few, "{wanted}: {} at once", seen.counting().count());
            for i in &mut seen.instances {
                i.instance.state = Ready;
            }
        }
        let seen = &world.containers[0];
        assert_eq!(seen.counting().filter(|i| seen.is_current(i)).count(), usize::from(wanted));
    }
}

#[test]
fn what_does_not_come_up_is_given_up_and_its_copies_end() {
    let copies = |more: Vec<SeenInstance>| [vec![copy(1, 1, Ready), copy(2, 1, Ready)], more].concat();
    // On one device it failed: another one is tried.
    let mut failed = world(2, 1, &COMES, copies(vec![copy(3, 2, Ended)]));
    failed.containers[0].apart = vec![DeviceId([3; 32])];
    assert_eq!(done(&failed), Done { placed: true, ..Done::default() });
    // There is no other.
    failed.containers[0].lacks = Some("does not fit".to_owned());
    assert_eq!(done(&failed).revised, Some((2, GivenUp)));
    let mut thrice = world(2, 1, &COMES, copies((3..6).map(|n| copy(n, 2, Ended)).collect()));
    thrice.containers[0].apart = (3..6).map(|n| DeviceId([n; 32])).collect();
    let Some(Action::Revise { reason, .. }) = decide(&thrice).into_iter().find(|a| matches!(a, Action::Revise { .. })) else {
        panic!("it goes on")
    };
    assert!(reason.contains("3 devices") && reason.contains("could not be had"), "{reason}");
    // Devices that went are not its failures.
    thrice.containers[0].apart.clear();
    assert_eq!(done(&thrice).revised, None);
    // Its time; the allocator's own absence, and a fog without mixes, do not count.
    let mut late = world(2, 1, &COMES, copies(vec![copy(3, 2, Starting)]));
    late.now = NOW.plus(allowed(&image(2)));
    for d in &mut late.devices {
        d.expected.aside = None;
    }
    assert_eq!(done(&late).revised, Some((2, GivenUp)));
    late.began = UnixMs(NOW.0 + 1);
    assert_eq!(done(&late).revised, None);
    (late.began, late.routable) = (UnixMs(0), None);
    assert_eq!(done(&late).revised, None);
    // Given up: nothing of it stays, all that served serves.
    let over = world(2, 1, &[(1, Served), (2, GivenUp)], copies(vec![copy(3, 2, Ready), copy(4, 2, Fetching)]));
    assert_eq!(done(&over), Done { ended: vec![3, 4], ..Done::default() });
}

#[test]
fn another_update_takes_the_place_of_one_under_way() {
    // Before visitors were told of it.
    let contents = [(1, Served), (2, GivenUp), (3, Coming)];
    let copies = vec![copy(1, 1, Ready), copy(2, 1, Ready), copy(3, 2, Ready)];
    assert_eq!(done(&world(2, 1, &contents, copies)), Done { placed: true, ended: vec![3], ..Done::default() });
    // After: what still serves goes on, the third content comes beside it, and the oldest leave first.
    let contents = [(1, Past), (2, Moving), (3, Coming)];
    let three = || vec![copy(1, 1, Ready), copy(2, 1, Ready), copy(3, 2, Ready)];
    assert_eq!(done(&world(2, 2, &contents, three())), Done::default(), "one beyond those wanted is there already");
}

#[test]
fn a_copy_that_is_lost_meanwhile_is_replaced_by_one_of_the_new_content() {
    let mut lost = world(2, 1, &COMES, vec![copy(1, 1, Ready), copy(2, 1, InstanceState::Lost), copy(3, 2, Fetching)]);
    assert_eq!(done(&lost), Done { placed: true, ..Done::default() });
    // Its device leaves: it serves on until as many as wanted do.
    lost = world(2, 1, &COMES, vec![copy(1, 1, Ready), copy(2, 1, Ready), copy(3, 2, Ready)]);
    lost.devices[0].draining = Some("its owner asked for it".to_owned());
    assert!(done(&lost).drained.is_empty(), "the third does not serve before visitors are told");
    let mut moved = world(2, 2, &MOVES, vec![copy(1, 1, Ready), copy(2, 1, Ready), copy(3, 2, Ready)]);
    moved.devices[0].draining = Some("its owner asked for it".to_owned());
    moved.containers[0].told = false;
    assert_eq!(done(&moved).drained, [1]);
    // The only new copy is lost after visitors were told: the old ones stay and another comes.
    let again = world(2, 2, &MOVES, vec![copy(1, 1, Ready), copy(2, 1, Ready), copy(3, 2, InstanceState::Lost)]);
    assert_eq!(done(&again), Done { placed: true, ..Done::default() });
}

#[test]
fn where_nothing_serves_visitors_are_told_at_once() {
    for state in [ContainerState::Stopped, ContainerState::Failed, ContainerState::Pending, ContainerState::Allocating] {
        let mut w = world(2, 1, &COMES, vec![]);
        w.containers[0].container.state = state;
        assert_eq!(done(&w).switched, Some(2), "{state}");
    }
    // What was reserved for the old content is not begun with.
    let mut w = world(2, 2, &MOVES, vec![copy(1, 1, Reserved), copy(2, 1, Fetching)]);
    w.containers[0].container.state = ContainerState::Starting;
    assert_eq!(done(&w), Done { placed: true, ended: vec![1, 2], ..Done::default() });
}

#[test]
fn a_step_is_planned_at_the_size_of_the_new_content_and_may_lie_beside_an_old_copy() {
    let mut w = world(8, 1, &[(1, Served), (3, Coming)], (1..=8).map(|n| copy(n, 1, Ready)).collect());
    w.devices = (1..=8).map(device).collect();
    w.containers[0].container.spec.requirements.memory_mb = 801;
    let snapshot = snapshot_for(&w, &w.containers[0]);
    assert_eq!((snapshot.request.instances, snapshot.request.minimum.storage_mb), (2, 3));
    assert_eq!(snapshot.request.requirements.memory_mb, 201, "two of eight parts of all");
    assert!(snapshot.devices.iter().all(|d| d.suitable && d.reliability < 0.5), "where both would be lost at once it is dearer");
    w.containers[0].instances.push(copy(1, 3, Ready));
    let snapshot = snapshot_for(&w, &w.containers[0]);
    assert_eq!(snapshot.devices.iter().filter(|d| d.suitable).count(), 7);
}

#[test]
fn a_bundle_is_let_go_when_no_copy_serves_it() {
    let let_go = |w: &World| {
        let all =
            decide(w).into_iter().filter_map(|a| if let Action::LetGo { bundle, .. } = a { Some(bundle.0[0]) } else { None });
        all.collect::<HashSet<u8>>()
    };
    assert_eq!(let_go(&world(1, 2, &MOVES, vec![copy(1, 1, Draining), copy(2, 2, Ready)])), HashSet::from([3]));
    assert_eq!(let_go(&world(1, 2, &MOVES, vec![copy(1, 1, Ended), copy(2, 2, Ready)])), HashSet::from([1, 3]));
    assert_eq!(let_go(&world(1, 1, &COMES, vec![copy(1, 1, Ready)])), HashSet::from([3]), "what comes is kept, too");
}

#[test]
fn a_publisher_is_told_what_an_update_waits_for() {
    let mut w = world(2, 1, &COMES, vec![copy(1, 1, Ready), copy(2, 1, Ready)]);
    let said = |w: &World| view(w, &w.containers[0]).unwrap().words;
    assert!(said(&w).contains("a place"), "{}", said(&w));
    w.containers[0].lacks = Some("does not fit: memory".to_owned());
    assert!(said(&w).contains("waits for room") && said(&w).contains("memory"), "{}", said(&w));
    for d in &mut w.devices {
        d.bundles.clear();
        d.connected = d.id != w.containers[0].publisher;
    }
    assert!(said(&w).contains("publisher's device"), "{}", said(&w));
    let moving = world(2, 2, &MOVES, vec![copy(2, 1, Ready), copy(3, 2, Ready)]);
    let update = view(&moving, &moving.containers[0]).unwrap();
    assert_eq!((update.revision.number, update.ready, update.wanted), (2, 1, 2));
    assert!(update.words.contains("1 of 2"), "{}", update.words);
    assert!(view(&world(1, 1, &[], vec![]), &world(1, 1, &[], vec![]).containers[0]).is_none(), "it was never updated");
}
