//! Allocators of several fogs over real connections.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use fogbank_allocator::{Allocator, AllocatorConfig, AskPeerError, PeerView};
use fogbank_betanet::directory::{Directory, clock};
use fogbank_model::FogId;
use fogbank_wire::{
    ALPN, CallError, FederateReply, FederateRequest, PeerAddress, Purpose, RefusalKind, call, greet, receive_hello,
};
use iroh::{
    Endpoint, EndpointAddr, RelayMode, SecretKey,
    endpoint::{Connection, presets},
};
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

const SOON: Duration = Duration::from_secs(20);

async fn endpoint(key: &SecretKey) -> Endpoint {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let builder = Endpoint::builder(presets::Minimal).secret_key(key.clone()).alpns(vec![ALPN.to_vec()]);
    let builder = builder.relay_mode(RelayMode::Disabled).clear_address_lookup().clear_ip_transports();
    builder.bind_addr(any).unwrap().bind().await.unwrap()
}

struct Fog {
    allocator: Allocator,
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

impl Fog {
    async fn start(folder: &Path, key: &SecretKey) -> Self {
        let store = folder.join(format!("{}.sqlite", FogId(*key.public().as_bytes()).short()));
        let allocator = Allocator::start(AllocatorConfig::new(store, key.clone(), "Test".to_owned(), true)).await.unwrap();
        let endpoint = endpoint(key).await;
        allocator.federate_from(endpoint.clone());
        let (door, greeting) = (endpoint.clone(), allocator.clone());
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = door.accept().await {
                let allocator = greeting.clone();
                tokio::spawn(async move {
                    let Ok(connection) = incoming.accept().unwrap().await else { return };
                    if let Ok((Purpose::Federate, reply)) = receive_hello(&connection).await {
                        allocator.accept_peer(connection, reply).await;
                    }
                });
            }
        });
        Self { allocator, endpoint, accepting }
    }

    fn id(&self) -> FogId {
        FogId(*self.endpoint.id().as_bytes())
    }

    fn address(&self) -> PeerAddress {
        PeerAddress { fog: self.id(), addrs: self.endpoint.bound_sockets() }
    }

    /// What it knows of another, once that is as expected.
    async fn sees(&self, fog: FogId, expected: impl Fn(&PeerView) -> bool) -> PeerView {
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

    async fn end(self) {
        self.allocator.shutdown().await;
        self.accepting.abort();
        self.endpoint.close().await;
    }
}

/// A peer that says what the test says.
async fn peer(key: &SecretKey, of: &Fog) -> (Endpoint, Result<Connection, CallError>) {
    let own = endpoint(key).await;
    let to = of.endpoint.bound_sockets().into_iter().fold(EndpointAddr::new(of.endpoint.id()), EndpointAddr::with_ip_addr);
    let connection = own.connect(to, ALPN).await.unwrap();
    let greeted = greet(&connection, Purpose::Federate).await;
    (own, greeted.map(|_| connection))
}

fn signed(key: &SecretKey, serial: u64) -> Vec<u8> {
    Directory::new(FogId(*key.public().as_bytes()), true, serial, clock(), [1; 32], Vec::new()).seal(key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_name_each_other_and_have_each_others_directory_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [SecretKey::generate(), SecretKey::generate()];
    let (a, b) = (Fog::start(folder.path(), &keys[0]).await, Fog::start(folder.path(), &keys[1]).await);
    let own = a.allocator.federate(a.address()).await.unwrap_err();
    assert_eq!(own.kind, RefusalKind::Invalid);

    a.allocator.federate(b.address()).await.unwrap();
    let refused = a.sees(b.id(), |p| p.why.contains("has not named yours")).await;
    assert!(!refused.connected && refused.directory.is_none());
    let ping = FederateRequest::Directory(Vec::new());
    let away = a.allocator.ask_peer(&b.id(), &ping, SOON).await;
    assert!(matches!(away, Err(AskPeerError::Away(_))), "{away:?}");
    assert!(matches!(b.allocator.ask_peer(&a.id(), &ping, SOON).await, Err(AskPeerError::NotNamed)));

    b.allocator.federate(a.address()).await.unwrap();
    let names = |fog: FogId| move |p: &PeerView| p.connected && p.directory.as_ref().is_some_and(|d| d.federated == [fog]);
    a.sees(b.id(), names(a.id())).await;
    b.sees(a.id(), names(b.id())).await;
    let answer = a.allocator.ask_peer(&b.id(), &ping, SOON).await.unwrap();
    assert!(matches!(answer, FederateReply::Refused(_)), "no directory");

    // One of them restarts: it still has the other's directory, and they find each other again.
    let (b_id, a_id) = (b.id(), a.id());
    a.end().await;
    b.sees(a_id, |p| !p.connected && p.directory.is_some()).await;
    let a = Fog::start(folder.path(), &keys[0]).await;
    assert!(a.allocator.federation()[0].directory.is_some());
    b.allocator.federate(a.address()).await.unwrap();
    a.sees(b_id, |p| p.connected).await;

    // The other ends it: this one is not let in any more.
    b.allocator.end_federation(&a_id).await.unwrap();
    assert!(b.allocator.federation().is_empty());
    a.sees(b_id, |p| p.why.contains("has not named yours")).await;
    assert_eq!(b.allocator.end_federation(&a_id).await.unwrap_err().kind, RefusalKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_peer_gives_its_own_directory_and_no_more_than_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let fog = Fog::start(folder.path(), &SecretKey::generate()).await;
    let [hostile, stranger] = [SecretKey::generate(), SecretKey::generate()];
    let id = FogId(*hostile.public().as_bytes());
    let (_own, turned_away) = peer(&stranger, &fog).await;
    assert!(matches!(turned_away, Err(CallError::Refused(why)) if why.kind == RefusalKind::NotGranted));

    let nowhere = vec!["127.0.0.1:9".parse().unwrap()];
    fog.allocator.federate(PeerAddress { fog: id, addrs: nowhere }).await.unwrap();
    let (_hostile_end, connection) = peer(&hostile, &fog).await;
    let connection = connection.unwrap();
    let give = async |bytes: Vec<u8>| match call(&connection, &FederateRequest::Directory(bytes)).await.unwrap() {
        FederateReply::Done => None,
        FederateReply::Refused(refusal) => Some(refusal.kind),
    };
    // A directory of another fog, though that fog signed it.
    assert_eq!(give(signed(&stranger, 9)).await, Some(RefusalKind::Invalid));
    assert!(fog.allocator.federation()[0].directory.is_none());
    // A flood: however many come in a second, none more is taken.
    let mut taken = 0;
    for serial in 1..200 {
        match give(signed(&hostile, serial)).await {
            None => taken += 1,
            kind => assert_eq!(kind, Some(RefusalKind::Busy)),
        }
    }
    assert!(taken <= 2, "{taken}");
    let later = async {
        while give(signed(&hostile, 500)).await.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, later).await.unwrap();
    let serial = || fog.allocator.federation()[0].directory.as_ref().map(|d| d.serial);
    assert_eq!(serial(), Some(500));
    // Yesterday's directory brings nothing back.
    let earlier = async {
        while give(signed(&hostile, 400)).await.is_some() {
            sleep(Duration::from_millis(100)).await
        }
    };
    timeout(SOON, earlier).await.unwrap();
    assert_eq!(serial(), Some(500));
    // Many connections are no more than two.
    let mut many = vec![];
    for _ in 0..10 {
        many.push(peer(&hostile, &fog).await.1.unwrap());
    }
    let all_but_two = async {
        while many.iter().filter(|c| c.close_reason().is_none()).count() > 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, all_but_two).await.unwrap();
}
