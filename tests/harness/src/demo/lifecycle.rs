//! Publishing, reading everything back, the ways that packets took, and the loss of a host.

use crate::{Online, figures::Figures, say, site::Site};
use anyhow::{Context, Result, bail, ensure};
use fogbank_harness::{Fog, Process, wait_for};
use fogbank_node::control::{ContainerDetailDto, ControlRequest};
use std::{
    collections::BTreeSet,
    ops::ControlFlow::{Break, Continue},
    path::Path,
    time::{Duration, Instant},
};

/// Copies of the demo site.
const COPIES: u8 = 2;
/// The goal is 3 s; a busy machine is waited for, and then the figure says so.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(60);
/// The goal is 10 s.
const RESTORE_DEADLINE: Duration = Duration::from_secs(60);
/// One try while waiting for the address to serve.
const TRY: Duration = Duration::from_secs(10);

/// Puts the site online and waits for the first byte at the visitor.
pub(crate) async fn publish(fog: &mut Fog, site: &Site, began: Instant, figures: &mut Figures) -> Result<Online> {
    let start = Instant::now();
    let (id, onion) = fog.publish(&site.folder, COPIES).await?;
    say(began, format_args!("created container {id}"));
    say(began, format_args!("its address is {onion}"));
    let online = Online { id, onion };
    let publisher = fog.publisher.as_ref().context("no publisher")?;
    let visitor = fog.visitor.as_ref().context("no visitor")?;
    let link = publisher.container(&online.id).await?.link;
    visitor.ask(ControlRequest::Visit { link }).await?;
    let curl = online.curl(fog)?.max_time(TRY);
    let front = wait_for("the first page", PUBLISH_DEADLINE, async || {
        let page = curl.get("").await?;
        Ok(if page.is_ok() { Break(page) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
    })
    .await?;
    let publish_s = start.elapsed().as_secs_f64() - (front.total_s - front.first_byte_s);
    figures.at_most("demo.publish_s", publish_s, "s", 3.0);
    ensure!(front.body == site.content("index.html")?, "the front page is another");
    say(began, format_args!("first byte through the mixes {publish_s:.2} s after the folder was handed over"));
    let detail = running(publisher, &online.id, COPIES, PUBLISH_DEADLINE).await?;
    let zero = detail.history.first().map_or(0, |s| s.at_ms);
    for step in &detail.history {
        say(began, format_args!("  state {:<10} after {:>5} ms  {}", step.state, step.at_ms - zero, step.reason));
    }
    say(began, format_args!("  {}", detail.placement));
    for instance in detail.instances.iter().filter(|i| i.state == "ready") {
        say(began, format_args!("  a copy is ready on {}", instance.device_name));
    }
    ensure!(detail.holders >= 2, "only {} devices besides the publisher hold the content", detail.holders);
    Ok(online)
}

/// Waits until a container runs with all its copies.
pub(crate) async fn running(at: &Process, id: &str, copies: u8, deadline: Duration) -> Result<ContainerDetailDto> {
    wait_for("the container runs", deadline, async || {
        let detail = at.container(id).await?;
        let c = &detail.container;
        Ok(if c.state == "running" && c.ready >= u32::from(copies) {
            Break(detail)
        } else {
            Continue(format!("{}, {} of {} ready: {}", c.state, c.ready, c.wanted, c.reason))
        })
    })
    .await
}

/// Ends the publisher: from here on the site lives on the devices alone.
pub(crate) async fn end_publisher(fog: &mut Fog, began: Instant) -> Result<()> {
    let mut publisher = fog.publisher.take().context("no publisher")?;
    publisher.quit().await?;
    say(began, "the publisher has ended");
    Ok(())
}

/// Fetches every file and compares every byte.
pub(crate) async fn fetch_all(fog: &Fog, online: &Online, site: &Site, scratch: &Path, began: Instant) -> Result<()> {
    let folder = scratch.join("fetched");
    std::fs::create_dir_all(&folder)?;
    let start = Instant::now();
    let exit = online.curl(fog)?.max_time(Duration::from_secs(600)).get_all(&site.files, &folder).await?;
    ensure!(exit == 0, "curl ended with {exit} while fetching every file");
    let seconds = start.elapsed().as_secs_f64();
    for (i, file) in site.files.iter().enumerate() {
        // curl makes no file for an empty body.
        let fetched = std::fs::read(folder.join(i.to_string())).unwrap_or_default();
        ensure!(fetched == site.content(file)?, "{file} came back different");
    }
    let rate = site.bytes as f64 / 1e6 / seconds;
    say(began, format_args!("fetched all {} files, every byte the same ({rate:.2} MB/s)", site.files.len()));
    Ok(())
}

/// Shows from each node's counters which way the packets took, and that host and visitor met nowhere but in the mixes.
pub(crate) async fn show_ways(fog: &Fog, online: &Online, began: Instant) -> Result<()> {
    let visitor = fog.visitor.as_ref().context("no visitor")?.network().await?;
    let hosts = hosts(fog, online).await?;
    let mut relayed = 0;
    for device in &fog.devices {
        let network = device.network().await?;
        let forwarded = network.mix_counters.get("forwarded").copied().unwrap_or(0);
        relayed += u64::from(forwarded > 0);
        let hosting = if hosts.contains(&device.device) { "hosts the site" } else { "" };
        say(began, format_args!("  {:<10} forwarded {forwarded:>6} packets {hosting}", device.name));
    }
    ensure!(relayed >= 4, "only {relayed} mixes forwarded packets");
    let own: BTreeSet<_> = visitor.own_addrs.iter().collect();
    ensure!(!own.is_empty() && !visitor.peers.is_empty(), "the visitor does not say whom it met");
    let met: BTreeSet<_> = visitor.peers.iter().map(|p| &p.addr).collect();
    for device in fog.devices.iter().filter(|d| hosts.contains(&d.device)) {
        let host = device.network().await?;
        ensure!(!host.host_addrs.is_empty() && !host.host_peers.is_empty(), "{} does not say whom it met as a host", device.name);
        let shared = host.host_peers.iter().filter(|p| own.contains(&p.addr)).count();
        let back = host.host_addrs.iter().filter(|a| met.contains(a)).count();
        ensure!(shared == 0 && back == 0, "{} as a host and the visitor exchanged packets", device.name);
        say(began, format_args!("  {} as a host met {} guards, and never the visitor", device.name, host.host_peers.len()));
    }
    say(began, format_args!("  the visitor met {} guards, and never a host", visitor.peers.len()));
    Ok(())
}

/// Ids of the devices with a ready copy.
pub(crate) async fn hosts(fog: &Fog, online: &Online) -> Result<Vec<String>> {
    let detail = fog.allocator.container(&online.id).await?;
    Ok(detail.instances.into_iter().filter(|i| i.state == "ready").map(|i| i.device).collect())
}

/// The hosting device that has served the visitor most: the one whose loss is felt.
pub(crate) async fn busiest_host(fog: &Fog, online: &Online) -> Result<usize> {
    let hosts = hosts(fog, online).await?;
    let mut best = None;
    for (i, device) in fog.devices.iter().enumerate().filter(|(_, d)| hosts.contains(&d.device)) {
        let tunnels = device.network().await?.host_counters.get("open_tunnels").copied().unwrap_or(0);
        best = best.max(Some((tunnels, i)));
    }
    Ok(best.context("no device hosts the site")?.1)
}

/// What is fetched of the largest file to see whether a host serves.
const PART: usize = 1_000;

/// Kills the device that serves the visitor and waits until the address serves again from another.
pub(crate) async fn kill_host(fog: &mut Fog, online: &Online, site: &Site, began: Instant, figures: &mut Figures) -> Result<()> {
    let curl = online.curl(fog)?.max_time(TRY);
    let large = site.content(&site.largest)?;
    ensure!(large.len() > 2 * PART, "the site has no file that is larger than what a visitor's proxy keeps");
    ensure!(curl.get_part(&site.largest, 0, PART).await?.is_ok(), "the address does not serve before the kill");
    let victim = busiest_host(fog, online).await?;
    let mut victim = fog.devices.remove(victim);
    let killed = Instant::now();
    victim.kill().await?;
    say(began, format_args!("killed {} (SIGKILL), which served the visitor", victim.name));
    let page = wait_for("the address serves again", RESTORE_DEADLINE, async || {
        let page = curl.get_part(&site.largest, PART, PART).await?;
        Ok(if page.is_ok() { Break(page) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
    })
    .await?;
    let restore_s = killed.elapsed().as_secs_f64();
    figures.at_most("demo.restore_s", restore_s, "s", 10.0);
    ensure!(page.body == large[PART..2 * PART], "what came is something else");
    say(began, format_args!("the address serves again {restore_s:.2} s after the kill"));
    // The visitor may be served again before the loss is known.
    wait_for("the killed device counts no more", RESTORE_DEADLINE, async || {
        let hosts = hosts(fog, online).await?;
        Ok(if hosts.contains(&victim.device) { Continue("it still counts".to_owned()) } else { Break(()) })
    })
    .await?;
    let detail = match running(&fog.allocator, &online.id, COPIES, RESTORE_DEADLINE).await {
        Ok(detail) => detail,
        Err(error) => bail!("the lost copy was not replaced: {error:#}"),
    };
    for step in detail.history.iter().rev().take(2).rev() {
        say(began, format_args!("  state {:<10} {}", step.state, step.reason));
    }
    say(began, format_args!("both copies are ready again {:.2} s after the kill", killed.elapsed().as_secs_f64()));
    Ok(())
}
