//! A mixnode process under a flood: its memory, and whether honest packets get through afterwards.
//!
//! Every client wants to send its share of ten times the rate that the mix was just seen to forward. What QUIC's back-pressure does not let
//! through stays with the client, as it would with a real flooder; how much was wanted and how much came in is printed. A third are
//! packets that the mix must unwrap and forward, delayed as long as a mix allows or not at all, to next mixes that take, that stall and that are not
//! there, so that its queues fill; a third are replays; a third are noise. Besides, connections open streams that never end, and datagrams
//! that are no QUIC come in. Limits that an owner could set are not set.

use super::{
    peers::{Manner, NextMix, client, closed_loop, directory, packet, packets},
    process::MixProcess,
};
use crate::{figure::Figure, run::say};
use anyhow::{Context, Result};
use fogbank_betanet::{
    directory::MixEntry,
    link::{self, Frame, LINK_FRAME_BYTES},
};
use fogbank_sphinx::PACKET_BYTES;
use fogbank_wire::{ALPN, Purpose, greet};
use iroh::{EndpointAddr, PublicKey, SecretKey};
use rand::Rng as _;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, sync_channel},
    },
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Clients that send what they can.
const CLIENTS: usize = 24;
/// Connections whose streams never end.
const DRIBBLERS: usize = 8;
/// How much more than its rate is wanted of the mix.
const TIMES: f64 = 10.0;
/// How long.
const FLOOD: Duration = Duration::from_secs(60);
/// Memory grows at first; what counts is the most after this.
const RAMP: Duration = Duration::from_secs(5);
/// Memory is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Fresh packets made ahead.
const AHEAD: usize = 512;
/// The longest delay that a mix grants; longer ones are cut to it.
const LONG_MS: u32 = 500;
/// Datagrams a second that are no QUIC.
const DATAGRAMS: u32 = 2_000;
/// The mix gets over it for so long before honest packets are sent.
const REST: Duration = Duration::from_secs(3);
/// Honest packets afterwards.
const HONEST: usize = 1_000;

pub(super) async fn figures(rate: f64) -> Result<Vec<Figure>> {
    let mut mix = MixProcess::start().await?;
    let idle_mb = mix.resident_mb()?;
    let mut nexts = Vec::new();
    for manner in [Manner::Takes, Manner::Takes, Manner::Stalls, Manner::Stalls, Manner::Dead, Manner::Dead] {
        nexts.push(NextMix::start(manner).await?);
    }
    let entries: Vec<_> = nexts.iter().map(|n| n.entry.clone()).collect();
    let (fog, signed) = directory(entries.iter().cloned().chain([mix.entry.clone()]).collect())?;
    mix.tell(fog, signed).await?;

    say(format_args!("mixnode flood: {:.0} packets a second wanted for {} s", rate * TIMES, FLOOD.as_secs()));
    let wanted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let fresh = Arc::new(Mutex::new(maker(mix.entry.clone(), entries.clone(), stop.clone())));
    let mut flood = JoinSet::new();
    for _ in 0..CLIENTS {
        flood.spawn(send(mix.entry.clone(), rate * TIMES / CLIENTS as f64, fresh.clone(), wanted.clone()));
    }
    for _ in 0..DRIBBLERS {
        flood.spawn(dribble(mix.entry.clone()));
    }
    flood.spawn(no_quic(mix.entry.clone()));

    let began = Instant::now();
    let mut most_mb: f64 = 0.0;
    while began.elapsed() < FLOOD {
        tokio::time::sleep(LOOK_EVERY).await;
        if began.elapsed() > RAMP {
            most_mb = most_mb.max(mix.resident_mb()?);
        }
    }
    let report = mix.report().await?;
    stop.store(true, Relaxed);
    flood.shutdown().await;
    let per_s = |count: u64| count as f64 / FLOOD.as_secs_f64();
    let (wanted_s, came_s) = (per_s(wanted.load(Relaxed)), per_s(report.counters.received));
    say(format_args!(
        "mixnode flood: {wanted_s:.0} packets a second wanted, {came_s:.0} came in, {:.2} cores in use: {:?}",
        report.cpu_s / FLOOD.as_secs_f64(),
        report.counters
    ));

    tokio::time::sleep(REST).await;
    let honest = packets(&mix.entry, &entries[..2], HONEST).await?;
    let (_endpoint, link) = client(&mix.entry).await?;
    let (came, _) = closed_loop(&[link], honest, &nexts[..2]).await;
    let note = format!("{wanted_s:.0} packets/s wanted, {came_s:.0} came in, rate {rate:.0}; {idle_mb:.0} MB before; loopback");
    Ok(vec![
        Figure::at_most("mixnode.flood_rss_mb", most_mb, "MB", 128.0).with_note(&note),
        Figure::at_least("mixnode.after_flood_pct", came as f64 * 100.0 / HONEST as f64, "%", 99.0)
            .with_note("honest packets forwarded after it"),
    ])
}

/// A thread that makes packets ahead until it is stopped: half of them are to be held back for long.
fn maker(mix: MixEntry, nexts: Vec<MixEntry>, stop: Arc<AtomicBool>) -> Receiver<Vec<u8>> {
    let (made, fresh) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        for (turn, next) in nexts.iter().cycle().enumerate() {
            let delay_ms = if (turn / nexts.len()).is_multiple_of(2) { LONG_MS } else { 0 };
            let Ok(packet) = packet(&mix, next, delay_ms) else { return };
            if stop.load(Relaxed) || made.send(packet).is_err() {
                return;
            }
        }
    });
    fresh
}

/// One client that wants so many packets a second taken: fresh ones, old ones, noise, in turn.
async fn send(mix: MixEntry, per_s: f64, fresh: Arc<Mutex<Receiver<Vec<u8>>>>, wanted: Arc<AtomicU64>) {
    let Ok((_endpoint, link)) = client(&mix).await else { return say("a flooding client got no link") };
    let mut noise = vec![0; PACKET_BYTES];
    rand::rng().fill_bytes(&mut noise);
    let mut old = noise.clone();
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut tried = 0u64;
    loop {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * per_s) as u64;
        wanted.fetch_add(due - tried, Relaxed);
        let mut room = true;
        while tried < due {
            tried += 1;
            // With a full queue the rest of this tick's share would be turned away as well.
            if !room {
                continue;
            }
            let bytes = match tried % 3 {
                0 => {
                    if let Ok(made) = fresh.lock().unwrap_or_else(PoisonError::into_inner).try_recv() {
                        old = made;
                    }
                    old.clone()
                }
                1 => old.clone(),
                _ => noise.clone(),
            };
            room = link.try_send(Frame::Packet(bytes));
        }
    }
}

/// A connection with as many streams as it gets, each with most of a frame and no end.
async fn dribble(mix: MixEntry) -> () {
    let dribbling = async {
        let endpoint = link::bind(SecretKey::generate(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).await?;
        let target = mix.addrs.iter().fold(EndpointAddr::new(PublicKey::from_bytes(&mix.key)?), |a, ip| a.with_ip_addr(*ip));
        let connection = endpoint.connect(target, ALPN).await?;
        greet(&connection, Purpose::Mix).await?;
        let mut held = Vec::new();
        loop {
            let mut stream = connection.open_uni().await?;
            stream.write_all(&vec![1; LINK_FRAME_BYTES - 1]).await?;
            held.push(stream);
            // The mix gives such a stream up; then there is room for another.
            if held.len() > 4 * 512 {
                held.drain(..512);
            }
        }
        #[expect(unreachable_code, reason = "names the error's type")]
        anyhow::Ok(())
    };
    if let Err(error) = dribbling.await {
        say(format_args!("a dribbling connection ended: {error:#}"));
    }
    std::future::pending().await
}

/// Datagrams that are no QUIC.
async fn no_quic(mix: MixEntry) {
    let sending = async {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let target = mix.addrs.first().context("the mix listens nowhere")?;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            for _ in 0..DATAGRAMS / 100 {
                let mut datagram = [0; 1_200];
                rand::rng().fill_bytes(&mut datagram);
                let _ = socket.send_to(&datagram, target).await;
            }
        }
        #[expect(unreachable_code, reason = "names the error's type")]
        anyhow::Ok(())
    };
    if let Err(error) = sending.await {
        say(format_args!("no datagrams: {error:#}"));
    }
}
