//! Direct connections: only where the publisher, the owner of the host and the visitor have all said so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    client::{ConnectError, OPEN_WAIT, Trust, Visitor},
    direct::Entrance,
    link,
    message::{MailboxId, Meeting, ToMix},
    tunnel::initiate,
};
use fogbank_model::Level;
use fogbank_wire::{ALPN, Purpose, greet};
use iroh::{EndpointAddr, SecretKey};
use net::{Container, Instance, Net, greeting, noise, ready, there_and_back};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt as _, net::UdpSocket};

const ROOT: [u8; 32] = [7; 32];
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Opens the entrance of an instance's host; `told` is where visitors are sent instead of there.
async fn entrance(instance: &Instance, told: Option<SocketAddr>) -> Entrance {
    let endpoint = link::bind(SecretKey::generate(), HERE, None).await.unwrap();
    let addrs = told.map_or_else(|| endpoint.bound_sockets(), |addr| vec![addr]);
    let entrance = Entrance::open(endpoint, addrs);
    assert!(instance.host.set_entrance(Some(entrance.clone())).is_none());
    entrance
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_for_offered_and_agreed_to_it_goes_without_mixes() {
    let net = Net::start(5).await;
    let container = Container::publish_direct(&net, Level::Fast, ROOT);
    let instance = container.instance(&net, 1).await;
    let entrance = entrance(&instance, None).await;
    let uplink = net.stranger();
    let visitor = Visitor::start(uplink.clone());
    let mut opened = visitor.directly().open(container.onion(), "").await.unwrap();
    assert_eq!(opened.seal.map(|seal| seal.root), Some(ROOT), "a sealed site is held to its seal as ever");
    assert_eq!(greeting(&mut opened.stream).await, 1);
    let sent = [uplink.counters().packets_out, instance.uplink.counters().packets_out];
    there_and_back(opened.stream, &noise(1 << 20)).await;
    for (uplink, before) in [&uplink, &instance.uplink].into_iter().zip(sent) {
        let more = uplink.counters().packets_out - before;
        assert!(more < 60, "a megabyte takes more than a hundred packets: {more}");
    }
    assert_eq!((entrance.let_in(), instance.service.open_tunnels()), (1, 1));
    let visits = visitor.visits();
    assert!(visits.len() == 1 && visits[0].direct && visits[0].trust == Trust::Checked, "{visits:?}");

    // It is not remembered: without being asked for again, the next visit goes by mixes.
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    assert_eq!((entrance.let_in(), instance.service.open_tunnels()), (1, 2));
    assert!(visitor.is_open(container.onion(), "") && visitor.directly().is_open(container.onion(), ""));
    assert_eq!(visitor.visits().iter().filter(|v| v.direct).count(), 1);

    // An owner who changes their mind ends what came by the entrance, and nothing else.
    let mut direct = visitor.directly().connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut direct).await, 1);
    instance.host.set_entrance(None);
    entrance.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(10), direct.read_u8()).await.expect("it ends");
    assert!(ended.is_err());
    there_and_back(stream, b"still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unasked_nothing_goes_between_host_and_visitor() {
    let net = Net::start(5).await;
    let container = Container::publish_direct(&net, Level::Fast, ROOT);
    let instance = container.instance(&net, 1).await;
    // Whatever is sent to the address that the host tells comes here.
    let spy = UdpSocket::bind(HERE).await.unwrap();
    let entrance = entrance(&instance, Some(spy.local_addr().unwrap())).await;
    let visitor = Visitor::start(net.member());
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    there_and_back(stream, &noise(100_000)).await;
    assert!(visitor.visits().iter().all(|visit| !visit.direct));
    let mut datagram = [0; 2_048];
    let came = tokio::time::timeout(Duration::from_secs(1), spy.recv_from(&mut datagram)).await;
    assert!(came.is_err(), "a datagram that nobody asked for");
    assert_eq!(entrance.let_in(), 0);

    // The control: who asks goes there, and, as nobody answers, is told so. It is not met at mixes instead.
    let before = instance.service.open_tunnels();
    let refused = visitor.directly().connect_within(container.onion(), "", Duration::from_secs(8)).await;
    let Err(ConnectError::NoAnswer { why }) = refused else { panic!("it should say that nobody answers") };
    assert!(why.contains("not reached directly"), "{why}");
    assert_eq!(instance.service.open_tunnels(), before);
    spy.try_recv_from(&mut datagram).expect("the visitor went where it was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_publisher_does_not_offer_is_refused() {
    let net = Net::start(5).await;
    let container = Container::publish_sealed(&net, Level::Fast, ROOT);
    let instance = container.instance(&net, 1).await;
    let entrance = entrance(&instance, None).await;
    let visitor = Visitor::start(net.member());
    let refused = visitor.directly().connect(container.onion(), "").await;
    assert!(matches!(refused, Err(ConnectError::NotDirect)), "{:?}", refused.err());
    assert_eq!((entrance.let_in(), instance.service.open_tunnels()), (0, 0), "nobody was asked");
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    assert_eq!(entrance.let_in(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_does_not_agree_is_not_shown() {
    let net = Net::start(5).await;
    let container = Container::publish_direct(&net, Level::Fast, ROOT);
    let shy = container.instance(&net, 1).await;
    let shy_too = container.instance(&net, 3).await;
    let visitor = Visitor::start(net.member());
    // When all have said no there is nothing to wait for. Each time they are asked anew, and at once.
    for _ in 0..2 {
        let asked = Instant::now();
        let refused = visitor.directly().connect(container.onion(), "").await;
        assert!(matches!(refused, Err(ConnectError::NoOwner)), "{:?}", refused.err());
        assert!(asked.elapsed() < OPEN_WAIT / 2, "{:?}", asked.elapsed());
    }
    assert_eq!((shy.service.open_tunnels(), shy_too.service.open_tunnels()), (0, 0));
    // A copy whose owner agrees is found among those that do not.
    let open = container.instance(&net, 2).await;
    let entrance = entrance(&open, None).await;
    let mut stream = visitor.directly().connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 2);
    assert_eq!((entrance.let_in(), shy.service.open_tunnels()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_enters_who_was_not_announced_to_a_service_that_offers_it() {
    let net = Net::start(5).await;
    let offering = Container::publish_direct(&net, Level::Fast, ROOT);
    let silent = Container::publish_sealed(&net, Level::Fast, ROOT);
    let instance = offering.instance(&net, 1).await;
    let other = silent.instance(&net, 2).await;
    let endpoint = link::bind(SecretKey::generate(), HERE, None).await.unwrap();
    let addr = endpoint.bound_sockets().into_iter().fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr);
    let entrance = Entrance::open(endpoint.clone(), endpoint.bound_sockets());
    instance.host.set_entrance(Some(entrance.clone()));
    other.host.set_entrance(Some(entrance.clone()));
    let enter = async |key: &SecretKey, purpose| {
        let stranger = link::bind(key.clone(), HERE, None).await.unwrap();
        let connection = stranger.connect(addr.clone(), ALPN).await.unwrap();
        greet(&connection, purpose).await.is_ok()
    };
    let key = SecretKey::generate();
    assert!(!enter(&key, Purpose::Direct).await && !enter(&key, Purpose::Mix).await, "a stranger was let in");

    // A visitor that keeps no rule asks a host in spite of the publisher's record; and, as the control, one whose publisher offers it.
    let uplink = net.member();
    ready(&uplink).await;
    for (container, instance, offered) in [(&silent, &other, false), (&offering, &instance, true)] {
        let direct = Some(*key.public().as_bytes());
        let [visitor, host] = [MailboxId([1; 16]), MailboxId([2; 16])];
        let meeting = Meeting { rendezvous: container.points[1], visitor, host, level: Level::Fast, direct };
        let blinded = container.signer().blinded();
        let prologue = [b"fogbank introduction 2".as_slice(), &blinded, &instance.id.0].concat();
        let (_, hello) = initiate(&instance.key.public(), &prologue, &meeting.encode().unwrap()).unwrap();
        let question = |surb| ToMix::Introduce { blinded, instance: instance.id, hello: hello.clone(), work: None, surb };
        uplink.ask(container.points[0], Level::Fast, question).await.unwrap();
        let mut entered = false;
        for _ in 0..20 {
            entered = entered || enter(&key, Purpose::Direct).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((entered, entrance.let_in()), (offered, u64::from(offered)));
    }
}
