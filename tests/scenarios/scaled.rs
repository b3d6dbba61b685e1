//! Visitors ask more of a site's copies than they were given room for: more copies come on other devices, what has no room is said and comes when a
//! device lends, and when nobody asks any more, copies are drained again.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use fogbank_harness::{Curl, Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{Amounts, ContainerDetailDto, ControlReply, ControlRequest, LevelDto, LoadDto, LoadSpanDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Hosts are asked to measure within ten seconds, a window lasts ten, three checks thirty; a busy machine is waited for.
const CHECKED: Duration = Duration::from_secs(120);
/// A small bundle is fetched and started by then.
const STARTED: Duration = Duration::from_secs(60);
/// Between two requests of a visitor. One alone then asks for three times what a copy was given.
const PAUSE: Duration = Duration::from_millis(150);
/// Bytes of a request.
const PART: usize = 8_000;
const FILE: usize = 1 << 20;

/// Visitors who ask until they are told to stop.
struct Visitors {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Visitors {
    /// So many, each isolated from the others, so that each chooses a copy: that one of two copies has none is one in 2,048.
    fn begin(curl: &Curl, count: usize) -> Self {
        let (stop, served, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let visit = |n: usize| {
            let curl = curl.clone().user(&format!("visitor-{n}")).max_time(Duration::from_secs(20));
            let (stop, served, failed) = (stop.clone(), served.clone(), failed.clone());
            tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let part = curl.get_part("large.bin", (n + round * count) * 7_919 % (FILE - PART), PART).await?;
                    if part.is_ok() { &served } else { &failed }.fetch_add(1, Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(())
            })
        };
        let tasks = (0..count).map(visit).collect();
        Self { stop, served, failed, tasks }
    }

    async fn end(self) -> Result<(usize, usize)> {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok((self.served.load(Relaxed), self.failed.load(Relaxed)))
    }
}

async fn load(fog: &Fog, id: &str) -> Result<LoadDto> {
    let request = ControlRequest::Load { id: id.to_owned(), span: LoadSpanDto::Day };
    match fog.publisher.as_ref().unwrap().ask(request).await? {
        ControlReply::Load(load) => Ok(*load),
        other => anyhow::bail!("no load: {other:?}"),
    }
}

async fn until(
    fog: &Fog,
    id: &str,
    what: &str,
    within: Duration,
    so: impl Fn(&ContainerDetailDto) -> bool,
) -> Result<ContainerDetailDto> {
    let publisher = fog.publisher.as_ref().unwrap();
    wait_for(what, within, async || {
        let detail = publisher.container(id).await?;
        let c = &detail.container;
        ensure!(c.state != "failed", "it failed: {}", c.reason);
        let words = format!("{}, {} of {}: {}; {:?}", c.state, c.ready, c.wanted, c.reason, detail.load);
        Ok(if so(&detail) { Break(detail) } else { Continue(words) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_come_with_load_wait_for_room_and_go_again() -> Result<()> {
    let fog = Fog::start(FogPlan { devices: 6, publisher: true, visitor: true, ..FogPlan::default() }).await?;
    // Three lend; the others relay only, for now.
    for device in &fog.devices[3..] {
        device.ask(ControlRequest::Lend { on: false, direct: false }).await?;
    }
    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), "asked for")?;
    std::fs::write(site.join("large.bin"), (0..FILE).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>())?;
    let publisher = fog.publisher.as_ref().unwrap();
    let publish = |most| ControlRequest::Publish {
        folder: site.to_string_lossy().into_owned(),
        name: "much asked for".to_owned(),
        // 0.1 Mbit/s for each copy, which a few visitors exceed.
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 20.0, bandwidth_mbps: 0.2 },
        instances: 2,
        availability: None,
        most,
        level: LevelDto::Fast,
        private: false,
        direct: false,
    };
    for wrong in [0, 1, 33] {
        let refused = publisher.ask(publish(Some(wrong))).await.unwrap_err().to_string();
        ensure!(refused.contains("from the 2 that are asked for at least to 32"), "{wrong}: {refused}");
    }
    let ControlReply::Created { id, onion } = publisher.ask(publish(None)).await? else { anyhow::bail!("nothing was created") };
    let runs = until(&fog, &id, "it runs", STARTED, |d| d.container.state == "running" && d.container.ready == 2).await?;
    ensure!(runs.load.is_none(), "nothing is measured of what does not scale: {:?}", runs.load);
    let visitor = fog.visitor.as_ref().unwrap();
    visitor.ask(ControlRequest::Visit { link: runs.link.clone() }).await?;
    visitor.serves(&onion, b"asked for").await?;

    let began = Instant::now();
    let visitors = Visitors::begin(&Curl::new(visitor.proxy.unwrap(), &onion), 12);
    let scale = |most| ControlRequest::Scale { id: id.clone(), instances: 2, availability: None, most };
    publisher.ask(scale(Some(4))).await?;
    let more = until(&fog, &id, "a third copy comes, and a fourth waits for room", CHECKED, |d| {
        d.container.ready == 3 && d.container.wanted == 4 && d.container.reason.contains("waiting for room")
    })
    .await?;
    eprintln!("after {:.1} s: {}; {:?}", began.elapsed().as_secs_f64(), more.container.reason, more.load);
    ensure!(more.container.state == "running", "{:?}", more.container);
    ensure!(more.container.reason.contains("for load") && more.container.reason.contains("network"), "{}", more.container.reason);
    let hosts: std::collections::BTreeSet<_> = more.instances.iter().filter(|i| i.state == "ready").map(|i| &i.device).collect();
    ensure!(hosts.len() == 3, "{:?}", more.instances);
    // What others may see of it: nobody but its publisher and administrators.
    let stranger = fog.devices[0].ask(ControlRequest::Load { id: id.clone(), span: LoadSpanDto::Day }).await;
    ensure!(stranger.is_err(), "{stranger:?}");

    let lends = Instant::now();
    fog.devices[3].ask(ControlRequest::Lend { on: true, direct: false }).await?;
    until(&fog, &id, "what waited comes", STARTED, |d| d.container.ready == 4).await?;
    eprintln!("{:.1} s after a device lends, a fourth copy is ready", lends.elapsed().as_secs_f64());
    let measured = load(&fog, &id).await?;
    let now = measured.now.context("it is measured")?;
    ensure!(now.network > 0.8 && now.traffic > 1.0 && (measured.least, measured.most) == (2, 4), "{measured:?}");

    let (served, failed) = visitors.end().await?;
    eprintln!("{served} requests were served, {failed} were not");
    ensure!(served > 100 && failed == 0, "{served} served, {failed} failed");
    let quiet = Instant::now();
    let fewer = until(&fog, &id, "copies go again", CHECKED, |d| {
        d.container.wanted < 4 && d.instances.iter().any(|i| i.reason.contains("one copy too many: load"))
    })
    .await?;
    eprintln!("{:.1} s after the last visitor: {}", quiet.elapsed().as_secs_f64(), fewer.container.reason);
    let kept = wait_for("the minute is kept in which the load was high", Duration::from_secs(70), async || {
        let kept = load(&fog, &id).await?;
        let high = kept.rows.iter().any(|row| row.peak > 0.8 && row.traffic > 1.0);
        Ok(if high { Break(kept) } else { Continue(format!("{:?}", kept.rows)) })
    })
    .await?;
    ensure!((2..=3).contains(&kept.changes), "{kept:?}");
    let mut program = tokio::process::Command::new(Process::binary()?);
    let shown = program.arg("--profile").arg(publisher.profile()).args(["load", &id]).output().await?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    eprintln!("{shown}");
    ensure!(shown.contains("wanted, of 2 to 4") && shown.contains("peak") && shown.contains('█'), "{shown}");

    // Who does not want it any more has what was asked for at once, and nothing is measured any more.
    publisher.ask(scale(None)).await?;
    until(&fog, &id, "only what was asked for is left", STARTED, |d| d.container.wanted == 2 && d.container.ready == 2).await?;
    ensure!(load(&fog, &id).await?.now.is_none(), "nothing is measured");
    fog.end().await
}
