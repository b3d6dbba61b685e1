//! The practice fog: several nodes in this process, so that a newcomer can try the whole way with one computer. It gives no privacy.
//!
//! Each node is a whole one, with keys, a profile folder and a lock of its own below the profile's `practice/`; all listen on loopback only.

use crate::{
    Node, NodeOptions, Profile, ProxyPort,
    control::{ControlReply, ControlRequest},
};
use fogbank_agent::Share;
use fogbank_wire::Ticket;
use futures_util::future::join_all;
use std::{net::Ipv4Addr, path::PathBuf};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nodes beside the own one: a test fog needs four mixes besides the two ends, the own node visits, one of these hosts, and one to spare.
const NODES: usize = 6;
/// Each lends a little, so that all together lend no more than one device would: 6 × 8 % of the cores, 6 × 4 % of the memory.
const SHARE: Share = Share { cpu_percent: 8, memory_percent: 4, storage_mb: 1_000, keep_free_percent: 10, bandwidth_kbps: 8_000 };

/// Nodes that run until [`PracticeFog::shutdown`].
pub(crate) struct PracticeFog {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PracticeFog {
    /// Starts them one after another in the background.
    pub(crate) fn start(folder: PathBuf, ticket: Ticket) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(folder, ticket.to_string(), stop.clone()));
        Self { stop, task }
    }

    /// Ends them all.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

async fn run(folder: PathBuf, ticket: String, stop: CancellationToken) {
    let mut nodes = Vec::new();
    for n in 1..=NODES {
        if stop.is_cancelled() {
            break;
        }
        match one(&folder, n, &ticket).await {
            Ok(node) => nodes.push(node),
            Err(error) => tracing::error!(error, node = n, "a node of the practice fog did not start"),
        }
    }
    tracing::info!(nodes = nodes.len(), "the practice fog runs");
    stop.cancelled().await;
    join_all(nodes.iter().map(Node::shutdown)).await;
}

async fn one(folder: &std::path::Path, n: usize, ticket: &str) -> Result<Node, String> {
    let profile = Profile::open(&folder.join(format!("Practice device {n}"))).map_err(|e| e.to_string())?;
    let options = NodeOptions { listen: Ipv4Addr::LOCALHOST.into(), proxy: ProxyPort::Off, share: SHARE };
    // Boxed, because a node holds a practice fog that holds nodes.
    let node = Box::pin(Node::start(profile, options)).await.map_err(|e| e.to_string())?;
    let wishes = [
        ControlRequest::Join { ticket: ticket.to_owned() },
        ControlRequest::Lend { on: true, direct: false },
        // They talk with each other on this computer only: no line to spare.
        ControlRequest::RelayLimits { rate_kb_s: None, month_gb: None },
        ControlRequest::Relay { on: true },
    ];
    for wish in wishes {
        if let ControlReply::Failed(error) = Box::pin(node.call(wish)).await {
            node.shutdown().await;
            return Err(error.what);
        }
    }
    Ok(node)
}
