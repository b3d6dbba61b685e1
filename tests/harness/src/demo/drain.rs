//! A device is drained while it serves: none of the requests may fail.

use crate::{Online, figures::Figures, lifecycle, say, site::Site};
use anyhow::{Context, Result, ensure};
use fogbank_harness::{Fetched, Fog, wait_for};
use fogbank_node::control::ControlRequest;
use std::{
    ops::ControlFlow::{Break, Continue},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Requests under way at once.
const AT_ONCE: usize = 8;
/// Requests that must have begun after the drain was asked for.
const AFTER: usize = 50;
/// The long download takes about so long.
const LONG_S: u32 = 12;
/// Bytes in a request: parts of the largest file, which no visitor's proxy keeps.
const PART: usize = 1_000;
/// From one request's place in the file to the next one's.
const STEP: usize = 7_919;
/// The drained copy has ended by then: the deadline that the allocator gives, and some.
const DRAIN_DEADLINE: Duration = Duration::from_secs(120);

/// Drains the device that serves the visitor, under load.
pub(crate) async fn drain_host(fog: &mut Fog, online: &Online, site: &Site, began: Instant, figures: &mut Figures) -> Result<()> {
    let index = lifecycle::busiest_host(fog, online).await?;
    let curl = online.curl(fog)?.max_time(Duration::from_secs(90));
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    let after = Arc::new(AtomicUsize::new(0));

    let large = site.content(&site.largest)?;
    let rate = u32::try_from(large.len()).unwrap_or(u32::MAX) / LONG_S;
    let long = {
        let (curl, path) = (curl.clone().rate(rate.max(1)), site.largest.clone());
        tokio::spawn(async move { anyhow::Ok((curl.get(&path).await?, Instant::now())) })
    };
    let loads: Vec<_> = (0..AT_ONCE)
        .map(|n| {
            let (curl, stop, asked, after) = (curl.clone(), stop.clone(), asked.clone(), after.clone());
            let (path, length) = (site.largest.clone(), large.len());
            tokio::spawn(async move {
                let mut results: Vec<(usize, Fetched)> = Vec::new();
                // Parts all over the file; the step has no divisor in common with it that matters.
                for from in (0..).map(|k| (n + k * AT_ONCE) * STEP % (length - PART)) {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let began_after = asked.load(SeqCst);
                    results.push((from, curl.get_part(&path, from, PART).await?));
                    after.fetch_add(usize::from(began_after), SeqCst);
                }
                anyhow::Ok(results)
            })
        })
        .collect();

    // The long download and the load are under way before the drain is asked for.
    wait_for("streams are open on the host", Duration::from_secs(20), async || {
        let open = fog.devices[index].network().await?.host_counters.get("open_streams").copied().unwrap_or(0);
        Ok(if open >= 2 { Break(()) } else { Continue(format!("{open} open")) })
    })
    .await?;
    let relayed_before = forwarded(fog, index).await?;
    fog.devices[index].ask(ControlRequest::Drain { on: true }).await?;
    let asked_at = Instant::now();
    asked.store(true, SeqCst);
    let drained = &fog.devices[index];
    say(began, format_args!("asked to drain {} under {AT_ONCE} requests at once and one long download", drained.name));

    wait_for("the drained copy ends", DRAIN_DEADLINE, async || {
        let lend = drained.status().await?.lend.context("it does not lend")?;
        let live = lend.instances.iter().filter(|i| i.state != "ended").count();
        let count = after.load(SeqCst);
        Ok(if live == 0 && count >= AFTER { Break(()) } else { Continue(format!("{live} copies left, {count} requests since")) })
    })
    .await?;
    say(began, format_args!("{} has no copy any more", drained.name));
    stop.store(true, SeqCst);

    let (mut requests, mut failed) = (0, 0);
    for load in loads {
        for (from, fetched) in load.await?? {
            requests += 1;
            let whole = fetched.is_ok() && fetched.body == large[from..from + PART];
            if !whole {
                failed += 1;
                say(
                    began,
                    format_args!(
                        "  failed: from byte {from}: curl {}, HTTP {}, {:.1} s",
                        fetched.exit, fetched.status, fetched.total_s
                    ),
                );
            }
        }
    }
    let (long, long_ended) = long.await??;
    let straddled_s = long_ended.duration_since(asked_at).as_secs_f64();
    ensure!(straddled_s > 0.0, "the long download ended before the drain was asked for");
    say(began, format_args!("the long download had begun before and ended {straddled_s:.1} s after the drain was asked for"));
    if !(long.is_ok() && long.body == large) {
        failed += 1;
        say(began, format_args!("  the long download failed: curl {}, {} of {} bytes", long.exit, long.body.len(), large.len()));
    }
    let count = after.load(SeqCst);
    figures.at_most("demo.drain_failed", f64::from(failed), "requests", 0.0);
    say(began, format_args!("{} requests, {count} begun after the drain was asked for, {failed} failed", requests + 1));
    ensure!(failed == 0, "{failed} requests failed in the drain");
    ensure!(count >= AFTER, "only {count} requests began after the drain was asked for");
    let relayed = forwarded(fog, index).await? - relayed_before;
    ensure!(relayed > 0, "the drained device stopped relaying");
    say(began, format_args!("{} has relayed {relayed} packets since and goes on", fog.devices[index].name));
    Ok(())
}

async fn forwarded(fog: &Fog, index: usize) -> Result<u64> {
    Ok(fog.devices[index].network().await?.mix_counters.get("forwarded").copied().unwrap_or(0))
}
