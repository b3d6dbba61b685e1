//! The host's side: answers one ask on a stream, contents with the hashes by which the visitor checks them.
//!
//! Invariants: what is sent was itself checked against the manifest, so a host whose disk rots breaks off and does not pass for a liar; the
//! hashes of a content are computed once, at most [`HASHING`] at a time, and finished whoever leaves meanwhile, so that asking and leaving buys
//! no work; memory a stream takes does not depend on the length of a content.

use crate::{
    ask::{Ask, COMES, NOT_HERE},
    manifest::{Manifest, Root},
    tree::{GROUP_BYTES, groups, tree},
};
use bao_tree::io::{
    fsm::{encode_ranges_validated, outboard},
    outboard::PreOrderMemOutboard,
};
use bytes::{Bytes, BytesMut};
use iroh_io::{AsyncSliceReader, AsyncStreamReader, AsyncStreamWriter};
use std::{fmt, future::Future, io, ops::Range, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufWriter},
    sync::{OnceCell, Semaphore},
};

/// Contents whose hashes are computed at once: one core of an idle laptop's, and one that waits for the disk.
const HASHING: usize = 2;
/// Bytes that are gathered before they go into the tunnel: a group.
const WRITE_BYTES: usize = 16 << 10;
/// Bytes that are read of a content in one go.
const AHEAD_BYTES: u64 = 64 << 10;

/// Where a host keeps contents.
pub trait Content: Send + Sync + 'static {
    /// These bytes of a content; fewer when it ends before.
    fn read(&self, number: usize, range: Range<u64>) -> impl Future<Output = io::Result<Bytes>> + Send;
}

/// The inner hashes of each content, once it was asked for: 64 bytes for 16 KiB, 16 MB for the largest bundle.
struct Outboards {
    cells: Vec<OnceCell<Option<Bytes>>>,
    hashing: Semaphore,
}

/// A site as it is given.
pub struct Given<C> {
    manifest: Manifest,
    sizes: Vec<u64>,
    encoded: Bytes,
    root: Root,
    outboards: Outboards,
    content: C,
}

impl<C> fmt::Debug for Given<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given({:?}, {} files)", self.root, self.manifest.entries().len())
    }
}

impl<C: Content> Given<C> {
    /// A site of this manifest, as decoded and as encoded, and these contents.
    pub fn new(manifest: Manifest, encoded: Bytes, content: C) -> Self {
        let cells = std::iter::repeat_with(OnceCell::new).take(manifest.contents()).collect();
        let outboards = Outboards { cells, hashing: Semaphore::new(HASHING) };
        Self { root: Root::of(&encoded), sizes: manifest.sizes(), manifest, encoded, outboards, content }
    }

    /// The root that its publisher signs.
    pub fn root(&self) -> Root {
        self.root
    }

    /// What it consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where its contents are.
    pub fn content(&self) -> &C {
        &self.content
    }

    /// The inner hashes of a content; `None` when it is not what the manifest says.
    async fn outboard(self: &Arc<Self>, number: usize, bytes: u64) -> io::Result<Option<Bytes>> {
        if bytes <= GROUP_BYTES {
            return Ok(Some(Bytes::new()));
        }
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        if let Some(known) = self.outboards.cells.get(number).ok_or_else(missing)?.get() {
            return Ok(known.clone());
        }
        let site = self.clone();
        let computing = tokio::spawn(async move {
            let cell = site.outboards.cells.get(number).ok_or_else(missing)?;
            cell.get_or_try_init(|| site.compute(number, bytes)).await.cloned()
        });
        computing.await.map_err(io::Error::other)?
    }

    async fn compute(&self, number: usize, bytes: u64) -> io::Result<Option<Bytes>> {
        let _turn = self.outboards.hashing.acquire().await.map_err(io::Error::other)?;
        let tree = tree(bytes);
        let size = usize::try_from(tree.outboard_size()).map_err(io::Error::other)?;
        let mut inner = PreOrderMemOutboard { root: [0; 32].into(), tree, data: vec![0; size] };
        let root = outboard(Reading::new(self, number, 0..bytes), tree, &mut inner).await?;
        let right = self.manifest.content(number).is_some_and(|hash| hash == root.as_bytes());
        Ok(right.then(|| inner.data.into()))
    }
}

/// Answers the ask on a stream and ends it. A stream that can't be answered to the end is broken, not ended.
///
/// # Errors
/// When the visitor left, or contents can't be read or are not what the manifest says.
pub async fn give<C: Content>(site: &Arc<Given<C>>, ask: Ask, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BYTES, stream);
    match ask {
        Ask::Manifest { root } if root == site.root => {
            let length = u32::try_from(site.encoded.len()).map_err(io::Error::other)?;
            out.write_u8(COMES).await?;
            out.write_u32(length).await?;
            out.write_all(&site.encoded).await?;
        }
        Ask::Content { root, number, start, end } if root == site.root => {
            let number = number as usize;
            let bytes = site.sizes.get(number).copied();
            match (bytes, site.manifest.content(number)) {
                (Some(bytes), Some(hash)) if start < end && end <= bytes => {
                    let Some(inner) = site.outboard(number, bytes).await? else {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "a content is not what the manifest says"));
                    };
                    out.write_u8(COMES).await?;
                    let outboard = PreOrderMemOutboard { root: (*hash).into(), tree: tree(bytes), data: inner };
                    let reading = Reading::new(site, number, start..end.next_multiple_of(GROUP_BYTES).min(bytes));
                    encode_ranges_validated(reading, outboard, &groups(&(start..end)), Writing(&mut out))
                        .await
                        .map_err(io::Error::other)?;
                }
                _ => out.write_u8(NOT_HERE).await?,
            }
        }
        Ask::Manifest { .. } | Ask::Content { .. } => out.write_u8(NOT_HERE).await?,
    }
    out.flush().await?;
    out.into_inner().shutdown().await
}

/// Reads a content ahead, from the front to the back or with jumps.
struct Reading<'s, C> {
    site: &'s Given<C>,
    number: usize,
    /// Not read beyond.
    range: Range<u64>,
    /// Bytes that are read, from here on.
    at: u64,
    ahead: Bytes,
}

impl<'s, C: Content> Reading<'s, C> {
    fn new(site: &'s Given<C>, number: usize, range: Range<u64>) -> Self {
        Self { site, number, at: range.start, range, ahead: Bytes::new() }
    }

    async fn at(&mut self, offset: u64, length: usize) -> io::Result<Bytes> {
        let end = offset + length as u64;
        if offset < self.at || end > self.at + self.ahead.len() as u64 {
            let until = (offset + AHEAD_BYTES.max(length as u64)).min(self.range.end.max(end));
            self.ahead = self.site.content.read(self.number, offset..until).await?;
            self.at = offset;
        }
        let from = usize::try_from(offset - self.at).map_err(io::Error::other)?;
        let to = (from + length).min(self.ahead.len());
        Ok(self.ahead.slice(from.min(to)..to))
    }
}

impl<C: Content> AsyncSliceReader for Reading<'_, C> {
    async fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.at(offset, length).await
    }

    async fn size(&mut self) -> io::Result<u64> {
        Ok(self.range.end)
    }
}

impl<C: Content> AsyncStreamReader for Reading<'_, C> {
    async fn read_bytes(&mut self, length: usize) -> io::Result<Bytes> {
        let bytes = self.at(self.range.start, length).await?;
        self.range.start += bytes.len() as u64;
        Ok(bytes)
    }

    async fn read<const L: usize>(&mut self) -> io::Result<[u8; L]> {
        let mut bytes = BytesMut::zeroed(L);
        bytes.copy_from_slice(&self.read_bytes_exact(L).await?);
        bytes.as_ref().try_into().map_err(io::Error::other)
    }
}

/// A stream as the encoder wants it.
struct Writing<'s, S>(&'s mut BufWriter<S>);

impl<S: AsyncWrite + Unpin> AsyncStreamWriter for Writing<'_, S> {
    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.write_all(data).await
    }

    async fn write_bytes(&mut self, data: Bytes) -> io::Result<()> {
        self.0.write_all(&data).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
