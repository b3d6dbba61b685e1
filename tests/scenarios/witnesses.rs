//! Three federated fogs, each other's witnesses: the list of mixes of one goes on while another's allocator is gone; with both others gone it stays
//! as it was, says why, and people go on browsing; and it goes on when one is back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ControlRequest, FederationDto, RoleDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(90);
const FRONT: &[u8] = b"witnessed";
/// Mixes of each fog.
const MIXES: usize = 3;

async fn until(operator: &Process, what: &str, expected: impl Fn(&FederationDto) -> bool) -> Result<FederationDto> {
    wait_for(what, SOON, async || {
        let federation = operator.federation().await?;
        Ok(if expected(&federation) { Break(federation) } else { Continue(format!("{federation:?}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_needs_a_witness_and_one_of_two_is_enough() -> Result<()> {
    let plan = FogPlan { devices: MIXES, ..FogPlan::default() };
    let mut a = Fog::start(FogPlan { publisher: true, ..plan }).await?;
    let (mut b, mut c) = (Fog::start(plan).await?, Fog::start(plan).await?);
    let mut addresses = Vec::new();
    for fog in [&a, &b, &c] {
        addresses.push(fog.allocator.federation().await?.address);
    }
    for (n, fog) in [&a, &b, &c].into_iter().enumerate() {
        for peer in addresses.iter().enumerate().filter(|(of, _)| *of != n).map(|(_, peer)| peer.clone()) {
            fog.allocator.ask(ControlRequest::Federate { peer }).await?;
        }
    }
    for fog in [&a, &b, &c] {
        until(&fog.allocator, "two witnesses, of which one must sign", |f| {
            f.fogs.iter().all(|fog| fog.drawn) && f.witnesses.fogs.len() == 2 && f.witnesses.needed == 1
        })
        .await?;
    }
    let site = a.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let (_, onion) = a.publish(&site, 2).await?;
    let visitor = Process::start(a.folder(), "visitor", true).await?;
    let ticket = a.ticket(&[RoleDto::Publish]).await?;
    visitor.ask(ControlRequest::Join { ticket }).await?;
    visitor.knows(3 * MIXES).await?;
    visitor.serves(&onion, FRONT).await?;

    // One allocator is gone, and then a mix of ours: the list follows, with the other's signature.
    c.allocator.kill().await?;
    a.devices[0].kill().await?;
    visitor.knows(3 * MIXES - 1).await?;
    until(&a.allocator, "it is signed", |f| f.witnesses.troubles.is_empty()).await?;

    // Both are gone: another mix that leaves stays listed, the operator is told why, and pages still open.
    b.allocator.kill().await?;
    let gone = |f: &FederationDto| f.fogs.iter().all(|fog| !fog.connected);
    let alone = until(&a.allocator, "the others are seen to be gone", gone).await?;
    let extra = Process::start(a.folder(), "extra", false).await?;
    extra.ask(ControlRequest::Join { ticket: a.ticket(&[RoleDto::Contribute]).await? }).await?;
    extra.ask(ControlRequest::Relay { on: true }).await?;
    let stuck = until(&a.allocator, "it says why", |f| !f.witnesses.troubles.is_empty()).await?;
    assert!(stuck.witnesses.troubles[0].starts_with("0 of the 1 other fogs that must sign"), "{stuck:?}");
    assert!(stuck.witnesses.fogs.iter().all(|(_, answer)| answer.contains("not connected")), "{stuck:?}");
    assert_eq!(stuck.witnesses.made_ms, alone.witnesses.made_ms);
    visitor.knows(3 * MIXES - 1).await?;
    visitor.serves(&onion, FRONT).await?;
    // Its operator alone can't do without them either.
    a.allocator.ask(ControlRequest::NeedWitnesses { needed: Some(0) }).await?;
    until(&a.allocator, "the change is not signed", |f| f.witnesses.troubles.len() == 2 && f.witnesses.needed == 1).await?;
    a.allocator.ask(ControlRequest::NeedWitnesses { needed: None }).await?;

    // One is back: the newcomer is listed.
    b.allocator = Process::start(b.folder(), "allocator", false).await?;
    visitor.knows(3 * MIXES).await?;
    until(&a.allocator, "all is well", |f| f.witnesses.troubles.is_empty()).await?;
    visitor.serves(&onion, FRONT).await?;
    Ok(())
}
