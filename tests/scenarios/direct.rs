//! A direct visit, the whole way: not before its publisher, an owner and the visitor have all said so, and not a moment after one of them has not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Curl, Fog, FogPlan, wait_for};
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, GradeDto, LevelDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    time::{Duration, Instant},
};

/// A busy machine is waited for.
const SOON: Duration = Duration::from_secs(60);
/// A refusal is no time-out, which comes after 20 s.
const AT_ONCE: Duration = Duration::from_secs(10);
const FRONT: &[u8] = b"under construction";

#[tokio::test(flavor = "multi_thread")]
async fn visitors_come_directly_only_where_all_have_said_so() -> Result<()> {
    let fog = Fog::start(FogPlan { devices: 5, publisher: true, visitor: true, ..FogPlan::default() }).await?;
    let site = fog.folder().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("index.html"), FRONT)?;
    let (publisher, visitor) = (fog.publisher.as_ref().unwrap(), fog.visitor.as_ref().unwrap());
    let publish = |private| ControlRequest::Publish {
        folder: site.to_string_lossy().into_owned(),
        name: "workshop".to_owned(),
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 10.0, bandwidth_mbps: 1.0 },
        instances: 2,
        availability: None,
        most: None,
        level: LevelDto::Fast,
        private,
        direct: true,
    };
    let refused = publisher.ask(publish(true)).await.expect_err("what is private is never offered without mixes");
    assert!(refused.to_string().contains("private"), "{refused}");
    let (id, onion) = publisher.publish(&publish(false)).await?;
    let detail = publisher.container(&id).await?;
    assert!(detail.container.direct && !detail.container.private, "its publisher is shown what was chosen");
    visitor.ask(ControlRequest::Visit { link: detail.link }).await?;
    visitor.serves(&onion, FRONT).await?;
    let visits = visitor.network().await?.visits;
    assert!(!visits.is_empty() && visits.iter().all(|v| v.direct.is_none()), "nobody asked for it: {visits:?}");

    let direct = Curl::new(visitor.proxy.unwrap(), &onion).user("fogbank-direct").max_time(Duration::from_secs(40));
    let asked = Instant::now();
    let page = direct.get("").await?;
    let words = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.status == 403 && words.contains("owner"), "no owner has agreed: {} {words}", page.status);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());

    for device in &fog.devices {
        device.ask(ControlRequest::Lend { on: true, direct: true }).await?;
        assert!(device.status().await?.lend.is_some_and(|lend| lend.direct));
    }
    wait_for("it opens directly", SOON, async || {
        let page = direct.get("").await?;
        Ok(if page.body == FRONT { Break(()) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
    })
    .await?;
    let visits = visitor.network().await?.visits;
    let marks: Vec<_> = visits.iter().filter(|v| v.words.starts_with("open")).map(|v| v.direct).collect();
    assert_eq!(marks, [None, Some(GradeDto::None)], "one line by mixes, one in red: {visits:?}");

    // Lending goes on without it: what came directly ends, what comes by mixes does not notice.
    for device in &fog.devices {
        let done = device.ask(ControlRequest::Lend { on: true, direct: false }).await?;
        assert_eq!(done, ControlReply::Done);
        assert!(device.status().await?.lend.is_some_and(|lend| !lend.direct));
    }
    wait_for("it opens directly no more", SOON, async || {
        let page = direct.get("").await?;
        Ok(if page.status == 403 { Break(()) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
    })
    .await?;
    visitor.serves(&onion, FRONT).await?;
    fog.end().await
}
