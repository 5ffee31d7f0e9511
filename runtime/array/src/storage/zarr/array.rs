//! What the metadata of one Zarr array says, in one form for both versions of the format.

use super::codec::ByteCodec;
use super::shard::Sharding;
use crate::dataset::{Attributes, DType};

/// A chunk is not larger than this once decoded: Blosc's own limit.
pub(super) const CHUNK_BYTES_MAX: usize = i32::MAX as usize;

/// More dimensions than any array of numbers has.
const RANK_MAX: usize = 32;

/// One array.
#[derive(Clone, Debug)]
pub(super) struct ArrayMeta {
    /// Its key under the root of the store, which is its name.
    pub(super) name: String,
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    /// Of the chunks that are decoded on their own: with sharding, those inside a shard.
    pub(super) chunk_shape: Vec<usize>,
    pub(super) dimension_names: Vec<Option<String>>,
    pub(super) attributes: Attributes,
    pub(super) keys: KeyEncoding,
    pub(super) codecs: Codecs,
    pub(super) sharding: Option<Sharding>,
    /// One element as it is stored, before transposing; empty for texts of any length.
    pub(super) fill: Vec<u8>,
}

/// What elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Number(DType),
    /// Bytes, zeros at the end.
    FixedBytes(usize),
    /// UTF-32, zeros at the end; the size is in bytes.
    FixedUtf32(usize),
    /// Texts of any length, each after its length.
    VarText,
}

impl Element {
    /// The type of numbers; `None` for texts.
    pub(super) fn number(self) -> Option<DType> {
        match self {
            Self::Number(dtype) => Some(dtype),
            _ => None,
        }
    }

    pub(super) fn dtype(self) -> DType {
        match self {
            Self::Number(dtype) => dtype,
            _ => DType::Text,
        }
    }

    /// The size of one element in a decoded chunk; `None` when that differs.
    pub(super) fn size_bytes(self) -> Option<usize> {
        match self {
            Self::Number(dtype) => Some(dtype.size_bytes()),
            Self::FixedBytes(size) | Self::FixedUtf32(size) => Some(size),
            Self::VarText => None,
        }
    }
}

/// How the elements of a chunk become its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Codecs {
    /// Dimension `order[i]` of the chunk is the `i`-th as it is stored.
    pub(super) order: Option<Vec<usize>>,
    pub(super) big_endian: bool,
    /// In the order in which they were applied.
    pub(super) bytes: Vec<ByteCodec>,
}

/// How the place of a chunk in the grid becomes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyEncoding {
    /// Whether keys begin with `c`.
    pub(super) prefixed: bool,
    pub(super) separator: char,
}

impl KeyEncoding {
    /// The key of a chunk (or shard) of an array.
    pub(super) fn key(self, array: &str, place: &[usize]) -> String {
        let mut parts: Vec<String> = place.iter().map(usize::to_string).collect();
        if self.prefixed {
            parts.insert(0, "c".to_owned());
        } else if parts.is_empty() {
            parts.push("0".to_owned());
        }
        let separator = self.separator.to_string();
        format!("{array}/{}", parts.join(&separator))
    }
}

impl ArrayMeta {
    /// Checks what later arithmetic relies on; the problem is told in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let rank = self.shape.len();
        if rank > RANK_MAX {
            return Err(format!("has {rank} dimensions"));
        }
        let stored_shape = self.stored_shape();
        if stored_shape.len() != rank || self.dimension_names.len() != rank {
            return Err("has chunks or dimension names of another rank than its shape".to_owned());
        }
        if self.chunk_shape.contains(&0) || stored_shape.contains(&0) {
            return Err("has chunks without length".to_owned());
        }
        if let Some(order) = &self.codecs.order {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if sorted.iter().copied().ne(0..rank) {
                return Err(format!("is transposed by {order:?}, which is no order"));
            }
        }
        let element_bytes = self.element.size_bytes().unwrap_or(16);
        if element_bytes == 0 {
            return Err("has elements without bytes".to_owned());
        }
        let bytes_of = |shape: &[usize]| {
            shape
                .iter()
                .try_fold(element_bytes, |bytes, &len| bytes.checked_mul(len))
        };
        let whole: Vec<usize> = self.shape.iter().map(|&len| len.max(1)).collect();
        if bytes_of(&whole).is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err("is larger than memory can ever be".to_owned());
        }
        if bytes_of(&self.chunk_shape).is_none_or(|bytes| bytes > CHUNK_BYTES_MAX) {
            return Err(format!(
                "has chunks of {:?}, which is more than the {CHUNK_BYTES_MAX} bytes that are read",
                self.chunk_shape
            ));
        }
        match &self.sharding {
            Some(sharding) => sharding.check(&self.chunk_shape),
            None => Ok(()),
        }
    }

    /// The shape of what lies under one key.
    pub(super) fn stored_shape(&self) -> &[usize] {
        self.sharding
            .as_ref()
            .map_or(&self.chunk_shape, |sharding| &sharding.shape)
    }
}
