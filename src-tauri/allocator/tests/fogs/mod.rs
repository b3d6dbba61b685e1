//! Fogs of allocators over real connections, for the tests beside.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub, reason = "tests; not each of them uses all")]

use fogbank_allocator::{Allocator, AllocatorConfig, PeerView};
use fogbank_model::{DeviceId, DurationMs, FogId};
use fogbank_wire::{ALPN, CallError, Group, PeerAddress, Purpose, Roles, Strangers, greet, receive_hello};
use iroh::{
    Endpoint, EndpointAddr, RelayMode, SecretKey,
    endpoint::{Connection, presets},
};
use std::{net::SocketAddr, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn endpoint(key: &SecretKey) -> Endpoint {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let builder = Endpoint::builder(presets::Minimal).secret_key(key.clone()).alpns(vec![ALPN.to_vec()]);
    let builder = builder.relay_mode(RelayMode::Disabled).clear_address_lookup().clear_ip_transports();
    builder.bind_addr(any).unwrap().bind().await.unwrap()
}

pub(crate) struct Fog {
    pub(crate) allocator: Allocator,
    pub(crate) endpoint: Endpoint,
    accepting: JoinHandle<()>,
    /// Its own, when it has one.
    folder: Option<TempDir>,
}

impl Fog {
    /// One in a folder of its own.
    pub(crate) async fn alone() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fog = Self::start(folder.path(), &SecretKey::generate()).await;
        Self { folder: Some(folder), ..fog }
    }

    pub(crate) async fn start(folder: &Path, key: &SecretKey) -> Self {
        Self::operated(folder, key, None).await
    }

    /// One that a member's node runs.
    pub(crate) async fn operated(folder: &Path, key: &SecretKey, operator: Option<DeviceId>) -> Self {
        let store = folder.join(format!("{}.sqlite", FogId(*key.public().as_bytes()).short()));
        let config = AllocatorConfig { operator, ..AllocatorConfig::new(store, key.clone(), "Test".to_owned(), true) };
        let allocator = Allocator::start(config).await.unwrap();
        let endpoint = endpoint(key).await;
        allocator.federate_from(endpoint.clone());
        let (door, greeting) = (endpoint.clone(), allocator.clone());
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = door.accept().await {
                let allocator = greeting.clone();
                tokio::spawn(async move {
                    let Ok(connection) = incoming.accept().unwrap().await else { return };
                    let stranger = Strangers::new(1).begin(Group::Relayed).unwrap();
                    match receive_hello(&connection).await {
                        Ok((Purpose::Federate, reply)) => allocator.accept_peer(connection, reply, stranger).await,
                        Ok((Purpose::Control(enrol), reply)) => allocator.accept(connection, *enrol, reply, stranger).await,
                        _ => {}
                    }
                });
            }
        });
        Self { allocator, endpoint, accepting, folder: None }
    }

    /// The secret of an invite that gives these roles.
    pub(crate) async fn invite(&self, roles: Roles) -> [u8; 16] {
        self.allocator.invite_bootstrap(roles, DurationMs::from_s(600), Vec::new()).await.unwrap().secret
    }

    pub(crate) fn id(&self) -> FogId {
        FogId(*self.endpoint.id().as_bytes())
    }

    pub(crate) fn address(&self) -> PeerAddress {
        PeerAddress { fog: self.id(), addrs: self.endpoint.bound_sockets() }
    }

    /// What it knows of another, once that is as expected.
    pub(crate) async fn sees(&self, fog: FogId, expected: impl Fn(&PeerView) -> bool) -> PeerView {
        let look = async {
            loop {
                if let Some(peer) = self.allocator.federation().into_iter().find(|p| p.address.fog == fog && expected(p)) {
                    return peer;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, look).await.unwrap_or_else(|_| panic!("it sees {:?}", self.allocator.federation()))
    }

    pub(crate) async fn end(self) {
        self.allocator.shutdown().await;
        self.accepting.abort();
        self.endpoint.close().await;
    }
}

/// A connection to a fog's allocator, over which nothing is said yet.
pub(crate) async fn connection(own: &Endpoint, of: &Fog) -> Connection {
    let to = of.endpoint.bound_sockets().into_iter().fold(EndpointAddr::new(of.endpoint.id()), EndpointAddr::with_ip_addr);
    own.connect(to, ALPN).await.unwrap()
}

/// A peer that says what the test says.
pub(crate) async fn peer(key: &SecretKey, of: &Fog) -> (Endpoint, Result<Connection, CallError>) {
    let own = endpoint(key).await;
    let connection = connection(&own, of).await;
    let greeted = greet(&connection, Purpose::Federate).await;
    (own, greeted.map(|_| connection))
}
