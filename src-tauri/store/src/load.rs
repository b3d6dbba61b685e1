//! How much containers' copies were asked: rows by the minute for a day, and by the quarter of an hour for thirty days.
//!
//! Invariants: times are whole minutes and quarters, and rows that are older than their span, or of a time that has not come, go with each write; so
//! a container has at most 1,440 and 2,880 of them, about a quarter of a megabyte. A quarter is made of its minutes in the transaction that stores
//! them, so it is there however the allocator ends. Minutes in which nothing was asked have no row, and count as such in their quarter.

use crate::{Store, StoreError, device::id};
use fogbank_model::{ContainerId, DurationMs, UnixMs};

const MINUTE: DurationMs = DurationMs::from_s(60);
const QUARTER: DurationMs = DurationMs::from_s(15 * 60);
/// Rows of the minute are kept so long.
const DAY: DurationMs = DurationMs::from_s(24 * 3600);
/// Rows of the quarter are kept so long.
const MONTH: DurationMs = DurationMs::from_s(30 * 24 * 3600);

/// What one row spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadStep {
    /// A minute, kept for a day.
    Minute,
    /// Fifteen, kept for thirty days.
    Quarter,
}

impl LoadStep {
    const fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Quarter => 15,
        }
    }

    /// The oldest time of which rows are kept.
    fn oldest(self, now: UnixMs) -> UnixMs {
        let kept = match self {
            Self::Minute => DAY,
            Self::Quarter => MONTH,
        };
        now.plus(DurationMs(-kept.0))
    }
}

/// One row: means over its span, but for the peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLoad {
    /// When its span began.
    pub at: UnixMs,
    /// The highest load, thousandths.
    pub peak: u16,
    /// Share of the bandwidth, thousandths.
    pub network: u16,
    /// Share of tunnels or streams, thousandths.
    pub concurrency: u16,
    /// Share of the time that is aimed at, thousandths; 0 when it was not measured.
    pub latency: u16,
    /// Requests, hundredths a second.
    pub traffic: u32,
    /// Copies that served.
    pub ready: u8,
    /// Copies wanted.
    pub wanted: u8,
    /// How often the wanted number changed.
    pub changes: u8,
}

impl Store {
    /// Keeps a minute of these containers, all or none, makes the quarter anew of which it is, and lets go what is too old. Of a container that is gone
    /// nothing is kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_loads(&self, rows: &[(ContainerId, KeptLoad)], now: UnixMs) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let mut quarters: Vec<i64> = Vec::new();
        for (container, row) in rows {
            let cid = container.0.as_slice();
            let at = row.at.0.div_euclid(MINUTE.0) * MINUTE.0;
            quarters.push(at.div_euclid(QUARTER.0) * QUARTER.0);
            sqlx::query!(
                "INSERT OR REPLACE INTO load
                 (container, minutes, at, peak, network, concurrency, latency, traffic, ready, wanted, changes)
                 SELECT id, 1, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM containers WHERE id = ?",
                at,
                row.peak,
                row.network,
                row.concurrency,
                row.latency,
                row.traffic,
                row.ready,
                row.wanted,
                row.changes,
                cid
            )
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        }
        quarters.sort_unstable();
        quarters.dedup();
        for from in quarters {
            let until = from + QUARTER.0;
            sqlx::query!(
                "INSERT OR REPLACE INTO load
                 (container, minutes, at, peak, network, concurrency, latency, traffic, ready, wanted, changes)
                 SELECT container, 15, ?, MAX(peak), CAST(ROUND(SUM(network) / 15.0) AS INTEGER),
                        CAST(ROUND(SUM(concurrency) / 15.0) AS INTEGER), CAST(ROUND(AVG(latency)) AS INTEGER),
                        CAST(ROUND(SUM(traffic) / 15.0) AS INTEGER),
                        CAST(ROUND(AVG(ready)) AS INTEGER), CAST(ROUND(AVG(wanted)) AS INTEGER), MIN(SUM(changes), 255)
                 FROM load WHERE minutes = 1 AND at >= ? AND at < ? GROUP BY container",
                from,
                from,
                until
            )
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        }
        for step in [LoadStep::Minute, LoadStep::Quarter] {
            let (minutes, oldest, newest) = (step.minutes(), step.oldest(now).0, now.0);
            sqlx::query!("DELETE FROM load WHERE minutes = ? AND (at < ? OR at > ?)", minutes, oldest, newest)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database)?;
        }
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// A container's rows that are not too old, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn loads(&self, container: ContainerId, step: LoadStep, now: UnixMs) -> Result<Vec<KeptLoad>, StoreError> {
        let (cid, minutes, oldest) = (container.0.as_slice(), step.minutes(), step.oldest(now).0);
        let rows = sqlx::query!(
            "SELECT at, peak, network, concurrency, latency, traffic, ready, wanted, changes FROM load
             WHERE container = ? AND minutes = ? AND at >= ? ORDER BY at",
            cid,
            minutes,
            oldest
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        let share = |thousandths: i64| u16::try_from(thousandths).unwrap_or(u16::MAX);
        let few = |count: i64| u8::try_from(count).unwrap_or(u8::MAX);
        let row = rows.into_iter().map(|r| KeptLoad {
            at: UnixMs(r.at),
            peak: share(r.peak),
            network: share(r.network),
            concurrency: share(r.concurrency),
            latency: share(r.latency),
            traffic: u32::try_from(r.traffic).unwrap_or(u32::MAX),
            ready: few(r.ready),
            wanted: few(r.wanted),
            changes: few(r.changes),
        });
        Ok(row.collect())
    }

    /// In which minutes since then the number of copies wanted changed, and how often, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load_changes(&self, since: UnixMs) -> Result<Vec<(ContainerId, UnixMs, u8)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT container, at, changes FROM load WHERE minutes = 1 AND at >= ? AND changes > 0 ORDER BY at",
            since.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        let row = |container, at, changes: i64| {
            Ok((ContainerId(id(container, "a container id")?), UnixMs(at), u8::try_from(changes).unwrap_or(u8::MAX)))
        };
        rows.into_iter().map(|r| row(r.container, r.at, r.changes)).collect()
    }
}
