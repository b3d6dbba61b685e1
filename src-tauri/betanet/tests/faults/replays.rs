//! Packets that somebody recorded on a link and sends again.

use super::{alone, net::Net};
use fogbank_betanet::{
    directory::clock,
    epoch,
    link::{Frame, Link, LinkState, bind},
    message::{MailboxId, ToMix},
    mixnode::{MixCounters, Mixnode, Rate},
};
use fogbank_sphinx::{Hop, MixPublic, build};
use iroh::SecretKey;
use std::{net::SocketAddr, time::Duration};

/// Waits until a mix's counts are so.
async fn until(mix: &Mixnode, so: impl Fn(&MixCounters) -> bool) -> MixCounters {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let counters = mix.counters();
        if so(&counters) {
            return counters;
        }
        assert!(tokio::time::Instant::now() < deadline, "{counters:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn link_to(net: &Net, index: usize) -> Link {
    let endpoint = bind(SecretKey::generate(), SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
    let entry = &net.mixes[index].0;
    let link = Link::open(endpoint, entry.key, entry.addrs.clone(), None, None);
    link.state().wait_for(|state| *state == LinkState::Up).await.unwrap();
    link
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_packet_works_once_and_never_in_another_life() {
    let _alone = alone().await;
    // No loop of the mixes' own ends here meanwhile.
    let mut net = Net::start_with(4, Duration::from_secs(86_400), Rate::UNLIMITED).await;
    let entry = net.mixes[1].0.clone();
    let epoch = epoch::at(clock());
    let hop = Hop { id: entry.id.0, key: MixPublic(entry.packet_keys.of(epoch.0).unwrap()), delay_ms: 0 };
    let message = ToMix::CloseMailbox { mine: MailboxId([1; 16]) }.encode().unwrap();
    let recorded = build(&mut rand::rng(), epoch, &[hop], &message).unwrap().as_bytes().to_vec();
    let again = |link: &Link| assert!(link.try_send(Frame::Packet(recorded.clone())));

    let link = link_to(&net, 1).await;
    (0..3).for_each(|_| again(&link));
    let counters = until(&net.mixes[1].1, |c| c.replays == 2).await;
    assert_eq!((counters.arrived, counters.refused), (1, 0), "it had its effect once");
    drop(link);

    net.restart(1).await;
    assert_ne!(net.mixes[1].0.life, entry.life);
    let link = link_to(&net, 1).await;
    again(&link);
    let counters = until(&net.mixes[1].1, |c| c.refused == 1).await;
    assert_eq!((counters.arrived, counters.replays), (0, 0), "nobody has the keys any more that would open it");
}
