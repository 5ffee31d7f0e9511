//! How new variables lie in their file: chunks, fill values and codecs. Pure, so that every rank
//! knows it.

use super::codec::{Codec, Stream};
use super::encode::{DoesNotFit, element_bytes_of, fill_value};
use super::options::{Compression, Format, WriteOptions};
use crate::dataset::{AttrValue, DType, Dataset};

/// A chunk is not larger than this, so that readers can keep one in cache.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Rows are joined until a chunk has about this size.
const CHUNK_BYTES_MIN: usize = 64 << 10;

/// The same where a chunk is a file of its own, which costs more than a place in one.
const FILE_BYTES_MIN: usize = 1 << 20;

/// Fixed variables up to this size are stored in one piece: filters cost more than they save.
const PLAIN_BYTES_MAX: usize = 16 << 10;

/// How one variable lies in its file.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// `None` when it is stored in one piece.
    pub(super) chunk_shape: Option<Vec<usize>>,
    /// What stands for missing values, in the variable's type.
    pub(super) fill_attribute: AttrValue,
    /// The same as one element in the machine's own byte order; empty for texts.
    pub(super) fill: Vec<u8>,
    pub(super) codec: Codec,
    /// Whether chunks without a value are stored like others.
    keeps_empty: bool,
}

impl Layout {
    /// That of a variable; the value that does not fit its type if that is the fill value.
    pub(super) fn of(
        dataset: &Dataset,
        index: usize,
        options: &WriteOptions,
    ) -> Result<Self, DoesNotFit> {
        let variable = &dataset.variables[index];
        let shape = dataset.shape(index);
        let codec = match variable.dtype.is_text() {
            true => Codec::PLAIN,
            false => codec(options),
        };
        let given = options.chunks.get(&index).map(|chunk| {
            let lens = chunk.iter().zip(&shape);
            lens.map(|(&len, &all)| len.clamp(1, all.max(1))).collect()
        });
        let chunk_shape = match options.format {
            Format::NetCdf4 => {
                let dims = variable.dims.iter();
                let unlimited: Vec<bool> = dims.map(|&d| dataset.dimensions[d].unlimited).collect();
                let is_filtered = codec.compressor != Stream::Plain;
                let element_bytes = variable.dtype.size_bytes();
                let chosen = chunk_shape(&shape, &unlimited, element_bytes, is_filtered);
                given.or(chosen)
            }
            Format::Zarr3 => given.or_else(|| Some(file_shape(&shape, variable.dtype))),
        };
        let fill_attribute = fill_value(variable.dtype, variable.attributes.get("_FillValue"))?;
        Ok(Self {
            name: variable.name.clone(),
            dtype: variable.dtype,
            shape,
            chunk_shape,
            fill: element_bytes_of(&fill_attribute).map_or_else(Vec::new, |(_, bytes)| bytes),
            fill_attribute,
            codec,
            keeps_empty: options.format == Format::NetCdf4,
        })
    }

    /// The stored bytes of a whole chunk; none if it has no value and need not be stored.
    pub(super) fn encode(&self, plain: Vec<u8>) -> Vec<u8> {
        let is_empty = || plain.chunks_exact(self.fill.len()).all(|e| e == self.fill);
        if !self.keeps_empty && is_empty() {
            return Vec::new();
        }
        self.codec.encode(plain, self.dtype.size_bytes())
    }

    /// The plain bytes of a stored chunk; `None` if it is damaged.
    pub(super) fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
        let size_bytes = self.chunk_bytes();
        self.codec
            .decode(stored, size_bytes, self.dtype.size_bytes())
    }

    /// A chunk of which no cell was written.
    pub(super) fn empty_chunk(&self) -> Vec<u8> {
        let elements = self.fill.iter().copied().cycle();
        elements.take(self.chunk_bytes()).collect()
    }

    fn chunk_bytes(&self) -> usize {
        let chunk = self.chunk_shape.as_deref().unwrap_or(&self.shape);
        chunk.iter().product::<usize>() * self.dtype.size_bytes()
    }

    /// How many cells of the variable lie in a chunk: fewer at its end.
    pub(super) fn cells_of_chunk(&self, place: &[usize]) -> usize {
        let chunk = self.chunk_shape.as_deref().unwrap_or_default();
        let dims = place.iter().zip(chunk).zip(&self.shape);
        dims.map(|((place, &chunk), len)| chunk.min(len - place * chunk))
            .product()
    }
}

/// What is done to the bytes of numbers.
fn codec(options: &WriteOptions) -> Codec {
    let is_zarr = options.format == Format::Zarr3;
    let compressor = match (options.compression(), options.format) {
        (Compression::None, _) => return Codec::PLAIN,
        (Compression::Deflate(level), Format::NetCdf4) => Stream::Zlib(level),
        (Compression::Deflate(level), Format::Zarr3) => Stream::Gzip(level),
        (Compression::Zstd(level), _) => Stream::Zstd(level),
    };
    Codec {
        shuffle: options.shuffle && !is_zarr,
        compressor,
    }
}

/// The chunk shape of a variable of which each chunk is a file: larger than in one file, because
/// a file costs more than a place in one.
fn file_shape(shape: &[usize], dtype: DType) -> Vec<usize> {
    if dtype.is_text() {
        return shape.iter().map(|&len| len.max(1)).collect();
    }
    let free = vec![None; shape.len()];
    chunk_of_rows(shape, dtype.size_bytes(), FILE_BYTES_MIN, &free)
}

/// The chunk shape for a variable, or `None` to store it in one piece.
///
/// Chunks are whole trailing dimensions (fields), one or more steps of the first one.
pub(super) fn chunk_shape(
    shape: &[usize],
    unlimited: &[bool],
    element_bytes: usize,
    is_filtered: bool,
) -> Option<Vec<usize>> {
    let total = shape
        .iter()
        .fold(element_bytes, |bytes, &len| bytes.saturating_mul(len));
    let must = unlimited.contains(&true);
    if shape.is_empty() || (!must && (!is_filtered || total <= PLAIN_BYTES_MAX || total == 0)) {
        return None;
    }
    let free = vec![None; shape.len()];
    Some(chunk_of_rows(shape, element_bytes, CHUNK_BYTES_MIN, &free))
}

/// The chunk shape in which some lengths are `given`; the others make chunks of a good size.
pub(crate) fn chunk_with(
    shape: &[usize],
    element_bytes: usize,
    given: &[Option<usize>],
) -> Vec<usize> {
    chunk_of_rows(shape, element_bytes, CHUNK_BYTES_MIN, given)
}

/// Whole trailing dimensions up to [`CHUNK_BYTES_MAX`], and so many steps of the first one that a
/// chunk has about `bytes_min`; but lengths that are `given`.
fn chunk_of_rows(
    shape: &[usize],
    element_bytes: usize,
    bytes_min: usize,
    given: &[Option<usize>],
) -> Vec<usize> {
    let bound = |(len, &all): (&Option<usize>, &usize)| len.map(|len| len.clamp(1, all.max(1)));
    let given: Vec<Option<usize>> = given.iter().zip(shape).map(bound).collect();
    let known = given.iter().flatten();
    let mut bytes = known.fold(element_bytes, |bytes, &len| bytes.saturating_mul(len));
    let mut chunk = vec![1; shape.len()];
    for dim in (0..shape.len()).rev() {
        if let Some(len) = given[dim] {
            chunk[dim] = len;
            continue;
        }
        let limit = if dim == 0 && shape.len() > 1 {
            bytes_min
        } else {
            CHUNK_BYTES_MAX
        };
        chunk[dim] = (limit / bytes).clamp(1, shape[dim].max(1));
        bytes = bytes.saturating_mul(chunk[dim]);
    }
    chunk
}

/// The chunk shape for a result that is written by bands with all of the dimension `axis`: as
/// wide as a band, at best, and only so many steps that a chunk stays small. `None` if one band
/// is the whole, or the whole is small.
pub(crate) fn chunk_of_bands(
    shape: &[usize],
    axis: usize,
    bands: &[Vec<std::ops::Range<usize>>],
    element_bytes: usize,
) -> Option<Vec<usize>> {
    let first = bands.first().filter(|_| bands.len() > 1)?;
    if shape.iter().product::<usize>() * element_bytes <= PLAIN_BYTES_MAX {
        return None;
    }
    let mut chunk: Vec<usize> = first.iter().map(|range| range.len().max(1)).collect();
    chunk[axis] = 1;
    let bytes = chunk
        .iter()
        .fold(element_bytes, |bytes, &len| bytes.saturating_mul(len));
    // Larger bands are cut along the slowest of their dimensions.
    let mut excess = bytes.div_ceil(CHUNK_BYTES_MAX);
    for len in &mut chunk {
        let cut = excess.min(*len);
        *len = len.div_ceil(cut);
        excess = excess.div_ceil(cut);
    }
    let bytes: usize = chunk.iter().product::<usize>() * element_bytes;
    chunk[axis] = (CHUNK_BYTES_MIN * 4 / bytes).clamp(1, shape[axis].max(1));
    Some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_fields() {
        let shape = |shape: &[usize], unlimited: &[bool]| chunk_shape(shape, unlimited, 4, true);
        assert_eq!(
            shape(&[3650, 180, 360], &[true, false, false]),
            Some(vec![1, 180, 360])
        );
        assert_eq!(shape(&[3650, 2], &[true, false]), Some(vec![3650, 2]));
        assert_eq!(shape(&[0, 2], &[true, false]), Some(vec![1, 2]));
        assert_eq!(
            shape(&[10, 4000, 8000], &[true, false, false]),
            Some(vec![1, 131, 8000])
        );
        assert_eq!(shape(&[180], &[false]), None);
        assert_eq!(shape(&[], &[]), None);
        assert_eq!(chunk_shape(&[500, 500], &[false, false], 4, false), None);
    }
}
