//! The allocator is killed right after each transition that it stores while it updates a site, and goes on from the store.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result};
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ControlReply, ControlRequest};
use futures_util::future::try_join_all;
use std::{
    ops::ControlFlow::{Break, Continue},
    path::Path,
    time::Duration,
};

/// A test fog wants four mixes besides a host's own.
const DEVICES: usize = 5;
/// Fogs side by side.
const LANES: usize = 3;
/// An update of one copy writes at least: that it comes, reserved … ready, that it moves, the old copy's draining, that it is served.
const LEAST_TRANSITIONS: usize = 1 + 4 + 1 + 1 + 1;
/// More than any update writes; the loop ends when one is no longer interrupted.
const MOST_TRANSITIONS: usize = 30;
/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(90);

fn site(folder: &Path, version: usize) -> Result<String> {
    let site = folder.join(format!("site-{version}"));
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), version.to_string())?;
    Ok(site.to_string_lossy().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_goes_on_from_the_store_after_a_kill_at_each_transition() -> Result<()> {
    let killed: usize = try_join_all((1..=LANES).map(lane)).await?.into_iter().sum();
    assert!((LEAST_TRANSITIONS..MOST_TRANSITIONS).contains(&killed), "killed {killed} times");
    Ok(())
}

/// A fog whose allocator is killed at transitions `first`, `first + LANES`, … of an update, until one is not interrupted; says how often.
async fn lane(first: usize) -> Result<usize> {
    let mut fog = Fog::start(FogPlan { devices: DEVICES, publisher: true, ..FogPlan::default() }).await?;
    if std::env::var_os("KEEP_LOGS").is_some() {
        fog.keep_folder();
    }
    let (id, _) = fog.publish(Path::new(&site(fog.folder(), 0)?), 1).await?;
    let mut killed = 0;
    let mut served = 0;
    for transition in (first..=MOST_TRANSITIONS).step_by(LANES) {
        runs(&fog.allocator, &id).await?;
        fog.allocator.quit().await?;
        let count = transition.to_string();
        fog.allocator =
            Process::start_with(fog.folder(), "allocator", false, &[("FOGBANK_KILL_AFTER_TRANSITION", &count)]).await?;
        // Until they are back there is no room for a first copy, and the update would be refused.
        fog.gathered(DEVICES).await?;
        runs(&fog.allocator, &id).await?;
        let publisher = fog.publisher.take().context("no publisher")?;
        wait_for("the publisher is back", SOON, async || {
            let connected = publisher.status().await?.fog.is_some_and(|f| f.connected);
            Ok(if connected { Break(()) } else { Continue("away".to_owned()) })
        })
        .await?;
        let request = ControlRequest::Update { id: id.clone(), folder: Some(site(fog.folder(), transition)?) };
        // The allocator may die before it answers; the publisher then asks again, with the same seal.
        let (updated, died) = tokio::join!(publisher.ask(request), async {
            let died = wait_for("the allocator dies or the update is served", SOON, async || {
                if fog.allocator.has_ended() {
                    return Ok(Break(true));
                }
                let update = fog.allocator.container(&id).await?.update;
                let done = update.as_ref().is_some_and(|u| u.state == "served" && u.revision > served);
                Ok(if done { Break(false) } else { Continue(format!("{update:?}")) })
            })
            .await?;
            if died {
                fog.allocator = Process::start(fog.folder(), "allocator", false).await?;
            }
            anyhow::Ok(died)
        });
        fog.publisher = Some(publisher);
        let ControlReply::Updated { revision } = updated? else { anyhow::bail!("nothing was updated") };
        if !died? {
            break;
        }
        killed += 1;
        wait_for("the update is served after the kill", SOON, async || {
            let detail = fog.allocator.container(&id).await?;
            let old =
                detail.instances.iter().filter(|i| i.revision != revision && !["ended", "lost"].contains(&i.state.as_str()));
            let (old, update) = (old.count(), detail.update.context("there is no update")?);
            let done = update.state == "served" && update.revision == revision && detail.revision == revision && old == 0;
            Ok(if done && detail.container.ready == 1 { Break(()) } else { Continue(format!("{update:?}, {old} old copies")) })
        })
        .await?;
        served = revision;
        for device in fog.allocator.devices().await? {
            assert!(device.free.memory_mb >= 0.0 && device.free.memory_mb <= device.lent.memory_mb, "{device:?}");
        }
    }
    Ok(killed)
}

async fn runs(allocator: &Process, id: &str) -> Result<()> {
    wait_for("the container runs", SOON, async || {
        let detail = allocator.container(id).await?;
        let live = detail.instances.iter().filter(|i| !["ended", "lost"].contains(&i.state.as_str())).count();
        let runs = detail.container.state == "running" && detail.container.ready == 1 && live == 1;
        Ok(if runs { Break(()) } else { Continue(format!("{live} copies: {}", detail.container.reason)) })
    })
    .await
}
