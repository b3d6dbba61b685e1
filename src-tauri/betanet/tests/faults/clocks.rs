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
const WAIT: Duration = Duration::from_secs(20);

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
    let mut net = Net::start_at(6, showing(fog_time())).await;
    net.add_mix_by(6, off(1)).await;
    net.publish();
    let container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 1).await;
    let served = page(&Visitor::start(net.member()), container.onion(), PAGE, WAIT).await;
    assert!(served.is_ok(), "{served:?}");
}
