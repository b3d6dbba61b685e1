//! Bundles: the content of sites, named by its hash, made from folders, fetched from peers, served to those with a permit, and forgotten.
//!
//! ```text
//! sequence (its hash is the id) = hash of the manifest, hashes of the files' contents, each of them behind the bundle's salt
//! tags:  own/<id>    this node published it      keep/<id>   the allocator wants a copy here
//!        cache/<id>  fetched for an instance     part/<id>   a fetch that is not done
//! ```
//!
//! Invariants: what [`Bundles::held`] lists is whole, checked against its manifest, and stays while it is in use; what no tag holds is removed by
//! the store's garbage collection; a cached bundle gives way when room is needed.
//! Deliberately absent: encryption of bundles under a container key (content lies in clear on its hosts for now) and choosing who keeps what (the
//! allocator's).

mod fetch;
mod import;
mod in_use;
mod serve;
mod walk;

pub use fetch::{FetchError, FetchProgress, Fetched, SILENCE, SourceFault, Sources, Wanted};
pub use fogbank_site::{
    Entry, INDEX, Limits, MAX_BUNDLE_BYTES, MAX_FILES, MAX_MANIFEST_BYTES, MAX_PART_BYTES, MAX_PATH_BYTES, Manifest,
    ManifestError, NameFault, Root, check_path,
};
pub use import::{ImportError, ImportProgress, ImportedBundle, check_folder};
pub use in_use::InUse;
pub use serve::ServeError;

use bytes::Bytes;
use fogbank_betanet::clock::FogClock;
use fogbank_model::BundleId;
use futures_util::StreamExt as _;
use iroh_blobs::{
    Hash, HashAndFormat,
    api::{RequestError, Store},
    hashseq::HashSeq,
    store::{
        GcConfig,
        fs::{FsStore, options::Options},
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};

/// Random bytes at the beginning of each blob, the manifest's too, the same within one bundle. They make the hashes of a bundle's blobs its
/// own: without them whoever knows a file of a site, as every visitor does, could publish a bundle that names it, and see by which devices
/// "have" it already who hosts the site. So visitors never get them: what they check contents by are plain hashes, see `fogbank_site`.
pub(crate) const SALT_BYTES: usize = 32;
/// What is no longer wanted is removed from the disk within this time. A round reads the list of blobs, some ms for thousands.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// A fetch that broke off is forgotten unless it is taken up again within an hour: a device that was away for longer is given other work.
const PART_LIFE: Duration = Duration::from_secs(3600);

/// A bundle that is here whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Bytes of all files together.
    pub bytes: u64,
    /// How many files.
    pub files: u32,
    /// This node published it.
    pub own: bool,
    /// The allocator wants a copy here.
    pub kept: bool,
    /// It was fetched for an instance.
    pub cached: bool,
    /// Uses under way: instances that serve it, fetches that read it.
    pub uses: u32,
    /// Rises with each bundle that comes, so that the oldest is known.
    came: u64,
}

impl Held {
    /// Whether it is here for others: a copy that the allocator wants, or an instance's.
    pub fn for_others(&self) -> bool {
        self.kept || self.cached
    }

    /// Whether it is here for more than the uses under way.
    fn wanted(&self) -> bool {
        self.own || self.for_others()
    }

    /// Whether it may go when room is needed.
    fn spare(&self) -> bool {
        !self.own && !self.kept && self.uses == 0
    }
}

/// Why a bundle is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Own,
    Keep,
    Cache,
    Part,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Own, Self::Keep, Self::Cache, Self::Part];

    const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Keep => "keep",
            Self::Cache => "cache",
            Self::Part => "part",
        }
    }

    fn tag(self, id: BundleId) -> String {
        format!("{}/{id}", self.name())
    }

    fn of_tag(tag: &[u8]) -> Option<(Self, BundleId)> {
        let (name, id) = std::str::from_utf8(tag).ok()?.split_once('/')?;
        Some((Self::ALL.into_iter().find(|k| k.name() == name)?, id.parse().ok()?))
    }

    fn mark(self, held: &mut Held, on: bool) {
        match self {
            Self::Own => held.own = on,
            Self::Keep => held.kept = on,
            Self::Cache => held.cached = on,
            Self::Part => {}
        }
    }
}

/// Why the store of bundles did not open.
#[derive(Debug, thiserror::Error)]
#[error("the bundles in {} can't be opened{}: {source}. If the folder is damaged, move it away: bundles of others come back by themselves, your own sites must be published again", path.display(), import::full(source))]
pub struct OpenError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// All bundles of this node. Clones share it.
#[derive(Debug, Clone)]
pub struct Bundles {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: FsStore,
    clock: FogClock,
    held: watch::Sender<BTreeMap<BundleId, Held>>,
    /// Tags and what is said to be here change together, one change after another: what is said to be here has a tag that holds it.
    tagging: AsyncMutex<()>,
    /// One fetch of a bundle at a time: the second finds it here.
    fetching: Mutex<HashMap<BundleId, Weak<AsyncMutex<()>>>>,
    /// Fetches that are not done, and when they were last worked at.
    parts: Mutex<HashMap<BundleId, Instant>>,
    serving: Arc<Semaphore>,
}

impl Bundles {
    /// Opens the store in this folder, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder is damaged or can't be used.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, COLLECT_EVERY).await
    }

    /// As [`Self::open`], collecting garbage this often.
    ///
    /// # Errors
    /// When the folder is damaged or can't be used.
    pub async fn open_with(folder: &Path, collect_every: Duration) -> Result<Self, OpenError> {
        let failed = |source| OpenError { path: folder.to_owned(), source };
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        let mut options = Options::new(folder);
        options.gc = Some(GcConfig { interval: collect_every, add_protected: None });
        let store = FsStore::load_with_opts(folder.join("blobs.db"), options)
            .await
            .map_err(|e| failed(io::Error::other(format!("{e:#}"))))?;
        let shared = Shared {
            store,
            clock: FogClock::default(),
            held: watch::Sender::default(),
            tagging: AsyncMutex::default(),
            fetching: Mutex::default(),
            parts: Mutex::default(),
            serving: Arc::new(Semaphore::new(serve::MAX_PEERS)),
        };
        let bundles = Self { shared: Arc::new(shared) };
        bundles.look().await.map_err(failed)?;
        tokio::spawn(sweep_parts(Arc::downgrade(&bundles.shared)));
        Ok(bundles)
    }

    /// Reads from the tags what is here.
    async fn look(&self) -> io::Result<()> {
        let mut found: BTreeMap<BundleId, Held> = BTreeMap::new();
        let mut tags = self.store().tags().list().await.map_err(io::Error::from)?;
        let mut came = 0;
        while let Some(tag) = tags.next().await {
            let tag = tag.map_err(|e| store_fault(e.into()))?;
            match Kind::of_tag(tag.name.as_ref()) {
                Some((Kind::Part, id)) => {
                    self.parts().insert(id, Instant::now());
                }
                Some((kind, id)) => {
                    came += 1;
                    kind.mark(found.entry(id).or_insert(Held { came, ..Held::default() }), true);
                }
                None => {}
            }
        }
        drop(tags);
        let mut damaged = Vec::new();
        for (id, held) in &mut found {
            match self.manifest(*id).await {
                Ok(Listed { manifest, .. }) => {
                    held.bytes = manifest.bytes();
                    held.files = u32::try_from(manifest.entries().len()).unwrap_or(u32::MAX);
                }
                Err(error) => {
                    tracing::warn!(bundle = id.short(), %error, "a bundle is damaged and is dropped");
                    damaged.push(*id);
                }
            }
        }
        for id in damaged {
            found.remove(&id);
            for kind in Kind::ALL {
                self.untag(kind, id).await?;
            }
        }
        self.shared.held.send_replace(found);
        Ok(())
    }

    /// The time by which permits are judged.
    pub fn clock(&self) -> FogClock {
        self.shared.clock.clone()
    }

    /// What is here whole, now and as it changes.
    pub fn held(&self) -> watch::Receiver<BTreeMap<BundleId, Held>> {
        self.shared.held.subscribe()
    }

    pub(crate) fn has(&self, id: BundleId) -> bool {
        self.shared.held.borrow().contains_key(&id)
    }

    /// This node's publisher needs it no longer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn disown(&self, id: BundleId) -> io::Result<()> {
        self.drop_kind(Kind::Own, id, |_| true).await.map(drop)
    }

    /// The allocator wants this copy no longer. What instances use stays until they end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, id: BundleId) -> io::Result<()> {
        self.drop_kind(Kind::Keep, id, |_| true).await?;
        self.drop_kind(Kind::Cache, id, |_| true).await.map(drop)
    }

    /// Ends the store: everything that was answered for is on disk.
    pub async fn shutdown(&self) {
        if let Err(error) = self.store().shutdown().await {
            tracing::warn!(%error, "the store of bundles did not end well");
        }
    }

    /// Takes cached bundles away, oldest first, until so many bytes are freed or no more can be.
    pub(crate) async fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut spare: Vec<(u64, BundleId, u64)> =
            self.shared.held.borrow().iter().filter(|(_, h)| h.spare()).map(|(id, h)| (h.came, *id, h.bytes)).collect();
        spare.sort_unstable();
        let mut freed = 0;
        for (_, id, size) in spare {
            if freed >= bytes {
                break;
            }
            // It may have come into use meanwhile.
            if self.drop_kind(Kind::Cache, id, Held::spare).await? {
                tracing::info!(bundle = id.short(), "a cached bundle gives way");
                freed += size;
            }
        }
        Ok(())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Holds a bundle that is whole, for one more reason. It is in use from the start, so that it does not give way before its user has begun.
    pub(crate) async fn hold(&self, id: BundleId, kind: Kind, fresh: Held) -> io::Result<InUse> {
        let _tagging = self.shared.tagging.lock().await;
        self.tag(kind, id).await?;
        // Only what survives a crash is said to be here.
        self.store().sync_db().await.map_err(store_fault)?;
        self.shared.held.send_modify(|all| {
            let came = all.values().map(|h| h.came).max().unwrap_or(0) + 1;
            let held = all.entry(id).or_insert(Held { came, uses: 0, ..fresh });
            kind.mark(held, true);
            held.uses += 1;
        });
        let used = InUse::counted(self.clone(), id);
        self.parts().remove(&id);
        self.untag(Kind::Part, id).await?;
        Ok(used)
    }

    /// Keeps what comes of a bundle until it is whole or given up.
    async fn begin_part(&self, id: BundleId) -> io::Result<()> {
        let _tagging = self.shared.tagging.lock().await;
        self.parts().insert(id, Instant::now());
        self.tag(Kind::Part, id).await
    }

    /// Lets go what came of a bundle, unless it is whole and in use, or a fetch of it goes on.
    async fn end_part(&self, id: BundleId) -> io::Result<()> {
        let _tagging = self.shared.tagging.lock().await;
        if self.has(id) || self.parts().contains_key(&id) { Ok(()) } else { self.untag(Kind::Part, id).await }
    }

    /// Takes one reason to hold a bundle away, if it may be taken; whether it was.
    async fn drop_kind(&self, kind: Kind, id: BundleId, may: impl FnOnce(&Held) -> bool) -> io::Result<bool> {
        let _tagging = self.shared.tagging.lock().await;
        let (mut last_in_use, mut taken) = (false, true);
        self.shared.held.send_if_modified(|all| {
            let Some(held) = all.get_mut(&id) else { return false };
            taken = may(held);
            if !taken {
                return false;
            }
            let before = *held;
            kind.mark(held, false);
            if !held.wanted() {
                if held.uses == 0 {
                    all.remove(&id);
                    return true;
                }
                last_in_use = true;
            }
            all.get(&id) != Some(&before)
        });
        if !taken {
            return Ok(false);
        }
        // While it is in use, some tag has to hold it.
        if last_in_use {
            self.tag(Kind::Part, id).await?;
        }
        self.untag(kind, id).await.map(|()| true)
    }

    pub(crate) async fn tag(&self, kind: Kind, id: BundleId) -> io::Result<()> {
        self.store().tags().set(kind.tag(id), HashAndFormat::hash_seq(hash(id))).await.map_err(store_fault)
    }

    pub(crate) async fn untag(&self, kind: Kind, id: BundleId) -> io::Result<()> {
        self.store().tags().delete(kind.tag(id)).await.map(|_| ()).map_err(store_fault)
    }

    /// What a bundle that is here consists of.
    pub(crate) async fn manifest(&self, id: BundleId) -> io::Result<Listed> {
        self.manifest_within(id, &Limits::default()).await.map_err(|e| match e {
            ReadError::Store(source) => source,
            ReadError::Manifest(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }

    /// As [`Self::manifest`], telling a store that fails from content that is wrong.
    pub(crate) async fn manifest_within(&self, id: BundleId, limits: &Limits) -> Result<Listed, ReadError> {
        let sequence = self.whole_blob(hash(id), (u64::from(limits.max_files) + 1) * 32).await?;
        let wrong = |what| ReadError::Manifest(ManifestError::Wrong(what));
        let sequence = HashSeq::new(sequence).ok_or_else(|| wrong("it is no sequence of hashes"))?;
        let mut hashes: Vec<Hash> = sequence.iter().collect();
        if hashes.is_empty() {
            return Err(wrong("it is empty"));
        }
        let first = hashes.remove(0);
        let salted = self.whole_blob(first, limits.max_manifest_bytes + SALT_BYTES as u64).await?;
        if salted.len() < SALT_BYTES {
            return Err(wrong("it is too short"));
        }
        let encoded = salted.slice(SALT_BYTES..);
        let manifest = Manifest::decode(&encoded, limits).map_err(ReadError::Manifest)?;
        if manifest.contents() != hashes.len() {
            return Err(wrong("it has more or fewer contents than its manifest says"));
        }
        let list_bytes = (hashes.len() as u64 + 1) * 32 + salted.len() as u64;
        Ok(Listed { manifest, encoded, hashes, list_bytes })
    }

    async fn whole_blob(&self, hash: Hash, limit: u64) -> Result<Bytes, ReadError> {
        let bytes = self.store().blobs().export_ranges(hash, 0..limit + 1).concatenate().await;
        let bytes = bytes.map_err(|e| ReadError::Store(store_fault(e)))?;
        if bytes.len() as u64 > limit {
            let error = ManifestError::TooMuch { what: "bytes of lists", amount: bytes.len() as u64, limit };
            return Err(ReadError::Manifest(error));
        }
        Ok(bytes.into())
    }

    fn parts(&self) -> MutexGuard<'_, HashMap<BundleId, Instant>> {
        self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to fetch a bundle.
    fn turn(&self, id: BundleId) -> Arc<AsyncMutex<()>> {
        let mut fetching = self.shared.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = fetching.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(AsyncMutex::new(()));
        fetching.insert(id, Arc::downgrade(&turn));
        turn
    }
}

/// What a bundle consists of.
pub(crate) struct Listed {
    pub(crate) manifest: Manifest,
    /// The manifest's bytes, without the salt: what visitors get.
    pub(crate) encoded: Bytes,
    /// Its blobs, the manifest not counted.
    pub(crate) hashes: Vec<Hash>,
    /// Bytes of sequence and manifest together.
    pub(crate) list_bytes: u64,
}

/// Why a manifest was not read.
pub(crate) enum ReadError {
    Store(io::Error),
    Manifest(ManifestError),
}

/// Forgets fetches that were given up.
async fn sweep_parts(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(PART_LIFE / 6).await;
        let Some(shared) = shared.upgrade() else { return };
        let bundles = Bundles { shared };
        let stale: Vec<BundleId> =
            bundles.parts().iter().filter(|(_, touched)| touched.elapsed() >= PART_LIFE).map(|(id, _)| *id).collect();
        for id in stale {
            // Under its turn, so that no fetch of it is under way.
            let turn = bundles.turn(id);
            if let Ok(_turn) = turn.try_lock() {
                bundles.parts().remove(&id);
                if let Err(error) = bundles.end_part(id).await {
                    tracing::warn!(%error, "a part of a bundle stays for now");
                }
            }
        }
    }
}

fn hash(id: BundleId) -> Hash {
    Hash::from(id.0)
}

/// What a store's error comes down to, with its kind: a full disk is told from a broken one.
pub(crate) fn store_fault(error: RequestError) -> io::Error {
    match error {
        RequestError::Inner { source: iroh_blobs::api::Error::Io(source), .. } => source,
        other => io::Error::other(format!("{other:#}")),
    }
}

#[cfg(test)]
mod hostile_tests;
