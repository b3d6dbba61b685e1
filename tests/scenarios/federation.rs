//! Two fogs, each with too few mixes to open anything, are one network once both operators name the other: members of the one open sites of the
//! other, also new ones while the other's allocator is gone. What one side says alone does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ControlRequest, FederatedFogDto, RoleDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(90);
/// Mixes of each fog: a test fog wants four besides the own one.
const MIXES: usize = 3;

const FRONT: &[u8] = b"from the other fog";

/// What an operator sees of the one other fog, once it is as expected.
async fn sees(operator: &Process, what: &str, expected: impl Fn(&FederatedFogDto) -> bool) -> Result<()> {
    wait_for(what, SOON, async || {
        let fogs = operator.federation().await?.fogs;
        Ok(if fogs.len() == 1 && expected(&fogs[0]) { Break(()) } else { Continue(format!("{fogs:?}")) })
    })
    .await
}

/// A member of the fog that only visits.
async fn visitor(fog: &Fog, name: &str) -> Result<Process> {
    let ticket = fog.ticket(&[RoleDto::Publish]).await?;
    let visitor = Process::start(fog.folder(), name, true).await?;
    visitor.ask(ControlRequest::Join { ticket }).await?;
    Ok(visitor)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fogs_that_name_each_other_are_one_network() -> Result<()> {
    let plan = FogPlan { devices: MIXES, ..FogPlan::default() };
    let a = Fog::start(plan).await?;
    let mut b = Fog::start(FogPlan { publisher: true, ..plan }).await?;
    let site = b.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let (id, onion) = b.publish(&site, 2).await?;
    let link = b.publisher.as_ref().unwrap().container(&id).await?.link;
    let first = visitor(&a, "first").await?;
    let visit = || ControlRequest::Visit { link: link.clone() };
    let refused = first.ask(visit()).await.unwrap_err().to_string();
    assert!(refused.contains("not federated"), "{refused}");

    // One operator alone: refused there, and nothing changes here.
    let [address_a, address_b] = [a.allocator.federation().await?.address, b.allocator.federation().await?.address];
    a.allocator.ask(ControlRequest::Federate { peer: address_b }).await?;
    sees(&a.allocator, "the other side refuses", |fog| fog.why.contains("has not named yours")).await?;
    let one_sided = &a.allocator.federation().await?.fogs[0];
    assert!(!one_sided.mutual && !one_sided.counts && !one_sided.connected, "{one_sided:?}");
    a.devices[0].knows(MIXES).await?;
    assert!(first.ask(visit()).await.unwrap_err().to_string().contains("not federated"));
    first.knows(MIXES).await?;
    assert!(first.network().await?.waiting.contains("waiting for mixes"));

    b.allocator.ask(ControlRequest::Federate { peer: address_a }).await?;
    sees(&a.allocator, "both count there", |fog| fog.connected && fog.counts && fog.drawn).await?;
    sees(&b.allocator, "both count here", |fog| fog.connected && fog.counts && fog.drawn).await?;
    for process in a.devices.iter().chain(&b.devices).chain([&first, b.publisher.as_ref().unwrap()]) {
        process.knows(2 * MIXES).await?;
    }
    first.ask(visit()).await?;
    first.serves(&onion, FRONT).await?;

    // Who opens it without a link finds it as well, a moment later.
    let second = visitor(&a, "second").await?;
    second.knows(2 * MIXES).await?;
    second.serves(&onion, FRONT).await?;

    b.allocator.kill().await?;
    let third = visitor(&a, "third").await?;
    third.knows(2 * MIXES).await?;
    third.ask(visit()).await?;
    third.serves(&onion, FRONT).await?;
    sees(&a.allocator, "it is seen to be gone", |fog| !fog.connected && fog.counts).await?;

    // The operator here ends it: the members here are alone again.
    let fog = a.allocator.federation().await?.fogs[0].fog.clone();
    a.allocator.ask(ControlRequest::EndFederation { fog }).await?;
    for process in a.devices.iter().chain([&first, &third]) {
        process.knows(MIXES).await?;
    }
    assert!(third.ask(visit()).await.unwrap_err().to_string().contains("not federated"));
    Ok(())
}
