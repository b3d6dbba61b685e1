//! Two who browse all the while: one stays with its tunnel, one comes anew with each load.

use super::{LARGE, PART, SOON};
use anyhow::{Result, ensure};
use fogbank_harness::{Curl, wait_for};
use std::{
    ops::ControlFlow::{Break, Continue},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::task::JoinHandle;

/// Fewer than a visitor keeps open at once, and more than there are loads before the first are closed for idleness.
const ISOLATIONS: usize = 200;

pub(crate) struct Browsing {
    stop: Arc<AtomicBool>,
    loads: [Arc<AtomicUsize>; 2],
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Browsing {
    pub(crate) fn start(curl: &Curl, large: &Arc<Vec<u8>>) -> Self {
        let (stop, loads) = (Arc::new(AtomicBool::new(false)), <[Arc<AtomicUsize>; 2]>::default());
        let tasks = [false, true]
            .into_iter()
            .zip(loads.clone())
            .map(|(fresh, loads)| tokio::spawn(browse(curl.clone(), fresh, large.clone(), stop.clone(), loads)))
            .collect();
        Self { stop, loads, tasks }
    }

    /// Waits for further loads of both.
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

    /// Ends it; an error if one load failed.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(())
    }
}

/// Loads parts of the site over and over, each from elsewhere in the file.
async fn browse(curl: Curl, fresh: bool, large: Arc<Vec<u8>>, stop: Arc<AtomicBool>, loads: Arc<AtomicUsize>) -> Result<()> {
    for load in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let from = load * PART % (LARGE - PART);
        let curl = if fresh { curl.clone().user(&format!("visitor {}", load % ISOLATIONS)) } else { curl.clone() };
        let page = curl.get_part("large.bin", from, PART).await?;
        ensure!(
            page.is_ok() && page.body == large[from..from + PART],
            "load {load} (fresh: {fresh}) failed: curl {}, HTTP {}, {:.1} s: {}",
            page.exit,
            page.status,
            page.total_s,
            String::from_utf8_lossy(&page.body[..page.body.len().min(1_500)])
        );
        loads.fetch_add(1, Relaxed);
    }
    Ok(())
}
