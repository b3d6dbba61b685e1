//! A hosting device is gone without a word (SIGKILL): within 10 s visitors are no longer led to its copy, no page load fails meanwhile, and no
//! descriptor changes.
//!
//! What visitors are led to is seen as they see it: by mix packets, from the introduction points and the mixes of the ring.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests that also say what they measured")]

use anyhow::{Context, Result};
use fogbank_betanet::{
    address::{Address, Blinded, FogLink, Period},
    clock::FogClock,
    descriptor::Descriptor,
    directory::{DirectoryHub, clock},
    lease::Lease,
    message::{FromMix, ToMix},
    paths::Guards,
    uplink::{Uplink, UplinkConfig, UplinkStatus},
};
use fogbank_harness::{Curl, Fog, FogPlan, Process, wait_for};
use fogbank_model::{Level, MixId};
use fogbank_node::control::{ControlRequest, RoleDto};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    ops::ControlFlow::{Break, Continue},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);
/// Within this the copy of a device that is gone is listed nowhere.
const LEFT_OUT: Duration = Duration::from_secs(10);
/// As long as a browser waits, and longer than [`fogbank_betanet::client::OPEN_WAIT`].
const PATIENT: Duration = Duration::from_secs(40);
/// Copies of the site, and one device more that can take one.
const COPIES: u8 = 2;
const LENDERS: usize = 3;
/// A visitor's proxy keeps small files; of this one a part is fetched each time, which always comes from a copy.
const LARGE: usize = 4 << 20;
const PART: usize = 10_000;

/// Fewer than a visitor keeps open at once, and more than there are loads while a page is waited for.
const ISOLATIONS: usize = 200;

/// Somebody who looks for the site in the network, and at nothing else.
struct Outsider {
    uplink: Uplink,
    blinded: Blinded,
}

impl Outsider {
    async fn by(link: &str) -> Result<Self> {
        let link: FogLink = link.parse()?;
        let uplink = Uplink::start(UplinkConfig {
            bind: Ipv4Addr::LOCALHOST.into(),
            exclude: Vec::new(),
            fog: link.fog.context("no fog")?,
            directory: DirectoryHub::new(),
            bootstrap: link.via.iter().map(|via| (via.key, vec![via.addr])).collect(),
            guards: Guards::new(),
            clock: FogClock::default(),
            cover_budget: None,
        });
        let ready = |status: &UplinkStatus| matches!(status, UplinkStatus::Ready { .. });
        tokio::time::timeout(SOON, uplink.status().wait_for(ready)).await.context("no way into the network")??;
        Ok(Self { uplink, blinded: Address::parse(&link.onion)?.blinded(Period::at(clock()))? })
    }

    /// What each mix of the ring keeps.
    async fn descriptors(&self) -> Result<BTreeMap<MixId, Vec<u8>>> {
        let directory = self.uplink.directory().borrow().clone().context("no directory")?;
        let mut kept = BTreeMap::new();
        for mix in directory.ring(&self.blinded.key) {
            let question = |surb| ToMix::FetchDescriptor { blinded: self.blinded.key, surb };
            if let FromMix::Descriptor(Some(bytes)) = self.uplink.ask(mix, Level::Fast, question).await? {
                kept.insert(mix, bytes);
            }
        }
        Ok(kept)
    }

    fn points(&self, descriptor: &[u8]) -> Result<Vec<MixId>> {
        Ok(Descriptor::open(descriptor, &self.blinded, clock())?.introduction_points)
    }

    /// The copies that an introduction point names.
    async fn listed(&self, point: MixId) -> Result<BTreeSet<String>> {
        let question = |surb| ToMix::FetchLeases { blinded: self.blinded.key, unlock: None, surb };
        let FromMix::Leases(leases) = self.uplink.ask(point, Level::Fast, question).await? else { anyhow::bail!("no leases") };
        leases.iter().map(|bytes| Ok(Lease::open_for(bytes, &self.blinded, clock())?.instance.to_string())).collect()
    }

    /// Waits until each of the points names these copies.
    async fn all_list(&self, points: &[MixId], deadline: Duration, are: impl Fn(&BTreeSet<String>) -> bool) -> Result<()> {
        wait_for("all introduction points list what they should", deadline, async || {
            for point in points {
                let listed = self.listed(*point).await?;
                if !are(&listed) {
                    return Ok(Continue(format!("{point:?} lists {listed:?}")));
                }
            }
            Ok(Break(()))
        })
        .await
    }
}

/// Loads parts of the site over and over until told to stop, each from elsewhere in the file: in one isolation, and in a fresh one each time.
async fn browse(curl: Curl, fresh: bool, large: Arc<Vec<u8>>, stop: Arc<AtomicBool>, loads: Arc<AtomicUsize>) -> Result<()> {
    for load in 0.. {
        if stop.load(Relaxed) {
            return Ok(());
        }
        let from = load * PART % (LARGE - PART);
        let curl = if fresh { curl.clone().user(&format!("visitor {}", load % ISOLATIONS)) } else { curl.clone() };
        let page = curl.get_part("large.bin", from, PART).await?;
        anyhow::ensure!(
            page.is_ok() && page.body == large[from..from + PART],
            "load {load} (fresh: {fresh}) failed: curl {}, HTTP {}, {:.1} s",
            page.exit,
            page.status,
            page.total_s
        );
        loads.fetch_add(1, Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_host_is_left_out_within_ten_seconds_and_no_descriptor_changes() -> Result<()> {
    // Who lends does not relay here: that a mix goes, too, would change the ring on which descriptors lie.
    let fog = Fog::start(FogPlan { devices: 6, publisher: true, visitor: true, ..FogPlan::default() }).await?;
    for mix in &fog.devices {
        mix.ask(ControlRequest::Lend { on: false, direct: false }).await?;
    }
    let ticket = fog.ticket(&[RoleDto::Contribute]).await?;
    let mut lenders = Vec::new();
    for n in 1..=LENDERS {
        let lender = Process::start(fog.folder(), &format!("lender-{n}"), false).await?;
        lender.ask(ControlRequest::Join { ticket: ticket.clone() }).await?;
        lender.ask(ControlRequest::Lend { on: true, direct: false }).await?;
        lenders.push(lender);
    }
    wait_for("only they lend", SOON, async || {
        let lending = fog.allocator.devices().await?.iter().filter(|d| d.connected && d.lent.cpu_cores > 0.0).count();
        Ok(if lending == LENDERS { Break(()) } else { Continue(format!("{lending} lend")) })
    })
    .await?;

    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), b"here")?;
    let large: Arc<Vec<u8>> = Arc::new((0..LARGE as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect());
    std::fs::write(site.join("large.bin"), large.as_slice())?;
    let (id, onion) = fog.publish(&site, COPIES).await?;
    let running = async || {
        wait_for("both copies are ready", SOON, async || {
            let detail = fog.allocator.container(&id).await?;
            let ready: BTreeMap<String, String> =
                detail.instances.into_iter().filter(|i| i.state == "ready").map(|i| (i.id, i.device)).collect();
            Ok(if detail.container.state == "running" && ready.len() == usize::from(COPIES) {
                Break(ready)
            } else {
                Continue(format!("{}: {}", detail.container.state, detail.container.reason))
            })
        })
        .await
    };
    let copies = running().await?;
    let link = fog.publisher.as_ref().unwrap().container(&id).await?.link;
    let visitor = fog.visitor.as_ref().unwrap();
    visitor.ask(ControlRequest::Visit { link: link.clone() }).await?;
    visitor.serves(&onion, b"here").await?;

    let outsider = Outsider::by(&link).await?;
    let before = outsider.descriptors().await?;
    assert_eq!(before.len(), 6, "every mix of the ring keeps one");
    let points = outsider.points(before.values().next().unwrap())?;
    assert_eq!(points.len(), 3);
    let ids: BTreeSet<String> = copies.keys().cloned().collect();
    outsider.all_list(&points, SOON, |listed| *listed == ids).await?;

    // Two browse: one stays with its tunnel, to whichever copy that is; one comes anew each time.
    let curl = Curl::new(visitor.proxy.unwrap(), &onion).max_time(PATIENT);
    let stop = Arc::new(AtomicBool::new(false));
    let loads: [Arc<AtomicUsize>; 2] = Default::default();
    let browsing: Vec<_> = [false, true]
        .into_iter()
        .zip(loads.clone())
        .map(|(fresh, loads)| tokio::spawn(browse(curl.clone(), fresh, large.clone(), stop.clone(), loads)))
        .collect();
    let more = async |of: usize| {
        let from = loads.each_ref().map(|l| l.load(Relaxed));
        wait_for("pages load", SOON, async || {
            let now = loads.each_ref().map(|l| l.load(Relaxed));
            let enough = now.iter().zip(from).all(|(now, from)| now - from >= of) || browsing.iter().any(|b| b.is_finished());
            Ok(if enough { Break(()) } else { Continue(format!("{from:?}, then {now:?}")) })
        })
        .await
    };
    more(3).await?;

    // The busier one of the two goes.
    let mut busiest = None;
    for (at, lender) in lenders.iter().enumerate() {
        let copy = copies.iter().find(|(_, device)| **device == lender.device).map(|(copy, _)| copy.clone());
        let tunnels = lender.network().await?.host_counters.get("open_tunnels").copied();
        busiest = busiest.max(copy.map(|copy| (tunnels, at, copy)));
    }
    let (_, at, gone) = busiest.context("no lender has a copy")?;
    let mut victim = lenders.remove(at);
    let killed = Instant::now();
    victim.kill().await?;
    outsider.all_list(&points, LEFT_OUT.saturating_sub(killed.elapsed()), |listed| !listed.contains(&gone)).await?;
    println!("left out at every introduction point {:.1} s after the kill", killed.elapsed().as_secs_f64());
    // Those that are not led there any more come to the copy that stays, and then to the new one as well.
    more(3).await?;
    let replaced = running().await?;
    assert!(!replaced.contains_key(&gone) && replaced.keys().any(|copy| ids.contains(copy)), "{replaced:?}");
    let ids: BTreeSet<String> = replaced.keys().cloned().collect();
    outsider.all_list(&points, SOON, |listed| *listed == ids).await?;
    more(3).await?;
    stop.store(true, Relaxed);
    for visits in browsing {
        visits.await??;
    }
    assert!(outsider.descriptors().await? == before, "the same bytes on the same mixes");
    outsider.uplink.shutdown().await;
    for mut lender in lenders {
        lender.quit().await?;
    }
    fog.end().await
}
