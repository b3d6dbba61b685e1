//! What is inside a datagram: frames, one after another, integers big-endian.

use super::MAX_STREAMS;

/// Ranges in one acknowledgement: enough for the gaps that a window of 256 has when a third of it is lost and the rest reordered.
pub(super) const MAX_ACK_RANGES: usize = 128;
/// What a range or a gap between two is longer than is left out of the acknowledgement; older ones are confirmed long since.
const MAX_SPAN: u64 = u16::MAX as u64;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Bytes of a stream.
    Stream { id: u32, offset: u64, fin: bool, data: Vec<u8> },
    /// Datagram numbers that have come, highest first, half-open; how long the highest waited, ms; and one more than the number of the
    /// datagram with the acknowledgement before this one, 0 for the first: if that one was lost, what this one confirms may have come long ago.
    Ack { delay_ms: u16, before: u64, ranges: Vec<(u64, u64)> },
    /// A stream may go up to this offset.
    MaxStreamData { id: u32, max: u64 },
    /// All streams together may go up to this sum.
    MaxData { max: u64 },
    /// No more will be sent on a stream than the bytes up to `size`, and of them none again. Exact, so that both ends count credit alike.
    Reset { id: u32, size: u64 },
    /// What is sent on a stream is no longer read.
    Stop { id: u32 },
    /// Open new streams elsewhere.
    GoAway,
    /// Say that you are there.
    Ping,
    /// The tunnel ends.
    Close,
}

const STREAM: u8 = 1;
const STREAM_FIN: u8 = 2;
const ACK: u8 = 3;
const MAX_STREAM_DATA: u8 = 4;
const MAX_DATA: u8 = 5;
const RESET: u8 = 6;
const GO_AWAY: u8 = 7;
const PING: u8 = 8;
const CLOSE: u8 = 9;
const STOP: u8 = 10;

/// Kind, id, offset, length.
pub(super) const STREAM_HEAD_BYTES: usize = 1 + 4 + 8 + 2;
/// Kind, delay, the one before, count, end of the highest range, and each range as its length and the gap below it.
pub(super) const fn ack_bytes(ranges: usize) -> usize {
    1 + 2 + 8 + 1 + 8 + 4 * ranges
}

impl Frame {
    /// Whether the other end must acknowledge it.
    pub(super) fn asks_for_ack(&self) -> bool {
        !matches!(self, Self::Ack { .. } | Self::Close)
    }

    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Stream { id, offset, fin, data } => {
                out.push(if *fin { STREAM_FIN } else { STREAM });
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
                // A datagram is shorter than 64 KiB.
                out.extend_from_slice(&(data.len() as u16).to_be_bytes());
                out.extend_from_slice(data);
            }
            Self::Ack { delay_ms, before, ranges } => {
                out.push(ACK);
                out.extend_from_slice(&delay_ms.to_be_bytes());
                out.extend_from_slice(&before.to_be_bytes());
                let mut spans = Vec::with_capacity(ranges.len().min(MAX_ACK_RANGES));
                let mut above: Option<u64> = None;
                for (start, end) in ranges.iter().take(MAX_ACK_RANGES) {
                    let gap = above.map_or(0, |above| above - end);
                    let length = (end - start).min(MAX_SPAN);
                    if gap > MAX_SPAN {
                        break;
                    }
                    spans.push((gap as u16, length as u16));
                    above = Some(end - length);
                }
                out.push(spans.len() as u8);
                out.extend_from_slice(&ranges.first().map_or(0, |highest| highest.1).to_be_bytes());
                for (gap, length) in spans {
                    out.extend_from_slice(&gap.to_be_bytes());
                    out.extend_from_slice(&length.to_be_bytes());
                }
            }
            Self::MaxStreamData { id, max } => {
                out.push(MAX_STREAM_DATA);
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&max.to_be_bytes());
            }
            Self::MaxData { max } => {
                out.push(MAX_DATA);
                out.extend_from_slice(&max.to_be_bytes());
            }
            Self::Reset { id, size } => {
                out.push(RESET);
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
            }
            Self::Stop { id } => {
                out.push(STOP);
                out.extend_from_slice(&id.to_be_bytes());
            }
            Self::GoAway => out.push(GO_AWAY),
            Self::Ping => out.push(PING),
            Self::Close => out.push(CLOSE),
        }
    }

    /// Reads all frames of a datagram; `None` when they are none.
    pub(super) fn read_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut frames = Vec::new();
        while let Some((kind, rest)) = bytes.split_first() {
            // More frames than this no honest datagram has: a credit for each stream, and a few.
            if frames.len() > 2 * MAX_STREAMS {
                return None;
            }
            bytes = rest;
            frames.push(match *kind {
                kind @ (STREAM | STREAM_FIN) => {
                    let (id, offset, length) = (u32_of(&mut bytes)?, u64_of(&mut bytes)?, u16_of(&mut bytes)?);
                    let (data, rest) = bytes.split_at_checked(length.into())?;
                    bytes = rest;
                    offset.checked_add(length.into())?;
                    Self::Stream { id, offset, fin: kind == STREAM_FIN, data: data.to_vec() }
                }
                ACK => {
                    let (delay_ms, before) = (u16_of(&mut bytes)?, u64_of(&mut bytes)?);
                    let (count, rest) = bytes.split_first()?;
                    bytes = rest;
                    let count = usize::from(*count);
                    if count == 0 || count > MAX_ACK_RANGES {
                        return None;
                    }
                    let mut below = u64_of(&mut bytes)?;
                    let mut ranges = Vec::with_capacity(count);
                    for _ in 0..count {
                        let (gap, length) = (u16_of(&mut bytes)?, u16_of(&mut bytes)?);
                        let end = below.checked_sub(gap.into())?;
                        below = end.checked_sub(length.into()).filter(|start| *start < end)?;
                        ranges.push((below, end));
                    }
                    Self::Ack { delay_ms, before, ranges }
                }
                MAX_STREAM_DATA => Self::MaxStreamData { id: u32_of(&mut bytes)?, max: u64_of(&mut bytes)? },
                MAX_DATA => Self::MaxData { max: u64_of(&mut bytes)? },
                RESET => Self::Reset { id: u32_of(&mut bytes)?, size: u64_of(&mut bytes)? },
                STOP => Self::Stop { id: u32_of(&mut bytes)? },
                GO_AWAY => Self::GoAway,
                PING => Self::Ping,
                CLOSE => Self::Close,
                _ => return None,
            });
        }
        Some(frames)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn u16_of(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_be_bytes)
}

fn u32_of(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

fn u64_of(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_and_back() {
        let frames = vec![
            Frame::Ack { delay_ms: 3, before: 8, ranges: vec![(5, 9), (1, 2)] },
            Frame::Stream { id: 1, offset: 7, fin: true, data: vec![1, 2, 3] },
            Frame::MaxStreamData { id: 2, max: 9 },
            Frame::MaxData { max: 10 },
            Frame::Reset { id: 3, size: 77 },
            Frame::Stop { id: 3 },
            Frame::GoAway,
            Frame::Ping,
            Frame::Close,
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|f| f.write(&mut bytes));
        assert_eq!(Frame::read_all(&bytes), Some(frames));
    }

    /// The longest acknowledgement that a receiver makes is as long as [`ack_bytes`] says, and is read as it was written.
    #[test]
    fn acknowledgements_are_as_long_as_is_said() {
        for count in [1, 2, 64, MAX_ACK_RANGES as u64] {
            let ranges: Vec<(u64, u64)> = (0..count).rev().map(|n| (1_000_000 + 10 * n, 1_000_007 + 10 * n)).collect();
            let frame = Frame::Ack { delay_ms: 5, before: u64::MAX, ranges: ranges.clone() };
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            assert_eq!(bytes.len(), ack_bytes(ranges.len()));
            assert_eq!(Frame::read_all(&bytes), Some(vec![frame]));
        }
    }

    /// Numbers that do not fit the form are left out; none is confirmed that did not come.
    #[test]
    fn long_ranges_and_gaps_are_cut() {
        let long = Frame::Ack { delay_ms: 0, before: 0, ranges: vec![(100_000, 400_000), (5, 6)] };
        let mut bytes = Vec::new();
        long.write(&mut bytes);
        let cut = Frame::Ack { delay_ms: 0, before: 0, ranges: vec![(400_000 - MAX_SPAN, 400_000)] };
        assert_eq!(Frame::read_all(&bytes), Some(vec![cut]));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = Frame::read_all(&bytes);
        }
    }
}
