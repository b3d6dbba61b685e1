//! Being cut off from the database, for tests: what SIGKILL or a power cut does between two writes, at a moment of the test's choosing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// After so many commits no further one succeeds. Clones are one.
#[derive(Debug, Clone)]
pub struct Cut(Arc<AtomicU64>);

impl Default for Cut {
    fn default() -> Self {
        Self(Arc::new(u64::MAX.into()))
    }
}

impl Cut {
    /// From now on so many commits succeed.
    pub fn after(&self, commits: u64) {
        self.0.store(commits, SeqCst);
    }

    /// Whether the last of them has been made.
    pub fn is_off(&self) -> bool {
        self.0.load(SeqCst) == 0
    }

    pub(crate) fn commits(&self) -> bool {
        self.0.fetch_update(SeqCst, SeqCst, |left| if left == u64::MAX { Some(left) } else { left.checked_sub(1) }).is_ok()
    }
}
