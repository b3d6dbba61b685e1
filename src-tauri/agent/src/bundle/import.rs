//! A folder becomes a bundle: listed, read file by file, hashed, and kept.
//!
//! Invariants: nothing is kept unless everything was read as it was listed; what two bundles have in common can't be told from their hashes;
//! a refusal leaves nothing behind but blobs that the next garbage collection takes.

use super::{
    BundleId, Bundles, Held, Kind, Limits, Manifest, NameFault, Root, SALT_BYTES, store_fault,
    walk::{Mark, Seen, walk},
};
use bytes::Bytes;
use fogbank_site::Part;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use iroh_blobs::{BlobFormat, Hash, HashAndFormat, api::TempTag, hashseq::HashSeq};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Files under way at once: enough that the store can write several with one flush.
const AT_ONCE: usize = 16;
/// A large file is read in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// A bundle that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedBundle {
    /// Its id.
    pub id: BundleId,
    /// What its publisher signs for visitors.
    pub root: Root,
    /// Bytes of all files together.
    pub bytes: u64,
    /// How many files.
    pub files: u32,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportProgress {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Why a folder is not taken. Each names the path.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// What was given.
        path: PathBuf,
    },
    /// No file in it.
    #[error("the folder {} is empty: a site needs at least an index.html", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// No `index.html` at its root.
    #[error("the folder {} has no index.html: visitors need a first page", path.display())]
    NoIndex {
        /// The folder.
        path: PathBuf,
    },
    /// It can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link that leads out of the folder.
    #[error("{} is a link that leads out of the folder, to {}: copy the file into the folder, or remove the link", path.display(), target.display())]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A link to a folder.
    #[error("{} is a link to a folder: links to files inside the folder are followed, links to folders are not", path.display())]
    LinkToFolder {
        /// The link.
        path: PathBuf,
    },
    /// A link that leads nowhere.
    #[error("{} is a link that leads nowhere: {source}", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither file nor folder nor link.
    #[error("{} is neither a file nor a folder (a pipe, socket or device): remove it", path.display())]
    Special {
        /// What.
        path: PathBuf,
    },
    /// A name that can't be published.
    #[error("the name of {} can't be published: {why}", path.display())]
    Name {
        /// What.
        path: PathBuf,
        /// What is wrong with its name.
        why: NameFault,
    },
    /// Too many files.
    #[error("the folder {} has more than {limit} files", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// How many are taken.
        limit: u32,
    },
    /// The list of files is too long.
    #[error("the names of all files in {} together are longer than {limit} bytes: use shorter names or fewer files", path.display())]
    NamesTooLong {
        /// The folder.
        path: PathBuf,
        /// How many bytes are taken.
        limit: u64,
    },
    /// Too large.
    #[error("the folder {} has {bytes} bytes; at most {limit} are taken", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// How many it has.
        bytes: u64,
        /// How many are taken.
        limit: u64,
    },
    /// It changed while it was read.
    #[error("{} changed while it was being read: publish again when nothing writes to the folder", path.display())]
    Changed {
        /// What.
        path: PathBuf,
    },
    /// The store of bundles failed.
    #[error("the content could not be kept{}: {source}", full(source))]
    Store {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A hint for the commonest failure of a store.
pub(crate) fn full(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::StorageFull { ", the disk is full" } else { "" }
}

/// Looks whether a folder could be published, without reading its files; gives their number and bytes.
///
/// # Errors
/// As [`Bundles::import`], as far as it shows without reading.
pub fn check_folder(folder: &Path, limits: &Limits) -> Result<(u32, u64), ImportError> {
    let seen = walk(folder, limits)?;
    Ok((u32::try_from(seen.len()).unwrap_or(u32::MAX), seen.iter().map(|s| s.mark.bytes).sum()))
}

impl Bundles {
    /// Makes a bundle of a folder and keeps it as this node's own, until [`Bundles::disown`]. The same folder gives another bundle each time:
    /// its id is not to be guessed from its content.
    ///
    /// # Errors
    /// When the folder is not fit to be published, or can't be read or kept. Nothing is kept then.
    pub async fn import(
        &self,
        folder: &Path,
        limits: &Limits,
        progress: impl Fn(ImportProgress) + Send + Sync,
    ) -> Result<ImportedBundle, ImportError> {
        let (root, bounds) = (folder.to_owned(), *limits);
        let seen = blocking(move || walk(&root, &bounds)).await?;
        let total_bytes = seen.iter().map(|s| s.mark.bytes).sum();
        let done = Arc::new(AtomicU64::new(0));
        let salt: [u8; SALT_BYTES] = rand::random();
        let tell = || progress(ImportProgress { done_bytes: done.load(Ordering::Relaxed), total_bytes });
        tell();
        // The tags hold what was read until the bundle's own tag does.
        let mut tags: Vec<Added> = Vec::with_capacity(seen.len());
        let mut reading = stream::iter(seen).map(|seen| self.add(seen, salt, done.clone())).buffered(AT_ONCE);
        while let Some(added) = reading.try_next().await? {
            tags.push(added);
            tell();
        }
        drop(reading);

        let mut numbers: HashMap<Hash, u32> = HashMap::new();
        let mut hashes: Vec<Hash> = Vec::new();
        let mut contents: Vec<[u8; 32]> = Vec::new();
        let parts = tags
            .iter()
            .map(|Added { seen, tag, content }| {
                let blob = *numbers.entry(tag.hash()).or_insert_with(|| {
                    hashes.push(tag.hash());
                    contents.push(*content.as_bytes());
                    // Below the limit of files, which is a u32.
                    u32::try_from(hashes.len() - 1).unwrap_or(u32::MAX)
                });
                Part { path: seen.path.clone(), bytes: seen.mark.bytes, blob }
            })
            .collect();
        let manifest =
            Manifest::build(parts, contents).encode().map_err(|e| ImportError::Store { source: io::Error::other(e) })?;
        if manifest.len() as u64 > limits.max_manifest_bytes {
            return Err(ImportError::NamesTooLong { path: folder.to_owned(), limit: limits.max_manifest_bytes });
        }
        let kept = |error| ImportError::Store { source: store_fault(error) };
        let root = Root::of(&manifest);
        let manifest = self.store().blobs().add_bytes([&salt[..], &manifest].concat()).temp_tag().await.map_err(kept)?;
        let sequence: HashSeq = std::iter::once(manifest.hash()).chain(hashes).collect();
        let options = (Bytes::from(sequence), BlobFormat::HashSeq);
        let whole = self.store().blobs().add_bytes_with_opts(options).temp_tag().await.map_err(kept)?;
        let id = BundleId(*whole.hash().as_bytes());
        let held = Held { bytes: total_bytes, files: u32::try_from(tags.len()).unwrap_or(u32::MAX), ..Held::default() };
        let _used = self.hold(id, Kind::Own, held).await.map_err(|source| ImportError::Store { source })?;
        debug_assert_eq!(whole.hash_and_format(), HashAndFormat::hash_seq(whole.hash()));
        tracing::info!(bundle = id.short(), files = held.files, bytes = held.bytes, "a folder was imported");
        Ok(ImportedBundle { id, root, bytes: held.bytes, files: held.files })
    }

    /// Reads one file into the store.
    async fn add(&self, seen: Seen, salt: [u8; SALT_BYTES], done: Arc<AtomicU64>) -> Result<Added, ImportError> {
        let blobs = self.store().blobs();
        let fault = |error| ImportError::Store { source: store_fault(error) };
        let opened = seen.clone();
        let (file, first) = blocking(move || {
            let mut file = open(&opened)?;
            let first = piece(&mut file, &opened)?;
            Ok((file, first))
        })
        .await?;
        done.fetch_add(first.len() as u64, Ordering::Relaxed);
        if first.len() as u64 == seen.mark.bytes {
            let opened = seen.clone();
            blocking(move || unchanged(&file, &opened)).await?;
            let tag = blobs.add_bytes([&salt[..], &first].concat()).temp_tag().await.map_err(fault)?;
            return Ok(Added { seen, tag, content: blake3::hash(&first) });
        }
        // The reader stands in a channel's stead between the file and the store: pieces are read when the store asks for more.
        let (give, take) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(2);
        let opened = seen.clone();
        let counted = done.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let (mut file, mut next, mut read) = (file, first, 0);
            let mut content = blake3::Hasher::new();
            while !next.is_empty() {
                read += next.len() as u64;
                if read > opened.mark.bytes {
                    break;
                }
                content.update(&next);
                if give.blocking_send(Ok(next)).is_err() {
                    // The store gave up and says why.
                    return Ok(content.finalize());
                }
                next = piece(&mut file, &opened)?;
                counted.fetch_add(next.len() as u64, Ordering::Relaxed);
            }
            if read != opened.mark.bytes {
                return Err(ImportError::Changed { path: opened.file });
            }
            unchanged(&file, &opened)?;
            Ok(content.finalize())
        });
        let pieces = stream::unfold(take, |mut take| async move { take.recv().await.map(|piece| (piece, take)) });
        let salted = stream::once(async move { Ok(Bytes::copy_from_slice(&salt)) }).chain(pieces);
        let adding = blobs.add_stream(salted).await.temp_tag().await;
        let content = reading.await.map_err(|e| ImportError::Store { source: io::Error::other(e) })??;
        Ok(Added { seen, tag: adding.map_err(fault)?, content })
    }
}

/// A file in the store.
struct Added {
    seen: Seen,
    tag: TempTag,
    /// The hash of its content without the salt.
    content: blake3::Hash,
}

/// Opens a file that is still the one that was listed.
fn open(seen: &Seen) -> Result<File, ImportError> {
    let file = File::open(&seen.file).map_err(|source| ImportError::Unreadable { path: seen.file.clone(), source })?;
    unchanged(&file, seen)?;
    Ok(file)
}

fn unchanged(file: &File, seen: &Seen) -> Result<(), ImportError> {
    let now = file.metadata().map_err(|source| ImportError::Unreadable { path: seen.file.clone(), source })?;
    if Mark::of(&now) == seen.mark { Ok(()) } else { Err(ImportError::Changed { path: seen.file.clone() }) }
}

/// The next bytes, empty at the end.
fn piece(file: &mut File, seen: &Seen) -> Result<Bytes, ImportError> {
    let mut bytes = Vec::with_capacity(usize::try_from(seen.mark.bytes).unwrap_or(PIECE_BYTES).min(PIECE_BYTES));
    file.take(PIECE_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(|source| ImportError::Unreadable { path: seen.file.clone(), source })?;
    Ok(bytes.into())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ImportError> + Send + 'static) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| ImportError::Store { source: io::Error::other(e) })?
}
