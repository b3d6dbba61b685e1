//! The shape of the hash tree over a content, which both ends must mean alike.

use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use std::ops::Range;

/// Chunks of 1 KiB that are sent and checked together, as a power of two: 16 KiB, two packets' worth, at 64 bytes of hashes each.
const BLOCK: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes that are sent and checked together.
pub(crate) const GROUP_BYTES: u64 = 16 << 10;
const CHUNK_BYTES: u64 = 1 << 10;

/// The tree over so many bytes.
pub(crate) fn tree(bytes: u64) -> BaoTree {
    BaoTree::new(bytes, BLOCK)
}

/// The whole groups in which these bytes lie.
pub(crate) fn groups(range: &Range<u64>) -> ChunkRanges {
    let chunk = |group: u64| ChunkNum(group * (GROUP_BYTES / CHUNK_BYTES));
    ChunkRanges::from(chunk(range.start / GROUP_BYTES)..chunk(range.end.div_ceil(GROUP_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_to_whole_groups() {
        assert_eq!(BLOCK.bytes() as u64, GROUP_BYTES);
        assert_eq!(groups(&(0..1)), ChunkRanges::from(ChunkNum(0)..ChunkNum(16)));
        assert_eq!(groups(&(16_383..16_385)), ChunkRanges::from(ChunkNum(0)..ChunkNum(32)));
        assert_eq!(groups(&(16_384..32_768)), ChunkRanges::from(ChunkNum(16)..ChunkNum(32)));
    }
}
