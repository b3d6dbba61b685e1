//! Peers that connect to a mix and take nothing (QUIC lets them hold back all that is sent to them, for as long as they keep the connection alive), or
//! send what is of no use to anybody.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    link::LINK_FRAME_BYTES,
    mixnode::Rate,
    schedule::{CONSTANT_SLOT, MIX_LOOP_MEAN},
};
use fogbank_wire::{ALPN, HELLO_DEADLINE, Hello, Purpose, VERSION, greet, write_frame};
use iroh::{
    Endpoint, EndpointAddr, PublicKey,
    endpoint::{Connection, QuicTransportConfig, VarInt, presets},
};
use net::Net;
use std::time::Duration;
use tokio::time::timeout;

/// One that grants a mix so many bytes a stream and so many streams, and stays.
async fn connect(net: &Net, bytes: u32, streams: u32) -> (Endpoint, Connection) {
    let (entry, _) = &net.mixes[0];
    let grants = QuicTransportConfig::builder()
        .stream_receive_window(VarInt::from_u32(bytes))
        .max_concurrent_uni_streams(VarInt::from_u32(streams))
        .keep_alive_interval(Duration::from_secs(1))
        .build();
    let builder = Endpoint::builder(presets::Minimal).transport_config(grants).clear_address_lookup().clear_ip_transports();
    let endpoint = builder.bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap();
    let mix = EndpointAddr::new(PublicKey::from_bytes(&entry.key).unwrap()).with_ip_addr(entry.addrs[0]);
    let connection = endpoint.connect(mix, ALPN).await.unwrap();
    (endpoint, connection)
}

const PACKET: u8 = 1;
const WANT: u8 = 4;
const SHAPE: u8 = 6;
const DUMMY: u8 = 8;

/// Sends a frame that begins so.
async fn say(connection: &Connection, front: &[u8]) -> Option<()> {
    let mut frame = front.to_vec();
    frame.resize(LINK_FRAME_BYTES, 0);
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&frame).await.ok()?;
    stream.finish().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_packets_count_for_the_owners_rate_and_month() {
    let net = Net::start_with(1, MIX_LOOP_MEAN, Rate::of_packets_s(20)).await;
    let (_endpoint, greedy) = connect(&net, 1 << 16, 64).await;
    greet(&greedy, Purpose::Mix).await.unwrap();
    // Emptiness too, of who has no slots.
    for number in 0..100 {
        say(&greedy, &[if number % 2 == 0 { WANT } else { DUMMY }]).await.expect("who wants much is not sent away");
    }
    let counters = || net.mixes[0].1.counters();
    let counted = async {
        while counters().frames < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), counted).await.unwrap_or_else(|_| panic!("{:?}", counters()));
    assert!(counters().dropped_rate > 0, "{:?}", counters());
}

/// What is refused came over the owner's line all the same, so there must not be much of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_far_more_than_is_taken_is_held_back_and_does_not_use_up_the_owners_month() {
    const RATE: u32 = 20;
    const SECONDS: u64 = 4;
    let net = Net::start_with(1, MIX_LOOP_MEAN, Rate::of_packets_s(RATE)).await;
    let (_endpoint, greedy) = connect(&net, 1 << 16, 64).await;
    greet(&greedy, Purpose::Mix).await.unwrap();
    let flood = async { while say(&greedy, &[PACKET]).await.is_some() {} };
    assert!(timeout(Duration::from_secs(SECONDS), flood).await.is_err(), "it is not sent away");
    let counters = net.mixes[0].1.counters();
    // What is taken and refused of each window before it is not listened to, and what was being read just then.
    let most = (SECONDS + 2) * u64::from(RATE + 33 + 64);
    assert!(counters.frames <= most, "at most {most}: {counters:?}");
    assert!(counters.dropped_rate > 0, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_nothing_but_emptiness_has_to_go_and_who_does_so_in_its_slots_stays() {
    let net = Net::start(1).await;
    let (_endpoint, greedy) = connect(&net, 1 << 16, 64).await;
    let (_other, shaped) = connect(&net, 1 << 16, 64).await;
    for connection in [&greedy, &shaped] {
        greet(connection, Purpose::Mix).await.unwrap();
    }
    let slots = async {
        say(&shaped, &[SHAPE, 1]).await.unwrap();
        // A line that stood still for three seconds brings all at once.
        let late = Duration::from_secs(3).as_millis() / CONSTANT_SLOT.as_millis();
        for number in 0..2 * late {
            say(&shaped, &[DUMMY]).await.expect("it stays");
            if number > late {
                tokio::time::sleep(CONSTANT_SLOT).await;
            }
        }
    };
    let flood = async {
        say(&greedy, &[SHAPE, 1]).await.unwrap();
        while say(&greedy, &[DUMMY]).await.is_some() {}
    };
    let (flooded, ()) = tokio::join!(timeout(Duration::from_secs(20), flood), slots);
    flooded.expect("its connection ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_hello_and_takes_no_answer_loses_its_place() {
    let net = Net::start(1).await;
    let (_endpoint, connection) = connect(&net, 0, 0).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    write_frame(&mut send, &Hello { version: VERSION, purpose: Purpose::Mix }).await.unwrap();
    send.finish().unwrap();
    timeout(2 * HELLO_DEADLINE, connection.closed()).await.expect("its connection ends");
    assert_eq!(net.mixes[0].1.clients(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_frames_holds_neither_a_place_of_constant_rate_nor_a_connection() {
    // Room for one client of constant rate.
    let net = Net::start_with(1, MIX_LOOP_MEAN, Rate::of_packets_s(60)).await;
    let shape = async |connection: &Connection| say(connection, &[SHAPE, 1]).await.unwrap();
    let counted = async |shaped: u64, refused: u64| {
        let counters = || net.mixes[0].1.counters();
        let counted = async {
            while (counters().shaped, counters().shape_refused) != (shaped, refused) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), counted).await.unwrap_or_else(|_| panic!("{:?}", counters()));
    };
    // It lets the mix tell it once which directory there is.
    let (_endpoint, stalled) = connect(&net, 1 << 16, 1).await;
    greet(&stalled, Purpose::Mix).await.unwrap();
    shape(&stalled).await;
    counted(1, 0).await;
    let (_endpoint, honest) = connect(&net, 1 << 16, 64).await;
    greet(&honest, Purpose::Mix).await.unwrap();
    shape(&honest).await;
    counted(1, 1).await;
    timeout(Duration::from_secs(20), stalled.closed()).await.expect("its connection ends");
    shape(&honest).await;
    counted(2, 1).await;
}
