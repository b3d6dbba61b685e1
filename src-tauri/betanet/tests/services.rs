//! Onion services while points, hosts and keys change, and under load, over real mixes on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests that also say what they measured")]

mod net;

use fogbank_betanet::{
    address::AccessKey,
    client::{ConnectError, Visitor},
    clock::FogClock,
    lease::Lease,
    message::{FromMix, ToMix},
    uplink::Uplink,
};
use fogbank_model::{Level, MixId};
use net::{Container, Net, greeting, ready};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

async fn asked(uplink: &Uplink, mix: MixId, question: impl Fn(Vec<u8>) -> ToMix + Send) -> FromMix {
    uplink.ask(mix, Level::Fast, question).await.expect("an answer")
}

async fn descriptors(uplink: &Uplink, net: &Net, blinded: [u8; 32]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for mix in net.directory().ring(&blinded) {
        if let FromMix::Descriptor(Some(bytes)) = asked(uplink, mix, |surb| ToMix::FetchDescriptor { blinded, surb }).await {
            found.push(bytes);
        }
    }
    found
}

async fn listed(uplink: &Uplink, mix: MixId, blinded: [u8; 32]) -> usize {
    match asked(uplink, mix, |surb| ToMix::FetchLeases { blinded, unlock: None, surb }).await {
        FromMix::Leases(leases) => leases.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_host_is_left_out_and_no_descriptor_changes() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let gone = container.instance(&net, 1).await;
    let stays = container.instance(&net, 2).await;
    let uplink = net.member();
    ready(&uplink).await;
    let blinded = container.signer().blinded();
    let before = descriptors(&uplink, &net, blinded).await;
    assert_eq!(before.len(), 6);
    for point in &container.points {
        assert_eq!(listed(&uplink, *point, blinded).await, 2);
    }
    gone.uplink.shutdown().await;
    let noticed = Instant::now();
    container.revoke(&net, gone.id);
    for point in &container.points {
        assert_eq!(listed(&uplink, *point, blinded).await, 1);
    }
    // Its allocator takes up to 5 s to notice (QUIC's silence and a probe); what follows must take less than the rest of 10 s.
    assert!(noticed.elapsed() < Duration::from_secs(5), "{:?}", noticed.elapsed());
    for visit in 0..4 {
        let visitor = Visitor::start(uplink.clone());
        let mut stream = visitor.connect(container.onion(), &visit.to_string()).await.unwrap();
        assert_eq!(greeting(&mut stream).await, 2);
    }
    assert_eq!(descriptors(&uplink, &net, blinded).await, before, "the same bytes on the same mixes");
    drop((gone, stays));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_that_leaves_is_replaced_without_a_failed_visit() {
    let mut net = Net::start(8).await;
    let mut container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    // One of the visitor's guards is the point that leaves. The others stay, for a visitor whose three guards have all gone waits, as it should.
    let left = container.points[0];
    let stay = net.mixes.iter().map(|(entry, _)| entry.id).filter(|id| !container.points.contains(id)).take(2);
    let uplink = net.member_with(&[vec![left], stay.collect()].concat(), FogClock::default());
    ready(&uplink).await;
    let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let visiting = {
        let (stop, visits, onion, uplink) = (stop.clone(), visits.clone(), container.onion().clone(), uplink.clone());
        tokio::spawn(async move {
            while !stop.load(Relaxed) {
                // A visitor of its own each time: descriptor, leases, introduction, tunnel.
                let visitor = Visitor::start(uplink.clone());
                let mut stream = visitor.connect(&onion, "").await.expect("no visit fails");
                assert_eq!(greeting(&mut stream).await, 1);
                visits.fetch_add(1, Relaxed);
            }
        })
    };
    let some = async |more: u64| {
        let from = visits.load(Relaxed);
        let deadline = Instant::now() + Duration::from_secs(60);
        while visits.load(Relaxed) < from + more {
            assert!(Instant::now() < deadline && !visiting.is_finished(), "visits go on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    some(3).await;
    net.end_mix(left).await;
    some(3).await;
    // As the allocator: a new point in the leases, the instance there, and only then the descriptor.
    let fresh = net.mixes.iter().map(|(entry, _)| entry.id).find(|id| !container.points.contains(id)).unwrap();
    container.points[0] = fresh;
    instance.leases.send_replace(vec![container.lease(instance.id, &instance.key)]);
    let blinded = container.signer().blinded();
    let deadline = Instant::now() + Duration::from_secs(20);
    while listed(&uplink, fresh, blinded).await == 0 {
        assert!(Instant::now() < deadline, "it registers at the new point");
    }
    some(3).await;
    container.describe(&net, 2);
    some(3).await;
    for point in &container.points[1..] {
        assert_eq!(listed(&uplink, *point, blinded).await, 1, "the other points stayed");
    }
    stop.store(true, Relaxed);
    visiting.await.unwrap();
    // Now the two old ones go too: whoever comes anew finds the copy by the new one alone.
    for old in &container.points[1..] {
        net.end_mix(*old).await;
    }
    let fresh = net.member();
    ready(&fresh).await;
    for (who, uplink) in [("who was here", uplink), ("who comes anew", fresh)] {
        let visitor = Visitor::start(uplink);
        let mut stream = visitor.connect(container.onion(), "").await.unwrap_or_else(|e| panic!("{who}: {e}"));
        assert_eq!(greeting(&mut stream).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_site_opens_with_its_key_only() {
    let net = Net::start(6).await;
    let key = AccessKey([5; 32]);
    let container = Container::publish_for(&net, Level::Fast, Some(key));
    let instance = container.instance(&net, 1).await;
    let visitor = Visitor::start(net.member());
    let refused = visitor.connect(container.onion(), "").await;
    assert!(matches!(refused, Err(ConnectError::Locked)), "{:?}", refused.err());
    visitor.unlock(HashMap::from([(container.onion().clone(), AccessKey([6; 32]))]));
    let refused = visitor.connect(container.onion(), "").await;
    assert!(matches!(refused, Err(ConnectError::Locked)), "{:?}", refused.err());
    assert_eq!(instance.service.open_tunnels(), 0);
    // Its points say neither that it is there nor how many copies there are.
    let blinded = container.signer().blinded();
    let uplink = net.member();
    ready(&uplink).await;
    for point in &container.points {
        assert_eq!(listed(&uplink, *point, blinded).await, 0);
    }
    visitor.unlock(HashMap::from([(container.onion().clone(), key)]));
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_flood_of_introductions_a_visitor_who_works_gets_through() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let blinded = container.signer().blinded();
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    // Strangers who never work, at every point, as fast as their links take it.
    let mut flood = Vec::new();
    for point in container.points.clone() {
        let uplink = net.member();
        ready(&uplink).await;
        let (stop, sent, id) = (stop.clone(), sent.clone(), instance.id);
        flood.push(tokio::spawn(async move {
            let (inbox, mut replies) = uplink.inbox();
            while !stop.load(Relaxed) {
                let surb = uplink.surbs(point, 1, Level::Fast, &inbox).await.unwrap().pop().unwrap();
                let hello = sent.fetch_add(1, Relaxed).to_le_bytes().repeat(12);
                let message = ToMix::Introduce { blinded, instance: id, hello, work: None, surb };
                let _ = uplink.send(point, Level::Fast, &message).await;
                while replies.try_recv().is_ok() {}
            }
        }));
    }
    let puzzles = || container.points.iter().map(|p| net.mix(*p).unwrap().counters().puzzles).min().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while puzzles() < 20 {
        assert!(Instant::now() < deadline, "every point is flooded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let uplink = net.member();
    ready(&uplink).await;
    for visit in 0..3 {
        let visitor = Visitor::start(uplink.clone());
        let opening = Instant::now();
        let mut stream = visitor.connect(container.onion(), &visit.to_string()).await.expect("who works gets through");
        assert_eq!(greeting(&mut stream).await, 1);
        println!("opened in {:?} during the flood", opening.elapsed());
    }
    stop.store(true, Relaxed);
    for task in flood {
        task.await.unwrap();
    }
    let rate = sent.load(Relaxed) as f64 / began.elapsed().as_secs_f64();
    let counters: Vec<_> = container.points.iter().map(|p| net.mix(*p).unwrap().counters()).collect();
    println!("{rate:.0} introductions a second at three points; {counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_opens_at_its_own_points_for_its_own_instance() {
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let other = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let uplink = net.member();
    ready(&uplink).await;
    let blinded = container.signer().blinded();
    let point = container.points[0];
    let FromMix::Leases(public) = asked(&uplink, point, |surb| ToMix::FetchLeases { blinded, unlock: None, surb }).await else {
        panic!()
    };
    // What visitors and points see registers nobody: there is no token in it.
    for bytes in public {
        assert!(Lease::open_at(&bytes, point, fogbank_betanet::directory::clock()).is_err());
        let (inbox, mut replies) = uplink.inbox();
        let surbs = uplink.surbs(point, 2, Level::Fast, &inbox).await.unwrap();
        let register = ToMix::Register { lease: bytes, surbs, flush: true, work: None };
        uplink.send(point, Level::Fast, &register).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(500), replies.recv()).await.is_err(), "it is not answered");
    }
    // Another service's lease does not make an instance of this one.
    let theirs = other.lease(instance.id, &instance.key);
    instance.leases.send_replace(vec![theirs, container.lease(instance.id, &instance.key)]);
    let visitor = Visitor::start(uplink.clone());
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    assert_eq!(listed(&uplink, point, blinded).await, 1);
}

/// What asking three points and waiting for two costs against asking one, in one run: medians and means of the same questions by turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run it by name with --nocapture"]
async fn two_of_three_against_one() {
    const ROUNDS: usize = 60;
    let net = Net::start(7).await;
    let container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 1).await;
    let uplink = net.member();
    ready(&uplink).await;
    let blinded = container.signer().blinded();
    let ask = |point| {
        let uplink = uplink.clone();
        async move {
            uplink.ask(point, Level::Balanced, |surb| ToMix::FetchLeases { blinded, unlock: None, surb }).await.unwrap();
        }
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let began = Instant::now();
        ask(container.points[round % 3]).await;
        one.push(began.elapsed());
        let began = Instant::now();
        let mut asked: futures_util::stream::FuturesUnordered<_> = container.points.iter().map(|p| ask(*p)).collect();
        for _ in 0..2 {
            futures_util::StreamExt::next(&mut asked).await;
        }
        two.push(began.elapsed());
    }
    for (what, mut times) in [("one point", one), ("two of three", two)] {
        times.sort();
        let mean = times.iter().sum::<Duration>() / ROUNDS as u32;
        println!("{what}: median {:?}, mean {mean:?}, 90th of a hundred {:?}", times[ROUNDS / 2], times[ROUNDS * 9 / 10]);
    }
}
