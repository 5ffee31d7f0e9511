//! Shards: many chunks under one key, with an index of where each lies.
//!
//! Source: Zarr v3, codec `sharding_indexed` 1.0.

use super::codec::{CRC32C_BYTES, crc32c};

/// More chunks than this in one shard is damage: their index would have 256 MiB.
const COUNT_MAX: usize = 1 << 24;

/// The bytes of one entry of the index.
const ENTRY_BYTES: usize = 16;

/// How an array is sharded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sharding {
    /// Of one shard.
    pub(super) shape: Vec<usize>,
    /// Chunks along each dimension of a shard.
    pub(super) grid: Vec<usize>,
    pub(super) index_at_start: bool,
    pub(super) index_has_checksum: bool,
    pub(super) index_big_endian: bool,
}

/// Where the chunks of one shard lie in it; `None` for those never written.
pub(super) type ShardIndex = Vec<Option<(u64, u64)>>;

impl Sharding {
    pub(super) fn check(&self, chunk_shape: &[usize]) -> Result<(), String> {
        if self.grid.len() != chunk_shape.len()
            || self.shape.iter().zip(chunk_shape).any(|(s, c)| s % c != 0)
        {
            return Err(format!(
                "has shards of {:?}, which are not made of whole chunks of {chunk_shape:?}",
                self.shape
            ));
        }
        match self
            .grid
            .iter()
            .try_fold(1_usize, |n, &len| n.checked_mul(len))
        {
            Some(count) if count <= COUNT_MAX => Ok(()),
            _ => Err("has more chunks in a shard than are read".to_owned()),
        }
    }

    /// The bytes of the index.
    pub(super) fn index_bytes(&self) -> usize {
        let count: usize = self.grid.iter().product();
        let checksum = if self.index_has_checksum {
            CRC32C_BYTES
        } else {
            0
        };
        ENTRY_BYTES * count + checksum
    }

    /// Reads the index.
    pub(super) fn index(&self, bytes: &[u8]) -> Result<ShardIndex, &'static str> {
        let mut entries = bytes;
        if self.index_has_checksum {
            let (plain, stored) = bytes
                .split_last_chunk::<CRC32C_BYTES>()
                .ok_or("the index of its shard is cut short")?;
            if u32::from_le_bytes(*stored) != crc32c(plain) {
                return Err("the checksum of its shard's index is wrong");
            }
            entries = plain;
        }
        let number = |bytes: &[u8; 8]| match self.index_big_endian {
            true => u64::from_be_bytes(*bytes),
            false => u64::from_le_bytes(*bytes),
        };
        let (numbers, _) = entries.as_chunks::<8>();
        Ok(numbers
            .chunks_exact(2)
            .map(|pair| (number(&pair[0]), number(&pair[1])))
            .map(|pair| (pair != (u64::MAX, u64::MAX)).then_some(pair))
            .collect())
    }
}
