//! Rows of load: rolled up, swept, bounded, and gone with their container.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{NOW, container, store};
use fogbank_model::{ContainerId, DurationMs, UnixMs};
use fogbank_store::{KeptLoad, LoadStep};

const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;

fn row(at: UnixMs, peak: u16, changes: u8) -> KeptLoad {
    let (network, concurrency) = (peak / 2, peak / 4);
    KeptLoad { at, peak, network, concurrency, latency: 0, traffic: 150, ready: 2, wanted: 3, changes }
}

fn quarter(after: i64) -> UnixMs {
    UnixMs(NOW.0.div_euclid(QUARTER) * QUARTER + after)
}

#[tokio::test]
async fn minutes_make_quarters_and_both_end() {
    let (_folder, store) = store().await;
    let kept = container(0);
    store.create(&kept).await.unwrap();
    let (id, gone) = (kept.container.id, ContainerId([77; 16]));
    for minute in 0..20 {
        let at = quarter(minute * MINUTE + 1_234);
        let rows = [(id, row(at, 100 * minute as u16, u8::from(minute == 7))), (gone, row(at, 1, 0))];
        store.keep_loads(&rows, at.plus(DurationMs(MINUTE))).await.unwrap();
        // Again, as after a crash between storing and forgetting.
        store.keep_loads(&rows, at.plus(DurationMs(MINUTE))).await.unwrap();
    }
    let now = quarter(20 * MINUTE);
    let minutes = store.loads(id, LoadStep::Minute, now).await.unwrap();
    assert_eq!((minutes.len(), minutes[3]), (20, row(quarter(3 * MINUTE), 300, 0)));
    let quarters = store.loads(id, LoadStep::Quarter, now).await.unwrap();
    let first = KeptLoad { peak: 1_400, network: 350, concurrency: 175, ..row(quarter(0), 0, 1) };
    assert_eq!((quarters[0], quarters.len()), (first, 2));
    assert_eq!(quarters[1].peak, 1_900, "the present one as far as it is");
    assert!(store.loads(gone, LoadStep::Minute, now).await.unwrap().is_empty());
    assert_eq!(store.load_changes(quarter(0)).await.unwrap(), [(id, quarter(7 * MINUTE), 1)]);

    // A day later the minutes are over, thirty days later the quarters.
    let day = now.plus(DurationMs::from_s(24 * 3600));
    store.keep_loads(&[], day).await.unwrap();
    assert!(store.loads(id, LoadStep::Minute, now).await.unwrap().is_empty());
    assert_eq!(store.loads(id, LoadStep::Quarter, day).await.unwrap().len(), 2);
    // A clock that was set back leaves nothing of a time that has not come.
    store.keep_loads(&[], quarter(5 * MINUTE)).await.unwrap();
    assert_eq!(store.loads(id, LoadStep::Quarter, now).await.unwrap().len(), 1);
    store.keep_loads(&[], day.plus(DurationMs::from_s(30 * 24 * 3600))).await.unwrap();
    assert!(store.loads(id, LoadStep::Quarter, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_container_that_is_forgotten_takes_its_rows_along() {
    let (_folder, store) = store().await;
    let kept = container(0);
    store.create(&kept).await.unwrap();
    let id = kept.container.id;
    store.keep_loads(&[(id, row(quarter(0), 500, 1))], quarter(MINUTE)).await.unwrap();
    for to in [fogbank_model::ContainerState::Stopping, fogbank_model::ContainerState::Stopped] {
        store.move_container(id, to, "test", NOW).await.unwrap();
    }
    store.forget(id).await.unwrap();
    assert!(store.load_changes(UnixMs(0)).await.unwrap().is_empty());
}
