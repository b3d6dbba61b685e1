//! The publisher is away: a week of it changes nothing for those who come anew, whatever restarts meanwhile; what it signed ahead ends at last.
//!
//! Days pass by starting the nodes anew with clocks that are ahead (`FOGBANK_CLOCK_AHEAD_S`). The publisher's node runs at none of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ContainerDetailDto, ControlRequest};
use futures_util::future::try_join_all;
use std::{
    ops::ControlFlow::{Break, Continue},
    path::Path,
    time::Duration,
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);
const DAY_S: u64 = 24 * 3600;
const COPIES: u8 = 2;
const DEVICES: usize = 6;
const FRONT: &[u8] = b"published once";

/// A node of these days, with the profile that it had before.
async fn on_day(day: u64, folder: &Path, name: &str, proxy: bool) -> Result<Process> {
    let ahead_s = (day * DAY_S).to_string();
    Process::start_with(folder, name, proxy, &[("FOGBANK_CLOCK_AHEAD_S", &ahead_s)]).await
}

/// Everybody who runs is cut off and comes back on another day.
async fn wait_until(day: u64, fog: &mut Fog) -> Result<()> {
    try_join_all(fog.devices.iter_mut().chain([&mut fog.allocator]).map(Process::kill)).await?;
    fog.allocator = on_day(day, fog.folder(), "allocator", false).await?;
    let back: Vec<_> = (1..=DEVICES).map(|n| format!("device-{n}")).collect();
    fog.devices = try_join_all(back.iter().map(|name| on_day(day, fog.folder(), name, false))).await?;
    fog.gathered(DEVICES).await
}

async fn running(fog: &Fog, id: &str) -> Result<ContainerDetailDto> {
    wait_for("every copy serves", SOON, async || {
        let detail = fog.allocator.container(id).await?;
        let all = detail.container.state == "running" && detail.container.ready == u32::from(COPIES);
        Ok(if all { Break(detail) } else { Continue(format!("{}: {}", detail.container.state, detail.container.reason)) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_without_the_publisher_changes_nothing_and_five_weeks_end_the_site() -> Result<()> {
    let mut fog = Fog::start(FogPlan { devices: DEVICES, publisher: true, ..FogPlan::default() }).await?;
    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let (id, onion) = fog.publish(&site, COPIES).await?;
    running(&fog, &id).await?;
    let mut publisher = fog.publisher.take().unwrap();
    let link = publisher.container(&id).await?.link;
    publisher.quit().await?;

    let visit = async |day: u64, fog: &Fog| {
        // Who comes anew knows nothing but the link, as it was on the first day.
        let mut visitor = on_day(day, fog.folder(), &format!("visitor-{day}"), true).await?;
        visitor.ask(ControlRequest::Visit { link: link.clone() }).await?;
        visitor.serves(&onion, FRONT).await?;
        visitor.quit().await
    };
    visit(0, &fog).await?;
    for day in [1, 4, 7] {
        wait_until(day, &mut fog).await?;
        let detail = running(&fog, &id).await?;
        assert_eq!(detail.container.onion, onion);
        let states = || detail.history.iter().map(|step| step.state.as_str());
        assert!(states().all(|state| !["stopping", "stopped", "failed"].contains(&state)), "day {day}: {:?}", detail.history);
        visit(day, &fog).await?;
    }
    // The control: time did pass. After 30 to 34 days what was signed ahead is over, and that is said.
    wait_until(35, &mut fog).await?;
    wait_for("the site ends", SOON, async || {
        let container = fog.allocator.container(&id).await?.container;
        let ended = container.state == "stopped" && container.reason.contains("signed ahead");
        Ok(if ended { Break(()) } else { Continue(format!("{}: {}", container.state, container.reason)) })
    })
    .await?;
    fog.end().await
}
