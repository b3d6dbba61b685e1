//! Mixes that restart in the middle of everything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    message::{FromMix, ToMix},
    uplink::Uplink,
};
use fogbank_model::{Level, MixId};
use net::{Net, ready};
use std::time::{Duration, Instant};

/// Questions to each mix, each over a path of its own: with five mixes in the net every link is used by some of them.
const QUESTIONS: usize = 8;
/// Links that lead to an ended life are noticed by the links' own silence after four seconds; the directory has to be quicker.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn all_answer(net: &Net, uplink: &Uplink) {
    let mixes: Vec<MixId> = net.mixes.iter().map(|(entry, _)| entry.id).collect();
    for mix in mixes.into_iter().flat_map(|mix| std::iter::repeat_n(mix, QUESTIONS)) {
        let answer = uplink.ask(mix, Level::Fast, |surb| ToMix::FetchDescriptor { blinded: [9; 32], surb }).await;
        assert!(matches!(answer, Ok(FromMix::Descriptor(None))), "{answer:?}");
    }
}

/// Every mix has links to every other, and the client has one to each of its guards; a mix that comes back listens elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_follow_a_mix_that_restarts() {
    let mut net = Net::start(5).await;
    let uplink = net.member();
    ready(&uplink).await;
    all_answer(&net, &uplink).await;
    let mixes: Vec<MixId> = net.mixes.iter().map(|(entry, _)| entry.id).collect();
    for mix in mixes {
        net.restart_mix(mix).await;
        let began = Instant::now();
        // Guards are seen to be up again within a quarter of a second.
        while !uplink.guard_views().iter().all(|guard| guard.up) {
            assert!(began.elapsed() < AT_ONCE, "a guard that restarted is connected to again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        all_answer(&net, &uplink).await;
    }
}
