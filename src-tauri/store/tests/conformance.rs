//! What any store of a fog must do.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{NOW, ONE, container, store};
use fogbank_model::{ContainerId, ContainerState, DeviceId, InstanceId, InstanceState, OwnerId, Resources, UnixMs};
use fogbank_store::{MAX_HISTORY, MAX_PAST_INSTANCES, OpenError, Reservation, Reserved, RoleBits, Store, StoreError};

fn reservation() -> Reservation {
    Reservation { instance: InstanceId(rand::random()), device: DeviceId([1; 32]), given: ONE, revision: 0 }
}

#[tokio::test]
async fn conduct_is_kept_of_members_and_outlives_new_grants() {
    let (folder, store) = store().await;
    assert!(store.conducts().await.unwrap().is_empty());
    let (known, unknown) = (DeviceId([1; 32]), DeviceId([2; 32]));
    store.keep_conducts(&[(known, vec![1]), (unknown, vec![2])]).await.unwrap();
    store.keep_conducts(&[(known, vec![3, 4])]).await.unwrap();
    store.put_device(known, OwnerId([1; 32]), "renamed", RoleBits(3), NOW).await.unwrap();
    store.close().await;
    let store = Store::open(&folder.path().join("fog.sqlite")).await.unwrap();
    assert_eq!(store.conducts().await.unwrap(), [(known, vec![3, 4])]);
    store.end_device(known).await.unwrap();
    assert!(store.conducts().await.unwrap().is_empty(), "who is forgotten leaves nothing");
}

#[tokio::test]
async fn a_container_is_created_once_and_survives_a_restart() {
    let (folder, store) = store().await;
    store.create(&container(1)).await.unwrap();
    store.create(&container(1)).await.unwrap();
    let mut usurper = container(1);
    usurper.container.owner = OwnerId([2; 32]);
    assert!(matches!(store.create(&usurper).await, Err(StoreError::Taken { .. })));
    let mut same_address = container(2);
    same_address.container.onion = container(1).container.onion;
    assert!(matches!(store.create(&same_address).await, Err(StoreError::Taken { what: "address" })));
    store.close().await;
    let store = Store::open(&folder.path().join("fog.sqlite")).await.unwrap();
    assert_eq!(store.containers().await.unwrap(), vec![container(1)]);
    assert_eq!(store.history(ContainerId([1; 16])).await.unwrap().len(), 1);
}

#[tokio::test]
async fn only_moves_of_the_machine_are_kept() {
    let (_folder, store) = store().await;
    store.create(&container(1)).await.unwrap();
    let id = ContainerId([1; 16]);
    let illegal = store.move_container(id, ContainerState::Running, "no", NOW).await;
    assert!(matches!(illegal, Err(StoreError::Move(_))));
    store.move_container(id, ContainerState::Allocating, "yes", NOW).await.unwrap();
    let states: Vec<_> = store.history(id).await.unwrap().iter().map(|t| t.to).collect();
    assert_eq!(states, [ContainerState::Pending, ContainerState::Allocating]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_booked_twice_by_sixteen_at_once() {
    let (_folder, store) = store().await;
    for n in 0..16 {
        store.create(&container(n)).await.unwrap();
    }
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.reserve(ContainerId([n; 16]), 0, &[reservation()], "here", NOW, NOW).await.unwrap() })
        })
        .collect();
    let mut held = 0;
    for task in tasks {
        held += usize::from(task.await.unwrap() == Reserved::All);
    }
    assert_eq!(held, 5, "a device that lends 500 takes five of 100");
    let device = store.device(DeviceId([1; 32])).await.unwrap().unwrap();
    assert_eq!(device.held, device.lent);
}

#[tokio::test]
async fn who_left_may_do_nothing_and_is_forgotten_once_no_history_names_it() {
    let (_folder, store) = store().await;
    let [one, two, three] = [1, 2, 3].map(|n| DeviceId([n; 32]));
    let owner = OwnerId([1; 32]);
    let id = ContainerId([1; 16]);
    store.create(&container(1)).await.unwrap();
    assert_eq!(store.reserve(id, 0, &[reservation()], "x", NOW, NOW).await.unwrap(), Reserved::All);
    store.put_device(two, owner, "phone", RoleBits(2), NOW).await.unwrap();
    for device in [one, two] {
        store.end_device(device).await.unwrap();
    }
    let kept = store.device(one).await.unwrap().unwrap();
    assert_eq!((kept.granted, kept.lent), (RoleBits(0), Resources::ZERO), "an instance names it");
    assert_eq!(store.device(two).await.unwrap(), None);
    // What it may do when it comes again has nothing of before.
    store.put_device(one, owner, "laptop", RoleBits(4), NOW).await.unwrap();
    assert_eq!(store.device(one).await.unwrap().unwrap().granted, RoleBits(4));
    store.end_device(one).await.unwrap();
    for state in [ContainerState::Stopping, ContainerState::Stopped] {
        store.move_container(id, state, "over", NOW).await.unwrap();
    }
    store.forget(id).await.unwrap();
    store.end_device(three).await.unwrap();
    assert_eq!(store.devices().await.unwrap(), []);
}

#[tokio::test]
async fn all_or_nothing_and_only_of_the_newest_plan() {
    let (_folder, store) = store().await;
    store.create(&container(1)).await.unwrap();
    let id = ContainerId([1; 16]);
    let many: Vec<_> = (0..6).map(|_| reservation()).collect();
    assert_eq!(store.reserve(id, 0, &many, "x", NOW, NOW).await.unwrap(), Reserved::Short(DeviceId([1; 32])));
    assert_eq!(store.device(DeviceId([1; 32])).await.unwrap().unwrap().held, Resources::ZERO);
    assert_eq!(store.reserve(id, 0, &many[..2], "x", NOW, NOW).await.unwrap(), Reserved::All);
    assert_eq!(store.reserve(id, 0, &many[2..3], "x", NOW, NOW).await.unwrap(), Reserved::Outdated);
    assert_eq!(store.reserve(id, 1, &many[2..3], "x", NOW, NOW).await.unwrap(), Reserved::All);
    store.move_instance(many[0].instance, InstanceState::Ended, "over", NOW).await.unwrap();
    store.move_instance(many[0].instance, InstanceState::Ended, "again", NOW).await.unwrap();
    assert!(store.move_instance(many[0].instance, InstanceState::Ready, "no", NOW).await.is_err());
    store.move_instance(many[1].instance, InstanceState::Lost, "gone", NOW).await.unwrap();
    let held = store.device(DeviceId([1; 32])).await.unwrap().unwrap().held;
    assert_eq!(held, ONE, "what ended is free again, once");
    let live = store.instances(UnixMs(i64::MAX)).await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].instance.epoch, 2);
}

#[tokio::test]
async fn a_damaged_file_is_said_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.sqlite");
    Store::open(&path).await.unwrap().close().await;
    let whole = std::fs::read(&path).unwrap();
    let mut inside = whole.clone();
    inside[4096..8192].fill(0xa5);
    for damaged in [b"this is no database, it is a letter".repeat(200), inside] {
        std::fs::write(&path, &damaged).unwrap();
        let error = Store::open(&path).await.err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
}

#[tokio::test]
async fn invites_are_found_by_hash_until_they_are_swept() {
    let (_folder, store) = store().await;
    store.add_invite(&[7; 32], RoleBits(5), NOW).await.unwrap();
    assert_eq!(store.invite(&[7; 32]).await.unwrap(), Some((RoleBits(5), NOW)));
    assert_eq!(store.invite(&[8; 32]).await.unwrap(), None);
    store.sweep_invites(UnixMs(NOW.0 + 1)).await.unwrap();
    assert_eq!(store.invite(&[7; 32]).await.unwrap(), None);
}

#[tokio::test]
async fn what_grows_is_bounded() {
    let (_folder, store) = store().await;
    store.create(&container(1)).await.unwrap();
    let id = ContainerId([1; 16]);
    let rounds = MAX_HISTORY as u64 / 2 + 50;
    let mut last = Vec::new();
    for epoch in 0..rounds {
        let place = reservation();
        let now = UnixMs(NOW.0 + epoch as i64);
        let one = [place.clone()];
        assert_eq!(store.reserve(id, epoch, &one, "x", now, now).await.unwrap(), Reserved::All);
        store.move_instance(place.instance, InstanceState::Ended, "over", now).await.unwrap();
        last.push(place.instance);
    }
    let kept: Vec<_> = store.instances(UnixMs(0)).await.unwrap().iter().map(|i| i.instance.id).collect();
    assert_eq!(kept, last[last.len() - MAX_PAST_INSTANCES..], "the newest are kept");
    assert!(store.history(id).await.unwrap().is_empty(), "the container's own first move is beyond the bound by now");
    assert_eq!(store.device(DeviceId([1; 32])).await.unwrap().unwrap().held, Resources::ZERO);
}

#[tokio::test]
async fn a_proof_is_exchanged_for_the_one_that_was_read() {
    let (_folder, store) = store().await;
    store.create(&container(1)).await.unwrap();
    let id = ContainerId([1; 16]);
    store.set_proof(id, &[1, 2, 3], &[4, 5]).await.unwrap();
    assert_eq!(store.containers().await.unwrap()[0].proof, [4, 5]);
    // Somebody who read the old one would undo what came between.
    assert!(matches!(store.set_proof(id, &[1, 2, 3], &[6]).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.set_proof(ContainerId([2; 16]), &[4, 5], &[6]).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.containers().await.unwrap()[0].proof, [4, 5]);
}
