//! The main job without a window: a folder becomes a website on idle devices, opened by its onion address, and survives.
//!
//! Every node is an operating-system process of its own. Each step prints what it saw; the exit status is 0 only when all of it was seen.
//! How long it took is printed beside its goal and kept in `target/demo.json`, but does not decide: machines are busy.
//! `SITE=folder` publishes that folder (else a sample is made), `KEEP=1` leaves everything running until a signal.

#![expect(clippy::print_stdout, reason = "a command for people")]
#![expect(clippy::print_stderr, reason = "a command for people")]

mod drain;
mod figures;
mod gate;
mod lifecycle;
mod site;

use anyhow::{Context, Result};
use figures::Figures;
use fogbank_harness::{Curl, Fog, FogPlan};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Devices of the demo: seven are the least that shows a fog; with nine, two can go and the paths still have a choice.
const DEVICES: usize = 9;
/// An idle node is measured after this long without work.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let run = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(demo()));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A line of the story with the time since it began.
fn say(began: Instant, words: impl std::fmt::Display) {
    println!("{:7.2} s  {words}", began.elapsed().as_secs_f64());
}

async fn demo() -> Result<()> {
    let began = Instant::now();
    let scratch = tempfile::tempdir()?;
    let site = match std::env::var_os("SITE") {
        Some(folder) => site::Site::read(folder.as_ref())?,
        None => site::Site::sample(&scratch.path().join("site"))?,
    };
    say(began, format_args!("the site: {} files, {} bytes, in {}", site.files.len(), site.bytes, site.folder.display()));

    let mut fog = Fog::start(FogPlan { devices: DEVICES, publisher: true, visitor: true, ..FogPlan::default() }).await?;
    if std::env::var_os("KEEP_LOGS").is_some() {
        say(began, format_args!("profiles and logs stay in {}", fog.keep_folder().display()));
    }
    say(
        began,
        format_args!("1 allocator, {DEVICES} devices that lend and relay, 1 publisher, 1 visitor: {} processes", DEVICES + 3),
    );
    let mut figures = Figures::default();

    tokio::time::sleep(SETTLE).await;
    let resident = fog.devices.iter().map(|d| d.resident_mb()).collect::<Result<Vec<_>>>()?;
    let largest = resident.iter().copied().fold(0.0, f64::max);
    figures.at_most("demo.agent_rss_mb", largest, "MB", 60.0);
    say(began, format_args!("an idle agent process takes at most {largest:.1} MB"));

    let online = lifecycle::publish(&mut fog, &site, began, &mut figures).await?;
    lifecycle::end_publisher(&mut fog, began).await?;
    lifecycle::fetch_all(&fog, &online, &site, scratch.path(), began).await?;
    lifecycle::show_ways(&fog, &online, began).await?;
    lifecycle::kill_host(&mut fog, &online, &site, began, &mut figures).await?;
    drain::drain_host(&mut fog, &online, &site, began, &mut figures).await?;
    gate::fail_closed(&mut fog, &online, began).await?;

    figures.write()?;
    if std::env::var_os("KEEP").is_some() {
        gate::reopen(&fog, began).await?;
        let proxy = fog.visitor.as_ref().and_then(|v| v.proxy).context("the visitor has no proxy")?;
        println!("\nstays up: curl --socks5-hostname {proxy} http://{}/   (end with Ctrl-C)", online.onion);
        tokio::signal::ctrl_c().await?;
    }
    fog.end().await?;
    say(began, "every process has ended");
    if !figures.hold() {
        println!("a figure is outside its goal: on a busy machine, run it again");
    }
    Ok(())
}

/// A site that is online.
struct Online {
    /// The container's id.
    id: String,
    /// Its address.
    onion: String,
}

impl Online {
    /// curl through the visitor's proxy.
    fn curl(&self, fog: &Fog) -> Result<Curl> {
        let proxy = fog.visitor.as_ref().and_then(|v| v.proxy).context("the visitor has no proxy")?;
        Ok(Curl::new(proxy, &self.onion))
    }
}
