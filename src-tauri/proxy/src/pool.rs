//! Connections to apps that are kept for the next request: by address and isolation, bounded in number and time.
//!
//! Only requests that may be repeated go over a kept connection: the app may be closing it just now. All others open a stream of their own, which
//! costs no round trip.

use crate::cache::Key;
use fogbank_site::Body;
use hyper::client::conn::http1::SendRequest;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Kept for one address: as many as a browser uses at once.
const MAX_IDLE: usize = 6;
/// Kept in all: a quarter of what the port takes.
const MAX_ALL: usize = 64;
/// Kept for so long: below the idle time of common servers (nginx 75 s, Node.js 5 s at worst), and a stale one is only tried again.
const IDLE_LIFE: Duration = Duration::from_secs(20);

pub(crate) type Sender = SendRequest<Body>;

/// What is kept.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<Key, Vec<(Sender, Instant)>>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<(Sender, Instant)>>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, idle| {
            idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_LIFE);
            !idle.is_empty()
        });
        kept
    }

    /// Whether there is one for this address.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// The one that was used last.
    pub(crate) fn take(&self, key: &Key) -> Option<Sender> {
        self.lock().get_mut(key)?.pop().map(|(sender, _)| sender)
    }

    /// What is kept of this address is no longer to be used.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Keeps one that is ready for another request.
    pub(crate) fn keep(&self, key: &Key, sender: Sender) {
        let mut kept = self.lock();
        if kept.values().map(Vec::len).sum::<usize>() < MAX_ALL {
            let idle = kept.entry(key.clone()).or_default();
            if idle.len() < MAX_IDLE {
                idle.push((sender, Instant::now()));
            }
        }
    }
}
