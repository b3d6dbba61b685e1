//! Storing a move, and the switch by which a test kills the allocator right after one.

use crate::{StoreError, device::amount};
use fogbank_model::{ContainerId, InstanceId, UnixMs};
use sqlx::SqliteConnection;

/// Moves kept of a container and its instances together: years of a quiet one, the last days of one whose devices come and go each hour.
/// At 150 bytes each, 10,000 containers stay below 2 GB.
pub const MAX_HISTORY: usize = 1_000;

/// Adds a line to the history and forgets its oldest beyond [`MAX_HISTORY`], in the caller's transaction.
pub(crate) async fn record(
    connection: &mut SqliteConnection,
    container: ContainerId,
    instance: Option<InstanceId>,
    state: &str,
    reason: &str,
    at: UnixMs,
) -> Result<(), StoreError> {
    let container = container.0.as_slice();
    let instance = instance.map(|i| i.0.to_vec());
    let at = at.0;
    sqlx::query!(
        "INSERT INTO transitions (container, instance, state, reason, at) VALUES (?, ?, ?, ?, ?)",
        container,
        instance,
        state,
        reason,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database)?;
    let kept = amount(MAX_HISTORY as u64);
    sqlx::query!(
        "DELETE FROM transitions WHERE container = ?1 AND number <=
         (SELECT number FROM transitions WHERE container = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        container,
        kept
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database)
}

/// In builds with debug assertions, `FOGBANK_KILL_AFTER_TRANSITION=n` kills the process (SIGKILL) right after the n-th committed transition
/// since it started: the test of going on from the store. In other builds it does nothing.
#[derive(Clone)]
pub(crate) struct KillSwitch {
    #[cfg(all(debug_assertions, unix))]
    left: Option<std::sync::Arc<std::sync::atomic::AtomicU64>>,
}

impl KillSwitch {
    #[cfg(all(debug_assertions, unix))]
    pub(crate) fn from_environment() -> Self {
        let count = std::env::var("FOGBANK_KILL_AFTER_TRANSITION").ok().and_then(|n| n.parse().ok());
        Self { left: count.map(|n: u64| std::sync::Arc::new(n.into())) }
    }

    #[cfg(not(all(debug_assertions, unix)))]
    pub(crate) fn from_environment() -> Self {
        Self {}
    }

    /// A transaction with this many transitions was committed.
    pub(crate) fn committed(&self, transitions: u64) {
        #[cfg(all(debug_assertions, unix))]
        if let Some(left) = &self.left {
            use std::sync::atomic::Ordering::SeqCst;
            let before = left.fetch_sub(transitions.min(left.load(SeqCst)), SeqCst);
            if before > 0 && before <= transitions {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
        }
        #[cfg(not(all(debug_assertions, unix)))]
        let _ = transitions;
    }
}
