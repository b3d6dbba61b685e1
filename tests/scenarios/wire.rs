//! What goes over the wire while somebody browses: one namespace for each node, and a capture of every link.
//!
//! Needs root and network namespaces; elsewhere it says so and passes, or fails if `$FOGBANK_NAMESPACES` is set.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "wire/watched.rs"]
mod watched;

use anyhow::{Context as _, Result, ensure};
use fogbank_harness::{
    Curl, Nets,
    capture::{Capture, Datagram, Transport},
    in_namespace,
    two_sample::{ALPHA, Verdict, Window, compare, power},
    wait_for,
};
use fogbank_node::control::LevelDto;
use rand::{Rng, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    ops::ControlFlow::{Break, Continue},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use watched::{MARKER, MARKER_PATH, Watched};

/// The whole of one scenario; its parts have deadlines of their own.
const WHOLE: Duration = Duration::from_secs(90);
/// The same at strict, where a picture takes two seconds.
const WHOLE_AT_STRICT: Duration = Duration::from_secs(180);
/// Their length.
const WINDOW: Duration = Duration::from_millis(700);
/// What a load leaves behind (acknowledgements, reply blocks for the next one) is not counted to the window after it.
const SETTLE: Duration = Duration::from_millis(500);
/// With this probability at least the difference of [`plan`] is found.
const POWER: f64 = 0.9;
/// Draws by which it is estimated, to a hundredth and a quarter: the plans have a twentieth to spare.
const TRIALS: usize = 300;
/// Loads after which QUIC has found the longest datagram that passes.
const WARM_LOADS: usize = 4;
/// UDP payload of a full datagram once QUIC has tried longer ones: what an Ethernet of 1,500 bytes takes over IPv4.
const FULL_BYTES: usize = 1_472;
/// Of the datagrams that carry frames, at least so many are full: frames run together, and only the end of a row of them is shorter.
const FULL_SHARE: f64 = 0.7;
/// Acknowledgements and keep-alives alone are shorter than this.
const ACK_BYTES: usize = 100;
/// Four bytes of an address come up by chance in encrypted bytes: 10 MB hold one of them with probability 0.2 %, three with 10⁻⁹.
const BY_CHANCE: usize = 2;
/// Names are looked up there: plainly, by TLS or QUIC, and by multicast.
const DNS_PORTS: [u16; 3] = [53, 853, 5353];
/// A query for `a.`, as the shell's printf takes it.
const DNS_QUERY: &str = r"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
/// A datagram that was sent is in the capture by then.
const SEEN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn links_show_neither_content_nor_the_other_side() -> Result<()> {
    let Some(nets) = Nets::unless_missing()? else { return Ok(()) };
    tokio::time::timeout(WHOLE, shows_nothing(nets)).await.context("the scenario took too long")?
}

#[tokio::test(flavor = "multi_thread")]
async fn timing_at_fast_shows_that_a_page_is_loading() -> Result<()> {
    let Some(nets) = Nets::unless_missing()? else { return Ok(()) };
    let seen = tokio::time::timeout(WHOLE, timing(nets, LevelDto::Fast)).await.context("the scenario took too long")??;
    ensure!(seen.outward.differs() && seen.inward.differs(), "the positive control found nothing: {seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn timing_at_strict_does_not_depend_on_loading() -> Result<()> {
    let Some(nets) = Nets::unless_missing()? else { return Ok(()) };
    let seen =
        tokio::time::timeout(WHOLE_AT_STRICT, timing(nets, LevelDto::Strict)).await.context("the scenario took too long")??;
    ensure!(!seen.outward.differs() && !seen.inward.differs(), "a watcher sees that a page is loading: {seen:?}");
    Ok(())
}

async fn shows_nothing(mut nets: Nets) -> Result<()> {
    let fog = Watched::start(&mut nets, LevelDto::Fast).await?;
    let curl = Curl::new(fog.visitor.proxy.unwrap(), &fog.onion).at(&fog.visitor_place).max_time(Duration::from_secs(15));
    // Warm first: handshakes and the search for the path's longest datagram have other lengths, the same for everyone. Then two pages of very
    // different lengths that fit a packet each, and the marked one.
    for n in 0..WARM_LOADS {
        fog.load(&curl, &format!("warm-{n}")).await?;
    }
    let (short, long, marked) =
        (fog.load(&curl, "short").await?, fog.load(&curl, "long").await?, fog.load(&curl, MARKER_PATH).await?);
    ensure!(short.0.body.len() == 100 && long.0.body.len() == 5_000, "the pages came");
    ensure!(marked.0.body.windows(MARKER.len()).any(|w| w == MARKER.as_bytes()), "the marker came through");

    let (host, visitor) = (fog.host_place.ip, fog.visitor_place.ip);
    let links = fog.captures().await?;
    for (name, link) in &links {
        ensure!(link.datagrams.len() > 100, "the capture of {name} is empty");
        let meetings = link.between(host, visitor).count();
        ensure!(meetings == 0, "host and visitor exchanged {meetings} datagrams on the link of {name}");
        let tcp = link.datagrams.iter().filter(|d| d.transport == Transport::Tcp).count();
        ensure!(tcp == 0, "{tcp} TCP packets on the link of {name}: without a relay all is QUIC");
        for (what, needle) in fog.secrets() {
            ensure!(link.occurrences(needle.as_bytes()) == 0, "{what} on the link of {name}");
        }
    }
    for (name, own, other) in [("the visitor", visitor, host), ("the host", host, visitor)] {
        let link = &links[if own == visitor { "visitor" } else { "host" }];
        let IpAddr::V4(other) = other else { unreachable!("all addresses here are IPv4") };
        ensure!(link.occurrences(other.to_string().as_bytes()) == 0, "the other side's address as text on the link of {name}");
        let binary = link.occurrences(&other.octets());
        ensure!(binary <= BY_CHANCE, "the other side's address {binary} times in {} bytes of {name}", link.payload_bytes());
        let elsewhere = elsewhere(link, own, &fog.places);
        ensure!(elsewhere.is_empty(), "the link of {name} leads out of the fog: {elsewhere:?}");
        ensure!(link.over_ipv6 == 0, "{} IPv6 packets on the link of {name}: nobody has such an address", link.over_ipv6);
        eprintln!("{name}: {} packets, {} bytes", link.datagrams.len(), link.payload_bytes());
    }

    // Sizes on the visitor's link. A frame of a link is one QUIC stream of one length; QUIC cuts it into datagrams.
    let link = &links["visitor"];
    let during = |load: &watched::Load| -> Vec<&Datagram> {
        let inside = |d: &&Datagram| (load.began_us..=load.ended_us).contains(&d.at_us);
        link.datagrams.iter().filter(inside).collect()
    };
    let (few, many) = (sizes(&during(&short.1)), sizes(&during(&long.1)));
    eprintln!("datagram sizes on the visitor's link, all: {:?}", sizes(&link.datagrams.iter().collect::<Vec<_>>()));
    eprintln!("while 100 bytes load: {few:?}\nwhile {} bytes load: {many:?}", long.0.body.len());
    // Frames have one length (the link's own tests hold that); QUIC writes them one after another and cuts the row into datagrams of the path's
    // length, so that a datagram's length tells nothing of what is in it. How many frames go shows: at `fast` nothing hides a page's size.
    for (what, load) in [("short", &few), ("long", &many)] {
        let full = *load.keys().next_back().with_context(|| format!("no datagrams while the {what} page loads"))?;
        ensure!(full == FULL_BYTES, "the longest datagram of the {what} page has {full} bytes");
        let count = |range: std::ops::RangeInclusive<usize>| load.range(range).map(|(_, n)| *n as f64).sum::<f64>();
        let (fulls, all) = (count(FULL_BYTES..=FULL_BYTES), count(ACK_BYTES..=FULL_BYTES));
        ensure!(fulls >= FULL_SHARE * all, "{fulls} of {all} datagrams are full: {what}");
    }

    // Positive control: the same capture and the same search find what is sent in plain.
    let tap = fog.tap_again(&fog.visitor_place).await?;
    let plain = format!("exec 3<>/dev/udp/{host}/9; echo {MARKER} {host} >&3");
    in_namespace(&fog.visitor_place.namespace, "bash", &["-c", &plain])?;
    // And a name is looked up, of a stranger and of a computer of the fog.
    let IpAddr::V4(middle) = fog.middle_place.ip else { unreachable!("all addresses here are IPv4") };
    let servers = [Ipv4Addr::new(203, 0, 113, 53), middle];
    for server in servers {
        in_namespace(&fog.visitor_place.namespace, "bash", &["-c", &format!("printf '{DNS_QUERY}' > /dev/udp/{server}/53")])?;
    }
    let seen = wait_for("what was sent in plain is seen", SEEN, async || {
        let seen = tap.so_far()?;
        let plain = seen.between(host, visitor).any(|d| d.transport == Transport::Udp);
        // A router may say besides that it knows no way to the stranger.
        let asked = elsewhere(&seen, visitor, &fog.places);
        let all = plain && servers.iter().all(|server| asked.contains(&(*server, 53)));
        Ok(if all { Break(seen) } else { Continue(format!("{asked:?}, in plain: {plain}")) })
    })
    .await?;
    ensure!(seen.occurrences(MARKER.as_bytes()) > 0, "the marker in plain was missed");
    ensure!(seen.occurrences(host.to_string().as_bytes()) > 0, "the other side's address in plain was missed");
    fog.end().await
}

/// Where a computer's packets went to or came from that is no computer of the fog, or where names are looked up, in order. The router's own
/// kernel says things to the whole street, which are none of its.
fn elsewhere(link: &Capture, own: IpAddr, places: &BTreeSet<Ipv4Addr>) -> Vec<(Ipv4Addr, u16)> {
    let its = link.datagrams.iter().filter(|d| [d.from.0, d.to.0].into_iter().any(|ip| IpAddr::from(ip) == own));
    its.flat_map(|d| [d.from, d.to]).filter(|(ip, port)| !places.contains(ip) || DNS_PORTS.contains(port)).collect()
}

/// How many UDP datagrams have which length.
fn sizes(datagrams: &[&Datagram]) -> BTreeMap<usize, usize> {
    let mut sizes = BTreeMap::new();
    for d in datagrams.iter().filter(|d| d.transport == Transport::Udp) {
        *sizes.entry(d.payload.len()).or_default() += 1;
    }
    sizes
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed when a test fails")]
struct Timing {
    outward: Verdict,
    inward: Verdict,
    power: f64,
}

/// How many windows of each kind, and the difference, in standard deviations of packets a window, that so many find. The positive control
/// needs few; more make `strict` the stricter test, within the time that a scenario may take: sixteen of each find 1.7 with probability 0.95.
fn plan(level: LevelDto) -> (usize, f64) {
    if level == LevelDto::Strict { (16, 1.7) } else { (12, 2.5) }
}

/// Windows with an open tunnel, idle or loading in random order, as whoever watches the visitor's link sees them.
async fn timing(mut nets: Nets, level: LevelDto) -> Result<Timing> {
    let fog = Watched::start(&mut nets, level).await?;
    let curl = Curl::new(fog.visitor.proxy.unwrap(), &fog.onion).at(&fog.visitor_place).max_time(Duration::from_secs(4));
    fog.load(&curl, "short").await?;
    let seed = rand::rng().next_u64();
    let mut rng = StdRng::seed_from_u64(seed);
    let (each, effect) = plan(level);
    let mut kinds = vec![false; 2 * each];
    kinds[..each].fill(true);
    kinds.shuffle(&mut rng);
    let mut windows = Vec::new();
    let window_us = i64::try_from(WINDOW.as_micros())?;
    for loads in kinds {
        let (from_us, until) = (now_us(), Instant::now() + WINDOW);
        if loads {
            while Instant::now() < until {
                curl.get("picture").await?;
            }
        } else {
            tokio::time::sleep_until(until.into()).await;
        }
        windows.push((loads, from_us, from_us + window_us));
        tokio::time::sleep(SETTLE).await;
    }
    let captures = fog.captures().await?;
    let link = &captures["visitor"];
    let visitor = fog.visitor_place.ip;
    let seen = |outward: bool, loads: bool| -> Vec<Window> {
        let of = |(_, from, until): &(bool, i64, i64)| {
            let inside = |d: &&Datagram| {
                d.transport == Transport::Udp
                    && (*from..*until).contains(&d.at_us)
                    && (IpAddr::from(d.from.0) == visitor) == outward
            };
            Window::of(&link.datagrams.iter().filter(inside).map(|d| d.at_us as f64).collect::<Vec<_>>())
        };
        windows.iter().filter(|w| w.0 == loads).map(of).collect()
    };
    let mut verdict = |outward| compare(&seen(outward, false), &seen(outward, true), &mut rng);
    let (outward, inward) = (verdict(true), verdict(false));
    let power = power(each, effect, TRIALS, &mut rng);
    eprintln!(
        "{level:?}, {each} windows of {WINDOW:?} of each kind, error {ALPHA}, power {power:.2} at {effect} standard deviations, seed {seed}:\n\
         outward {outward:?}\ninward {inward:?}"
    );
    ensure!(power >= POWER, "so few windows find too little: power {power}");
    fog.end().await?;
    Ok(Timing { outward, inward, power })
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
