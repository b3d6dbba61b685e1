//! `fogbankd run`: hosts the node of a profile until a signal, or a client's `quit`, ends it.

use crate::{args::RunOptions, out};
use anyhow::Context;
use fogbank_node::{Node, NodeOptions, Profile};
use std::path::Path;
use tokio::signal;
use tracing_subscriber::EnvFilter;

/// What is logged unless RUST_LOG says otherwise: our own news, and only trouble of the libraries.
const DEFAULT_LOG: &str = "warn,fogbank_node=info,fogbank_allocator=info,fogbank_agent=info,fogbank_betanet=info,fogbankd=info";

/// Runs the node.
pub(crate) async fn run(profile: &Path, options: RunOptions) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let profile = Profile::open(profile)?;
    let node =
        Node::start(profile, NodeOptions { listen: options.listen, proxy: options.proxy, ..NodeOptions::default() }).await?;
    let status = node.status().await;
    let proxy = status.proxy.map(|proxy| format!("proxy {proxy}\n")).unwrap_or_default();
    out::say(&format!("device {}\n{proxy}ready\n", status.device))?;
    tokio::select! {
        () = node.ended() => {}
        signal = stop_signal() => signal?,
    }
    node.shutdown().await;
    Ok(())
}

/// Waits for an interrupt or a request to terminate.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate()).context("signals")?;
        tokio::select! {
            interrupted = signal::ctrl_c() => interrupted.context("signals"),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await.context("signals")
}
