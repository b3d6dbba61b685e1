//! Two endpoints that know nothing of each other but the relay; strangers, and relays that are not the pinned one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use fogbank_relay::{Relay, RelayIdentity, RelayOptions, USUAL_CONNECTIONS, USUAL_MBIT_PER_S};
use fogbank_wire::{RelayHint, RelaySwitch, met_at, with_relay};
use iroh::{
    Endpoint, EndpointAddr,
    endpoint::{Builder, presets},
};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const ALPN: &[u8] = b"relay test";
/// Two TLS handshakes and a QUIC one on loopback take milliseconds; a refused token is tried again within it.
const WITHIN: Duration = Duration::from_secs(10);
/// How long is waited for what must not happen: an allowed connection takes a hundredth.
const NOT_WITHIN: Duration = Duration::from_secs(3);

/// A port that is free for TCP and, very likely, for UDP.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn relay(folder: &tempfile::TempDir, connections: usize) -> Relay {
    let identity = RelayIdentity::load(&folder.path().join("relay.json")).unwrap();
    Relay::start(&identity, RelayOptions { listen: free(), public: None, mbit_per_s: USUAL_MBIT_PER_S, connections })
        .await
        .unwrap()
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
    let relay = relay(&folder, USUAL_CONNECTIONS).await;
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
    let relay = relay(&folder, USUAL_CONNECTIONS).await;
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

/// Another network of this computer than that of [`Ipv4Addr::LOCALHOST`].
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
/// So long the relay hears somebody out.
const HEARD: Duration = Duration::from_secs(10);

async fn from_elsewhere(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ELSEWHERE, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A way to a relay over which everybody comes from elsewhere.
async fn detour(hint: &RelayHint) -> RelayHint {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (addr, to) = (listener.local_addr().unwrap(), hint.addr);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut from_elsewhere(to).await).await });
        }
    });
    RelayHint { addr, ..hint.clone() }
}

#[tokio::test]
async fn those_of_one_network_who_say_nothing_are_refused_and_cut_off_and_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, strangers) = (relay(&folder, 64).await, 8u64);
    let hint = relay.hint().clone();
    let mut silent = Vec::new();
    for _ in 0..3 * strangers {
        silent.push(from_elsewhere(hint.addr).await);
    }
    let (one, two) = (endpoint(&hint).await, endpoint(&hint).await);
    assert!(meets(&one, &two, &hint, HEARD / 2).await, "while they are there");
    assert!(relay.refused() >= 2 * strangers, "{}", relay.refused());
    for mut stream in silent {
        let ended = timeout(HEARD + WITHIN, stream.read(&mut [0])).await.expect("it is cut off");
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    relay.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_network_that_fills_the_relay_makes_room_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, room) = (relay(&folder, 8).await, 8);
    let (hint, elsewhere) = (relay.hint().clone(), detour(relay.hint()).await);
    let mut inside = Vec::new();
    for _ in 0..room {
        let endpoint = endpoint(&elsewhere).await;
        timeout(WITHIN, endpoint.online()).await.expect("there is room");
        inside.push(endpoint);
    }
    assert_eq!(relay.refused(), 0);
    let (one, two) = (endpoint(&hint).await, endpoint(&hint).await);
    assert!(meets(&one, &two, &hint, WITHIN).await, "it is full of others");
    assert!(relay.refused() >= 2, "{}", relay.refused());
    relay.shutdown().await.unwrap();
}
