//! A private site, the whole way: shut to a visitor who only has the address, open to one with the whole link, before and after restarts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Curl, Process, wait_for};
use fogbank_node::control::{Amounts, ControlRequest, LevelDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);

const FRONT: &[u8] = b"for friends";

#[tokio::test(flavor = "multi_thread")]
async fn a_private_site_opens_by_its_whole_link_only() -> Result<()> {
    let mut folder = tempfile::tempdir()?;
    // For a look at the logs when it fails.
    folder.disable_cleanup(std::env::var_os("KEEP_LOGS").is_some());
    let site = folder.path().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let mut node = Process::start(folder.path(), "publisher", true).await?;
    node.ask(ControlRequest::Practice).await?;
    let publish = ControlRequest::Publish {
        folder: site.to_string_lossy().into_owned(),
        name: "private".to_owned(),
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 10.0, bandwidth_mbps: 1.0 },
        instances: 2,
        availability: None,
        most: None,
        level: LevelDto::Fast,
        private: true,
        direct: false,
    };
    let (id, onion) = node.publish(&publish).await?;
    node.serves(&onion, FRONT).await?;
    let detail = node.container(&id).await?;
    assert!(detail.container.private, "its publisher is told not to hand out the address alone");
    let link = detail.link;
    let (bare, key) = link.split_once("&key=").expect("the publisher's link holds the key");
    assert!(!bare.contains(key));

    let mut visitor = Process::start(folder.path(), "visitor", true).await?;
    visitor.ask(ControlRequest::Visit { link: bare.to_owned() }).await?;
    let curl = Curl::new(visitor.proxy.unwrap(), &onion).max_time(Duration::from_secs(30));
    let refused = curl.get("").await?;
    assert!(refused.body != FRONT && refused.status != 200, "{refused:?}");
    let words = wait_for("it says why", SOON, async || {
        let visits = visitor.network().await?.visits;
        Ok(match visits.into_iter().find(|v| v.words.contains("private")) {
            Some(visit) => Break(visit.words),
            None => Continue("nothing yet".to_owned()),
        })
    })
    .await?;
    assert!(words.contains("link"), "{words}");
    visitor.ask(ControlRequest::Visit { link: link.clone() }).await?;
    visitor.serves(&onion, FRONT).await?;

    visitor.quit().await?;
    let mut visitor = Process::start(folder.path(), "visitor", true).await?;
    visitor.serves(&onion, FRONT).await?;
    node.quit().await?;
    let mut node = Process::start(folder.path(), "publisher", true).await?;
    node.serves(&onion, FRONT).await?;
    assert_eq!(node.container(&id).await?.link.split_once("&key=").map(|(_, key)| key.to_owned()).as_deref(), Some(key));
    visitor.quit().await?;
    node.quit().await
}
