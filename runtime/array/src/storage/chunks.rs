//! Where the chunks of one HDF5 variable lie, read from the file itself.
//!
//! `H5Dget_chunk_info` walks all chunks up to the one asked for: of 20,000 chunks the library
//! takes 3 to 25 s to tell all. This follows the same index once, whichever of HDF5's six it
//! is: the old B-tree, and since file format 1.10 a single chunk, no index at all, a fixed
//! array, an extensible array or the new B-tree. What is not known here is left to the library;
//! what is damaged is an error with its bytes.
//!
//! Source: HDF5 file format specification 3.0, III.A (B-trees), IV.A (object headers) and VII.C
//! and VII.D (arrays of chunks).

use super::damage::Damage;
use super::index::ChunkIndex;
use crate::library::StoredChunk;

mod btree1;
mod btree2;
mod bytes;
mod elements;
mod extensible;
mod fixed;
pub(super) mod object;

use bytes::UNDEFINED;
pub(super) use bytes::{Bytes, Cursor, Visited};
use object::{Index, Storage};

/// Of the shortest object header.
const OBJECT_HEADER_BYTES: u64 = 16;

/// What is known of a chunked array before its index is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkedArray<'a> {
    /// Where its object header lies.
    pub(super) header: u64,
    pub(super) chunk_shape: &'a [usize],
    pub(super) extents: &'a [u64],
    /// How far each dimension may grow; `u64::MAX` without limit.
    pub(super) extents_max: &'a [u64],
    pub(super) element_bytes: usize,
    pub(super) is_filtered: bool,
}

impl ChunkedArray<'_> {
    fn rank(&self) -> usize {
        self.chunk_shape.len()
    }

    fn chunk_bytes(&self) -> u64 {
        let elements = self.chunk_shape.iter().map(|&len| len as u64);
        elements.fold(self.element_bytes as u64, u64::saturating_mul)
    }

    /// How many chunks there can be.
    fn grid_count(&self) -> u64 {
        let lens = self.extents.iter().zip(self.chunk_shape);
        lens.map(|(&extent, &len)| extent.div_ceil(len as u64))
            .fold(1, u64::saturating_mul)
    }
}

/// The chunks of an array, or `None` when it is not stored in a way that is known here.
///
/// # Errors
/// The damaged bytes, when the index contradicts itself or the file.
pub(super) fn find(
    bytes: Bytes<'_>,
    array: ChunkedArray<'_>,
) -> Result<Option<Vec<StoredChunk>>, Damage> {
    // The library has read the object header and found nothing wrong with it: what cannot be
    // followed there is not known here.
    let Some(Storage::Chunked { layout, .. }) = object::storage(bytes, array.header, array.rank())
    else {
        return Ok(None);
    };
    if layout.address == UNDEFINED {
        return Ok(Some(Vec::new()));
    }
    let mut found = match layout.index {
        Index::BTree1 => btree1::chunks(bytes, layout.address, array)?,
        Index::Single {
            size_bytes,
            filter_mask,
        } => vec![StoredChunk {
            offset: vec![0; array.rank()],
            filter_mask,
            address: layout.address,
            size_bytes: size_bytes.unwrap_or(array.chunk_bytes()),
        }],
        Index::Implicit => implicit(bytes, layout.address, array)?,
        Index::FixedArray => match fixed::chunks(bytes, layout.address, array)? {
            Some(chunks) => chunks,
            None => return Ok(None),
        },
        Index::ExtensibleArray => match extensible::chunks(bytes, layout.address, array)? {
            Some(chunks) => chunks,
            None => return Ok(None),
        },
        Index::BTree2 => btree2::chunks(bytes, layout.address, array)?,
    };
    if layout.has_plain_edges {
        found
            .iter_mut()
            .filter(|chunk| is_partial(chunk, array))
            .for_each(|chunk| chunk.filter_mask = u32::MAX);
    }
    Ok(Some(found))
}

/// An array that the library will read whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeArray<'a> {
    /// Where its object header lies.
    pub(super) header: u64,
    pub(super) extents: &'a [u64],
    /// As the file has them.
    pub(super) element_bytes: u64,
}

/// Checks what the library does not before it reads an array: that there are as many bytes as
/// the array claims, or could be once they are decompressed, and that the oldest index of
/// chunks leads to its end.
///
/// # Errors
/// The damaged bytes.
pub(super) fn check(bytes: Bytes<'_>, array: WholeArray<'_>) -> Result<(), Damage> {
    let lens = array.extents.iter().copied();
    let claimed = lens.fold(array.element_bytes, u64::saturating_mul);
    match object::storage(bytes, array.header, array.extents.len()) {
        Some(Storage::OnePiece {
            address,
            size_bytes,
        }) if address != Some(UNDEFINED) => {
            let start = address.unwrap_or(array.header);
            let end = start.saturating_add(bytes.base).saturating_add(size_bytes);
            if size_bytes >= claimed && end <= bytes.file_bytes {
                return Ok(());
            }
            let problem = format!("it has {claimed} bytes by its shape, which are not there");
            Err(bytes.damage(start, size_bytes, problem))
        }
        Some(Storage::Chunked {
            layout,
            chunk: Some(chunk),
        }) if layout.index == Index::BTree1 && !chunk.shape.contains(&0) => {
            if chunk.element_bytes != array.element_bytes {
                let problem = format!(
                    "its elements have {} bytes, those of its chunks {}",
                    array.element_bytes, chunk.element_bytes
                );
                return Err(bytes.damage(array.header, OBJECT_HEADER_BYTES, problem));
            }
            let chunk_shape = chunk.shape;
            let chunked = ChunkedArray {
                header: array.header,
                chunk_shape: &chunk_shape,
                extents: array.extents,
                extents_max: array.extents,
                element_bytes: usize::try_from(array.element_bytes).unwrap_or(usize::MAX),
                is_filtered: true,
            };
            let chunks = match layout.address {
                UNDEFINED => Vec::new(),
                root => btree1::chunks(bytes, root, chunked)?,
            };
            let lens = array.extents.iter().map(|&len| len as usize);
            let lens: Vec<usize> = lens.collect();
            ChunkIndex::new(&chunks, &chunk_shape, &lens, bytes.base, bytes.file_bytes)?;
            let sizes = chunks.iter().map(|chunk| chunk.size_bytes);
            let stored = sizes.fold(0, u64::saturating_add);
            match is_plausible(claimed, stored) {
                true => Ok(()),
                false => Err(implausible(bytes, array.header, claimed, stored)),
            }
        }
        _ => Ok(()),
    }
}

/// Whether so few stored bytes can stand for so many. What was never written is not stored, so
/// that little is always believed.
pub(super) fn is_plausible(claimed_bytes: u64, stored_bytes: u64) -> bool {
    /// More than coordinates and texts have of which nothing was written.
    const BELIEVED_BYTES: u64 = 64 << 20;
    /// What deflate shrinks at most.
    const RATIO_MAX: u64 = 1040;
    claimed_bytes <= BELIEVED_BYTES.max(stored_bytes.saturating_mul(RATIO_MAX))
}

/// What is said of an array for which this is not so.
pub(super) fn implausible(
    bytes: Bytes<'_>,
    header: u64,
    claimed_bytes: u64,
    stored_bytes: u64,
) -> Damage {
    let problem = format!(
        "it has {claimed_bytes} bytes by its shape, but only {stored_bytes} bytes are stored"
    );
    bytes.damage(header, OBJECT_HEADER_BYTES, problem)
}

/// Whether a chunk sticks out of the array.
fn is_partial(chunk: &StoredChunk, array: ChunkedArray<'_>) -> bool {
    let mut dims = chunk
        .offset
        .iter()
        .zip(array.chunk_shape)
        .zip(array.extents);
    dims.any(|((&offset, &len), &extent)| offset.saturating_add(len as u64) > extent)
}

/// All chunks, one after the other.
fn implicit(
    bytes: Bytes<'_>,
    address: u64,
    array: ChunkedArray<'_>,
) -> Result<Vec<StoredChunk>, Damage> {
    let numbering = Numbering::of(array, None);
    let chunk_bytes = array.chunk_bytes();
    let length = numbering.end(array).saturating_mul(chunk_bytes);
    if address.saturating_add(bytes.base).saturating_add(length) > bytes.file_bytes {
        let problem = "the chunks go on beyond the end of the file: it is cut short";
        return Err(bytes.damage(address, length, problem));
    }
    let chunks = numbering
        .existing(array)
        .map(|(number, offset)| StoredChunk {
            offset,
            filter_mask: 0,
            address: address + number * chunk_bytes,
            size_bytes: chunk_bytes,
        });
    Ok(chunks.collect())
}

/// How the arrays of chunks count them: through the grid as large as it may grow, last
/// dimension fastest, with the unlimited dimension as the slowest.
struct Numbering {
    /// The dimensions, slowest first.
    order: Vec<usize>,
    /// The distance of neighbours along each dimension of `order`.
    strides: Vec<u64>,
}

impl Numbering {
    fn of(array: ChunkedArray<'_>, unlimited: Option<usize>) -> Self {
        let mut order: Vec<usize> = unlimited.into_iter().collect();
        order.extend((0..array.rank()).filter(|&dim| Some(dim) != unlimited));
        let mut strides = vec![1_u64; order.len()];
        for place in (1..order.len()).rev() {
            let dim = order[place];
            let count = array.extents_max[dim].div_ceil(array.chunk_shape[dim] as u64);
            strides[place - 1] = strides[place].saturating_mul(count);
        }
        Self { order, strides }
    }

    /// The first cell of the chunk with this number, unless it lies outside the array.
    fn offset(&self, mut number: u64, array: ChunkedArray<'_>) -> Option<Vec<u64>> {
        let mut offset = vec![0; self.order.len()];
        for (&dim, &stride) in self.order.iter().zip(&self.strides) {
            let place = number / stride;
            number %= stride;
            offset[dim] = place.checked_mul(array.chunk_shape[dim] as u64)?;
            if offset[dim] >= array.extents[dim] {
                return None;
            }
        }
        Some(offset)
    }

    /// The first number that no chunk of the array can have.
    fn end(&self, array: ChunkedArray<'_>) -> u64 {
        let last = self.order.iter().zip(&self.strides).map(|(&dim, &stride)| {
            let count = array.extents[dim].div_ceil(array.chunk_shape[dim] as u64);
            Some(count.checked_sub(1)?.saturating_mul(stride))
        });
        last.sum::<Option<u64>>()
            .map_or(0, |last| last.saturating_add(1))
    }

    /// Numbers and first cells of the chunks that the array has now.
    fn existing(&self, array: ChunkedArray<'_>) -> impl Iterator<Item = (u64, Vec<u64>)> {
        (0..self.end(array)).filter_map(move |number| Some((number, self.offset(number, array)?)))
    }
}
