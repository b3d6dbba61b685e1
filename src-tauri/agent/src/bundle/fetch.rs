//! Fetching a bundle from those who hold it: only what is missing, checked against its manifest before any file is asked for.
//!
//! ```text
//! connect → hello with the permit → sequence and manifest → checked against the limits → what is missing of the files → sizes checked → held
//! ```
//!
//! Invariants: every chunk is verified by its hash on arrival; never more bytes are taken than the manifest says; a source that is silent for
//! [`SILENCE`] is left for the next, and what it gave stays. One fetch of a bundle runs at a time.
//! Deliberately absent: fetching from several sources side by side (copies are small and sources few).

use super::{Bundles, Held, InUse, Kind, Limits, Listed, ManifestError, ReadError, SALT_BYTES, hash, import::full};
use fogbank_model::{BundleId, DeviceId};
use fogbank_wire::{ALPN, BundlePermit, CallError, Purpose, Signed, greet};
use futures_util::StreamExt as _;
use iroh::{
    Endpoint, EndpointAddr, PublicKey,
    endpoint::{Connection, VarInt},
};
use iroh_blobs::{
    HashAndFormat,
    api::{blobs::BlobStatus, remote::GetProgressItem},
    get::GetError,
    protocol::{ChunkRanges, GetRequest},
};
use std::{io, net::SocketAddr, pin::pin, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// A source that can't be reached in this time is left for the next: a handshake around the world takes half a second.
const CONNECT: Duration = Duration::from_secs(5);
/// A source that sends nothing for so long is left for the next. Longer than a slow disk takes to spin up.
pub const SILENCE: Duration = Duration::from_secs(10);
/// For one answer a source gets as long as so many silences, two minutes, and as long again as it takes at [`SLOWEST_BYTES_S`]. Then the next
/// source goes on where it was, or it itself in the next round: one that dribbles holds nobody up for days.
const SILENCES: u32 = 12;
/// Half a megabit a second: a home line that several fetch from.
const SLOWEST_BYTES_S: u64 = 64_000;
/// Sources tried in one fetch; the allocator names at most eight.
const MAX_SOURCES: usize = 16;

/// Devices that hold a bundle, and where they listen.
pub type Sources = Vec<(DeviceId, Vec<SocketAddr>)>;

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which bundle.
    pub bundle: BundleId,
    /// From whom, tried in this order.
    pub sources: Sources,
    /// Leave to fetch it.
    pub permit: Signed<BundlePermit>,
    /// How large it may be.
    pub limits: Limits,
    /// How long a source may send nothing: [`SILENCE`].
    pub silence: Duration,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes that came from the present source.
    pub moved_bytes: u64,
    /// Bytes that were missing when it began.
    pub missing_bytes: u64,
}

/// What a fetch has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fetched {
    /// Bytes of content that came over the network, from all sources.
    pub moved_bytes: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// How many files.
    pub files: u32,
}

/// Why one source gave not all.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// Its id is no key.
    #[error("its id is no key")]
    NoKey,
    /// It can't be reached.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// It said no, or said nothing.
    #[error("it let nobody in: {0}")]
    Hello(#[source] CallError),
    /// It broke off, or sent what does not belong to the hash.
    #[error("it broke off: {0}")]
    Broke(String),
    /// It sent nothing for some time.
    #[error("it was silent for {0:?}")]
    Silent(Duration),
    /// It sent something all the time, but too little.
    #[error("it did not give all within {0:?}")]
    Slow(Duration),
    /// It sent more than there can be.
    #[error("it sent more than the {limit} bytes that there are")]
    TooMuch {
        /// How many there are.
        limit: u64,
    },
}

/// Why a bundle was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody gave it.
    #[error("nobody gave it: {}", .0.iter().map(|(device, fault)| format!("{}: {fault}", device.short())).collect::<Vec<_>>().join("; "))]
    Sources(Vec<(DeviceId, SourceFault)>),
    /// The content itself is wrong; no source can help.
    #[error("the bundle can't be taken: {0}")]
    Content(#[source] ManifestError),
    /// The store of bundles failed.
    #[error("the bundle could not be kept{}: {source}", full(source))]
    Store {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is taken of an answer.
#[derive(Clone, Copy)]
struct Bounds {
    bytes: u64,
    silence: Duration,
}

impl Bounds {
    /// How long the whole answer may take.
    fn whole(&self) -> Duration {
        self.silence * SILENCES + Duration::from_secs(self.bytes / SLOWEST_BYTES_S)
    }
}

enum Fault {
    /// Another source may do better.
    Source(SourceFault),
    /// No source can help.
    Fatal(FetchError),
}

impl From<SourceFault> for Fault {
    fn from(fault: SourceFault) -> Self {
        Self::Source(fault)
    }
}

fn store(source: io::Error) -> Fault {
    Fault::Fatal(unkept(source))
}

pub(crate) fn unkept(source: io::Error) -> FetchError {
    FetchError::Store { source }
}

impl Bundles {
    /// Fetches a bundle and keeps it because the allocator wants a copy here, until [`Bundles::forget`].
    ///
    /// # Errors
    /// When no source gave it whole, it is not what it should be, or it can't be kept. What came stays for an hour for another attempt.
    pub async fn keep(
        &self,
        endpoint: &Endpoint,
        wanted: &Wanted,
        progress: impl FnMut(FetchProgress) + Send,
    ) -> Result<Fetched, FetchError> {
        self.fetch(endpoint, wanted, Kind::Keep, progress).await.map(|(fetched, _)| fetched)
    }

    /// Fetches a bundle for an instance; it gives way when room is needed and nobody uses it (any more).
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub async fn cache(
        &self,
        endpoint: &Endpoint,
        wanted: &Wanted,
        progress: impl FnMut(FetchProgress) + Send,
    ) -> Result<(Fetched, InUse), FetchError> {
        self.fetch(endpoint, wanted, Kind::Cache, progress).await
    }

    async fn fetch(
        &self,
        endpoint: &Endpoint,
        wanted: &Wanted,
        kind: Kind,
        mut progress: impl FnMut(FetchProgress) + Send,
    ) -> Result<(Fetched, InUse), FetchError> {
        let id = wanted.bundle;
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        // In use from here on, so that it does not give way before it is held for one more reason.
        let used = self.use_it(id);
        let here = used.as_ref().and_then(|_| self.shared.held.borrow().get(&id).copied());
        if let Some(held) = here {
            // What is here may be more than this time was agreed on and paid for.
            let (amount, limit) = (held.bytes, wanted.limits.max_bytes);
            if amount > limit {
                return Err(FetchError::Content(ManifestError::TooMuch { what: "bytes", amount, limit }));
            }
            let used = self.hold(id, kind, held).await.map_err(unkept)?;
            return Ok((Fetched { moved_bytes: 0, bytes: held.bytes, files: held.files }, used));
        }
        self.begin_part(id).await.map_err(unkept)?;
        let mut faults = Vec::new();
        let mut moved_bytes = 0;
        for (device, addrs) in wanted.sources.iter().take(MAX_SOURCES) {
            match self.fetch_from(endpoint, wanted, *device, addrs, &mut moved_bytes, &mut progress).await {
                Ok(held) => {
                    let used = self.hold(id, kind, held).await.map_err(unkept)?;
                    tracing::info!(bundle = id.short(), from = device.short(), moved_bytes, "a bundle was fetched");
                    return Ok((Fetched { moved_bytes, bytes: held.bytes, files: held.files }, used));
                }
                Err(Fault::Source(fault)) => {
                    tracing::info!(bundle = id.short(), from = device.short(), %fault, "a source did not give a bundle");
                    faults.push((*device, fault));
                }
                Err(Fault::Fatal(error)) => {
                    if matches!(error, FetchError::Content(_)) {
                        self.parts().remove(&id);
                        self.end_part(id).await.map_err(unkept)?;
                    }
                    return Err(error);
                }
            }
            self.parts().insert(id, std::time::Instant::now());
        }
        Err(FetchError::Sources(faults))
    }

    async fn fetch_from(
        &self,
        endpoint: &Endpoint,
        wanted: &Wanted,
        device: DeviceId,
        addrs: &[SocketAddr],
        moved: &mut u64,
        progress: &mut (impl FnMut(FetchProgress) + Send),
    ) -> Result<Held, Fault> {
        let key = PublicKey::from_bytes(&device.0).map_err(|_| SourceFault::NoKey)?;
        let target = addrs.iter().fold(EndpointAddr::new(key), |target, addr| target.with_ip_addr(*addr));
        // Members of a fog share its relay, if it has one: what can't be reached is met there.
        let target = endpoint.addr().relay_urls().fold(target, |target, relay| target.with_relay_url(relay.clone()));
        let connection = timeout(CONNECT, endpoint.connect(target, ALPN))
            .await
            .map_err(|_| SourceFault::Unreachable(format!("no answer within {} s", CONNECT.as_secs())))?
            .map_err(|e| SourceFault::Unreachable(e.to_string()))?;
        let connection = Closing(connection);
        greet(&connection.0, Purpose::Blobs(wanted.permit.clone())).await.map_err(SourceFault::Hello)?;

        let limits = &wanted.limits;
        let root = hash(wanted.bundle);
        // First the sequence alone: only it tells which blob is the manifest, and how many there are.
        let sequence_limit = (u64::from(limits.max_files) + 1) * 32;
        let bounds = |bytes| Bounds { bytes, silence: wanted.silence };
        self.missing(&connection.0, GetRequest::blob(root), bounds(sequence_limit), moved, &mut |_| ()).await?;
        let head = GetRequest::builder().child(0, ChunkRanges::all()).build(root);
        let manifest_limit = limits.max_manifest_bytes + SALT_BYTES as u64;
        self.missing(&connection.0, head, bounds(manifest_limit), moved, &mut |_| ()).await?;
        let Listed { manifest, hashes, list_bytes, .. } =
            self.manifest_within(wanted.bundle, limits).await.map_err(|e| match e {
                ReadError::Store(error) => store(error),
                ReadError::Manifest(error) => Fault::Fatal(FetchError::Content(error)),
            })?;

        let sizes = manifest.sizes();
        let blob = |size: u64| size + SALT_BYTES as u64;
        let content: u64 = sizes.iter().copied().map(blob).sum();
        let local = self
            .store()
            .remote()
            .local(HashAndFormat::hash_seq(root))
            .await
            .map_err(|e| store(io::Error::other(e.to_string())))?;
        let missing_bytes = (content + list_bytes).saturating_sub(local.local_bytes()).min(content);
        if !local.is_complete() {
            let mut told = |moved_bytes| progress(FetchProgress { moved_bytes, missing_bytes });
            // Every byte was checked against its hash: what is too much is the bundle's own lie, and no other source gives less.
            let got = self.get(&connection.0, local.missing(), bounds(content), moved, &mut told).await;
            got.map_err(|fault| match fault {
                Fault::Source(SourceFault::TooMuch { limit }) => {
                    let error = ManifestError::TooMuch { what: "bytes of content", amount: limit + 1, limit };
                    Fault::Fatal(FetchError::Content(error))
                }
                other => other,
            })?;
        }
        for (hash, size) in hashes.iter().zip(sizes) {
            match self.store().blobs().status(*hash).await.map_err(|e| store(e.into()))? {
                BlobStatus::Complete { size: real } if real == blob(size) => {}
                BlobStatus::Complete { .. } => {
                    return Err(Fault::Fatal(FetchError::Content(ManifestError::Wrong("a file has another size"))));
                }
                _ => return Err(SourceFault::Broke("it ended before all was there".to_owned()).into()),
            }
        }
        let files = u32::try_from(manifest.entries().len()).unwrap_or(u32::MAX);
        Ok(Held { bytes: manifest.bytes(), files, ..Held::default() })
    }

    /// Asks for what is missing of a request.
    async fn missing(
        &self,
        connection: &Connection,
        request: GetRequest,
        bounds: Bounds,
        moved: &mut u64,
        told: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), Fault> {
        let local = self.store().remote().local_for_request(request).await.map_err(|e| store(io::Error::other(e.to_string())))?;
        if local.is_complete() {
            return Ok(());
        }
        self.get(connection, local.missing(), bounds, moved, told).await
    }

    /// Takes the answer to a request within its bounds.
    async fn get(
        &self,
        connection: &Connection,
        request: GetRequest,
        bounds: Bounds,
        moved: &mut u64,
        told: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), Fault> {
        let Bounds { bytes: limit, silence } = bounds;
        let deadline = Instant::now() + bounds.whole();
        let mut answer = pin!(self.store().remote().execute_get(connection.clone(), request).stream());
        let before = *moved;
        loop {
            match timeout_at(deadline.min(Instant::now() + silence), answer.next()).await {
                Err(_) if Instant::now() >= deadline => return Err(SourceFault::Slow(bounds.whole()).into()),
                Err(_) => return Err(SourceFault::Silent(silence).into()),
                Ok(Some(GetProgressItem::Progress(bytes))) => {
                    *moved = before + bytes;
                    if bytes > limit {
                        return Err(SourceFault::TooMuch { limit }.into());
                    }
                    told(bytes);
                }
                Ok(Some(GetProgressItem::Done(_))) => return Ok(()),
                Ok(Some(GetProgressItem::Error(error))) => return Err(judge(error)),
                Ok(None) => return Err(SourceFault::Broke("no answer".to_owned()).into()),
            }
        }
    }
}

/// Whose fault an error is: a disk's, or the source's.
fn judge(error: GetError) -> Fault {
    if let Some(source) = error.local_write() {
        return store(io::Error::new(source.kind(), source.to_string()));
    }
    match error {
        // What is reported as local is the store's when the store says so; else a connection that ended while a stream was being opened.
        GetError::LocalFailure { source, .. } => match source.downcast_ref::<iroh_blobs::api::Error>() {
            Some(iroh_blobs::api::Error::Io(fault)) => store(io::Error::new(fault.kind(), fault.to_string())),
            None => SourceFault::Broke(format!("{source:#}")).into(),
        },
        other => SourceFault::Broke(format!("{other:#}")).into(),
    }
}

/// A connection that is closed when it is no longer needed.
struct Closing(Connection);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(VarInt::from_u32(0), b"done");
    }
}
