//! Running what is measured: a runtime that a signal ends in good order, and which figures were asked for.
//!
//! Invariant: children are values of the future that runs here, so that a signal, an error and the end alike drop and thereby end them.
//! `tools/bench` looks after those that a kill of this process left.

use anyhow::{Context, Result, bail};
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};

/// The prefix of figures that was asked for; empty for all.
pub(crate) fn only() -> String {
    std::env::args().nth(1).unwrap_or_default()
}

/// Whether a figure, or one whose name begins so, was asked for.
pub(crate) fn wanted(name: &str) -> bool {
    let only = only();
    name.starts_with(&only) || only.starts_with(name)
}

/// Whether the long run was asked for (`FULL=1`).
pub(crate) fn full() -> bool {
    std::env::var_os("FULL").is_some_and(|v| v != "0" && !v.is_empty())
}

/// Runs a measurement to its end, or until somebody wants this program to end.
pub(crate) fn block_on<T>(measurement: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime")?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            measured = measurement => measured,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("asked to end"),
        }
    })
}

/// A line about how far a long measurement is.
#[expect(clippy::print_stderr, reason = "a command for people")]
pub(crate) fn say(words: impl std::fmt::Display) {
    eprintln!("bench: {words}");
}
