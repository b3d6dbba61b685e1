//! New content under an address while people read it: no visit fails, no page is of two versions, nobody goes back, and the publisher can.
//!
//! Three read all the while: one stays with its tunnel, one comes anew with each load, one loads a large file that all versions have. Meanwhile
//! the content is updated, a host of a new copy vanishes in the middle, and the publisher goes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests that also say what they measured")]

#[path = "update/reading.rs"]
mod reading;

use anyhow::{Context, Result, bail};
use fogbank_harness::{Curl, Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{ContainerDetailDto, ControlReply, ControlRequest, RoleDto, UpdateDto};
use reading::Reading;
use std::{
    ops::ControlFlow::{Break, Continue},
    path::PathBuf,
    time::{Duration, Instant},
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(90);
/// As long as a browser waits, and longer than [`fogbank_betanet::client::OPEN_WAIT`].
const PATIENT: Duration = Duration::from_secs(40);
/// Three devices in a row that can't have the content: each tries its sources in three rounds.
const GIVEN_UP: Duration = Duration::from_secs(240);
const COPIES: u8 = 2;

/// One scenario at a time: each is a fog of its own.
async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}

/// A site on devices that do not relay, by mixes that do not lend: so a host can go without a mix.
struct Online {
    fog: Fog,
    lenders: Vec<Process>,
    id: String,
    curl: Curl,
}

impl Online {
    async fn start(lend: usize) -> Result<Self> {
        let mut fog = Fog::start(FogPlan { devices: 5, publisher: true, visitor: true, ..FogPlan::default() }).await?;
        if std::env::var_os("KEEP_LOGS").is_some() {
            println!("logs in {}", fog.keep_folder().display());
        }
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
        let site = reading::site(fog.folder(), "one")?;
        let (id, onion) = fog.publish(&site, COPIES).await?;
        let curl = Curl::new(fog.visitor.as_ref().unwrap().proxy.unwrap(), &onion).max_time(PATIENT);
        let online = Self { fog, lenders, id, curl };
        wait_for("every copy is ready", SOON, async || {
            let detail = online.detail().await?;
            let runs = detail.container.state == "running" && detail.container.ready == u32::from(COPIES);
            Ok(if runs { Break(()) } else { Continue(detail.container.reason) })
        })
        .await?;
        let link = online.publisher().container(&online.id).await?.link;
        let visitor = online.fog.visitor.as_ref().unwrap();
        visitor.ask(ControlRequest::Visit { link }).await?;
        visitor.serves(&onion, reading::front("one").as_bytes()).await?;
        Ok(online)
    }

    fn publisher(&self) -> &Process {
        self.fog.publisher.as_ref().unwrap()
    }

    async fn detail(&self) -> Result<ContainerDetailDto> {
        self.fog.allocator.container(&self.id).await
    }

    /// Puts a version online, or goes back; its revision.
    async fn update(&self, site: Option<PathBuf>) -> Result<u64> {
        let folder = site.map(|site| site.to_string_lossy().into_owned());
        match self.publisher().ask(ControlRequest::Update { id: self.id.clone(), folder }).await? {
            ControlReply::Updated { revision } => Ok(revision),
            other => bail!("not updated: {other:?}"),
        }
    }

    /// Waits until the update stands so.
    async fn stands(&self, revision: u64, states: &[&str], within: Duration) -> Result<UpdateDto> {
        wait_for(&format!("the update is {states:?}"), within, async || {
            let detail = self.detail().await?;
            let update = detail.update.context("there is no update")?;
            let there = update.revision == revision && states.contains(&update.state.as_str());
            Ok(if there { Break(update) } else { Continue(format!("{update:?}; {}", detail.container.reason)) })
        })
        .await
    }

    async fn end(self) -> Result<()> {
        for mut lender in self.lenders {
            if !lender.has_ended() {
                lender.quit().await?;
            }
        }
        self.fog.end().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_and_the_way_back_while_people_read_and_a_host_vanishes() -> Result<()> {
    let _alone = alone().await;
    let mut online = Online::start(5).await?;
    let first = online.detail().await?.revision;
    let reading = Reading::start(&online.curl);
    reading.more(3).await?;

    let began = Instant::now();
    let second = online.update(Some(reading::site(online.fog.folder(), "two")?)).await?;
    assert!(second > first);
    reading.may_read("two");
    online.stands(second, &["moving"], SOON).await?;
    println!("visitors are told {:.1} s after the update was asked for", began.elapsed().as_secs_f64());
    // The host of a copy that serves the new content goes without a word.
    let new = online.detail().await?.instances.into_iter().find(|i| i.revision == second && i.state == "ready");
    let device = new.context("no copy serves it")?.device;
    let at = online.lenders.iter().position(|lender| lender.device == device).context("nobody is that device")?;
    online.lenders.remove(at).kill().await?;
    let update = online.stands(second, &["served"], SOON).await?;
    assert_eq!(update.words, "every copy serves it");
    println!(
        "served by all copies {:.1} s after it was asked for, with a host lost in the middle",
        began.elapsed().as_secs_f64()
    );
    gone(&online, first).await?;
    reading.only("two").await?;
    reading.more(3).await?;

    // Back, as a further revision.
    assert!(online.publisher().container(&online.id).await?.back);
    let third = online.update(None).await?;
    assert!(third > second, "visitors take none that is lower");
    reading.may_read("one");
    online.stands(third, &["served"], SOON).await?;
    gone(&online, second).await?;
    reading.only("one").await?;
    reading.more(3).await?;
    let loads = reading.end().await?;
    println!("{loads} loads, none failed");
    let visits = online.fog.visitor.as_ref().unwrap().network().await?.visits;
    assert!(!visits.is_empty() && visits.iter().all(|visit| visit.caught == 0), "nobody was taken for a liar: {visits:?}");

    // What is online already is no update, and nothing of other people's can be updated.
    let same = online.update(Some(online.fog.folder().join("site-one"))).await.unwrap_err().to_string();
    assert!(same.contains("online already"), "{same}");
    let theirs = ControlRequest::Update { id: online.id.clone(), folder: None };
    let refused = online.fog.allocator.ask(theirs).await.unwrap_err().to_string();
    assert!(refused.contains("not published from here"), "{refused}");
    online.end().await
}

/// Waits until no copy of a revision is left.
async fn gone(online: &Online, revision: u64) -> Result<()> {
    wait_for("no old copy is left", SOON, async || {
        let detail = online.detail().await?;
        let left = detail.instances.iter().filter(|i| i.revision == revision && !["ended", "lost"].contains(&i.state.as_str()));
        let left = left.count();
        Ok(if left == 0 && detail.revision != revision { Break(()) } else { Continue(format!("{left} left")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_up_is_given_up_and_the_old_content_goes_on() -> Result<()> {
    let _alone = alone().await;
    let mut online = Online::start(4).await?;
    let first = online.detail().await?.revision;
    let reading = Reading::start(&online.curl);
    reading.more(2).await?;
    let site = reading::large_site(online.fog.folder(), "two")?;
    let second = online.update(Some(site)).await?;
    // Only its publisher has the content yet, and is gone.
    let mut publisher = online.fog.publisher.take().unwrap();
    publisher.kill().await?;
    let given_up = wait_for("it is given up", GIVEN_UP, async || {
        let detail = online.detail().await?;
        assert_eq!(detail.revision, first, "visitors are not told of what can't be had");
        let update = detail.update.context("there is no update")?;
        Ok(if update.state == "given_up" { Break(update) } else { Continue(format!("{update:?}; {}", detail.container.reason)) })
    })
    .await?;
    println!("given up: {}", given_up.words);
    assert!(given_up.revision == second && given_up.words.contains("did not come up"), "{given_up:?}");
    reading.more(3).await?;
    reading.end().await?;
    gone_of(&online, second).await?;

    // The publisher is back, hears of it, and updates again: the number that was given up is not used again.
    let back = Process::start(online.fog.folder(), "publisher", false).await?;
    wait_for("the publisher is back", SOON, async || {
        let connected = back.status().await?.fog.is_some_and(|f| f.connected);
        Ok(if connected { Break(()) } else { Continue("away".to_owned()) })
    })
    .await?;
    let shown = back.container(&online.id).await?.update.context("it is not told")?;
    assert_eq!((shown.state.as_str(), shown.revision), ("given_up", second));
    online.fog.publisher = Some(back);
    let third = online.update(Some(reading::site(online.fog.folder(), "three")?)).await?;
    assert!(third > second);
    online.stands(third, &["served"], SOON).await?;
    let visitor = online.fog.visitor.as_ref().unwrap();
    let onion = online.detail().await?.container.onion;
    visitor.serves(&onion, reading::front("three").as_bytes()).await?;
    online.end().await
}

async fn gone_of(online: &Online, revision: u64) -> Result<()> {
    wait_for("nothing of it is left", SOON, async || {
        let detail = online.detail().await?;
        let live = |i: &&fogbank_node::control::InstanceDto| !["ended", "lost"].contains(&i.state.as_str());
        let left = detail.instances.iter().filter(live).filter(|i| i.revision == revision).count();
        Ok(if left == 0 { Break(()) } else { Continue(format!("{left} left")) })
    })
    .await
}
