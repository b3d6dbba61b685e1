//! Frames: a four-byte big-endian length, then that many bytes of postcard.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame. The largest message is a directory of 10,000 mixes at about 400 bytes each.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Why a frame was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It says it is longer than the limit.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is taken.
        limit: usize,
    },
    /// The bytes are no such message.
    #[error("the bytes of a frame are not the message that was expected: {0}")]
    Malformed(#[source] postcard::Error),
    /// The stream broke or ended.
    #[error("the connection broke in a frame: {0}")]
    Broken(#[source] std::io::Error),
}

/// Bytes of a message.
///
/// # Errors
/// When the message does not serialise or is over [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let bytes = postcard::to_stdvec(message).map_err(FrameError::Malformed)?;
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { bytes: bytes.len(), limit: MAX_FRAME_BYTES });
    }
    Ok(bytes)
}

/// The message in these bytes; nothing may be left over.
///
/// # Errors
/// When they are no such message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(FrameError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Malformed(postcard::Error::DeserializeBadEncoding)) }
}

/// Writes one message.
///
/// # Errors
/// As [`encode`], or when the stream breaks.
pub async fn write_frame<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    let bytes = encode(message)?;
    // In range: encode() checked it against a limit far below u32::MAX.
    to.write_all(&(bytes.len() as u32).to_be_bytes()).await.map_err(FrameError::Broken)?;
    to.write_all(&bytes).await.map_err(FrameError::Broken)
}

/// Reads one message of at most `limit` bytes.
///
/// # Errors
/// When it is too long, malformed, or the stream breaks.
pub async fn read_frame<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<T, FrameError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.map_err(FrameError::Broken)?;
    let length = u32::from_be_bytes(length) as usize;
    let limit = limit.min(MAX_FRAME_BYTES);
    if length > limit {
        return Err(FrameError::TooLong { bytes: length, limit });
    }
    // Grows with what really arrives, so that a length alone makes nobody allocate.
    let mut bytes = Vec::with_capacity(length.min(64 << 10));
    let read = from.take(length as u64).read_to_end(&mut bytes).await.map_err(FrameError::Broken)?;
    if read < length {
        return Err(FrameError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    decode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hello;
    use proptest::prelude::*;

    #[tokio::test]
    async fn there_and_back() {
        let mut pipe = Vec::new();
        write_frame(&mut pipe, &(7u32, "seven".to_owned())).await.unwrap();
        let back: (u32, String) = read_frame(&mut pipe.as_slice(), 100).await.unwrap();
        assert_eq!(back, (7, "seven".to_owned()));
    }

    #[tokio::test]
    async fn a_lying_length_is_refused_or_ends() {
        let long = u32::MAX.to_be_bytes();
        let refused = read_frame::<String>(&mut long.as_slice(), 100).await;
        assert!(matches!(refused, Err(FrameError::TooLong { limit: 100, .. })));
        let short = [0, 0, 0, 50, 1, 2];
        assert!(matches!(read_frame::<String>(&mut short.as_slice(), 100).await, Err(FrameError::Broken(_))));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<crate::NodeRequest>(&bytes);
            let _ = decode::<crate::DeviceRequest>(&bytes);
        }
    }
}
