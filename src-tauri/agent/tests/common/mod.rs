//! Devices on loopback with real endpoints and stores.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "tests; each scenario uses a part")]

use fogbank_agent::bundle::{Bundles, ImportedBundle, Limits, SILENCE, Wanted};
use fogbank_model::{BundleId, DeviceId, FogId, UnixMs};
use fogbank_wire::{ALPN, BundlePermit, Group, Purpose, Signed, Strangers, receive_hello};
use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// The fog's key, with which permits are signed.
pub(crate) struct Fog(pub(crate) SecretKey);

impl Fog {
    pub(crate) fn new() -> Self {
        Self(SecretKey::generate())
    }

    pub(crate) fn id(&self) -> FogId {
        FogId(*self.0.public().as_bytes())
    }

    pub(crate) fn permit(&self, bundle: BundleId, device: DeviceId) -> Signed<BundlePermit> {
        self.permit_until(bundle, device, UnixMs(now().0 + 60_000))
    }

    pub(crate) fn permit_until(&self, bundle: BundleId, device: DeviceId, expires: UnixMs) -> Signed<BundlePermit> {
        Signed::seal(&self.0, BundlePermit::CONTEXT, &BundlePermit { bundle, device, expires }).unwrap()
    }
}

pub(crate) fn now() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// A device: its endpoint, its bundles, and the loop that a node runs for those who come.
pub(crate) struct Device {
    pub(crate) endpoint: Endpoint,
    pub(crate) bundles: Bundles,
    pub(crate) folder: TempDir,
    fog: FogId,
}

impl Device {
    pub(crate) async fn start(fog: &Fog) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundles = Bundles::open_with(&folder.path().join("bundles"), Duration::from_millis(50)).await.unwrap();
        let endpoint = endpoint().await;
        let device = Self { endpoint, bundles, folder, fog: fog.id() };
        tokio::spawn(accept(device.endpoint.clone(), device.bundles.clone(), device.fog));
        device
    }

    pub(crate) fn id(&self) -> DeviceId {
        DeviceId(*self.endpoint.id().as_bytes())
    }

    pub(crate) fn source(&self) -> (DeviceId, Vec<SocketAddr>) {
        (self.id(), self.endpoint.bound_sockets())
    }

    pub(crate) fn wanted(&self, fog: &Fog, bundle: BundleId, from: &[&Device]) -> Wanted {
        Wanted {
            bundle,
            sources: from.iter().map(|d| d.source()).collect(),
            permit: fog.permit(bundle, self.id()),
            limits: Limits::default(),
            silence: SILENCE,
        }
    }

    pub(crate) async fn import(&self, site: &Path) -> ImportedBundle {
        self.bundles.import(site, &Limits::default(), |_| ()).await.unwrap()
    }

    pub(crate) fn holds(&self, bundle: BundleId) -> bool {
        self.bundles.held().borrow().contains_key(&bundle)
    }
}

pub(crate) async fn endpoint() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .bind_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .unwrap()
        .bind()
        .await
        .unwrap()
}

async fn accept(endpoint: Endpoint, bundles: Bundles, fog: FogId) {
    while let Some(incoming) = endpoint.accept().await {
        let bundles = bundles.clone();
        tokio::spawn(async move {
            let connection = incoming.await.ok()?;
            let (purpose, reply) = receive_hello(&connection).await.ok()?;
            if let Purpose::Blobs(permit) = purpose {
                let _ = bundles.serve(connection, reply, fog, &permit, Strangers::new(1).begin(Group::Relayed).unwrap()).await;
            }
            Some(())
        });
    }
}

/// A folder with these files.
pub(crate) fn site(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    folder
}

/// Bytes that no two places of which look alike.
pub(crate) fn noise(seed: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
    bytes
}

/// Waits until something is so; how long a test may take bounds it.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}
