//! What the data path carries: first byte, page and bulk at each level, over real mixes on loopback in one process.
//!
//! `cargo run --release -p fogbank-betanet --example bulk [level] [MB]`. All nodes share this machine's cores, so beside the rate the CPU
//! time of the whole process a megabyte is printed: it says what a change costs also when the machine is busy with other things.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement to be read by people")]

#[path = "../tests/net/mod.rs"]
mod net;

use fogbank_betanet::{client::Visitor, mixnode::MixCounters, tunnel::Stream, uplink::UplinkCounters};
use fogbank_model::{Level, Onion};
use net::{Container, Net, ready};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
};

/// Objects of the page, and how many a browser fetches at once from one site.
const OBJECTS: usize = 40;
const AT_ONCE: usize = 6;
const PAGE_BYTES: u64 = 2_000_000;
/// Requests of which the median is printed as first byte.
const ASKED: usize = 15;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let level = arguments.next().unwrap_or_else(|| "all".to_owned());
    let megabytes: Option<u64> = arguments.next().and_then(|mb| mb.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for (name, of, mb) in [("fast", Level::Fast, 64), ("balanced", Level::Balanced, 16), ("strict", Level::Strict, 4)] {
            if level == "all" || level == name {
                measure(name, of, megabytes.unwrap_or(mb) * 1_000_000).await;
            }
        }
    });
}

async fn measure(name: &str, level: Level, bulk: u64) {
    let net = Net::start(7).await;
    let container = Container::publish(&net, level);
    let (accept, mut streams) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            tokio::spawn(answer(stream));
        }
    });
    let instance = container.instance_for(&net, 1, accept).await;
    let uplink = net.member();
    ready(&uplink).await;
    let visitor = Visitor::start(uplink.clone());
    let onion = container.onion();

    let began = Instant::now();
    fetch(&visitor, onion, 1).await;
    let cold = began.elapsed();
    let mut firsts = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        fetch(&visitor, onion, 1).await;
        firsts.push(began.elapsed());
    }
    firsts.sort();
    let mut pages = Vec::new();
    for _ in 0..3 {
        pages.push(timed(page(&visitor, onion)).await);
    }
    let before = (cpu(), uplink.counters(), instance.uplink.counters(), mixes(&net));
    let took = timed(fetch(&visitor, onion, bulk)).await;
    let used = cpu() - before.0;
    let mb = bulk as f64 / 1e6;
    println!(
        "{name}: first byte cold {} ms, warm {} ms (worst {}); page {:?} s; bulk {:.2} MB/s, {:.1} CPU ms/MB ({:.0} % of 2 cores)",
        cold.as_millis(),
        firsts[ASKED / 2].as_millis(),
        firsts[ASKED - 1].as_millis(),
        pages.iter().map(|p| (p.as_secs_f64() * 100.0).round() / 100.0).collect::<Vec<_>>(),
        mb / took.as_secs_f64(),
        used.as_secs_f64() * 1e3 / mb,
        used.as_secs_f64() / took.as_secs_f64() * 50.0,
    );
    let least = mb * 1e6 / 7_700.0;
    let of = |what: &str, after: UplinkCounters, before: UplinkCounters| {
        println!(
            "  {what}: out {:.2}, in {:.2} packets for each that the bytes need; garbled {} dropped {}",
            (after.packets_out - before.packets_out) as f64 / least,
            (after.packets_in - before.packets_in) as f64 / least,
            after.garbled - before.garbled,
            after.dropped - before.dropped
        );
    };
    of("visitor", uplink.counters(), before.1);
    of("host", instance.uplink.counters(), before.2);
    let after = mixes(&net);
    println!(
        "  mixes: received {}, full {}, rate {}, unrelayed {}, unknown {}",
        after.received - before.3.received,
        after.dropped_full - before.3.dropped_full,
        after.dropped_rate - before.3.dropped_rate,
        after.unrelayed - before.3.unrelayed,
        after.unknown_next - before.3.unknown_next
    );
    println!("  host's tunnels: {:?}", instance.service.tunnel_counters());
    for (_, mix) in &net.mixes {
        mix.shutdown().await;
    }
}

fn mixes(net: &Net) -> MixCounters {
    net.mixes.iter().fold(MixCounters::default(), |sum, (_, mix)| {
        let c = mix.counters();
        MixCounters {
            received: sum.received + c.received,
            dropped_full: sum.dropped_full + c.dropped_full,
            dropped_rate: sum.dropped_rate + c.dropped_rate,
            unrelayed: sum.unrelayed + c.unrelayed,
            unknown_next: sum.unknown_next + c.unknown_next,
            ..sum
        }
    })
}

async fn timed(what: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    what.await;
    began.elapsed()
}

/// Reads a length and says so many bytes.
async fn answer(mut stream: Stream) {
    let Ok(mut left) = stream.read_u64().await else { return };
    let piece = vec![7; 64 << 10];
    while left > 0 {
        let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if stream.write_all(&piece[..count]).await.is_err() {
            return;
        }
        left -= count as u64;
    }
    let _ = stream.shutdown().await;
    // The other end closes when it has read all.
    let _ = stream.read_u8().await;
}

async fn fetch(visitor: &Visitor, onion: &Onion, bytes: u64) {
    let mut stream = visitor.connect(onion, "").await.unwrap();
    stream.write_all(&bytes.to_be_bytes()).await.unwrap();
    let (mut read, mut into) = (0, vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut into).await.expect("it goes on");
        if count == 0 {
            break;
        }
        read += count as u64;
    }
    assert_eq!(read, bytes);
    let _ = stream.shutdown().await;
}

/// As a browser: the page's text first, then what it names, a few at a time.
async fn page(visitor: &Visitor, onion: &Onion) {
    let object = PAGE_BYTES / OBJECTS as u64;
    fetch(visitor, onion, object).await;
    let mut left = OBJECTS - 1;
    let mut running = JoinSet::new();
    while left > 0 || !running.is_empty() {
        if left > 0 && running.len() < AT_ONCE {
            left -= 1;
            let (visitor, onion) = (visitor.clone(), onion.clone());
            running.spawn(async move { fetch(&visitor, &onion, object).await });
        } else {
            running.join_next().await.unwrap().unwrap();
        }
    }
}

/// CPU time of this process so far, from the kernel's count in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
