//! Peers that connect to a mix and take nothing: QUIC lets them hold back all that is sent to them, for as long as they keep the connection alive.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{link::LINK_FRAME_BYTES, mixnode::Rate, schedule::MIX_LOOP_MEAN};
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
    let shape = async |connection: &Connection| {
        let mut frame = vec![0; LINK_FRAME_BYTES];
        frame[..2].copy_from_slice(&[6, 1]);
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&frame).await.unwrap();
        stream.finish().unwrap();
    };
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
