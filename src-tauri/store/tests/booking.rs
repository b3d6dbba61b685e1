//! Reservations, as a model has them, and by several processes' handles at once on one database.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{NOW, container};
use fogbank_model::{ContainerId, DeviceId, Dimension, InstanceId, InstanceState, OwnerId, Resources, UnixMs};
use fogbank_store::{Reservation, Reserved, RoleBits, Store};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeMap, path::Path};

const DEVICES: u8 = 4;
const CONTAINERS: u8 = 3;
const LENT: Resources = Resources { cpu_millicores: 1_000, memory_mb: 800, storage_mb: 600, bandwidth_kbps: 900 };

async fn filled(path: &Path) -> Store {
    let store = Store::open(path).await.unwrap();
    for n in 0..DEVICES {
        store.put_device(DeviceId([n; 32]), OwnerId([n; 32]), "laptop", RoleBits(1), NOW).await.unwrap();
        store.set_lent(DeviceId([n; 32]), &LENT).await.unwrap();
    }
    for n in 0..CONTAINERS {
        store.create(&container(n)).await.unwrap();
    }
    store
}

/// What is held of each device is what its live instances were given, and no more than it lends.
async fn sound(store: &Store) {
    let instances = store.instances(UnixMs(i64::MAX)).await.unwrap();
    for device in store.devices().await.unwrap() {
        let of = instances.iter().map(|i| &i.instance).filter(|i| i.device == device.id && i.state.is_live());
        assert_eq!(device.held, of.fold(Resources::ZERO, |sum, i| sum.plus(&i.given)));
        assert!(LENT.covers(&device.held), "{:?}", device.held);
    }
}

fn plan(rng: &mut StdRng) -> Vec<Reservation> {
    let devices: Vec<u8> = (0..DEVICES).filter(|_| rng.random_bool(0.5)).collect();
    let given = |rng: &mut StdRng| Resources::from_fn(|d| rng.random_range(0..=LENT.get(d)) / 2);
    devices
        .into_iter()
        .map(|n| Reservation { instance: InstanceId(rng.random()), device: DeviceId([n; 32]), given: given(rng), revision: 0 })
        .collect()
}

/// The same in a few lines, without a database.
#[derive(Default)]
struct Model {
    held: BTreeMap<DeviceId, Resources>,
    live: BTreeMap<InstanceId, Reservation>,
    epochs: BTreeMap<ContainerId, u64>,
}

impl Model {
    fn reserve(&mut self, id: ContainerId, epoch: u64, plan: &[Reservation]) -> Reserved {
        let known = self.epochs.entry(id).or_default();
        if *known != epoch {
            return Reserved::Outdated;
        }
        for wanted in plan {
            let held = self.held.get(&wanted.device).copied().unwrap_or(Resources::ZERO);
            if Dimension::ALL.into_iter().any(|d| held.get(d) + wanted.given.get(d) > LENT.get(d)) {
                return Reserved::Short(wanted.device);
            }
        }
        *known += 1;
        for wanted in plan {
            let held = self.held.entry(wanted.device).or_insert(Resources::ZERO);
            *held = held.plus(&wanted.given);
            self.live.insert(wanted.instance, wanted.clone());
        }
        Reserved::All
    }

    fn end(&mut self, id: InstanceId) {
        if let Some(ended) = self.live.remove(&id) {
            let held = self.held.get_mut(&ended.device).unwrap();
            *held = held.minus(&ended.given);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Two handles in turn say to each request what the model says.
    #[test]
    fn as_the_model_has_it(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("fog.sqlite");
            let handles = [filled(&path).await, Store::open(&path).await.unwrap()];
            let (mut rng, mut model) = (StdRng::seed_from_u64(seed), Model::default());
            for _ in 0..40 {
                let store = &handles[rng.random_range(0..2)];
                if rng.random_bool(0.7) {
                    let id = ContainerId([rng.random_range(0..CONTAINERS); 16]);
                    let epoch = model.epochs.get(&id).copied().unwrap_or(0) + u64::from(rng.random_bool(0.2));
                    let plan = plan(&mut rng);
                    let said = store.reserve(id, epoch, &plan, "", NOW, NOW).await.unwrap();
                    assert_eq!(said, model.reserve(id, epoch, &plan));
                } else if let Some(id) = model.live.keys().next().copied() {
                    store.move_instance(id, InstanceState::Ended, "", NOW).await.unwrap();
                    model.end(id);
                }
            }
            let live = handles[1].instances(UnixMs(i64::MAX)).await.unwrap();
            assert!(live.iter().map(|i| i.instance.id).eq(live.iter().map(|i| i.instance.id).filter(|id| model.live.contains_key(id))));
            assert_eq!(live.len(), model.live.len());
            sound(&handles[0]).await;
        });
    }
}

/// Three allocators' worth of handles plan, confirm and end at once, each by what it read last: nothing is booked twice, and of two plans made
/// under one epoch one is outdated.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_handles_at_once_book_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.sqlite");
    let first = filled(&path).await;
    let mut working = tokio::task::JoinSet::new();
    for seed in 0..3 {
        let store = Store::open(&path).await.unwrap();
        working.spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut held, mut outdated) = (0_u32, 0_u32);
            for _ in 0..60 {
                let n = rng.random_range(0..CONTAINERS);
                let id = ContainerId([n; 16]);
                let read = store.containers().await.unwrap();
                let epoch = read.iter().find(|k| k.container.id == id).unwrap().container.epoch;
                match store.reserve(id, epoch, &plan(&mut rng), "", NOW, NOW).await.unwrap() {
                    Reserved::All => held += 1,
                    Reserved::Outdated => outdated += 1,
                    Reserved::Short(_) => {}
                }
                let live = store.instances(UnixMs(i64::MAX)).await.unwrap();
                let some = live.get(rng.random_range(0..live.len().max(1)));
                if let Some(i) = some.filter(|_| rng.random_bool(0.6)) {
                    // Another one may have ended it meanwhile.
                    let _ = store.move_instance(i.instance.id, InstanceState::Ended, "", NOW).await;
                }
            }
            (held, outdated)
        });
    }
    let done: Vec<(u32, u32)> = working.join_all().await;
    let (held, outdated) = done.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    sound(&first).await;
    let epochs: u64 = first.containers().await.unwrap().iter().map(|k| k.container.epoch).sum();
    assert_eq!(epochs, u64::from(held), "each plan that was taken has raised its container's epoch, and no other");
    assert!(held > 20 && outdated > 0, "{held} held, {outdated} outdated: they came in each other's way");
}
