//! Cover loops over real mixes on loopback: they come back, and a mix that takes everything and passes on nothing stands out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    clock::FogClock,
    directory::{BROKEN, Directory, MixEntry, UNMEASURED, clock, mix_id},
    link,
    message::ToMix,
    mixnode::{Mixnode, Rate},
};
use fogbank_model::{Level, MixId, OwnerId};
use fogbank_sphinx::MixSecret;
use fogbank_wire::{Greeting, PacketKeys, Purpose, receive_hello, write_frame};
use iroh::{Endpoint, SecretKey};
use net::{Net, ready};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Ten loops a second of each mix.
const QUICK: Duration = Duration::from_millis(100);
/// Lost loops count after 4 s, and each mix's share is told after 12 loops through it.
const JUDGED: Duration = Duration::from_secs(60);

/// The first byte of a frame that holds a packet.
const PACKET: u8 = 1;

/// Greets as a mix does, takes every frame, and drops it; packets are counted.
async fn swallow(endpoint: Endpoint, packets: Arc<AtomicU64>) {
    while let Some(incoming) = endpoint.accept().await {
        let packets = packets.clone();
        tokio::spawn(async move {
            let Ok(accepting) = incoming.accept() else { return };
            let Ok(connection) = accepting.await else { return };
            let Ok((Purpose::Mix, mut reply)) = receive_hello(&connection).await else { return };
            let welcomed = write_frame(&mut reply, &Greeting::Welcome(None)).await.is_ok() && reply.finish().is_ok();
            while let (true, Ok(mut stream)) = (welcomed, connection.accept_uni().await) {
                let frame = stream.read_to_end(link::LINK_FRAME_BYTES).await;
                packets.fetch_add(u64::from(frame.is_ok_and(|frame| frame.first() == Some(&PACKET))), Relaxed);
            }
        });
    }
}

/// A mix as the directory lists it that relays nothing, and how many packets it has swallowed.
async fn swallower(number: u8) -> (MixEntry, Arc<AtomicU64>) {
    let endpoint = link::bind(SecretKey::generate(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let key = *endpoint.id().as_bytes();
    let first = fogbank_betanet::epoch::at(clock()).0.saturating_sub(1);
    let keys = (0..14).map(|_| MixSecret::generate(&mut rand::rng()).public().0).collect();
    let addrs = endpoint.bound_sockets();
    let packets = Arc::<AtomicU64>::default();
    tokio::spawn(swallow(endpoint, packets.clone()));
    let entry = MixEntry {
        id: mix_id(&key),
        key,
        life: [1; 8],
        packet_keys: PacketKeys { first, keys },
        owner: OwnerId([number; 32]),
        addrs,
        relay: None,
        since: clock(),
        reliability: UNMEASURED,
    };
    (entry, packets)
}

fn share(of: &Mixnode, mix: MixId) -> Option<u16> {
    of.probe_shares().into_iter().find(|(id, _)| *id == mix).map(|(_, share)| share)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_that_swallows_everything_stands_out_in_what_all_others_measure() {
    let mut net = Net::start_with(6, QUICK, Rate::UNLIMITED).await;
    let (bad, _) = swallower(100).await;
    net.others.push(bad.clone());
    net.publish();
    let judged = || {
        net.mixes.iter().all(|(_, mix)| {
            let honest = net.mixes.iter().filter(|(other, _)| other.id != mix.id());
            let mut honest = honest.map(|(other, _)| share(mix, other.id));
            share(mix, bad.id).is_some_and(|share| share < 100) && honest.all(|share| share.is_some_and(|share| share > 500))
        })
    };
    let seen = async {
        while !judged() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let told = || net.mixes.iter().map(|(_, mix)| (mix.probe_shares(), mix.counters())).collect::<Vec<_>>();
    assert!(tokio::time::timeout(JUDGED, seen).await.is_ok(), "{:?}", told());
    for (_, mix) in &net.mixes {
        let counters = mix.counters();
        assert!(counters.cover_back > 0 && counters.cover_back < counters.cover_sent, "{counters:?}");
        assert_eq!(counters.refused, 0);
    }
    // What the allocator then says in the directory is that it does not work.
    assert!(!MixEntry { reliability: share(&net.mixes[0].1, bad.id).unwrap(), ..bad }.works());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_sends_by_a_mix_that_the_directory_says_does_not_work() {
    /// So many draws pass by one mix of the six that can be in the middle with probability 10⁻⁸.
    const PACKETS: u64 = 100;
    // No loops of mixes, which are to meet it again.
    let mut net = Net::start_with(7, Duration::from_secs(3_600), Rate::UNLIMITED).await;
    let (bad, swallowed) = swallower(100).await;
    net.others.push(bad);
    net.publish();
    let guards: Vec<MixId> = net.mixes[..3].iter().map(|(entry, _)| entry.id).collect();
    let client = net.member_with(&guards, FogClock::default());
    ready(&client).await;
    let mut sent = 0;
    for (reliability, used) in [(UNMEASURED, true), (BROKEN - 1, false)] {
        net.others[0].reliability = reliability;
        net.publish();
        let said = |d: &Option<Arc<Directory>>| d.as_ref().is_some_and(|d| d.mixes.iter().any(|m| m.reliability == reliability));
        client.directory().wait_for(said).await.unwrap();
        let before = swallowed.load(Relaxed);
        for _ in 0..PACKETS {
            client.send(net.mixes[3].0.id, Level::Fast, &ToMix::Drop).await.unwrap();
            sent += 1;
            // A packet is at its end or was swallowed before the next goes, so no queue drops any.
            let there = || net.mixes.iter().map(|(_, mix)| mix.counters().arrived).sum::<u64>() + swallowed.load(Relaxed);
            let settled = async {
                while there() < sent {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            assert!(tokio::time::timeout(Duration::from_secs(10), settled).await.is_ok(), "{} of {sent}", there());
        }
        let packets = swallowed.load(Relaxed) - before;
        assert_eq!(packets > 0, used, "{packets} packets went there at reliability {reliability}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sends_loops_while_it_is_in_use_and_none_at_level_fast() {
    let net = Net::start(7).await;
    let (quick, careful) = (net.member(), net.member());
    ready(&quick).await;
    ready(&careful).await;
    let to =
        |uplink: &fogbank_betanet::uplink::Uplink| uplink.rendezvous(&net.directory(), MixId([0; 16])).expect("a mix to end at");
    quick.send(to(&quick), Level::Fast, &ToMix::Drop).await.unwrap();
    careful.send(to(&careful), Level::Balanced, &ToMix::Drop).await.unwrap();
    let loops = async {
        while careful.counters().cover_in < 5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // One a second on average.
    assert!(tokio::time::timeout(Duration::from_secs(30), loops).await.is_ok(), "{:?}", careful.counters());
    let counters = careful.counters();
    assert!(counters.cover_out >= 5 && counters.packets_out > counters.cover_out, "{counters:?}");
    assert_eq!(quick.counters().cover_out, 0);
    assert_eq!(net.member().counters().cover_out, 0, "one that is not in use");
}
