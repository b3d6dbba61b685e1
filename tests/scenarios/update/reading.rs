//! Versions of a site, and three who read it all the while.
//!
//! Each line of a page names its version, so a response of two versions is seen; a visitor who was shown a version is not shown what was there before.

use super::SOON;
use anyhow::{Context, Result, ensure};
use fogbank_harness::{Curl, Fetched, wait_for};
use std::{
    collections::BTreeSet,
    ops::ControlFlow::{Break, Continue},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::task::JoinHandle;

/// Longer than what a visitor's proxy keeps, so that it always comes from a copy.
const LINES: usize = 20_000;
/// Bytes of a file that all versions have, and of the part that is loaded at a time.
const SAME: usize = 2 << 20;
const PART: usize = 20_000;
/// Fewer than a visitor keeps open at once, and more than there are loads before the first are closed for idleness.
const ISOLATIONS: usize = 200;
/// Beyond what a device fetches before its publisher has been killed.
const LARGE: usize = 64 << 20;

pub(crate) fn front(version: &str) -> String {
    format!("version {version}\n")
}

fn same() -> Vec<u8> {
    (0..SAME as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A folder with a version of the site.
pub(crate) fn site(folder: &Path, version: &str) -> Result<PathBuf> {
    let site = folder.join(format!("site-{version}"));
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), front(version))?;
    std::fs::write(site.join("long.txt"), front(version).repeat(LINES))?;
    std::fs::write(site.join("same.bin"), same())?;
    Ok(site)
}

/// The same, which takes a while to be fetched.
pub(crate) fn large_site(folder: &Path, version: &str) -> Result<PathBuf> {
    let site = site(folder, version)?;
    let noise: Vec<u8> = (0..LARGE as u64 / 8).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect();
    std::fs::write(site.join("large.bin"), noise)?;
    Ok(site)
}

/// What may be read, in the order in which it came online. A version that came again counts anew.
#[derive(Default)]
struct Allowed {
    versions: Vec<String>,
    /// Those before this one are over for everybody.
    from: usize,
}

pub(crate) struct Reading {
    stop: Arc<AtomicBool>,
    allowed: Arc<Mutex<Allowed>>,
    loads: [Arc<AtomicUsize>; 3],
    tasks: Vec<JoinHandle<Result<()>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Stays,
    ComesAnew,
    LoadsTheSame,
}

impl Reading {
    pub(crate) fn start(curl: &Curl) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let allowed = Arc::new(Mutex::new(Allowed { versions: vec!["one".to_owned()], from: 0 }));
        let loads = <[Arc<AtomicUsize>; 3]>::default();
        let who = [Who::Stays, Who::ComesAnew, Who::LoadsTheSame];
        let read = |(who, loads)| tokio::spawn(read(curl.clone(), who, stop.clone(), allowed.clone(), loads));
        let tasks = who.into_iter().zip(loads.clone()).map(read).collect();
        Self { stop, allowed, loads, tasks }
    }

    /// From now on this version may be there, too.
    pub(crate) fn may_read(&self, version: &str) {
        self.allowed.lock().unwrap().versions.push(version.to_owned());
    }

    /// From now on nothing else is there: loads that began before are waited for.
    pub(crate) async fn only(&self, version: &str) -> Result<()> {
        self.more(1).await?;
        let mut allowed = self.allowed.lock().unwrap();
        allowed.from = allowed.versions.iter().rposition(|v| v == version).context("no such version")?;
        Ok(())
    }

    /// Waits for further loads of all.
    pub(crate) async fn more(&self, of: usize) -> Result<()> {
        let loads = || self.loads.each_ref().map(|l| l.load(Relaxed));
        let from = loads();
        wait_for("pages load", SOON, async || {
            let now = loads();
            let enough = now.iter().zip(from).all(|(now, from)| now - from >= of);
            // Why one has ended is said at the end.
            let ended = self.tasks.iter().any(JoinHandle::is_finished);
            Ok(if enough || ended { Break(()) } else { Continue(format!("{from:?}, then {now:?}")) })
        })
        .await
    }

    /// Ends it: how many loads there were, or what was wrong with one.
    pub(crate) async fn end(self) -> Result<usize> {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(self.loads.iter().map(|loads| loads.load(Relaxed)).sum())
    }
}

async fn read(curl: Curl, who: Who, stop: Arc<AtomicBool>, allowed: Arc<Mutex<Allowed>>, loads: Arc<AtomicUsize>) -> Result<()> {
    let same = same();
    // Which of the versions was read last by the one that stays.
    let mut last = 0;
    for load in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        // What was over before the load began may not come.
        let from = allowed.lock().unwrap().from;
        if who == Who::LoadsTheSame {
            let at = load * PART % (SAME - PART);
            let part = curl.clone().user("same").get_part("same.bin", at, PART).await?;
            whole(load, "the same", &part)?;
            ensure!(part.body == same[at..at + PART], "load {load}: other bytes");
        } else {
            let curl = match who {
                Who::ComesAnew => curl.clone().user(&format!("visitor {}", load % ISOLATIONS)),
                _ => curl.clone(),
            };
            let page = curl.get(if load % 3 == 0 { "" } else { "long.txt" }).await?;
            whole(load, if who == Who::Stays { "stays" } else { "comes anew" }, &page)?;
            let text = String::from_utf8(page.body)?;
            let versions: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("version ")).collect();
            ensure!(versions.len() == 1, "load {load}: one response of versions {versions:?}");
            let version = versions.first().context("no line")?;
            let allowed = allowed.lock().unwrap();
            let least = if who == Who::Stays { from.max(last) } else { from };
            let at = (least..allowed.versions.len()).find(|at| allowed.versions[*at] == *version);
            last = at.with_context(|| format!("load {load}: version {version}, after {least} of {:?}", allowed.versions))?;
        }
        loads.fetch_add(1, Relaxed);
    }
    Ok(())
}

fn whole(load: usize, who: &str, page: &Fetched) -> Result<()> {
    ensure!(
        page.is_ok(),
        "load {load} of who {who} failed: curl {}, HTTP {}, {:.1} s: {}",
        page.exit,
        page.status,
        page.total_s,
        String::from_utf8_lossy(&page.body[..page.body.len().min(1_500)])
    );
    Ok(())
}
