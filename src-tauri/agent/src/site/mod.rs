//! The runtime of sites: HTTP/1.1 over any stream, files straight from the store of bundles.
//!
//! Invariants: only GET and HEAD; no path leads out of the manifest; memory a connection takes does not depend on the size of a file; a visitor who
//! sends or reads nothing is let go. Responses tell nothing of the host: no server name, no date (a clock that is off would mark the device), no
//! times of change.
//! Deliberately absent: compression (a bundle is what it is), Content-Security-Policy (the site's own matter), HTTP/2 (one stream of the tunnel
//! carries one connection).

mod patience;
mod range;
mod resolve;
mod respond;

use crate::bundle::{Bundles, Entry, InUse, Manifest};
use fogbank_model::BundleId;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh_blobs::{Hash, api::Store};
use patience::Patient;
use std::{
    convert::Infallible,
    fmt, io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// Headers of one request: browsers send about 20.
const MAX_HEADERS: usize = 64;
/// The head of a request, and what is buffered of a response: a path of [`crate::bundle::MAX_PATH_BYTES`] three times over, and cookies.
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// How long visitors are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the head of a request, the pause before it included.
    pub head: Duration,
    /// For a write to make progress.
    pub write: Duration,
    /// For another request while the instance drains.
    pub drain: Duration,
}

impl Default for Patience {
    /// A minute: a tunnel that lives delivers something within seconds, and browsers keep connections for about that long. Two seconds in a drain: a
    /// request that is under way through the mixes gets here within them.
    fn default() -> Self {
        Self { head: Duration::from_secs(60), write: Duration::from_secs(60), drain: Duration::from_secs(2) }
    }
}

/// Why a site can't be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its bundle is not here.
    #[error("the bundle {} is not here", .0.short())]
    Missing(BundleId),
    /// Its bundle can't be read.
    #[error("the bundle can't be read: {0}")]
    Unreadable(#[source] io::Error),
}

/// A bundle being served. Clones share it; the bundle stays while one lives.
#[derive(Clone)]
pub struct Site {
    shared: Arc<Shared>,
    patience: Patience,
}

struct Shared {
    manifest: Manifest,
    hashes: Vec<Hash>,
    held: InUse,
    requests: AtomicU64,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({}, {} files)", self.shared.held.id().short(), self.shared.manifest.entries().len())
    }
}

impl Site {
    /// Makes a bundle that is here ready to be served.
    ///
    /// # Errors
    /// When it is not here or can't be read.
    pub async fn open(bundles: &Bundles, id: BundleId) -> Result<Self, SiteError> {
        let held = bundles.use_it(id).ok_or(SiteError::Missing(id))?;
        let (manifest, hashes) = bundles.manifest(id).await.map_err(SiteError::Unreadable)?;
        Ok(Self {
            shared: Arc::new(Shared { manifest, hashes, held, requests: AtomicU64::new(0) }),
            patience: Patience::default(),
        })
    }

    /// The same, with other patience.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Requests answered since it was opened.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    fn hash(&self, entry: &Entry) -> Option<Hash> {
        self.shared.hashes.get(entry.blob()).copied()
    }

    fn store(&self) -> &Store {
        self.shared.held.bundles().store()
    }

    /// Serves one connection to its end. When `draining` becomes true, responses ask the visitor to close, and the connection is closed once it
    /// has been without a request for a moment; what is under way is finished.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, draining: watch::Receiver<bool>) {
        let busy = watch::Sender::new(0_u64);
        let site = self.clone();
        let (asked, leaving) = (busy.clone(), draining.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            site.shared.requests.fetch_add(1, Ordering::Relaxed);
            asked.send_modify(|count| *count += 1);
            let mut response = respond::respond(&site, &request);
            if *leaving.borrow() {
                response.headers_mut().insert(hyper::header::CONNECTION, hyper::header::HeaderValue::from_static("close"));
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.head)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER_BYTES)
            // Visitors' programs end their side after the last request and still want the answer.
            .half_close(true)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(Patient::new(stream, self.patience.write)), service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = idle_in_drain(draining, busy.subscribe(), self.patience.drain) => {
                // Closes now if nothing is under way, else after the response.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a visitor's connection broke");
        }
    }
}

/// Waits until the instance drains and then until no request came for so long.
async fn idle_in_drain(mut draining: watch::Receiver<bool>, mut asked: watch::Receiver<u64>, patience: Duration) {
    if draining.wait_for(|d| *d).await.is_err() {
        // Nobody will drain it any more.
        return std::future::pending().await;
    }
    asked.mark_unchanged();
    while let Ok(Ok(())) = tokio::time::timeout(patience, asked.changed()).await {}
}
