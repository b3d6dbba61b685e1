//! Fail closed: with fewer than four usable mixes the address waits and says why.

use crate::{Online, say};
use anyhow::{Context, Result, ensure};
use fogbank_harness::{Fog, wait_for};
use fogbank_node::control::ControlRequest;
use std::{
    ops::ControlFlow::{Break, Continue},
    time::{Duration, Instant},
};

/// Mixes that a test fog asks for.
const NEEDED: usize = 4;
/// A stopped mix leaves the directory at once, and the directory reaches the visitor by its guards.
const NOTICE: Duration = Duration::from_secs(30);

/// Stops mixes until fewer than four are usable and shows that the address waits.
pub(crate) async fn fail_closed(fog: &mut Fog, online: &Online, began: Instant) -> Result<()> {
    let visitor = fog.visitor.as_ref().context("no visitor")?;
    let count = fog.devices.len();
    // One of the visitor's guards goes on: from whom else should it hear that the others do not?
    let guards: Vec<String> = visitor.network().await?.peers.into_iter().map(|peer| peer.mix).collect();
    let mut kept = None;
    for (at, device) in fog.devices.iter().enumerate() {
        kept = kept.or(guards.contains(&device.network().await?.own_mix).then_some(at));
    }
    let kept = kept.context("none of the devices is a guard of the visitor")?;
    let others = fog.devices.iter().enumerate().filter(|(at, _)| *at != kept);
    for (_, device) in others.skip(NEEDED - 2) {
        device.ask(ControlRequest::Relay { on: false }).await?;
    }
    say(began, format_args!("stopped {} of {count} mixes", count - (NEEDED - 1)));
    let words = wait_for("the visitor waits", NOTICE, async || {
        let network = visitor.network().await?;
        // For want of mixes, not of the guards that were stopped.
        let few = usize::try_from(network.usable).is_ok_and(|usable| usable < NEEDED) && !network.waiting.is_empty();
        Ok(if few { Break(network.waiting) } else { Continue(format!("{} usable", network.usable)) })
    })
    .await?;
    let opened = async || anyhow::Ok(visitor.network().await?.visit_counters.get("packets_out").copied().unwrap_or(0));
    let before = opened().await?;
    let page = online.curl(fog)?.max_time(Duration::from_secs(6)).get("").await?;
    ensure!(!page.is_ok(), "the address was opened over too few mixes");
    ensure!(opened().await? == before, "the visitor sent packets over too few mixes");
    say(began, format_args!("the address waits instead of connecting: {words}"));
    let network = visitor.network().await?;
    let visit = network.visits.iter().find(|v| v.onion == online.onion).context("the visitor does not list the address")?;
    ensure!(visit.words.contains("waiting"), "the visitor does not say that the address waits: {}", visit.words);
    say(began, format_args!("  the visitor shows: {}", visit.words));
    Ok(())
}

/// Lets every mix relay again, for a fog that stays up.
pub(crate) async fn reopen(fog: &Fog, began: Instant) -> Result<()> {
    for device in &fog.devices {
        device.ask(ControlRequest::Relay { on: true }).await?;
    }
    let visitor = fog.visitor.as_ref().context("no visitor")?;
    wait_for("the mixes are back", NOTICE, async || {
        let waiting = visitor.network().await?.waiting;
        Ok(if waiting.is_empty() { Break(()) } else { Continue(waiting) })
    })
    .await?;
    say(began, "all mixes relay again");
    Ok(())
}
