//! The practice fog: one process, the whole way, through restarts, and gone without a trace when it is left.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::Process;
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, LevelDto};

const FRONT: &[u8] = b"practice";

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_tries_the_whole_way_on_one_computer() -> Result<()> {
    let mut folder = tempfile::tempdir()?;
    // For a look at the logs when it fails.
    folder.disable_cleanup(std::env::var_os("KEEP_LOGS").is_some());
    let site = folder.path().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let mut node = Process::start(folder.path(), "newcomer", true).await?;
    node.ask(ControlRequest::Practice).await?;
    let fog = node.status().await?.fog.unwrap();
    assert!(fog.practice && fog.test && fog.allocator && fog.connected, "{fog:?}");
    assert!(node.ask(ControlRequest::Practice).await.is_err(), "a second fog was started");

    let publish = ControlRequest::Publish {
        folder: site.to_string_lossy().into_owned(),
        name: "practice".to_owned(),
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 10.0, bandwidth_mbps: 1.0 },
        instances: 2,
        availability: None,
        most: None,
        level: LevelDto::Fast,
        private: false,
        direct: false,
    };
    // Whoever is told that it is ready is not told to wait then.
    let ControlReply::Created { id, onion } = node.ask(publish).await? else { anyhow::bail!("nothing was created") };
    node.serves(&onion, FRONT).await?;

    node.quit().await?;
    let mut node = Process::start(folder.path(), "newcomer", true).await?;
    node.serves(&onion, FRONT).await?;

    node.ask(ControlRequest::Delete { id }).await?;
    node.ask(ControlRequest::Leave).await?;
    assert!(node.status().await?.fog.is_none());
    for left in ["practice", "fog.key", "fog.sqlite"] {
        assert!(!node.profile().join(left).exists(), "{left} was left behind");
    }
    node.ask(ControlRequest::StartFog { name: "A real one".to_owned(), test: false, relay: None }).await?;
    assert_eq!(node.status().await?.fog.unwrap().name, "A real one");
    assert!(node.ask(ControlRequest::Leave).await.is_err(), "the allocator left its own fog");
    node.quit().await
}
