//! How much visitors ask of an instance, as its device tells it.

use super::*;
use fogbank_wire::Traffic;

/// What visitors ask is told only where the allocator asked for it, in sums of ten seconds, and no single visit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_much_is_asked_is_told_where_it_is_asked_for() {
    let scene = Scene::start().await;
    let measure = |on| DeviceRequest::Measure { instance: ONE, on };
    assert_eq!(scene.refused(measure(true)).await.0, RefusalKind::NotFound);
    scene.serve(ONE, DAY).await;
    for _ in 0..30 {
        scene.street.front(ONE).await.unwrap();
    }
    assert_eq!(of(&scene.agent.reports().borrow(), ONE).unwrap().traffic, None);
    scene.done(measure(true)).await;
    let nothing = Some(Traffic::default());
    assert_eq!(of(&scene.agent.reports().borrow(), ONE).unwrap().traffic, nothing, "what was before is not told");
    // Each front page is a manifest and a content.
    for _ in 0..100 {
        scene.street.front(ONE).await.unwrap();
    }
    scene.done(measure(true)).await;
    let report = scene.report("it was asked for much", |r| of(r, ONE).unwrap().traffic != nothing).await;
    let traffic = of(&report, ONE).unwrap().traffic.unwrap();
    assert!((150..=1_000).contains(&traffic.requests) && traffic.first_byte_ms.is_some(), "{traffic:?}");
    scene.report("nobody asks any more", |r| of(r, ONE).unwrap().traffic == nothing).await;
    scene.done(measure(false)).await;
    assert_eq!(of(&scene.agent.reports().borrow(), ONE).unwrap().traffic, None);
}
