//! Links between real endpoints on loopback, with the test as the peer.

use super::*;
use fogbank_wire::{Greeting, Purpose, receive_hello, write_frame};
use std::net::{IpAddr, Ipv4Addr};
use tokio::sync::mpsc;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Far above what anything here takes.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it happens soon")
}

/// A peer that greets as a mix does.
async fn welcome(endpoint: &Endpoint) -> Connection {
    let connection = endpoint.accept().await.unwrap().accept().unwrap().await.unwrap();
    let (purpose, mut reply) = receive_hello(&connection).await.unwrap();
    assert!(matches!(purpose, Purpose::Mix));
    write_frame(&mut reply, &Greeting::Welcome(None)).await.unwrap();
    reply.finish().unwrap();
    connection
}

/// A link and the peer's end of it.
async fn pair() -> (Endpoint, Link, Connection) {
    let (here, there) =
        (bind(SecretKey::generate(), LOOPBACK, None).await.unwrap(), bind(SecretKey::generate(), LOOPBACK, None).await.unwrap());
    let link = Link::open(here, *there.id().as_bytes(), there.bound_sockets(), None, None);
    let connection = soon(welcome(&there)).await;
    (there, link, connection)
}

fn packet(number: u8) -> Vec<u8> {
    vec![number; PACKET_BYTES]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_is_one_length() {
    let (_there, link, connection) = pair().await;
    let part = Part { fog: fogbank_model::FogId([1; 32]), serial: 1, index: 0, count: 1, bytes: vec![7; 100] };
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let frames = [
        Frame::Packet(packet(1)),
        Frame::Delivery(vec![2; DELIVERY_BYTES]),
        Frame::Have { fog: fogbank_model::FogId([1; 32]), serial: 1, made: fogbank_model::UnixMs(2) },
        Frame::Want { fog: fogbank_model::FogId([1; 32]), serial: 1 },
        Frame::Part(part),
        Frame::Shape(true),
        Frame::Shaped(false),
        Frame::Dummy,
        Frame::Held(Box::new(Frame::Packet(packet(3))), place),
    ];
    let mut kinds = Vec::new();
    for frame in frames {
        assert!(link.try_send(frame));
        let mut stream = soon(connection.accept_uni()).await.unwrap();
        let bytes = soon(stream.read_to_end(2 * LINK_FRAME_BYTES)).await.unwrap();
        assert_eq!(bytes.len(), LINK_FRAME_BYTES);
        kinds.push(bytes[0]);
    }
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 1], "every kind that there is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_taken_whole_and_a_half_frame_holds_nobody_up() {
    let (_there, link, connection) = pair().await;
    let (taken, mut frames) = mpsc::unbounded_channel();
    let receiving = connection.clone();
    let task = tokio::spawn(async move {
        receive(&receiving, move |frame| {
            let _ = taken.send(frame);
            None
        })
        .await
    });
    let bytes: Vec<u8> = (0..PART_BYTES).map(|n| n as u8).collect();
    let part = Frame::Part(Part { fog: fogbank_model::FogId([1; 32]), serial: 9, index: 1, count: 3, bytes });
    let said = format!("{part:?}");
    assert!(link.try_send(part));
    assert_eq!(format!("{:?}", soon(frames.recv()).await.unwrap()), said);

    // A client of the peer's: by hand, so that half a frame can be left hanging.
    let here = bind(SecretKey::generate(), LOOPBACK, None).await.unwrap();
    let there = &_there;
    let target = peer(there.id().as_bytes(), &there.bound_sockets(), None).unwrap();
    let (dialled, accepted) = soon(async {
        let dialling = async {
            let connection = here.connect(target, fogbank_wire::ALPN).await.unwrap();
            fogbank_wire::greet(&connection, Purpose::Mix).await.unwrap();
            connection
        };
        tokio::join!(dialling, welcome(there))
    })
    .await;
    let (taken, mut frames) = mpsc::unbounded_channel();
    let task2 = tokio::spawn(async move {
        receive(&accepted, move |frame| {
            let _ = taken.send(frame);
            None
        })
        .await
    });
    let mut hanging = dialled.open_uni().await.unwrap();
    hanging.write_all(&[1; 4_000]).await.unwrap();
    let mut garbage = dialled.open_uni().await.unwrap();
    garbage.write_all(&[200; 100]).await.unwrap();
    garbage.finish().unwrap();
    let mut short = dialled.open_uni().await.unwrap();
    short.write_all(&[1; 10]).await.unwrap();
    short.finish().unwrap();
    for number in 0..200 {
        soon(send(&dialled, Frame::Packet(packet(number)))).await.unwrap();
    }
    let mut numbers: Vec<u8> = Vec::new();
    while numbers.len() < 200 {
        let Frame::Packet(bytes) = soon(frames.recv()).await.unwrap() else { panic!("a frame that a mix does not take") };
        assert_eq!(bytes.len(), PACKET_BYTES);
        numbers.push(bytes[0]);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<u8>>());
    // And when the rest comes, it is taken, too.
    hanging.write_all(&vec![9; LINK_FRAME_BYTES - 4_000]).await.unwrap();
    hanging.finish().unwrap();
    assert!(matches!(soon(frames.recv()).await, Some(Frame::Packet(bytes)) if bytes.last() == Some(&9)));
    task.abort();
    task2.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_fills_the_queue_and_no_more() {
    let (_there, link, _connection) = pair().await;
    soon(link.state().wait_for(|state| *state == LinkState::Up)).await.unwrap();
    // What QUIC holds is bounded by its windows; then the queue fills, and then frames are refused.
    let most = 2 * WINDOW as usize / LINK_FRAME_BYTES + MAX_STREAMS as usize + 300;
    let mut sent = 0;
    soon(async {
        loop {
            let queue = link.queue();
            match timeout(Duration::from_millis(500), queue.send(Frame::Packet(packet(0)))).await {
                Ok(result) => result.unwrap(),
                Err(_) => break,
            }
            sent += 1;
            assert!(sent <= most, "{sent} frames were taken for a peer that reads none");
        }
    })
    .await;
    assert!(!link.try_send(Frame::Packet(packet(0))), "a mix would have waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_is_found_again() {
    let (here, there) =
        (bind(SecretKey::generate(), LOOPBACK, None).await.unwrap(), bind(SecretKey::generate(), LOOPBACK, None).await.unwrap());
    let link = Link::open(here, *there.id().as_bytes(), there.bound_sockets(), None, None);
    let mut state = link.state();
    let first = soon(welcome(&there)).await;
    soon(state.wait_for(|state| *state == LinkState::Up)).await.unwrap();
    first.close(VarInt::from_u32(0), b"");
    soon(state.wait_for(|state| *state == LinkState::Down)).await.unwrap();
    // What is queued meanwhile goes out when the link is up again.
    assert!(link.try_send(Frame::Packet(packet(5))));
    let connection = soon(welcome(&there)).await;
    let mut stream = soon(connection.accept_uni()).await.unwrap();
    assert_eq!(soon(stream.read_to_end(LINK_FRAME_BYTES)).await.unwrap()[1..], packet(5));
}
