//! The allocator is gone for good: who browses goes on, also a visitor that restarts and begins with the list of mixes on its disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ControlRequest, RoleDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);

const FRONT: &[u8] = b"still here";

#[tokio::test(flavor = "multi_thread")]
async fn browsing_goes_on_without_the_allocator_also_after_a_restart() -> Result<()> {
    let mut fog = Fog::start(FogPlan { devices: 6, publisher: true, visitor: true, ..FogPlan::default() }).await?;
    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let (id, onion) = fog.publish(&site, 2).await?;
    let link = fog.publisher.as_ref().unwrap().container(&id).await?.link;
    // One visitor is a member, one only has the link.
    let ticket = fog.ticket(&[RoleDto::Publish]).await?;
    let mut member = Process::start(fog.folder(), "member", true).await?;
    member.ask(ControlRequest::Join { ticket }).await?;
    let mut stranger = fog.visitor.take().unwrap();
    stranger.ask(ControlRequest::Visit { link }).await?;
    member.serves(&onion, FRONT).await?;
    stranger.serves(&onion, FRONT).await?;
    for visitor in [&member, &stranger] {
        wait_for("the list of mixes is on the disk", SOON, async || {
            Ok(if visitor.profile().join("directory.bin").exists() { Break(()) } else { Continue("not yet".to_owned()) })
        })
        .await?;
    }

    fog.allocator.kill().await?;
    member.quit().await?;
    stranger.quit().await?;
    let member = Process::start(fog.folder(), "member", true).await?;
    let stranger = Process::start(fog.folder(), "visitor", true).await?;
    member.serves(&onion, FRONT).await?;
    stranger.serves(&onion, FRONT).await?;
    Ok(())
}
