//! Clocks that are an hour off: of a visitor, of a host, of a mix.

use super::{
    alone,
    net::{Container, Net, ready},
    page,
};
use fogbank_betanet::{
    client::Visitor,
    clock::FogClock,
    directory::clock,
    epoch::{self, EPOCH_LIFE},
};
use fogbank_model::{DurationMs, Level, UnixMs};
use std::time::Duration;

const PAGE: usize = 20_000;
/// A page takes a few seconds where half of all ways lead through the mix that is off; a busy computer is waited for.
const WAIT: Duration = Duration::from_secs(60);

/// A clock that shows this now.
fn showing(time: UnixMs) -> FogClock {
    let shown = FogClock::default();
    shown.learn(time);
    shown
}

/// Ten minutes into an epoch: the next one's key is not taken for twenty minutes yet, the last one's for twenty minutes more.
fn fog_time() -> UnixMs {
    epoch::start(epoch::at(clock())).plus(DurationMs::from_s(600))
}

fn off(hours: i64) -> FogClock {
    showing(fog_time().plus(DurationMs(hours * EPOCH_LIFE.0)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_whose_clock_is_an_hour_off_is_served() {
    let _alone = alone().await;
    let net = Net::start_at(6, showing(fog_time())).await;
    let container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 1).await;
    for hours in [-1, 1, 3] {
        let uplink = net.stranger_by(0, off(hours));
        ready(&uplink).await;
        let served = page(&Visitor::start(uplink.clone()), container.onion(), PAGE, WAIT).await;
        assert!(served.is_ok(), "{hours} h off: {served:?}, {:?}", uplink.counters());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_clock_is_an_hour_off_serves_when_it_has_learnt_the_time() {
    let _alone = alone().await;
    let net = Net::start_at(6, showing(fog_time())).await;
    let container = Container::publish(&net, Level::Fast);
    let host = off(1);
    let uplink = net.member_with(&[], host.clone());
    // What a member hears from its allocator with each report.
    host.learn(fog_time());
    let _instance = container.echo_by(uplink, 1).await;
    let served = page(&Visitor::start(net.member()), container.onion(), PAGE, WAIT).await;
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_whose_clock_is_an_hour_off_is_gone_around() {
    let _alone = alone().await;
    for hours in [-1, 1] {
        // The first mix, and so an introduction point: host and visitor both turn to it. Their guards are good ones.
        let mut net = Net::start_at(0, showing(fog_time())).await;
        net.add_mix_by(0, off(hours)).await;
        for number in 1..7 {
            net.add_mix(number).await;
        }
        net.publish();
        let (bad, guards) = (&net.mixes[0].1, net.mixes[1..4].iter().map(|(entry, _)| entry.id).collect::<Vec<_>>());
        let container = Container::publish(&net, Level::Fast);
        assert_eq!(container.points[0], bad.id());
        let _instance = container.echo_by(net.member_with(&guards, showing(fog_time())), 1).await;
        let served = page(&Visitor::start(net.member_with(&guards, showing(fog_time()))), container.onion(), PAGE, WAIT).await;
        assert!(served.is_ok(), "{hours} h off: {served:?}");
        // One that is behind does not take the present key yet; one that is ahead still does, for twenty minutes.
        let counters = bad.counters();
        assert!(if hours < 0 { counters.refused > 0 } else { counters.arrived > 0 }, "{hours} h off: {counters:?}");
    }
}
