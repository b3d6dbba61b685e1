//! Host and visitor over real mixes on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    client::{ConnectError, OPEN_WAIT, VisitState, Visitor},
    uplink::UplinkStatus,
};
use fogbank_model::Level;
use fogbank_sphinx::PACKET_BYTES;
use net::{Container, Net, greeting, noise, there_and_back};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_opens_an_address_and_a_megabyte_comes_back() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let uplink = net.stranger();
    let visitor = Visitor::start(uplink.clone());
    // It waits by itself until the uplink is ready.
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    there_and_back(stream, &noise(1 << 20)).await;
    let counters = uplink.counters();
    assert!(counters.packets_out > (1 << 20) / PACKET_BYTES as u64 && counters.garbled == 0, "{counters:?}");

    // Streams of one isolation share a tunnel; another isolation has its own.
    let (one, two) = tokio::join!(visitor.connect(container.onion(), ""), visitor.connect(container.onion(), ""));
    assert_eq!(instance.service.open_tunnels(), 1);
    let other = visitor.connect(container.onion(), "someone else").await.unwrap();
    assert_eq!(instance.service.open_tunnels(), 2);
    assert!(visitor.visits().iter().all(|v| v.state == VisitState::Open && v.round_trip.is_some()));
    drop((one, two, other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_on_the_way_change_nothing() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Balanced);
    let _instance = container.instance(&net, 1).await;
    let uplink = net.member();
    let visitor = Visitor::start(uplink);
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    there_and_back(stream, &noise(200_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_host_dies_another_instance_serves() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let first = container.instance(&net, 1).await;
    let uplink = net.member();
    let visitor = Visitor::start(uplink);
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);

    // Dies without a word: its packets just stop. The dead instance stays listed, as when the allocator has not noticed yet.
    let died = Instant::now();
    first.uplink.shutdown().await;
    let second = container.instance(&net, 2).await;
    stream.write_all(b"are you there").await.unwrap();
    let mut rest = Vec::new();
    let lost = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("the loss is noticed");
    assert!(lost.is_err(), "a broken stream does not look like one that ended well");
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 2);
    assert!(died.elapsed() < Duration::from_secs(15), "{:?}", died.elapsed());
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_nothing() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let first = container.instance(&net, 1).await;
    let visitor = Visitor::start(net.member());
    let mut long = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut long).await, 1);
    let second = container.instance(&net, 2).await;

    let bytes = noise(1 << 20);
    let straddling = tokio::spawn(async move { there_and_back(long, &bytes).await });
    first.service.drain();
    let mut served = [0; 3];
    for _ in 0..20 {
        let mut stream = visitor.connect(container.onion(), "").await.unwrap();
        served[usize::from(greeting(&mut stream).await)] += 1;
        there_and_back(stream, b"a short request").await;
    }
    straddling.await.unwrap();
    // The first few may have gone out before the word of the drain came.
    assert!(served[2] >= 10, "{served:?}");
    let newcomer = Visitor::start(net.member());
    let mut fresh = newcomer.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut fresh).await, 2, "a drained instance takes nobody new");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_four_mixes_nothing_is_opened() {
    let mut net = Net::start(4).await;
    let container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 1).await;
    let uplink = net.member();
    let visitor = Visitor::start(uplink.clone());
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    drop(stream);

    assert!(visitor.is_open(container.onion(), ""));
    // A guard, in whose place a link to another one has to be made; looked at in the very moment, while that is made.
    let gone = uplink.guard_views()[0].mix;
    let moment = {
        let (uplink, visitor, onion) = (uplink.clone(), visitor.clone(), container.onion().clone());
        std::thread::spawn(move || {
            while uplink.directory().borrow().as_ref().is_none_or(|known| known.usable(&[]).is_ok()) {
                std::thread::yield_now();
            }
            visitor.is_open(&onion, "")
        })
    };
    net.end_mix(gone).await;
    uplink.status().wait_for(|s| matches!(s, UplinkStatus::Waiting { usable: 3, needed: 4, .. })).await.unwrap();
    assert!(!moment.join().unwrap(), "what was kept of it is shown no more, from that moment on");
    let sent = uplink.counters().packets_out;
    // Over a fresh tunnel, and over the one that stands.
    for isolation in ["new", ""] {
        let began = Instant::now();
        let refused = visitor.connect(container.onion(), isolation).await;
        let Err(ConnectError::NotPrivate { why }) = refused else { panic!("it should say why") };
        assert!(began.elapsed() < OPEN_WAIT / 2, "more will not come: {:?}", began.elapsed());
        assert!(why.contains("3 of the 4"), "{why}");
    }
    assert_eq!(uplink.counters().packets_out, sent, "nothing was sent meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpublished_address_is_said_to_be_so() {
    let net = Net::start(5).await;
    let elsewhere = Net::start(4).await;
    let container = Container::publish(&elsewhere, Level::Fast);
    let visitor = Visitor::start(net.member());
    let refused = visitor.connect_within(container.onion(), "", Duration::from_secs(4)).await;
    assert!(matches!(refused, Err(ConnectError::NotFound)), "{:?}", refused.err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_was_stopped_is_refused_at_once_until_it_is_started_again() {
    let net = Net::start(5).await;
    let mut container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 1).await;
    let visitor = Visitor::start(net.member());
    let points = std::mem::take(&mut container.points);
    container.describe(&net, 2);
    let began = Instant::now();
    let refused = visitor.connect(container.onion(), "").await;
    assert!(matches!(refused, Err(ConnectError::Stopped)), "{:?}", refused.err());
    assert!(began.elapsed() < OPEN_WAIT / 2, "{:?}", began.elapsed());
    container.points = points;
    container.describe(&net, 3);
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
}
