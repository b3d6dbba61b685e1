//! A thousand page loads while every five seconds a mix is killed and started again.
//!
//! A kill is SIGKILL of the device's whole `fogbankd`; the same profile is started again at once. Devices that host a copy are spared: the
//! figure is about relays (the demo kills a host). Guards of the visitor and of the hosts, introduction points, meeting points and mixes that
//! hold the descriptor all have their turn. Loads are those of an ordinary client: nothing is tried again here, and each load opens its own
//! connections through the proxy and is of a page of its own, which the proxy does not have yet. A load fails when an answer is not 200, a byte differs, or it is not over within [`PATIENCE`].
//!
//! Loads begin at a steady pace so that the run spans many restarts, whatever the speed of a load.

use super::{
    fog::OurSide,
    page::{Content, Door},
};
use crate::{
    figure::{Figure, median},
    run::{full, say},
};
use anyhow::{Context, Result, ensure};
use fogbank_harness::{Fog, Process};
use fogbank_node::control::{ControlRequest, LevelDto};
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Page loads; the goal is about these many.
const LOADS: usize = 1_000;
/// One load begins this often: a thousand span four minutes and fifty restarts. `FULL=1` takes four times as long.
const PACE: Duration = Duration::from_millis(240);
/// One mix is restarted this often.
const RESTART_EVERY: Duration = Duration::from_secs(5);
/// A person who waits longer than this calls it failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// No load begins after this, a fifth more than the pace asks for (`FULL=1`: four times as long); those left then count as failed.
const LAST_BEGIN: Duration = Duration::from_secs(300);
/// Loads at once at most, so that a stall does not pile up: later ones begin late instead.
const AT_ONCE: usize = 8;

pub(super) async fn figures(scratch: &Path) -> Result<Vec<Figure>> {
    let content = Content::small(&scratch.join("small-site"), LOADS)?;
    let mut ours = OurSide::start(&[LevelDto::Fast], &content, false).await?;
    let mut victims = spare_hosts(&mut ours).await?;
    let door = ours.door(LevelDto::Fast)?.clone();
    let slower = if full() { 4 } else { 1 };
    let (pace, last_begin) = (PACE * slower, LAST_BEGIN * slower);
    say(format_args!(
        "{LOADS} page loads, one each {pace:?}, while one of {} mixes is restarted every {RESTART_EVERY:?}",
        victims.len()
    ));
    let began = Instant::now();
    let restarts = AtomicUsize::new(0);
    let loads = tokio::select! {
        loads = load_pages(&door, pace, last_begin) => loads?,
        broken = restart_mixes(&ours.fog, &mut victims, &restarts) => {
            broken?;
            anyhow::bail!("the restarts ended before the loads")
        }
    };
    let (restarts, took_s) = (restarts.into_inner(), began.elapsed().as_secs_f64());
    ensure!(restarts > 0, "the loads were over before the first restart");
    let begun = loads.len();
    let whole: Vec<f64> = loads.into_iter().flatten().collect();
    let failed = LOADS - whole.len();
    let slowest = whole.iter().copied().fold(0.0, f64::max);
    ours.fog.devices.append(&mut victims);
    ours.fog.end().await?;
    let note = format!("of {LOADS} loads, {begun} begun, in {took_s:.0} s with {restarts} restarts, loopback");
    Ok(vec![
        Figure::at_most("browse.churn_failed", failed as f64, "pages", 0.0).with_note(&note),
        Figure::plain("browse.churn_page_s", median(whole), "s"),
        Figure::plain("browse.churn_slowest_s", slowest, "s"),
    ])
}

/// Takes the devices without a copy out of the fog's list; they lend no more, so none gets one, and go on relaying.
async fn spare_hosts(ours: &mut OurSide) -> Result<Vec<Process>> {
    let container = ours.containers.first().context("no container")?;
    let instances = ours.fog.allocator.container(container).await?.instances;
    let hosts: Vec<String> = instances.into_iter().map(|i| i.device).collect();
    let (hosting, victims): (Vec<_>, Vec<_>) = ours.fog.devices.drain(..).partition(|d| hosts.contains(&d.device));
    ours.fog.devices = hosting;
    for victim in &victims {
        victim.ask(ControlRequest::Lend { on: false, direct: false }).await?;
    }
    Ok(victims)
}

/// Seconds of each load that began; none for those that failed.
async fn load_pages(door: &Door, pace: Duration, last_begin: Duration) -> Result<Vec<Option<f64>>> {
    let began = Instant::now();
    let mut tick = tokio::time::interval(pace);
    let (mut loads, mut under_way) = (Vec::with_capacity(LOADS), JoinSet::new());
    for number in 1..=LOADS {
        tick.tick().await;
        while under_way.len() >= AT_ONCE {
            loads.extend(under_way.join_next().await.transpose()?);
        }
        if began.elapsed() > last_begin {
            say(format_args!("no time for the loads from {number} on"));
            break;
        }
        let door = door.clone();
        under_way.spawn(async move {
            let load = door.page(PATIENCE).await;
            if let Err(error) = &load {
                say(format_args!("load {number} failed: {error:#}"));
            }
            load.ok()
        });
    }
    while let Some(load) = under_way.join_next().await {
        loads.push(load?);
    }
    Ok(loads)
}

/// Kills and starts one mix after the other; ends only when one does not come up again.
async fn restart_mixes(fog: &Fog, victims: &mut [Process], restarts: &AtomicUsize) -> Result<()> {
    let mut tick = tokio::time::interval(RESTART_EVERY);
    tick.tick().await;
    for turn in 0.. {
        tick.tick().await;
        let count = victims.len();
        let victim = victims.get_mut(turn % count).context("every device hosts: none is left to be restarted")?;
        let name = victim.name.clone();
        victim.kill().await?;
        *victim = Process::start(fog.folder(), &name, false).await.with_context(|| format!("starting {name} again"))?;
        restarts.fetch_add(1, Relaxed);
    }
    Ok(())
}
