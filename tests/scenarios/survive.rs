//! The allocator is killed right after each transition that it stores, and goes on from the store.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Process, wait_for};
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, LevelDto, RoleDto};
use futures_util::future::try_join_all;
use std::{
    ops::ControlFlow::{Break, Continue},
    path::Path,
    time::Duration,
};

const COPIES: u8 = 2;
/// A test fog wants four mixes besides a host's own.
const DEVICES: usize = 5;
/// Fogs side by side.
const LANES: usize = 4;
/// A container's way to Running writes at least: pending, allocating, starting, running, and reserved … ready for each copy.
const LEAST_TRANSITIONS: usize = 4 + 4 * COPIES as usize;
/// More than any way to Running writes; the loop ends when a run is no longer interrupted.
const MOST_TRANSITIONS: usize = 40;
const RUNNING: Duration = Duration::from_secs(45);

fn site(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("index.html"), "<h1>still here</h1>")?;
    Ok(())
}

async fn join(process: &Process, allocator: &Process, role: RoleDto) -> Result<()> {
    let ControlReply::Ticket(ticket) = allocator.ask(ControlRequest::Invite { roles: vec![role], valid_s: 3600 }).await? else {
        anyhow::bail!("no ticket");
    };
    process.ask(ControlRequest::Join { ticket }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_allocator_goes_on_from_the_store_after_a_kill_at_each_transition() -> Result<()> {
    // Most of the time is waiting for connections to be given up, so several fogs take turns at the transitions.
    let killed: usize = try_join_all((1..=LANES).map(lane)).await?.into_iter().sum();
    assert!((LEAST_TRANSITIONS..MOST_TRANSITIONS).contains(&killed), "killed {killed} times");
    Ok(())
}

/// A fog whose allocator is killed at transitions `first`, `first + LANES`, … until a container runs without a kill; says how often.
async fn lane(first: usize) -> Result<usize> {
    let mut folder = tempfile::tempdir()?;
    // For a look at the logs when it fails.
    folder.disable_cleanup(std::env::var_os("KEEP_LOGS").is_some());
    let root = folder.path();
    site(&root.join("site"))?;
    let mut allocator = Process::start(root, "allocator", false).await?;
    allocator.ask(ControlRequest::StartFog { name: "Survival".to_owned(), test: true, relay: None }).await?;
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        let device = Process::start(root, &format!("device-{n}"), false).await?;
        join(&device, &allocator, RoleDto::Contribute).await?;
        device.ask(ControlRequest::Lend { on: true, direct: false }).await?;
        device.ask(ControlRequest::Relay { on: true }).await?;
        devices.push(device);
    }
    let publisher = Process::start(root, "publisher", false).await?;
    join(&publisher, &allocator, RoleDto::Publish).await?;
    lending(&allocator).await?;

    let mut killed = 0;
    for transition in (first..=MOST_TRANSITIONS).step_by(LANES) {
        let _ = allocator.quit().await;
        let count = transition.to_string();
        allocator = Process::start_with(root, "allocator", false, &[("FOGBANK_KILL_AFTER_TRANSITION", &count)]).await?;
        lending(&allocator).await?;
        wait_for("the publisher is back", RUNNING, async || {
            let connected = publisher.status().await?.fog.is_some_and(|f| f.connected);
            Ok(if connected { Break(()) } else { Continue("away".to_owned()) })
        })
        .await?;
        let request = ControlRequest::Publish {
            folder: root.join("site").to_string_lossy().into_owned(),
            name: format!("kill after {transition}"),
            requirements: Amounts { cpu_cores: 0.1, memory_mb: 40.0, storage_mb: 4.0, bandwidth_mbps: 0.5 },
            instances: COPIES,
            availability: None,
            most: None,
            level: LevelDto::Fast,
            private: false,
            direct: false,
        };
        // The allocator may die before it answers; the publisher then asks again under the same id.
        let (published, died) = tokio::join!(publisher.ask(request), async {
            let died = died_or_runs(&mut allocator, transition).await?;
            if died {
                allocator = Process::start(root, "allocator", false).await?;
            }
            anyhow::Ok(died)
        });
        let died = died?;
        if !died {
            // The whole way is shorter than this; the switch is still armed, so nothing more is asked of it.
            break;
        }
        killed += 1;
        let ControlReply::Created { id, .. } = published? else { anyhow::bail!("nothing was created") };
        let detail = wait_for("the container runs after the kill", RUNNING, async || {
            let detail = allocator.container(&id).await?;
            let ready = detail.instances.iter().filter(|i| i.state == "ready").count();
            Ok(if detail.container.state == "running" && ready == usize::from(COPIES) {
                Break(detail)
            } else {
                Continue(format!("{} {ready} ready: {}", detail.container.state, detail.container.reason))
            })
        })
        .await?;
        assert_eq!(detail.history.first().unwrap().state, "pending", "history is whole");
        for device in allocator.devices().await? {
            assert!(device.free.memory_mb >= 0.0 && device.free.memory_mb <= device.lent.memory_mb, "{device:?}");
        }
        allocator.ask(ControlRequest::Delete { id }).await?;
        wait_for("nothing of it is left", RUNNING, async || {
            let left: u32 = allocator.devices().await?.iter().map(|d| d.instances).sum();
            Ok(if left == 0 { Break(()) } else { Continue(format!("{left} instances")) })
        })
        .await?;
    }
    Ok(killed)
}

async fn died_or_runs(allocator: &mut Process, transition: usize) -> Result<bool> {
    wait_for("the allocator dies or the container runs", RUNNING, async || {
        if allocator.has_ended() {
            return Ok(Break(true));
        }
        let list = allocator.containers().await.unwrap_or_default();
        let running = list.iter().any(|c| c.name.ends_with(&format!(" {transition}")) && c.state == "running");
        Ok(if running { Break(false) } else { Continue(format!("{list:?}")) })
    })
    .await
}

async fn lending(allocator: &Process) -> Result<()> {
    wait_for("the devices lend", RUNNING, async || {
        let lending = allocator.devices().await?.iter().filter(|d| d.connected && d.lent.cpu_cores > 0.0).count();
        Ok(if lending == DEVICES { Break(()) } else { Continue(format!("{lending} lend")) })
    })
    .await
}
