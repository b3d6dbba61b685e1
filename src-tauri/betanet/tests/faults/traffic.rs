//! Mixes that mistreat packets or restart in mid-page, and mixes that know different directories.

use super::{
    alone,
    net::{Container, Net, ready},
    page,
    relay::{BadRelay, Fault},
};
use fogbank_betanet::{client::Visitor, clock::FogClock, directory::clock, uplink::Uplink};
use fogbank_model::{Level, MixId};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

/// A small page: a few dozen packets in each direction.
const PAGE: usize = 150_000;
/// Far beyond what a page takes; what is not served by then is not served.
const WAIT: Duration = Duration::from_secs(25);
/// Mixes that stand in front as guards, and are good.
const GOOD: usize = 5;

struct Bad {
    net: Net,
    relays: Vec<BadRelay>,
    guards: Vec<MixId>,
}

impl Bad {
    /// Seven mixes, two of which do this to so many packets in a hundred.
    async fn start(fault: Fault, percent: u8) -> Self {
        // The relays are listed from the beginning: a link stays where it was opened as long as the mix behind it lives.
        let mut net = Net::start(0).await;
        for number in 0..7 {
            net.add_mix(number).await;
        }
        let mut relays = Vec::new();
        for index in GOOD..7 {
            let relay = BadRelay::before(net.key(index), net.mixes[index].0.addrs[0], fault, percent).await;
            net.mixes[index].0.addrs = vec![relay.addr];
            relays.push(relay);
        }
        net.publish();
        let guards = net.mixes[..3].iter().map(|(entry, _)| entry.id).collect();
        Self { net, relays, guards }
    }

    fn member(&self) -> Uplink {
        self.net.member_with(&self.guards, FogClock::default())
    }

    fn done(&self) -> u64 {
        self.relays.iter().map(|relay| relay.done.load(Relaxed)).sum()
    }

    /// A visitor that has read a page, with its uplink.
    async fn served(&self) -> (Uplink, Visitor) {
        let container = Container::publish(&self.net, Level::Fast);
        let _instance = container.echo_by(self.member(), 1).await;
        let uplink = self.member();
        ready(&uplink).await;
        let visitor = Visitor::start(uplink.clone());
        let served = page(&visitor, container.onion(), PAGE, WAIT).await;
        assert!(served.is_ok(), "not served within {WAIT:?}: {served:?}");
        (uplink, visitor)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_comes_whatever_share_two_mixes_of_seven_drop() {
    let _alone = alone().await;
    for percent in [1, 10, 30] {
        let bad = Bad::start(Fault::Drop, percent).await;
        bad.served().await;
        assert!(bad.done() > 0 || percent == 1, "{percent} %: nothing was dropped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_comes_whatever_share_two_mixes_of_seven_delay_or_reorder() {
    let _alone = alone().await;
    for fault in [Fault::Delay(Duration::from_millis(300)), Fault::Reorder] {
        for percent in [1, 30] {
            let bad = Bad::start(fault, percent).await;
            bad.served().await;
            assert!(bad.done() > 0 || percent == 1, "{percent} %: {fault:?} happened to nothing");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_counted_and_change_nothing() {
    let _alone = alone().await;
    for percent in [10, 30] {
        let bad = Bad::start(Fault::Duplicate, percent).await;
        let (uplink, _visitor) = bad.served().await;
        let replays: u64 = bad.net.mixes.iter().map(|(_, mix)| mix.counters().replays).sum();
        assert!(replays > 0 && replays <= bad.done(), "{replays} replays of {} duplicates", bad.done());
        assert_eq!(uplink.counters().garbled, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tagged_packets_are_noise_and_the_tunnel_goes_on() {
    let _alone = alone().await;
    let bad = Bad::start(Fault::Tag, 20).await;
    let (uplink, _visitor) = bad.served().await;
    let refused: u64 = bad.net.mixes.iter().map(|(_, mix)| mix.counters().refused).sum();
    let garbled = uplink.counters().garbled;
    assert!(garbled > 0, "{} packets were tagged, {refused} refused at their end", bad.done());
    // Each tag is noticed at most once: at the end of a way out, or of a way back.
    assert!(garbled + refused <= bad.done());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixes_that_restart_in_mid_page_cost_time_and_no_page() {
    let _alone = alone().await;
    let mut net = Net::start(7).await;
    let guards: Vec<MixId> = net.mixes[..3].iter().map(|(entry, _)| entry.id).collect();
    let container = Container::publish(&net, Level::Balanced);
    let _instance = container.echo_by(net.member_with(&guards, FogClock::default()), 1).await;
    let uplink = net.member_with(&guards, FogClock::default());
    ready(&uplink).await;
    let visitor = Visitor::start(uplink);
    let onion = container.onion().clone();
    let browsing = tokio::spawn(async move {
        let mut tries = Vec::new();
        for _ in 0..4 {
            tries.push(page(&visitor, &onion, PAGE, WAIT).await);
        }
        tries
    });
    let mut turn = 0;
    while !browsing.is_finished() && turn < 8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        net.restart(3 + turn % 4).await;
        container.describe(&net, 2 + turn as u64);
        turn += 1;
    }
    let tries = browsing.await.unwrap();
    assert!(tries.iter().all(Result::is_ok), "{tries:?}");
    assert!(turn > 0, "no mix restarted in mid-page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixes_and_visitors_with_an_older_directory_are_served_too() {
    let _alone = alone().await;
    let mut net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 1).await;
    // Two mixes more, of which half of the others hear nothing.
    net.add_mix(6).await;
    net.add_mix(7).await;
    let before = net.directory().serial;
    net.publish_but(&[0, 2, 4]);
    for (mix, serial) in [(0, before), (1, before + 1)] {
        let uplink = net.stranger_by(mix, FogClock::default());
        ready(&uplink).await;
        let visitor = Visitor::start(uplink.clone());
        let served = page(&visitor, container.onion(), PAGE, WAIT).await;
        assert!(served.is_ok(), "a visitor by mix {mix}: {served:?}");
        let known = uplink.directory().borrow().as_ref().unwrap().serial;
        assert!(known >= serial, "it may have heard of the newer one from a guard");
    }
    assert!(net.directory().fresh(clock()));
}

/// Two halves that never agree on a directory, as after a fog's key signed twice: a visitor of each half is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_halves_of_a_fog_that_is_split_over_its_directory_are_served() {
    const OTHERS: [usize; 4] = [0, 2, 4, 6];
    let _alone = alone().await;
    let mut net = Net::start(8).await;
    let unlisted = net.mixes[7].0.id;
    net.publish_two(&OTHERS, unlisted);
    let container = Container::publish(&net, Level::Fast);
    // The host is of the one half, and registered at points of both.
    let _instance = container.instance(&net, 1).await;
    for (half, mix) in [("one", 1), ("other", 0)] {
        let uplink = net.stranger_by(mix, FogClock::default());
        ready(&uplink).await;
        for visit in 0..3 {
            // A visitor of its own each time: look-up, introduction, meeting.
            let served = page(&Visitor::start(uplink.clone()), container.onion(), PAGE, WAIT).await;
            assert!(served.is_ok(), "visit {visit} in the {half} half: {served:?}, {:?}", uplink.counters());
        }
        let known = uplink.directory().borrow().clone().unwrap();
        assert_eq!(known.mix(unlisted).is_some(), mix == 1, "the {half} half's visitor kept to its directory");
    }
    for mix in 0..8 {
        assert_eq!(net.knows(mix, unlisted), !OTHERS.contains(&mix), "mix {mix} is where it was");
    }
}
