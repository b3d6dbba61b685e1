//! Visiting as people do: curl by each door of the visitor's proxy, and what the node says of the visit.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Curl, Fog, FogPlan, wait_for};
use fogbank_node::control::{ControlRequest, TrustDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);

/// Status and content, by these options of curl.
async fn curl(options: &[&str], url: &str) -> Result<(u16, Vec<u8>)> {
    let body = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("curl");
    for name in ["http_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name);
    }
    command.args(["--silent", "--max-time", "40", "--noproxy", "", "--write-out", "%{http_code}", "--output"]).arg(body.path());
    let output = command.args(options).arg(url).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    Ok((String::from_utf8(output.stdout)?.trim().parse()?, std::fs::read(body.path())?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_comes_verified_by_every_door() -> Result<()> {
    let fog = Fog::start(FogPlan { devices: 6, publisher: true, visitor: true, ..FogPlan::default() }).await?;
    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), "as published")?;
    let (id, onion) = fog.publish(&site, 2).await?;
    let visitor = fog.visitor.as_ref().unwrap();
    let proxy = visitor.proxy.unwrap();
    // Before a fog is known the page says so.
    let early = curl(&["--proxy", &proxy.to_string()], &format!("http://{onion}/")).await?;
    assert!(early.0 == 503 && String::from_utf8_lossy(&early.1).contains("knows no mixes"), "{early:?}");

    let link = wait_for("the container has a link", SOON, async || {
        let link = fog.publisher.as_ref().unwrap().container(&id).await?.link;
        Ok(if link.is_empty() { Continue("no link".to_owned()) } else { Break(link) })
    })
    .await?;
    visitor.ask(ControlRequest::Visit { link }).await?;
    let plain = Curl::new(proxy, &onion).max_time(Duration::from_secs(20));
    wait_for("the address serves", SOON, async || {
        let page = plain.get("").await?;
        Ok(if page.is_ok() { Break(()) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
    })
    .await?;
    let proxy = proxy.to_string();
    for door in [&["--socks5-hostname", &proxy][..], &["--proxy", &proxy], &["--proxytunnel", "--proxy", &proxy]] {
        let (status, body) = curl(door, &format!("http://{onion}/")).await?;
        assert_eq!((status, body.as_slice()), (200, &b"as published"[..]), "{door:?}");
    }
    let network = visitor.network().await?;
    assert_eq!(network.visits.len(), 1, "{:?}", network.visits);
    assert_eq!((network.visits[0].trust, network.visits[0].caught), (TrustDto::Verified, 0));
    let said =
        Command::new(env!("CARGO_BIN_EXE_fogbankd")).arg("--profile").arg(visitor.profile()).arg("network").output().await?;
    let said = String::from_utf8(said.stdout)?;
    assert!(said.contains("verified: what it shows is its publisher's"), "{said}");
    fog.end().await
}
