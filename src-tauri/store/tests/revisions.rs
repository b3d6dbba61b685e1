//! What any store of a fog must do with the contents that a container has had.

#![allow(clippy::unwrap_used, reason = "tests")]

use fogbank_model::{
    BundleId, Container, ContainerId, ContainerSpec, ContainerState, DeviceId, Image, InstanceId, Level, OwnerId, Resources,
    Revision, RevisionState, UnixMs,
};
use fogbank_store::{KeptContainer, KeptRevision, Reservation, Reserved, RoleBits, Store, StoreError};

const NOW: UnixMs = UnixMs(1_790_000_000_000);
const ID: ContainerId = ContainerId([1; 16]);
const DEVICE: DeviceId = DeviceId([1; 32]);
const ONE: Resources = Resources { cpu_millicores: 100, memory_mb: 100, storage_mb: 100, bandwidth_kbps: 100 };

fn image(n: u8) -> Image {
    Image::Site { bundle: BundleId([n; 32]), bytes: n.into(), files: 1 }
}

fn revision(number: u64, state: RevisionState) -> KeptRevision {
    let n = u8::try_from(number).unwrap();
    let revision = Revision { number, image: image(n), state, reason: "asked for".to_owned(), began: NOW };
    KeptRevision { container: ID, revision, seal: vec![n; 4] }
}

fn coming(number: u64) -> KeptRevision {
    revision(number, RevisionState::Coming)
}

/// A container of content 1 with one copy; `known`: kept as of that revision, or as from before revisions were kept.
async fn store(known: bool) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("fog.sqlite")).await.unwrap();
    store.put_device(DEVICE, OwnerId([1; 32]), "laptop", RoleBits(1), NOW).await.unwrap();
    store
        .set_lent(DEVICE, &Resources { cpu_millicores: 500, memory_mb: 500, storage_mb: 500, bandwidth_kbps: 500 })
        .await
        .unwrap();
    let spec = ContainerSpec {
        name: "site".parse().unwrap(),
        image: image(1),
        requirements: ONE,
        instances: 1,
        availability: None,
        most: None,
        level: Level::Fast,
    };
    let container = Container {
        id: ID,
        owner: OwnerId([1; 32]),
        onion: format!("{}.onion", "a".repeat(56)).parse().unwrap(),
        spec,
        state: ContainerState::Pending,
        reason: String::new(),
        created: NOW,
        epoch: 0,
        revision: u64::from(known),
    };
    let (publisher, proof) = (DeviceId([9; 32]), vec![1]);
    let kept = KeptContainer { container, publisher, proof, points: Vec::new(), placement: None, deleting: false };
    store.create(&kept).await.unwrap();
    reserve(&store, u64::from(known)).await;
    (folder, store)
}

async fn reserve(store: &Store, revision: u64) -> InstanceId {
    let epoch = store.containers().await.unwrap()[0].container.epoch;
    let instance = InstanceId(rand::random());
    let reservation = Reservation { instance, device: DEVICE, given: ONE, revision };
    assert_eq!(store.reserve(ID, epoch, &[reservation], "plan", NOW, NOW).await.unwrap(), Reserved::All);
    instance
}

async fn states(store: &Store) -> Vec<(u64, RevisionState)> {
    store.revisions().await.unwrap().into_iter().map(|r| (r.revision.number, r.revision.state)).collect()
}

#[tokio::test]
async fn a_switch_changes_all_or_nothing_and_survives_a_restart() {
    use RevisionState::{Coming, Moving, Past, Served};
    let (folder, store) = store(true).await;
    let served = revision(1, Served);
    store.begin_revision(&served, &coming(2)).await.unwrap();
    store.begin_revision(&served, &coming(2)).await.unwrap();
    assert_eq!(states(&store).await, [(1, Served), (2, Coming)], "asked twice, kept once");
    let before = store.containers().await.unwrap().remove(0);
    assert_eq!((before.container.spec.image, before.container.revision), (image(1), 1), "visitors don't hear of it yet");
    store.close().await;
    let store = Store::open(&folder.path().join("fog.sqlite")).await.unwrap();
    // A renewal came between reading and switching.
    store.set_proof(ID, &[1], &[1, 1]).await.unwrap();
    assert!(matches!(store.switch_revision(ID, 2, &[1], &[2], "ready", NOW).await, Err(StoreError::NotFound { .. })));
    assert_eq!(states(&store).await, [(1, Served), (2, Coming)]);
    store.switch_revision(ID, 2, &[1, 1], &[2], "ready", NOW).await.unwrap();
    let after = store.containers().await.unwrap().remove(0);
    assert_eq!((after.container.spec.image, after.container.revision, after.proof), (image(2), 2, vec![2]));
    assert_eq!(states(&store).await, [(1, Past), (2, Moving)]);
    // And a renewal that read before the switch does not undo it; nor does another number of copies.
    assert!(store.set_proof(ID, &[1, 1], &[1, 1, 1]).await.is_err());
    store.rescale(ID, 3, Some(0.5), Some(4)).await.unwrap();
    let spec = store.containers().await.unwrap().remove(0).container.spec;
    assert_eq!((spec.image, spec.instances, spec.availability), (image(2), 3, Some(0.5)));
    assert!(store.switch_revision(ID, 2, &[2], &[3], "again", NOW).await.is_err());
    store.move_revision(ID, 2, Served, "every copy serves it", NOW).await.unwrap();
    let history = store.history(ID).await.unwrap();
    assert_eq!(history.iter().filter(|t| t.reason.starts_with("update to revision 2")).count(), 3, "{history:?}");
}

#[tokio::test]
async fn numbers_rise_and_the_last_that_was_asked_for_counts() {
    use RevisionState::{Coming, GivenUp, Served};
    let (_folder, store) = store(true).await;
    let served = revision(1, Served);
    for low in [0, 1] {
        assert!(store.begin_revision(&served, &KeptRevision { seal: vec![9], ..coming(low) }).await.is_err(), "{low}");
    }
    store.begin_revision(&served, &coming(5)).await.unwrap();
    let other = KeptRevision { seal: vec![9], ..coming(5) };
    assert!(matches!(store.begin_revision(&served, &other).await, Err(StoreError::Taken { .. })), "one content a revision");
    assert!(store.begin_revision(&served, &coming(4)).await.is_err());
    store.begin_revision(&served, &coming(6)).await.unwrap();
    assert_eq!(states(&store).await, [(1, Served), (6, Coming)], "what nobody serves is forgotten");
    let instance = reserve(&store, 6).await;
    store.move_revision(ID, 6, GivenUp, "it did not come up", NOW).await.unwrap();
    assert!(store.begin_revision(&served, &coming(6)).await.is_ok() && states(&store).await[1] == (6, GivenUp));
    assert!(store.switch_revision(ID, 6, &[1], &[2], "late", NOW).await.is_err());
    store.begin_revision(&served, &coming(7)).await.unwrap();
    assert_eq!(states(&store).await, [(1, Served), (6, GivenUp), (7, Coming)], "while a copy of it lives it is known");
    store.move_instance(instance, fogbank_model::InstanceState::Ended, "ended", NOW).await.unwrap();
    store.begin_revision(&served, &coming(8)).await.unwrap();
    assert_eq!(states(&store).await, [(1, Served), (8, Coming)]);
    store.move_container(ID, ContainerState::Failed, "ended", NOW).await.unwrap();
    store.forget(ID).await.unwrap();
    assert!(states(&store).await.is_empty());
}

#[tokio::test]
async fn what_is_from_before_revisions_were_kept_is_of_the_one_that_is_served() {
    let (_folder, store) = store(false).await;
    let instances = async |store: &Store| store.instances(NOW).await.unwrap().remove(0).instance.revision;
    assert_eq!(instances(&store).await, 0);
    store.begin_revision(&revision(1, RevisionState::Served), &coming(2)).await.unwrap();
    assert_eq!(instances(&store).await, 1);
    assert_eq!(store.containers().await.unwrap()[0].container.revision, 1);
}
