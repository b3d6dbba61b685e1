//! A store with a member, and a container.

#![allow(dead_code, reason = "each test uses its part")]

use fogbank_model::{
    BundleId, Container, ContainerId, ContainerSpec, ContainerState, DeviceId, Image, Level, OwnerId, Resources, UnixMs,
};
use fogbank_store::{KeptContainer, RoleBits, Store};

pub(crate) const NOW: UnixMs = UnixMs(1_790_000_000_000);
pub(crate) const ONE: Resources = Resources { cpu_millicores: 100, memory_mb: 100, storage_mb: 100, bandwidth_kbps: 100 };

pub(crate) fn container(n: u8) -> KeptContainer {
    KeptContainer {
        container: Container {
            id: ContainerId([n; 16]),
            owner: OwnerId([1; 32]),
            onion: format!("{}.onion", char::from(b'a' + n).to_string().repeat(56)).parse().unwrap(),
            spec: ContainerSpec {
                name: "site".parse().unwrap(),
                image: Image::Site { bundle: BundleId([1; 32]), bytes: 1, files: 1 },
                requirements: ONE,
                instances: 1,
                availability: None,
                most: None,
                level: Level::Fast,
            },
            state: ContainerState::Pending,
            reason: "created".to_owned(),
            created: NOW,
            epoch: 0,
            revision: 0,
        },
        publisher: DeviceId([9; 32]),
        proof: vec![1, 2, 3],
        points: Vec::new(),
        placement: None,
        deleting: false,
    }
}

pub(crate) async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("fog.sqlite")).await.unwrap();
    store.put_device(DeviceId([1; 32]), OwnerId([1; 32]), "laptop", RoleBits(1), NOW).await.unwrap();
    let lent = Resources { cpu_millicores: 500, memory_mb: 500, storage_mb: 500, bandwidth_kbps: 500 };
    store.set_lent(DeviceId([1; 32]), &lent).await.unwrap();
    (folder, store)
}
