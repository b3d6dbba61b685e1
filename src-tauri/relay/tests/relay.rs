//! Two endpoints that know nothing of each other but the relay; strangers, and relays that are not the pinned one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use fogbank_relay::{Relay, RelayIdentity, RelayOptions, USUAL_MBIT_PER_S};
use fogbank_wire::{RelayHint, RelaySwitch, met_at, with_relay};
use iroh::{
    Endpoint, EndpointAddr,
    endpoint::{Builder, presets},
};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};
use tokio::time::timeout;

const ALPN: &[u8] = b"relay test";
/// Two TLS handshakes and a QUIC one on loopback take milliseconds; a refused token is tried again within it.
const WITHIN: Duration = Duration::from_secs(10);
/// How long is waited for what must not happen: an allowed connection takes a hundredth.
const NOT_WITHIN: Duration = Duration::from_secs(3);

/// A port that is free for TCP and, very likely, for UDP.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn relay(folder: &tempfile::TempDir) -> Relay {
    let identity = RelayIdentity::load(&folder.path().join("relay.json")).unwrap();
    Relay::start(&identity, RelayOptions { listen: free(), public: None, mbit_per_s: USUAL_MBIT_PER_S }).await.unwrap()
}

async fn bound(builder: Builder) -> Endpoint {
    let builder = builder.alpns(vec![ALPN.to_vec()]).clear_ip_transports();
    builder.bind_addr((Ipv4Addr::LOCALHOST, 0)).unwrap().bind().await.unwrap()
}

async fn endpoint(hint: &RelayHint) -> Endpoint {
    bound(with_relay(Endpoint::builder(presets::Minimal), Some(hint))).await
}

/// Whether one endpoint gets a byte to another that it knows only by key and relay.
async fn meets(from: &Endpoint, to: &Endpoint, hint: &RelayHint, within: Duration) -> bool {
    let accepting = async {
        let connection = to.accept().await?.await.ok()?;
        let mut stream = connection.accept_uni().await.ok()?;
        // The connection is kept: if it ended here, the other side could hear of that before it hears that its bytes came.
        Some((stream.read_to_end(8).await.ok()?, connection))
    };
    let connecting = async {
        let target = met_at(EndpointAddr::new(to.id()), Some(hint));
        let connection = from.connect(target, ALPN).await.ok()?;
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(b"hello").await.ok()?;
        stream.finish().ok()?;
        stream.stopped().await.ok()?;
        Some(connection)
    };
    matches!(timeout(within, async { tokio::join!(accepting, connecting) }).await, Ok((Some((got, _)), Some(_))) if got == b"hello")
}

#[tokio::test]
async fn who_knows_the_relay_meets_there() {
    let folder = tempfile::tempdir().unwrap();
    let relay = relay(&folder).await;
    let hint = relay.hint().to_string().parse::<RelayHint>().unwrap();
    let (one, two) = (endpoint(&hint).await, endpoint(&hint).await);
    assert!(meets(&one, &two, &hint, WITHIN).await, "over the relay");

    // One that learns of the relay only while it runs, as a device does when it joins a fog, and forgets it again.
    let (builder, switch) = RelaySwitch::prepare(Endpoint::builder(presets::Minimal));
    let late = bound(builder).await;
    assert!(!meets(&one, &late, &hint, NOT_WITHIN).await, "it is not there yet");
    switch.set(&late, Some(&hint)).await;
    assert!(meets(&one, &late, &hint, WITHIN).await, "it has come");
    relay.shutdown().await.unwrap();
}

#[tokio::test]
async fn strangers_and_false_relays_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let relay = relay(&folder).await;
    let hint = relay.hint().clone();
    let inside = endpoint(&hint).await;
    let stranger = endpoint(&RelayHint { token: [0; 16], ..hint.clone() }).await;
    assert!(!meets(&stranger, &inside, &hint, NOT_WITHIN).await, "with another token");
    let misled = endpoint(&RelayHint { pin: [0; 32], ..hint.clone() }).await;
    assert!(!meets(&misled, &inside, &hint, NOT_WITHIN).await, "a relay with another certificate");
    let one = endpoint(&hint).await;
    assert!(meets(&one, &inside, &hint, WITHIN).await, "the same relay serves those whom it should");
    relay.shutdown().await.unwrap();
}
