//! Cover loops over real mixes on loopback: they come back, and a mix that takes everything and passes on nothing stands out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    directory::{MixEntry, UNMEASURED, clock, mix_id},
    link,
    message::ToMix,
    mixnode::{Mixnode, Rate},
};
use fogbank_model::{Level, MixId, OwnerId};
use fogbank_sphinx::MixSecret;
use fogbank_wire::{Greeting, PacketKeys, Purpose, receive_hello, write_frame};
use iroh::{Endpoint, SecretKey};
use net::{Net, ready};
use std::time::Duration;

/// Ten loops a second of each mix.
const QUICK: Duration = Duration::from_millis(100);
/// Lost loops count after 4 s, and each mix's share is told after 12 loops through it.
const JUDGED: Duration = Duration::from_secs(60);

/// Greets as a mix does, takes every frame, and drops it.
async fn swallow(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(accepting) = incoming.accept() else { return };
            let Ok(connection) = accepting.await else { return };
            let Ok((Purpose::Mix, mut reply)) = receive_hello(&connection).await else { return };
            let welcomed = write_frame(&mut reply, &Greeting::Welcome(None)).await.is_ok() && reply.finish().is_ok();
            while let (true, Ok(mut stream)) = (welcomed, connection.accept_uni().await) {
                let _ = stream.read_to_end(link::LINK_FRAME_BYTES).await;
            }
        });
    }
}

/// A mix as the directory lists it that relays nothing.
async fn swallower(number: u8) -> MixEntry {
    let endpoint = link::bind(SecretKey::generate(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let key = *endpoint.id().as_bytes();
    let first = fogbank_betanet::epoch::at(clock()).0.saturating_sub(1);
    let keys = (0..14).map(|_| MixSecret::generate(&mut rand::rng()).public().0).collect();
    let addrs = endpoint.bound_sockets();
    tokio::spawn(swallow(endpoint));
    MixEntry {
        id: mix_id(&key),
        key,
        life: [1; 8],
        packet_keys: PacketKeys { first, keys },
        owner: OwnerId([number; 32]),
        addrs,
        relay: None,
        since: clock(),
        reliability: UNMEASURED,
    }
}

fn share(of: &Mixnode, mix: MixId) -> Option<u16> {
    of.probe_shares().into_iter().find(|(id, _)| *id == mix).map(|(_, share)| share)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_that_swallows_everything_stands_out_in_what_all_others_measure() {
    let mut net = Net::start_with(6, QUICK, Rate::UNLIMITED).await;
    let bad = swallower(100).await;
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
    // The allocator says so in the directory, and nobody sends anything there any more.
    let mut listed = bad.clone();
    listed.reliability = share(&net.mixes[0].1, bad.id).unwrap();
    assert!(!listed.works());
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
