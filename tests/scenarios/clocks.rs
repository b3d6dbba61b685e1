//! Computers whose clocks are an hour off, on either side: as hosts, as mixes, as the publisher and as visitors they do what all others do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, LevelDto, RoleDto};
use std::{
    collections::BTreeSet,
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);
const FRONT: &[u8] = b"what time is it?";
/// An hour, and so another key epoch, whatever the minute.
const OFF_S: [&str; 2] = ["3600", "-3600"];

/// A node whose clock is off by so many seconds.
async fn off(fog: &Fog, name: &str, seconds: &str, proxy: bool) -> Result<Process> {
    Process::start_with(fog.folder(), name, proxy, &[("FOGBANK_CLOCK_AHEAD_S", seconds)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_off_hosts_mixes_publisher_and_visitors_serve_and_are_served() -> Result<()> {
    // Those whose clocks are right relay only: hosts are those whose clocks are not.
    let fog = Fog::start(FogPlan { devices: 4, ..FogPlan::default() }).await?;
    for device in &fog.devices {
        device.ask(ControlRequest::Lend { on: false, direct: false }).await?;
    }
    let ticket = fog.ticket(&[RoleDto::Contribute]).await?;
    let mut hosts = Vec::new();
    for seconds in OFF_S {
        let host = off(&fog, &format!("host{seconds}"), seconds, false).await?;
        host.ask(ControlRequest::Join { ticket: ticket.clone() }).await?;
        host.ask(ControlRequest::RelayLimits { rate_kb_s: None, month_gb: None }).await?;
        host.ask(ControlRequest::Relay { on: true }).await?;
        host.ask(ControlRequest::Lend { on: true, direct: false }).await?;
        hosts.push(host);
    }
    let expected: BTreeSet<String> = hosts.iter().map(|host| host.device.clone()).collect();
    wait_for("these two lend, and all six relay", SOON, async || {
        let lending = fog.allocator.devices().await?.into_iter().filter(|d| d.connected && d.lent.cpu_cores > 0.0);
        let lending: BTreeSet<String> = lending.map(|d| d.id).collect();
        let mixes = fog.allocator.network().await?.mixes;
        Ok(if lending == expected && mixes == 6 { Break(()) } else { Continue(format!("{lending:?} lend, {mixes} relay")) })
    })
    .await?;

    let mut publisher = off(&fog, "publisher", OFF_S[1], false).await?;
    publisher.ask(ControlRequest::Join { ticket: fog.ticket(&[RoleDto::Publish]).await? }).await?;
    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let publish = ControlRequest::Publish {
        folder: site.to_string_lossy().into_owned(),
        name: "clock".to_owned(),
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 10.0, bandwidth_mbps: 1.0 },
        instances: 2,
        availability: None,
        most: None,
        level: LevelDto::Fast,
        private: false,
        direct: false,
    };
    let ControlReply::Created { id, onion } = publisher.ask(publish).await? else { anyhow::bail!("nothing was created") };
    wait_for("both copies are ready", SOON, async || {
        let detail = fog.allocator.container(&id).await?;
        let on: BTreeSet<String> = detail.instances.into_iter().filter(|i| i.state == "ready").map(|i| i.device).collect();
        Ok(if on == expected { Break(()) } else { Continue(format!("{}: {}", detail.container.state, detail.container.reason)) })
    })
    .await?;
    let link = publisher.container(&id).await?.link;
    // A stranger knows the link and its own clock alone; a member hears its allocator's time.
    for seconds in ["0", OFF_S[0], OFF_S[1]] {
        for member in [false, true] {
            let mut visitor = off(&fog, &format!("visitor{seconds}{member}"), seconds, true).await?;
            if member {
                visitor.ask(ControlRequest::Join { ticket: fog.ticket(&[RoleDto::Publish]).await? }).await?;
            } else {
                visitor.ask(ControlRequest::Visit { link: link.clone() }).await?;
            }
            visitor.serves(&onion, FRONT).await?;
            visitor.quit().await?;
        }
    }
    for host in &mut hosts {
        host.quit().await?;
    }
    publisher.quit().await?;
    fog.end().await
}
