//! The inner loops of convolutions, for the widest vectors that the processor has.
//!
//! Each keeps a tile of sums in registers. Left out: whatever knows of fields and edges.

use std::array;

use pulp::{Simd, WithSimd};

/// Rows of a tile.
pub(super) const ROWS: usize = 4;
/// Cells in one or several tiles, for any width of vectors: rows of sums are a multiple of it.
pub(super) const BLOCK: usize = 96;
/// Cells that [`Dots`] reads of each row before it goes on to the next, so that they stay in the
/// first cache.
pub(super) const STRETCH: usize = 1024;

/// A loop over tiles of [`ROWS`] rows and `WIDE` vectors.
pub(super) trait Tiles {
    /// Does all of it.
    fn tiles<S: Simd, const WIDE: usize>(self, simd: S);
}

/// Such a loop, with tiles as wide as the registers hold beside what is read.
pub(super) struct Widest<T>(pub(super) T);

impl<T: Tiles> WithSimd for Widest<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.0.tiles::<S, 6>(simd),
            8 => self.0.tiles::<S, 3>(simd),
            _ => self.0.tiles::<S, 2>(simd),
        }
    }
}

/// Weights in the order in which [`Products`] reads them: [`ROWS`] rows at a time, of which all
/// weights of a place lie together. Rows are filled up with zeros.
pub(super) fn packed(rows: usize, places: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut list = Vec::with_capacity(rows.next_multiple_of(ROWS) * places);
    for first in (0..rows).step_by(ROWS) {
        for place in 0..places {
            list.extend((first..first + ROWS).map(|row| match row < rows {
                true => weight(row, place),
                false => 0.0,
            }));
        }
    }
    list
}

/// Of each row, its start and the sum over all places of a weight times the field from there on:
/// `sums[row][cell] = starts[row] + Σ weights[row][place] · field[places[place] + cell]`.
pub(super) struct Products<'a> {
    /// As [`packed`] orders them.
    pub(super) weights: &'a [f32],
    /// Where in the field each begins; from each on, `pitch` cells can be read.
    pub(super) places: &'a [usize],
    /// A multiple of [`ROWS`].
    pub(super) starts: &'a [f32],
    /// What is read.
    pub(super) field: &'a [f32],
    /// As many rows as `starts`, of `pitch` cells.
    pub(super) sums: &'a mut [f32],
    /// A multiple of [`BLOCK`].
    pub(super) pitch: usize,
}

impl Tiles for Products<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const WIDE: usize>(self, simd: S) {
        let cells = WIDE * S::F32_LANES;
        let per_rows = ROWS * self.places.len();
        for at in (0..self.pitch).step_by(cells) {
            for (index, starts) in self.starts.chunks_exact(ROWS).enumerate() {
                let mut sums: [[S::f32s; WIDE]; ROWS] =
                    array::from_fn(|row| [simd.splat_f32s(starts[row]); WIDE]);
                let (weights, _) = self.weights[index * per_rows..][..per_rows].as_chunks::<ROWS>();
                for (weights, place) in weights.iter().zip(self.places) {
                    let field = vectors::<S, WIDE>(&self.field[place + at..]);
                    for row in 0..ROWS {
                        let weight = simd.splat_f32s(weights[row]);
                        for wide in 0..WIDE {
                            sums[row][wide] =
                                simd.mul_add_f32s(weight, field[wide], sums[row][wide]);
                        }
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    let row = &mut self.sums[(index * ROWS + row) * self.pitch + at..][..cells];
                    S::as_mut_simd_f32s(row).0.copy_from_slice(sums);
                }
            }
        }
    }
}

/// Adds to each row and place the sum of the row times the field from that place on, over some
/// samples: `sums[row][place] += Σ lines[row][cell] · field[places[place] + cell]`.
pub(super) struct Dots<'a> {
    /// Of each sample a multiple of [`ROWS`] lines, 0 from `len` on.
    pub(super) lines: &'a [f32],
    /// Of each, with room for a whole vector past `len`.
    pub(super) line_len: usize,
    /// Cells that are summed.
    pub(super) len: usize,
    /// Where in a sample's field each begins; from each on, a whole vector past `len` can be read.
    pub(super) places: &'a [usize],
    /// What is read.
    pub(super) field: &'a [f32],
    /// Of each sample.
    pub(super) field_len: usize,
    /// As many rows as a sample has lines, of as many numbers as places.
    pub(super) sums: &'a mut [f32],
}

impl Tiles for Dots<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const WIDE: usize>(self, simd: S) {
        let count = self.places.len();
        let per_sample = self.sums.len() / count * self.line_len;
        for from in (0..self.len).step_by(STRETCH) {
            let cells = (self.len - from).min(STRETCH).div_ceil(S::F32_LANES) * S::F32_LANES;
            for (index, sums) in self.sums.chunks_exact_mut(ROWS * count).enumerate() {
                for first in (0..count).step_by(WIDE) {
                    let mut tile = [[simd.splat_f32s(0.0); WIDE]; ROWS];
                    let samples = self.lines.chunks_exact(per_sample);
                    for (lines, field) in samples.zip(self.field.chunks_exact(self.field_len)) {
                        let lines: [&[S::f32s]; ROWS] = array::from_fn(|row| {
                            let at = (index * ROWS + row) * self.line_len + from;
                            S::as_simd_f32s(&lines[at..][..cells]).0
                        });
                        // Where fewer are left, the last is summed more than once and told once.
                        let field: [&[S::f32s]; WIDE] = array::from_fn(|wide| {
                            let at = self.places[(first + wide).min(count - 1)] + from;
                            S::as_simd_f32s(&field[at..][..cells]).0
                        });
                        for at in 0..cells / S::F32_LANES {
                            let field: [S::f32s; WIDE] = array::from_fn(|wide| field[wide][at]);
                            for row in 0..ROWS {
                                let line = lines[row][at];
                                for wide in 0..WIDE {
                                    tile[row][wide] =
                                        simd.mul_add_f32s(line, field[wide], tile[row][wide]);
                                }
                            }
                        }
                    }
                    for (row, tile) in tile.iter().enumerate() {
                        let sums = &mut sums[row * count..][..count];
                        for (sum, tile) in sums[first..].iter_mut().zip(tile) {
                            *sum += simd.reduce_sum_f32s(*tile);
                        }
                    }
                }
            }
        }
    }
}

/// The sum of numbers, by lanes.
pub(super) struct Sum<'a>(pub(super) &'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (vectors, rest) = S::as_simd_f32s(self.0);
        let mut sums = [simd.splat_f32s(0.0); 4];
        for (index, vector) in vectors.iter().enumerate() {
            sums[index % 4] = simd.add_f32s(sums[index % 4], *vector);
        }
        let halves = [0, 2].map(|first| simd.add_f32s(sums[first], sums[first + 1]));
        let sum = simd.reduce_sum_f32s(simd.add_f32s(halves[0], halves[1]));
        sum + rest.iter().sum::<f32>()
    }
}

/// The first vectors of a slice that is long enough.
#[inline(always)]
fn vectors<S: Simd, const WIDE: usize>(cells: &[f32]) -> [S::f32s; WIDE] {
    let (vectors, _) = S::as_simd_f32s(&cells[..WIDE * S::F32_LANES]);
    array::from_fn(|wide| vectors[wide])
}
