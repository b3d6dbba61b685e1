//! The runtime of sites: gives a bundle's manifest and contents to visitors, who check them.
//!
//! Invariants: one ask a stream, of a bounded length; memory a stream takes does not depend on the size of a file; a visitor who asks or reads
//! nothing is let go. Nothing is told of the host: what it sends is contents and their hashes, and what a browser is told the visitor's own
//! proxy makes of them.
//! Deliberately absent: HTTP (a host that speaks it could add headers that nobody can check), and which path is read.

use crate::{
    bundle::{Bundles, InUse, Listed, Root, SALT_BYTES},
    meter::Meter,
};
use bytes::{Bytes, BytesMut};
use fogbank_model::BundleId;
use fogbank_site::{
    Content, Given, Patient,
    ask::{Ask, NoAsk},
    give,
};
use futures_util::StreamExt as _;
use iroh_blobs::{Hash, api::proto::ExportRangesItem};
use std::{fmt, io, ops::Range, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// How long visitors are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the ask.
    pub ask: Duration,
    /// For a write to make progress.
    pub write: Duration,
}

impl Default for Patience {
    /// Ten seconds: an ask follows the byte that opens its stream at once. A minute: a tunnel that lives delivers something within seconds, and
    /// a film that is paused for longer is asked for again.
    fn default() -> Self {
        Self { ask: Duration::from_secs(10), write: Duration::from_secs(60) }
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
    given: Arc<Given<Stored>>,
    patience: Patience,
    meter: Arc<Meter>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({}, {:?})", self.given.content().held.id().short(), self.given)
    }
}

/// Contents in the store of bundles.
struct Stored {
    hashes: Vec<Hash>,
    held: InUse,
}

impl Content for Stored {
    async fn read(&self, number: usize, range: Range<u64>) -> io::Result<Bytes> {
        let hash = *self.hashes.get(number).ok_or(io::ErrorKind::NotFound)?;
        let salted = range.start + SALT_BYTES as u64..range.end + SALT_BYTES as u64;
        let mut bytes = BytesMut::new();
        let mut items = Box::pin(self.held.bundles().store().blobs().export_ranges(hash, salted).stream());
        while let Some(item) = items.next().await {
            match item {
                ExportRangesItem::Data(leaf) => bytes.extend_from_slice(&leaf.data),
                ExportRangesItem::Size(_) => {}
                ExportRangesItem::Error(error) => {
                    tracing::warn!(%error, "a file of a bundle can't be read");
                    return Err(io::Error::other("the content can't be read"));
                }
            }
        }
        Ok(bytes.freeze())
    }
}

impl Site {
    /// Makes a bundle that is here ready to be served.
    ///
    /// # Errors
    /// When it is not here or can't be read.
    pub async fn open(bundles: &Bundles, id: BundleId) -> Result<Self, SiteError> {
        Self::of(bundles.use_it(id).ok_or(SiteError::Missing(id))?).await
    }

    /// Makes a bundle in use ready to be served.
    pub(crate) async fn of(held: InUse) -> Result<Self, SiteError> {
        let listed = held.bundles().manifest(held.id()).await;
        let Listed { manifest, encoded, hashes, .. } = listed.map_err(SiteError::Unreadable)?;
        let given = Arc::new(Given::new(manifest, encoded, Stored { hashes, held }));
        Ok(Self { given, patience: Patience::default(), meter: Arc::default() })
    }

    /// The same, with other patience.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The same, measured by an instance's meter.
    pub(crate) fn with_meter(self, meter: Arc<Meter>) -> Self {
        Self { meter, ..self }
    }

    /// The root by which visitors check it.
    pub fn root(&self) -> Root {
        self.given.root()
    }

    /// Answers the one ask of a stream.
    pub async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let given = match timeout(self.patience.ask, Ask::read(&mut stream)).await {
            Ok(Ok(Ok(ask))) => {
                let answering = self.meter.answering(Patient::new(stream, self.patience.write));
                give(&self.given, ask, answering).await
            }
            Ok(Ok(Err(none))) => refuse(stream, none).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = given {
            tracing::debug!(%error, "a visitor's stream broke");
        }
    }
}

async fn refuse(mut stream: impl AsyncWrite + Unpin, none: NoAsk) -> io::Result<()> {
    stream.write_u8(none.answer()).await?;
    stream.shutdown().await
}
