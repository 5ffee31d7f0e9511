//! How new variables lie in the file: the shape of their chunks.

/// A chunk is not larger than this, so that readers can keep one in cache.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Rows are joined until a chunk has about this size.
const CHUNK_BYTES_MIN: usize = 64 << 10;

/// Fixed variables up to this size are stored in one piece: filters cost more than they save.
const PLAIN_BYTES_MAX: usize = 16 << 10;

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
    let mut chunk = vec![1; shape.len()];
    let mut bytes = element_bytes;
    for dim in (0..shape.len()).rev() {
        let limit = if dim == 0 && shape.len() > 1 {
            CHUNK_BYTES_MIN
        } else {
            CHUNK_BYTES_MAX
        };
        chunk[dim] = (limit / bytes).clamp(1, shape[dim].max(1));
        bytes *= chunk[dim];
    }
    Some(chunk)
}

/// The chunk shape for a result that is written by bands with all of the dimension `axis`: as
/// wide as a band, at best, and only so many steps that a chunk stays small. `None` if one band
/// is the whole.
pub(crate) fn chunk_of_bands(
    shape: &[usize],
    axis: usize,
    bands: &[Vec<std::ops::Range<usize>>],
    element_bytes: usize,
) -> Option<Vec<usize>> {
    let first = bands.first().filter(|_| bands.len() > 1)?;
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
