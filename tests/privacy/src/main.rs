//! `make privacy`: what watchers of the mix network learn, measured in virtual time on the product's own tunnels, mailboxes, SURB accounts,
//! paths, guards and schedules. Prints tables, and writes them with plots into `docs/privacy`.
//!
//! Arguments: a seed; and `full`, `short` (fewer pairs) or `quick` (a look that writes nothing). JOBS in the environment: cells at once, as many as cores if it is not
//! set. One seed gives one result, whatever JOBS is.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod adapter;
mod cells;
mod chance;
#[cfg(test)]
mod claims;
mod client;
mod correlate;
mod entropy;
mod guards;
mod hostile;
mod net;
mod page;
mod report;
mod session;
mod stats;
mod svg;
mod trace;
mod tracks;

use anyhow::{Context as _, Result, bail};
use cells::Settings;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map_or(Ok(1), |s| s.parse()).context("the first argument is a seed, a number")?;
    let size = arguments.next().unwrap_or_else(|| "full".to_owned());
    let settings = match size.as_str() {
        "full" => Settings::full(seed),
        "short" => Settings::short(seed),
        "quick" => Settings::quick(seed),
        other => bail!("a run is full, short or quick, not “{other}”"),
    };
    let jobs = match std::env::var("JOBS") {
        Ok(jobs) => jobs.parse().context("JOBS is a number")?,
        Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let measured = report::measure(&Settings { jobs, ..settings });
    report::print(&measured);
    if size == "quick" { Ok(()) } else { report::write(&measured, std::path::Path::new("docs/privacy")) }
}
