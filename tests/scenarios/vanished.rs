//! Devices are gone without a word (SIGKILL), and those who browse do not notice: no page load fails meanwhile.
//!
//! A host: within 10 s visitors are no longer led to its copy, and no descriptor changes. Introduction points: each is replaced in its turn.
//! What visitors are led to is seen as they see it, from the introduction points and the mixes of the ring.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests that also say what they measured")]

#[path = "vanished/browsing.rs"]
mod browsing;
#[path = "vanished/outsider.rs"]
mod outsider;

use anyhow::{Context, Result};
use browsing::Browsing;
use fogbank_harness::{Curl, Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ControlRequest, RoleDto};
use outsider::Outsider;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow::{Break, Continue},
    sync::Arc,
    time::{Duration, Instant},
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);
/// Within this the copy of a device that is gone is listed nowhere.
const LEFT_OUT: Duration = Duration::from_secs(10);
/// As long as a browser waits, and longer than [`fogbank_betanet::client::OPEN_WAIT`].
const PATIENT: Duration = Duration::from_secs(40);
/// A point is missed for 20 s before it is replaced; seconds more until the first copy is registered at the new one.
const REPLACED: Duration = Duration::from_secs(120);
/// Copies of the site.
const COPIES: u8 = 2;
/// A visitor's proxy keeps small files; of this one a part is fetched each time, which always comes from a copy.
const LARGE: usize = 4 << 20;
const PART: usize = 10_000;

/// One scenario at a time: each is a fog of its own, and one has a deadline of seconds.
async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}

/// A site on devices that do not relay, by mixes that do not lend: so either can go without the other.
struct Online {
    fog: Fog,
    lenders: Vec<Process>,
    id: String,
    link: String,
    curl: Curl,
    large: Arc<Vec<u8>>,
}

impl Online {
    async fn start(mixes: usize, lend: usize) -> Result<Self> {
        let fog = Fog::start(FogPlan { devices: mixes, publisher: true, visitor: true, ..FogPlan::default() }).await?;
        for mix in &fog.devices {
            mix.ask(ControlRequest::Lend { on: false, direct: false }).await?;
        }
        let ticket = fog.ticket(&[RoleDto::Contribute]).await?;
        let mut lenders = Vec::new();
        for n in 1..=lend {
            let lender = Process::start(fog.folder(), &format!("lender-{n}"), false).await?;
            lender.ask(ControlRequest::Join { ticket: ticket.clone() }).await?;
            lender.ask(ControlRequest::Lend { on: true, direct: false }).await?;
            lenders.push(lender);
        }
        wait_for("only they lend", SOON, async || {
            let lending = fog.allocator.devices().await?.iter().filter(|d| d.connected && d.lent.cpu_cores > 0.0).count();
            Ok(if lending == lend { Break(()) } else { Continue(format!("{lending} lend")) })
        })
        .await?;
        let site = fog.folder().join("site");
        std::fs::create_dir_all(&site)?;
        std::fs::write(site.join("index.html"), b"here")?;
        let large: Vec<u8> = (0..LARGE as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(site.join("large.bin"), &large)?;
        let (id, onion) = fog.publish(&site, COPIES).await?;
        let link = fog.publisher.as_ref().unwrap().container(&id).await?.link;
        let visitor = fog.visitor.as_ref().unwrap();
        let curl = Curl::new(visitor.proxy.unwrap(), &onion).max_time(PATIENT);
        let online = Self { fog, lenders, id, link, curl, large: Arc::new(large) };
        online.copies().await?;
        let visitor = online.fog.visitor.as_ref().unwrap();
        visitor.ask(ControlRequest::Visit { link: online.link.clone() }).await?;
        visitor.serves(&onion, b"here").await?;
        Ok(online)
    }

    /// Waits until every copy serves: instances and their devices.
    async fn copies(&self) -> Result<BTreeMap<String, String>> {
        wait_for("every copy is ready", SOON, async || {
            let detail = self.fog.allocator.container(&self.id).await?;
            let ready: BTreeMap<String, String> =
                detail.instances.into_iter().filter(|i| i.state == "ready").map(|i| (i.id, i.device)).collect();
            Ok(if detail.container.state == "running" && ready.len() == usize::from(COPIES) {
                Break(ready)
            } else {
                Continue(format!("{}: {}", detail.container.state, detail.container.reason))
            })
        })
        .await
    }

    async fn end(self) -> Result<()> {
        for mut lender in self.lenders {
            lender.quit().await?;
        }
        self.fog.end().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_host_is_left_out_within_ten_seconds_and_no_descriptor_changes() -> Result<()> {
    const MIXES: usize = 6;
    let _alone = alone().await;
    // One lends more than there are copies, so that the lost one is replaced.
    let mut online = Online::start(MIXES, usize::from(COPIES) + 1).await?;
    let copies = online.copies().await?;
    let outsider = Outsider::by(&online.link).await?;
    let before = outsider.descriptors().await?;
    assert_eq!(before.len(), MIXES, "every mix of the ring keeps one");
    let points = outsider.points(&before)?;
    assert_eq!(points.len(), 3);
    let ids: BTreeSet<String> = copies.keys().cloned().collect();
    outsider.all_list(&points, SOON, |listed| *listed == ids).await?;
    let browsing = Browsing::start(&online.curl, &online.large);
    browsing.more(3).await?;

    // The busier one of the two goes.
    let mut busiest = None;
    for (at, lender) in online.lenders.iter().enumerate() {
        let copy = copies.iter().find(|(_, device)| **device == lender.device).map(|(copy, _)| copy.clone());
        let tunnels = lender.network().await?.host_counters.get("open_tunnels").copied();
        busiest = busiest.max(copy.map(|copy| (tunnels, at, copy)));
    }
    let (_, at, gone) = busiest.context("no lender has a copy")?;
    let mut victim = online.lenders.remove(at);
    let killed = Instant::now();
    victim.kill().await?;
    outsider.all_list(&points, LEFT_OUT.saturating_sub(killed.elapsed()), |listed| !listed.contains(&gone)).await?;
    println!("left out at every introduction point {:.1} s after the kill", killed.elapsed().as_secs_f64());
    // Those that are not led there any more come to the copy that stays, and then to the new one as well.
    browsing.more(3).await?;
    let replaced = online.copies().await?;
    assert!(!replaced.contains_key(&gone) && replaced.keys().any(|copy| ids.contains(copy)), "{replaced:?}");
    let ids: BTreeSet<String> = replaced.keys().cloned().collect();
    outsider.all_list(&points, SOON, |listed| *listed == ids).await?;
    browsing.more(3).await?;
    browsing.end().await?;
    assert!(outsider.descriptors().await? == before, "the same bytes on the same mixes");
    outsider.uplink.shutdown().await;
    online.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_introduction_points_that_vanish_together_are_replaced_one_at_a_time() -> Result<()> {
    let _alone = alone().await;
    let mut online = Online::start(8, usize::from(COPIES)).await?;
    let ids: BTreeSet<String> = online.copies().await?.into_keys().collect();
    let outsider = Outsider::by(&online.link).await?;
    let first = outsider.points(&outsider.descriptors().await?)?;
    let (gone, stays) = (&first[..2], first[2]);
    let browsing = Browsing::start(&online.curl, &online.large);
    browsing.more(3).await?;

    let killed = Instant::now();
    for point in gone {
        let port = outsider.port(*point).context("a point is not listed")?;
        let mixes = &mut online.fog.devices;
        let at = mixes.iter().position(|mix| mix.udp_ports().is_ok_and(|ports| ports.contains(&port)));
        mixes.swap_remove(at.context("no process has the point's port")?).kill().await?;
    }
    // What visitors are told, as it changes.
    let mut told = vec![first.clone()];
    wait_for("both are replaced", REPLACED, async || {
        let points = outsider.points(&outsider.descriptors().await?)?;
        if told.last() != Some(&points) {
            println!("other points {:.1} s after the kill", killed.elapsed().as_secs_f64());
            told.push(points.clone());
        }
        let left = points.iter().filter(|point| gone.contains(point)).count();
        Ok(if left == 0 { Break(()) } else { Continue(format!("{left} of the old ones are still named")) })
    })
    .await?;
    assert_eq!(told.len(), 3, "one at a time: {told:?}");
    for step in told.windows(2) {
        assert_eq!(step[1].iter().filter(|point| !step[0].contains(point)).count(), 1, "one at a time: {told:?}");
        assert!(step[1].contains(&stays) && step[1].len() == 3, "{told:?}");
    }
    let last = told.last().unwrap();
    assert!(last.iter().all(|point| outsider.lists(*point)), "{told:?}");
    outsider.all_list(last, SOON, |listed| *listed == ids).await?;
    browsing.more(3).await?;
    browsing.end().await?;
    outsider.uplink.shutdown().await;
    online.end().await
}
