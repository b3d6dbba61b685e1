//! The visitor's side: takes a manifest and contents from a host that is not believed.
//!
//! Invariants: what is given out was checked, group by group, against the manifest, and the manifest against the signed root; a lie is told
//! from a stream that broke, which is nobody's lie; memory grows with what has come, never with what a host claims.

use crate::{
    ask::{Ask, COMES, NOT_HERE, OTHER_VERSION},
    manifest::{Limits, Manifest, ManifestError, Root},
    tree::{GROUP_BYTES, groups, tree},
};
use bao_tree::io::{
    BaoContentItem, DecodeError,
    fsm::{ResponseDecoder, ResponseDecoderNext},
};
use bytes::{Bytes, BytesMut};
use iroh_io::AsyncStreamReader;
use std::{fmt, io, ops::Range, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    time::timeout,
};

/// One group of 16 KiB comes within this time, or the host is left: half a kilobyte a second is slower than any usable path. A host reads a
/// gigabyte in it, which it must before it can give the first group of a file of that length.
pub const GROUP_WAIT: Duration = Duration::from_secs(30);

/// Why something was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It is not what the publisher signed.
    #[error("it sent something else than the publisher signed")]
    Altered,
    /// It ended the answer before its end.
    #[error("it sent less than the publisher signed")]
    Cut,
    /// It says that it has not what belongs to the site.
    #[error("it does not give what belongs to the site")]
    Withheld,
    /// It speaks another version of how sites are asked for: an honest host of an older or newer Fogbank.
    #[error("it runs another version of Fogbank")]
    OtherVersion,
    /// What the publisher signed is itself no manifest that is taken; no host can help.
    #[error("what the publisher signed can't be taken: {0}")]
    Manifest(#[source] ManifestError),
    /// The stream broke: the host or a mix on the way has gone.
    #[error("it broke off: {0}")]
    Broke(#[source] io::Error),
    /// It sent nothing to speak of for [`GROUP_WAIT`].
    #[error("it sent nothing for {} seconds", GROUP_WAIT.as_secs())]
    Silent,
}

impl TakeError {
    /// Whether the host has lied or withheld, which an honest one never does.
    pub fn is_lie(&self) -> bool {
        matches!(self, Self::Altered | Self::Cut | Self::Withheld)
    }

    fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Cut } else { Self::Broke(error) }
    }
}

async fn soon<T>(reading: impl Future<Output = io::Result<T>>) -> Result<T, TakeError> {
    timeout(GROUP_WAIT, reading).await.map_err(|_| TakeError::Silent)?.map_err(TakeError::of)
}

async fn asked(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ask: &Ask) -> Result<(), TakeError> {
    timeout(GROUP_WAIT, ask.write(stream)).await.map_err(|_| TakeError::Silent)?.map_err(TakeError::Broke)?;
    match soon(stream.read_u8()).await? {
        COMES => Ok(()),
        NOT_HERE => Err(TakeError::Withheld),
        OTHER_VERSION => Err(TakeError::OtherVersion),
        _ => Err(TakeError::Altered),
    }
}

/// Takes the manifest of a site on a fresh stream.
///
/// # Errors
/// When it does not come, is not the one that was signed, or is none that is taken.
pub async fn take_manifest(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    root: Root,
    limits: &Limits,
) -> Result<Manifest, TakeError> {
    asked(&mut stream, &Ask::Manifest { root }).await?;
    let length = soon(stream.read_u32()).await? as usize;
    if length as u64 > limits.max_manifest_bytes {
        return Err(TakeError::Altered);
    }
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        // As with contents, a whole group must come in time: a host that sends single bytes would else hold visitors for days.
        let group = (length - bytes.len()).min(GROUP_BYTES as usize);
        let end = bytes.len() + group;
        soon(fill(&mut stream, &mut bytes, group)).await?;
        if bytes.len() < end {
            return Err(TakeError::Cut);
        }
    }
    if Root::of(&bytes) != root {
        return Err(TakeError::Altered);
    }
    Manifest::decode(&bytes, limits).map_err(TakeError::Manifest)
}

/// Reads so many bytes more; fewer when the stream ends before.
async fn fill(stream: &mut (impl AsyncRead + Unpin), bytes: &mut BytesMut, more: usize) -> io::Result<()> {
    bytes.reserve(more);
    let end = bytes.len() + more;
    while bytes.len() < end {
        if (&mut *stream).take((end - bytes.len()) as u64).read_buf(bytes).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Bytes of a content as they come, each checked.
pub struct Contents<S> {
    decoder: Option<ResponseDecoder<Reader<S>>>,
    wanted: Range<u64>,
}

impl<S> fmt::Debug for Contents<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents({:?})", self.wanted)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Contents<S> {
    /// Asks on a fresh stream for bytes of the content of this number, which the manifest has found to exist; the range is not empty.
    ///
    /// # Errors
    /// When the host does not give it.
    pub async fn ask(
        mut stream: S,
        root: Root,
        manifest: &Manifest,
        number: usize,
        bytes: u64,
        wanted: Range<u64>,
    ) -> Result<Self, TakeError> {
        let hash = *manifest.content(number).ok_or(TakeError::Manifest(ManifestError::Wrong("a content is missing")))?;
        let number = u32::try_from(number).map_err(|_| TakeError::Manifest(ManifestError::Wrong("a content is missing")))?;
        asked(&mut stream, &Ask::Content { root, number, start: wanted.start, end: wanted.end }).await?;
        let decoder = ResponseDecoder::new(hash.into(), groups(&wanted), tree(bytes), Reader(stream));
        Ok(Self { decoder: Some(decoder), wanted })
    }

    /// The next bytes, in order and without gaps; `None` after the last.
    ///
    /// # Errors
    /// When it does not go on. What was given out before is right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TakeError> {
        if self.wanted.is_empty() {
            return Ok(None);
        }
        loop {
            let Some(decoder) = self.decoder.take() else { return Err(TakeError::Cut) };
            let (next, item) = match timeout(GROUP_WAIT, decoder.next()).await.map_err(|_| TakeError::Silent)? {
                ResponseDecoderNext::More(more) => more,
                ResponseDecoderNext::Done(_) => return Err(TakeError::Cut),
            };
            match item {
                Ok(BaoContentItem::Parent(_)) => self.decoder = Some(next),
                Ok(BaoContentItem::Leaf(leaf)) => {
                    self.decoder = Some(next);
                    // The first and the last group hold more than was asked for.
                    let end = leaf.offset + leaf.data.len() as u64;
                    let (from, to) = (self.wanted.start.max(leaf.offset), self.wanted.end.min(end));
                    if from >= to {
                        continue;
                    }
                    self.wanted.start = to;
                    // Within a group's length.
                    let at = |byte: u64| (byte - leaf.offset) as usize;
                    return Ok(Some(leaf.data.slice(at(from)..at(to))));
                }
                Err(DecodeError::ParentHashMismatch(_) | DecodeError::LeafHashMismatch(_)) => return Err(TakeError::Altered),
                Err(DecodeError::ParentNotFound(_) | DecodeError::LeafNotFound(_)) => return Err(TakeError::Cut),
                Err(DecodeError::Io(error)) => return Err(TakeError::of(error)),
            }
        }
    }
}

/// A stream as the decoder wants it. It asks for a group at most.
struct Reader<S>(S);

impl<S: AsyncRead + Unpin> AsyncStreamReader for Reader<S> {
    async fn read_bytes(&mut self, length: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::new();
        fill(&mut self.0, &mut bytes, length).await?;
        Ok(bytes.freeze())
    }

    async fn read<const L: usize>(&mut self) -> io::Result<[u8; L]> {
        let mut bytes = [0; L];
        self.0.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Part;
    use tokio::{
        io::{AsyncWriteExt as _, duplex},
        time::{Instant, sleep},
    };

    /// A host that says the manifest in pieces of this length, one in each nine tenths of [`GROUP_WAIT`].
    async fn taken(manifest: &[u8], piece: usize) -> Result<Manifest, TakeError> {
        let (near, mut far) = duplex(64 << 10);
        let said = manifest.to_vec();
        let saying = tokio::spawn(async move {
            far.write_u8(COMES).await?;
            far.write_u32(said.len() as u32).await?;
            for piece in said.chunks(piece) {
                sleep(GROUP_WAIT * 9 / 10).await;
                far.write_all(piece).await?;
            }
            Ok::<_, io::Error>(far)
        });
        let taken = take_manifest(near, Root::of(manifest), &Limits::default()).await;
        saying.abort();
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_may_be_slow_but_not_say_a_manifest_byte_by_byte() {
        let part = |n: u32| Part { path: format!("a/folder/with/a/name/{n:05}.html"), bytes: 1, blob: n };
        let hashes = (0..2_000_u32).map(|n| *blake3::hash(&n.to_be_bytes()).as_bytes()).collect();
        let front = Part { path: "index.html".to_owned(), bytes: 1, blob: 0 };
        let manifest = Manifest::build((0..2_000).map(part).chain([front]).collect(), hashes).encode().unwrap();
        assert!(manifest.len() > 4 * GROUP_BYTES as usize);
        let slow = taken(&manifest, GROUP_BYTES as usize).await.unwrap();
        assert_eq!(slow.entries().len(), 2_001);
        let began = Instant::now();
        let dribbling = taken(&manifest, 1).await;
        assert!(matches!(dribbling, Err(TakeError::Silent)), "{dribbling:?}");
        assert!(began.elapsed() <= GROUP_WAIT * 2, "{:?}", began.elapsed());
    }
}
