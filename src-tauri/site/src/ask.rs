//! What a visitor asks a host of a site, one ask a stream.
//!
//! ```text
//! visitor: version (1 byte), length (1 byte), ask (postcard)      then nothing more
//! host:    0, and what was asked for, and the end  |  1: it is not here  |  2: it speaks another version
//!          manifest: length (4 bytes, big endian), bytes
//!          content:  hashes and data of the groups, in the order of the BLAKE3 verified streaming format (bao), its length left out
//! ```
//!
//! One ask a stream, as a stream of a tunnel costs no round trip to open and one that is kept could only be stale. A host that can't go on
//! breaks the stream; one that ends it well has given all. Invariant: an ask is at most [`MAX_ASK_BYTES`] long.
//! Deliberately absent: names of files. Which path a visitor reads, its proxy knows and the host sees only as the number of a content.

use crate::manifest::Root;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Version of this protocol, first in every ask.
pub const ASK_VERSION: u8 = 1;
/// A root of 32 bytes, a tag, a number of 5 bytes and two of 10.
pub const MAX_ASK_BYTES: usize = 64;
/// The answer comes.
pub const COMES: u8 = 0;
/// The host has not what was asked for, or could not read the ask.
pub const NOT_HERE: u8 = 1;
/// The host does not speak the version of the ask. The first byte of an ask and this answer are the same in every version.
pub const OTHER_VERSION: u8 = 2;

/// Why what was heard is no ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAsk {
    /// It is of another version.
    OtherVersion,
    /// It can't be read.
    Garbled,
}

impl NoAsk {
    /// The byte that says so.
    pub fn answer(self) -> u8 {
        match self {
            Self::OtherVersion => OTHER_VERSION,
            Self::Garbled => NOT_HERE,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The manifest with this root.
    Manifest {
        /// Which.
        root: Root,
    },
    /// Bytes of a content of the site with this root.
    Content {
        /// Of which site.
        root: Root,
        /// Which content, as its manifest numbers them.
        number: u32,
        /// From this byte on; the answer begins with the group in which it lies.
        start: u64,
        /// Up to here; the answer ends with the group in which the byte before lies.
        end: u64,
    },
}

impl Ask {
    /// Its bytes, as they are sent.
    ///
    /// # Errors
    /// Never in practice: every ask is short and serialises.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let length = u8::try_from(body.len()).map_err(io::Error::other)?;
        Ok([&[ASK_VERSION, length][..], &body].concat())
    }

    /// Says it.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        stream.write_all(&self.encode()?).await?;
        stream.flush().await
    }

    /// Hears one, or what is none that this version knows.
    ///
    /// # Errors
    /// When the stream breaks or ends before.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Self, NoAsk>> {
        if stream.read_u8().await? != ASK_VERSION {
            return Ok(Err(NoAsk::OtherVersion));
        }
        let length = usize::from(stream.read_u8().await?);
        if length > MAX_ASK_BYTES {
            return Ok(Err(NoAsk::Garbled));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(match postcard::take_from_bytes(&body) {
            Ok((ask, [])) => Ok(ask),
            _ => Err(NoAsk::Garbled),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heard(bytes: &[u8]) -> io::Result<Result<Ask, NoAsk>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { Ask::read(&mut { bytes }).await })
    }

    #[test]
    fn the_longest_fits_and_another_version_is_told_from_garbage() {
        let ask = Ask::Content { root: Root([255; 32]), number: u32::MAX, start: u64::MAX, end: u64::MAX };
        let bytes = ask.encode().unwrap();
        assert!(bytes.len() <= MAX_ASK_BYTES + 2, "{}", bytes.len());
        assert_eq!(heard(&bytes).unwrap(), Ok(ask));
        assert_eq!(heard(&[&[9], &bytes[1..]].concat()).unwrap(), Err(NoAsk::OtherVersion));
        assert_eq!(heard(&[ASK_VERSION, 1, 9]).unwrap(), Err(NoAsk::Garbled));
        assert_eq!(heard(&[ASK_VERSION, 255]).unwrap(), Err(NoAsk::Garbled));
        assert!(heard(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(heard(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Err(NoAsk::OtherVersion), "HTTP is not spoken here");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes: Vec<u8>) {
            let _ = heard(&bytes);
            bytes.insert(0, ASK_VERSION);
            let _ = heard(&bytes);
        }
    }
}
