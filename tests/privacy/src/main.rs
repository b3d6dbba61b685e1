//! `make privacy`: what watchers of the mix network learn, measured in virtual time on the product's own tunnels, mailboxes, SURB accounts,
//! paths, guards and schedules. Prints tables, and writes them with plots into `docs/privacy`.
//!
//! Arguments: a seed, and `quick` for a small run that writes nothing. One seed gives one result, on any number of cores.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod adapter;
mod cells;
mod chance;
mod client;
mod correlate;
mod entropy;
mod guards;
mod net;
mod page;
mod report;
mod session;
mod stats;
mod svg;
mod trace;

use anyhow::{Context as _, Result};
use cells::Settings;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map_or(Ok(1), |s| s.parse()).context("the first argument is a seed, a number")?;
    let quick = arguments.next().is_some_and(|a| a == "quick");
    let settings = if quick { Settings::quick(seed) } else { Settings::full(seed) };
    let measured = report::measure(&settings);
    report::print(&measured);
    if quick { Ok(()) } else { report::write(&measured, std::path::Path::new("docs/privacy")) }
}
