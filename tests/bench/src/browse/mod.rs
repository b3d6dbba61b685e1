//! Browsing: pages and a bulk file through real `fogbankd` processes at each level, in turn with a C-Tor onion service in the same run.
//!
//! All nodes of both sides are on this machine, so these are loopback figures: they show what the software costs, not what the internet
//! adds. Three mixes a leg, the shipped packet size, `fogbankd` as it is released. The same content comes from the same site runtime on both
//! sides, over the same client. Figures are medians over rounds in which everything takes its turn.
//!
//! Owners' limits are lifted, because one computer stands for all; pages are then loaded once more in a fog whose relays keep the limits that
//! a device begins with (`*_page_default_s`).

mod churn;
mod fog;
mod page;
mod tor;

use crate::{
    figure::{Figure, median},
    run::{block_on, full, say, wanted},
};
use anyhow::Result;
use fog::OurSide;
use fogbank_node::control::LevelDto;
use page::{Content, Door};
use std::{fmt::Write as _, future::Future, path::Path, sync::Arc, time::Duration};
use tor::Tor;

/// Rounds: three medians a bad round; `FULL=1` takes more.
const ROUNDS: usize = 3;
const FULL_ROUNDS: usize = 9;
/// First bytes in a round: they are quick, and the shortest figure is the noisiest.
const FIRST_BYTES: usize = 7;
/// Twice the goal of the slowest level and more: a page that takes longer has failed.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);
/// A bulk load is looked at for so long; its rate is what came until then.
const BULK_MOST: Duration = Duration::from_secs(30);

const LEVELS: [(LevelDto, &str); 3] = [(LevelDto::Fast, "fast"), (LevelDto::Balanced, "balanced"), (LevelDto::Strict, "strict")];

/// The part "browse".
pub(crate) fn figures() -> Result<Vec<Figure>> {
    block_on(async {
        let scratch = tempfile::Builder::new().prefix("fogbank-bench-").tempdir()?;
        let mut figures = Vec::new();
        let levels = LEVELS.into_iter().filter(|(_, name)| wanted(&format!("browse.{name}_"))).collect::<Vec<_>>();
        let peer = wanted("browse.fast_") || wanted("browse.tor_");
        if !levels.is_empty() || peer {
            figures.extend(beside_tor(scratch.path(), &levels, peer).await?);
        }
        if wanted("browse.churn_") {
            figures.extend(churn::figures(scratch.path()).await?);
        }
        Ok(figures)
    })
}

/// A row of the sweep's table: pages and bulk at each level with the packet size that this program and its `fogbankd` are built with.
pub(crate) fn sweep_row() -> Result<String> {
    block_on(async {
        let scratch = tempfile::Builder::new().prefix("fogbank-bench-").tempdir()?;
        let content = content(&scratch.path().join("site"))?;
        let ours = OurSide::start(&LEVELS.map(|(level, _)| level), &content, false).await?;
        let mut seen = [Seen::default(), Seen::default(), Seen::default()];
        for round in 1..=rounds() {
            for ((level, name), seen) in LEVELS.into_iter().zip(&mut seen) {
                seen.look(&format!("round {round}, {name}"), ours.door(level)?, true).await;
            }
        }
        ours.fog.end().await?;
        let mut row = format!("| {} |", fogbank_sphinx::PACKET_BYTES);
        for seen in &seen {
            let _ = write!(row, " {:.2} | {:.2} |", seen.page_s(), seen.bulk_mb_s());
        }
        Ok(row)
    })
}

fn rounds() -> usize {
    if full() { FULL_ROUNDS } else { ROUNDS }
}

/// What was measured through one door.
#[derive(Default)]
struct Seen {
    first_bytes_s: Vec<f64>,
    pages_s: Vec<f64>,
    bulks_mb_s: Vec<f64>,
}

impl Seen {
    /// One round: first bytes on a warm path, a page, and the bulk file where it is asked for.
    async fn look(&mut self, what: &str, door: &Door, bulk: bool) {
        for _ in 0..FIRST_BYTES {
            self.first_bytes_s.push(or(what, f64::INFINITY, door.first_byte(PAGE_DEADLINE)).await);
        }
        self.pages_s.push(or(what, f64::INFINITY, door.page(PAGE_DEADLINE)).await);
        if bulk {
            self.bulks_mb_s.push(or(what, 0.0, door.bulk(BULK_MOST)).await);
        }
        let last = |of: &[f64]| of.last().copied().unwrap_or(f64::NAN);
        say(format_args!(
            "{what}: first byte {:.0} ms, page {:.2} s, bulk {:.2} MB/s",
            self.first_byte_ms(),
            last(&self.pages_s),
            last(&self.bulks_mb_s)
        ));
    }

    fn first_byte_ms(&self) -> f64 {
        median(self.first_bytes_s.iter().copied()) * 1e3
    }

    fn page_s(&self) -> f64 {
        median(self.pages_s.iter().copied())
    }

    fn bulk_mb_s(&self) -> f64 {
        median(self.bulks_mb_s.iter().copied())
    }
}

/// A load that failed counts as the worst there is, and is told.
async fn or(what: &str, worst: f64, load: impl Future<Output = Result<f64>>) -> f64 {
    load.await.unwrap_or_else(|error| {
        say(format_args!("{what}: {error:#}"));
        worst
    })
}

async fn beside_tor(scratch: &Path, levels: &[(LevelDto, &'static str)], peer: bool) -> Result<Vec<Figure>> {
    let content = content(&scratch.join("site"))?;
    let tor = if peer { start_tor(scratch, &content).await? } else { None };
    let wanted_levels: Vec<LevelDto> = levels.iter().map(|(level, _)| *level).collect();
    let ours = OurSide::start(&wanted_levels, &content, false).await?;
    let mut theirs = Seen::default();
    let mut seen: Vec<Seen> = levels.iter().map(|_| Seen::default()).collect();
    for round in 1..=rounds() {
        if let Some(tor) = &tor {
            theirs.look(&format!("round {round}, C-Tor"), &tor.door, true).await;
        }
        for ((level, name), seen) in levels.iter().zip(&mut seen) {
            // No goal asks for bulk at strict, and its constant rate would make it the longest of all.
            seen.look(&format!("round {round}, {name}"), ours.door(*level)?, *level != LevelDto::Strict).await;
        }
    }
    ours.fog.end().await?;
    let with_tor = tor.is_some().then_some(&theirs);
    drop(tor);
    let mut figures = table(levels, &seen, with_tor);
    if !levels.is_empty() {
        figures.extend(at_default_limits(levels, &wanted_levels, &content).await?);
    }
    Ok(figures)
}

/// Pages in a fog whose relays take a megabyte a second each.
async fn at_default_limits(
    levels: &[(LevelDto, &'static str)],
    wanted: &[LevelDto],
    content: &Arc<Content>,
) -> Result<Vec<Figure>> {
    let limited = OurSide::start(wanted, content, true).await?;
    let mut figures = Vec::new();
    for (level, name) in levels {
        let mut pages_s = Vec::new();
        for round in 1..=rounds() {
            let what = format!("default limits, round {round}, {name}");
            pages_s.push(or(&what, f64::INFINITY, limited.door(*level)?.page(PAGE_DEADLINE)).await);
            say(format_args!("{what}: page {:.2} s", pages_s.last().copied().unwrap_or(f64::NAN)));
        }
        let figure = Figure::plain(&format!("browse.{name}_page_default_s"), median(pages_s), "s");
        figures.push(figure.with_note("at the limits that a device begins with, loopback"));
    }
    limited.fog.end().await?;
    Ok(figures)
}

fn content(folder: &Path) -> Result<Arc<Content>> {
    Content::full(folder, rounds(), rounds() * FIRST_BYTES)
}

/// The peer, or why there is none.
async fn start_tor(scratch: &Path, content: &Arc<Content>) -> Result<Option<Tor>> {
    if let Some(why) = Tor::missing() {
        say(format_args!("NOT MEASURED: whatever is compared with Tor, since {why}"));
        return Ok(None);
    }
    Tor::start(scratch, content.clone()).await.map(Some)
}

fn table(levels: &[(LevelDto, &'static str)], seen: &[Seen], tor: Option<&Seen>) -> Vec<Figure> {
    const LOOPBACK: &str = "loopback";
    let mut figures = Vec::new();
    for ((level, name), seen) in levels.iter().zip(seen) {
        let named = |what: &str| format!("browse.{name}_{what}");
        let (page, bulk) = (named("page_s"), named("bulk_mb_s"));
        match level {
            LevelDto::Fast => {
                if let Some(tor) = tor {
                    let peer = format!("C-Tor, warm, loopback ({:.1} ms)", tor.first_byte_ms());
                    figures.push(Figure::times(&named("ttfb_vs_tor"), &peer, seen.first_byte_ms(), tor.first_byte_ms(), 1.0));
                    let peer = format!("C-Tor, loopback ({:.2} MB/s)", tor.bulk_mb_s());
                    figures.push(Figure::times_at_least(&named("bulk_vs_tor"), &peer, seen.bulk_mb_s(), tor.bulk_mb_s(), 4.0));
                }
                figures.push(Figure::plain(&page, seen.page_s(), "s").with_note(LOOPBACK));
                figures.push(Figure::plain(&bulk, seen.bulk_mb_s(), "MB/s").with_note(LOOPBACK));
            }
            LevelDto::Balanced => {
                figures.push(Figure::at_most(&page, seen.page_s(), "s", 3.0).with_note(LOOPBACK));
                figures.push(
                    Figure::at_least(&bulk, seen.bulk_mb_s(), "MB/s", 1.2).with_note("loopback; Nym publishes 0.015-0.12 MB/s"),
                );
            }
            LevelDto::Strict => figures.push(Figure::at_most(&page, seen.page_s(), "s", 15.0).with_note(LOOPBACK)),
        }
        figures.push(Figure::plain(&named("ttfb_ms"), seen.first_byte_ms(), "ms").with_note(LOOPBACK));
    }
    if let Some(tor) = tor {
        figures.push(Figure::plain("browse.tor_ttfb_ms", tor.first_byte_ms(), "ms").with_note("C-Tor, loopback"));
        figures.push(Figure::plain("browse.tor_page_s", tor.page_s(), "s").with_note("C-Tor, loopback"));
        figures.push(Figure::plain("browse.tor_bulk_mb_s", tor.bulk_mb_s(), "MB/s").with_note("C-Tor, loopback"));
    }
    figures
}
