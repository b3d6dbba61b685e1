//! Level strict over real mixes on loopback: the frames on a client's link to its guard, both ways, whether a page loads or not; a guard
//! without room; what waits for a slot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests, which say what they measured")]

mod net;

use fogbank_betanet::{
    client::Visitor,
    message::ToMix,
    mixnode::Rate,
    schedule::{CONSTANT_SLOT, MIX_LOOP_MEAN, SLOT_QUEUE},
    uplink::{SendError, Uplink},
};
use fogbank_model::Level;
use fogbank_sphinx::PACKET_BYTES;
use net::{Container, Net, greeting, noise, ready, there_and_back};
use std::time::{Duration, Instant};

/// What went to the guard before its slots began: what the visitor looked up at level balanced, and the question for the rate.
const BEFORE_IT: u64 = 12;

/// Frames in a slot's time at most: a look may begin and end at a slot.
const MOST: f64 = 1.03;
/// Times that the link is looked at while nothing happens and while a page loads, by turns, so that what else the computer does is the same.
const TURNS: usize = 3;
/// Bytes said and heard again.
const PAGE: usize = 200_000;
/// How far the rates of both may lie apart, of what the slots allow: a busy computer misses slots, though whichever they carry.
const APART: f64 = 0.2;

/// Frames given to, and come from, the guard whose link has a constant rate.
fn frames(uplink: &Uplink) -> [u64; 2] {
    let views = uplink.guard_views();
    let mut constant = views.iter().filter(|view| view.constant);
    let view = constant.next().expect("one link has a constant rate");
    assert!(constant.next().is_none(), "one, and no more");
    [view.frames_out, view.frames_in]
}

/// Frames a slot, out and in, while something happens. Whatever happens, each frame out is a slot's, and there is none for a slot that is none.
async fn rate(uplink: &Uplink, what: impl Future<Output = ()>) -> [f64; 2] {
    let (before, made, began) = (frames(uplink), uplink.counters().slots, Instant::now());
    what.await;
    let slots = began.elapsed().as_secs_f64() / CONSTANT_SLOT.as_secs_f64();
    let (after, made) = (frames(uplink), uplink.counters().slots - made);
    let [out, back] = [0, 1].map(|way| after[way] - before[way]);
    // The counters are read one after the other, and a slot may fall between.
    assert!(out.abs_diff(made) <= 1, "{out} frames in {made} slots");
    let rates = [out, back].map(|frames| frames as f64 / slots);
    assert!(rates.iter().all(|rate| *rate <= MOST), "{rates:?} frames in a slot's time, out and in");
    rates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_carries_the_same_whether_a_page_loads_or_not() {
    let net = Net::start(9).await;
    let container = Container::publish(&net, Level::Strict);
    let instance = container.instance(&net, 1).await;
    let client = net.member();
    ready(&client).await;
    let visitor = Visitor::start(client.clone());
    let load = async |bytes| {
        let mut stream = visitor.connect(container.onion(), "").await.expect("it opens");
        assert_eq!(greeting(&mut stream).await, 1);
        there_and_back(stream, &noise(bytes)).await;
    };
    load(1).await;

    let began = client.counters();
    let (mut idle, mut busy) = ([0.0; 2], [0.0; 2]);
    let (mut covered, mut pages) = (0, 0);
    for _ in 0..TURNS {
        let add = |sum: &mut [f64; 2], rates: [f64; 2]| [0, 1].map(|way| sum[way] += rates[way] / TURNS as f64);
        add(&mut idle, rate(&client, tokio::time::sleep(Duration::from_secs(3))).await);
        let before = client.counters();
        add(&mut busy, rate(&client, load(PAGE)).await);
        let after = client.counters();
        covered += after.slots_of_cover - before.slots_of_cover;
        pages += after.slots - before.slots;
    }
    let host = rate(&instance.uplink, tokio::time::sleep(Duration::from_secs(2))).await;
    let counters = client.counters();
    println!(
        "frames a slot, out and in: idle {idle:?}, busy {busy:?}, idle host {host:?}; {covered} of {pages} slots were cover"
    );
    println!("{counters:?}");
    for way in [0, 1] {
        assert!((idle[way] - busy[way]).abs() <= APART, "idle {idle:?}, busy {busy:?}");
    }
    assert!(host.iter().all(|rate| *rate > 0.1), "a host that nobody visits has its slots: {host:?}");
    assert!(counters.slots_of_cover > began.slots_of_cover && counters.dummies_in > began.dummies_in, "{counters:?}");
    let least = (TURNS * PAGE).div_ceil(PACKET_BYTES) as u64;
    assert!(
        pages - covered >= least,
        "pages were in the slots: {covered} of {pages} were cover, {least} packets they are at least"
    );
    // Out went what was asked for the rate, and then slots and nothing beside them; in came the answer, and slots.
    let [out, _] = frames(&client);
    assert!(out.abs_diff(client.counters().slots) <= BEFORE_IT, "{out} frames in {} slots", client.counters().slots);
    // Strict replies come by the guard of constant rate alone.
    let others: u64 = client.guard_views().iter().filter(|v| !v.constant).map(|v| v.frames_in).sum();
    assert!(others < 60, "{others} frames came from other guards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guards_without_room_say_so_and_nothing_is_sent() {
    // Half of it is less than one client's slots.
    let net = Net::start_with(6, MIX_LOOP_MEAN, Rate::of_packets_s(40)).await;
    let client = net.member();
    ready(&client).await;
    let to = net.mixes[0].0.id;
    let sent = client.send(to, Level::Strict, &ToMix::Drop).await;
    let Err(SendError::NoStrict(why)) = sent else { panic!("{sent:?}") };
    assert!(why.contains("room"), "{why}");
    assert_eq!(client.counters().packets_out, 0);
    assert!(client.guard_views().iter().all(|view| !view.constant));
    client.send(to, Level::Balanced, &ToMix::Drop).await.expect("other levels go on");
    let refused: u64 = net.mixes.iter().map(|(_, mix)| mix.counters().shape_refused).sum();
    assert!((1..=30).contains(&refused), "{refused}");
}

/// A page at fast would else wait for a third of its packets in the slots of somebody's strict page, or of a strict site on the same device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_levels_leave_the_slots_alone() {
    let net = Net::start(9).await;
    let client = net.member();
    ready(&client).await;
    let _in_use = client.hold(Level::Strict);
    client.prepare(Level::Strict).await.expect("a guard has room");
    let filled = || client.counters().slots - client.counters().slots_of_cover;
    let (before, to, began) = (filled(), net.mixes[0].0.id, Instant::now());
    for _ in 0..300 {
        client.send(to, Level::Fast, &ToMix::Drop).await.expect("it is sent");
    }
    let slots = began.elapsed().as_secs_f64() / CONSTANT_SLOT.as_secs_f64();
    // The two counters are read one after the other.
    assert!(filled() - before <= 1, "{} of 300 packets went into {slots:.0} slots", filled() - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_slot_is_bounded_and_the_rest_waits_outside() {
    let net = Net::start(9).await;
    let client = net.member();
    ready(&client).await;
    // A destination that the path may end at, whichever guard it is.
    let to = |client: &Uplink| {
        let constant = client.guard_views().into_iter().find(|view| view.constant).map(|view| view.mix);
        net.mixes.iter().map(|(entry, _)| entry.id).find(|id| Some(*id) != constant).unwrap()
    };
    while client.send(to(&client), Level::Strict, &ToMix::Drop).await.is_err() {}
    let destination = to(&client);
    let sending: Vec<_> = (0..300)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.send(destination, Level::Strict, &ToMix::Drop).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let counters = client.counters();
    // The queue, the one before it, and what left it.
    assert!(counters.packets_out <= counters.slots + SLOT_QUEUE as u64 + 2, "{counters:?}");
    assert!(counters.packets_out >= SLOT_QUEUE as u64 && sending.iter().any(|s| !s.is_finished()), "{counters:?}");
    sending.iter().for_each(tokio::task::JoinHandle::abort);
}
