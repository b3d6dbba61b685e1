//! Ending what a node runs, each part within a bound: whoever quits does not wait for peers that are silent, nor for a part that is stuck.
//!
//! Nothing depends on a part ending well. What was answered for is on disk, and peers notice by themselves that somebody is gone.

use std::{future::Future, time::Duration};
use tokio::time::timeout;

/// A part ends in milliseconds; saying goodbye to a peer that is silent takes three probes, a second in a quiet network. Four bounds in a row,
/// as [`crate::Node::shutdown`] has them at most, are shorter than the ten seconds that systems give a program to end.
const END_WAIT: Duration = Duration::from_secs(2);

/// Waits for a part to end, and for no longer than it may take; then the log names it.
pub(crate) async fn within<T>(part: &'static str, ending: impl Future<Output = T>) -> Option<T> {
    let ended = timeout(END_WAIT, ending).await.ok();
    if ended.is_none() {
        tracing::warn!(part, "a part of the node did not end in {} s and is left behind", END_WAIT.as_secs());
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_left_behind() {
        assert_eq!(within("quick", async { 7 }).await, Some(7));
        assert_eq!(within("stuck", std::future::pending::<()>()).await, None);
    }
}
