//! Two homes behind routers that translate addresses, and the fog's own relay: over a hole that both sides punch, or over the relay alone.
//!
//! Needs root and network namespaces; elsewhere it says so and passes, or fails if `$FOGBANK_NAMESPACES` is set.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use fogbank_harness::{Curl, Does, Nets, PlacedFog, Process, RelayProcess, Router, wait_for};
use fogbank_node::control::{ControlRequest, LevelDto, PeerDto};
use std::{
    net::SocketAddr,
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

/// The whole of one scenario; its parts have deadlines of their own.
const WHOLE: Duration = Duration::from_secs(90);
/// Guards answer, introductions are made, and the page is there by then.
const PAGE: Duration = Duration::from_secs(30);
/// Both sides have learnt how they look from outside and tried each other by then.
const PUNCHED: Duration = Duration::from_secs(20);
/// Bytes of the page's picture: dozens of packets, of which a part goes from home to home.
const PICTURE: usize = 200_000;
/// What finding each other may take between two homes at most: more is content.
const PROBES_BYTES: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn homes_behind_steady_routers_find_a_direct_path() -> Result<()> {
    tokio::time::timeout(WHOLE, homes(Router::Steady)).await.context("the scenario took too long")?
}

#[tokio::test(flavor = "multi_thread")]
async fn homes_that_can_t_reach_each_other_meet_at_the_relay() -> Result<()> {
    tokio::time::timeout(WHOLE, homes(Router::Symmetric)).await.context("the scenario took too long")?
}

async fn homes(router: Router) -> Result<()> {
    let Some(mut nets) = Nets::unless_missing()? else { return Ok(()) };
    let direct = router == Router::Steady;
    let middle = nets.computer("middle")?;
    let streets = [nets.computer("street1")?, nets.computer("street2")?];
    let (a, b) = (nets.home("homea", router)?, nets.home("homeb", router)?);
    nets.watch(&a, &b, direct)?;

    let folder = tempfile::Builder::new().prefix("fogbank-nat-").tempdir()?;
    let mut relay = RelayProcess::start(folder.path(), Some(&middle), SocketAddr::new(middle.ip, 3340)).await?;
    let mut fog = PlacedFog::start(folder, &middle, Some(relay.line.clone())).await?;
    let relays = Does { relays: true, lends: false };
    for (n, street) in streets.iter().enumerate() {
        fog.member(street, &format!("street-{n}"), relays).await?;
    }
    let host = fog.member(&a, "host", Does { lends: true, relays: true }).await?;
    // Four mixes besides the host's own: at least one of its three guards is in the other home.
    for n in 0..2 {
        fog.member(&b, &format!("neighbour-{n}"), relays).await?;
    }
    fog.gathered(1, 5).await?;
    let status = fog.members[host].status().await?;
    ensure!(status.fog.is_some_and(|f| f.relay == Some(format!("{}:3340", middle.ip))), "the member knows the relay and says so");

    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), "<h1>from home to home</h1>")?;
    let picture: Vec<u8> = std::iter::repeat_with(rand::random::<u8>).take(PICTURE).collect();
    std::fs::write(site.join("picture"), &picture)?;
    let container = fog.publish(&site, LevelDto::Fast).await?;

    let mut visitor = fog.visitor(&b, &container.link).await?;
    let curl = Curl::new(visitor.proxy.unwrap(), &container.container.onion).at(&b).max_time(Duration::from_secs(15));
    let page = wait_for("the page comes to the other home", PAGE, async || {
        let page = curl.get("").await?;
        Ok(if page.is_ok() { Break(page) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
    })
    .await?;
    ensure!(page.body == b"<h1>from home to home</h1>");

    let want = if direct { "direct" } else { "relay" };
    let peers = wait_for("the host's links into the other home go the right way", PUNCHED, async || {
        let peers = over(&fog.members[host]).await?;
        let right = !peers.is_empty() && peers.iter().all(|p| p.up && p.way == want);
        Ok(if right { Break(peers) } else { Continue(format!("{peers:?}")) })
    })
    .await?;
    let fetched = curl.get("picture").await?;
    ensure!(fetched.is_ok() && fetched.body == picture, "the picture: curl {}, HTTP {}", fetched.exit, fetched.status);
    let (datagrams, bytes) = nets.watched()?;
    eprintln!(
        "{router:?}: {} links of the host into the other home are {want}; {datagrams} datagrams ({bytes} bytes) {}; {PICTURE} bytes in {:.2} s",
        peers.len(),
        if direct { "went straight between the homes" } else { "between the homes were tried and dropped" },
        fetched.total_s
    );
    ensure!(!direct || bytes > PROBES_BYTES, "only {bytes} bytes went straight between the homes");

    if !direct {
        // Without the relay nothing is left: it was the relay that carried everything.
        relay.kill().await?;
        wait_for("the links into the other home break", PUNCHED, async || {
            let peers = over(&fog.members[host]).await?;
            Ok(if peers.iter().any(|p| p.up) { Continue(format!("{peers:?}")) } else { Break(()) })
        })
        .await?;
        // Ended by being dropped: nodes that say farewell to peers behind a relay that is gone wait for answers that never come.
        return Ok(());
    }
    visitor.ask(ControlRequest::Quit).await?;
    visitor.ended(Duration::from_secs(10)).await?;
    fog.end().await
}

/// The host's links to mixes of the other home.
async fn over(host: &Process) -> Result<Vec<PeerDto>> {
    let network = host.network().await?;
    Ok(network.host_peers.into_iter().filter(|p| p.addr.starts_with("192.168.2.")).collect())
}
