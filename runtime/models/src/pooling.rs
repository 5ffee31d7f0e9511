//! The largest of each two by two cells, and where its gradient goes.
//!
//! Called by the CPU back end. Of equal cells the first wins; what is missing wins over all.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::vectors;

/// Of rows of `width` cells, both even in number: half as many of half as many.
pub(crate) fn halve(field: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; field.len() / 4];
    out.par_chunks_mut((width / 2).max(1))
        .zip(field.par_chunks((2 * width).max(1)))
        .with_min_len(rows_at_once(width))
        .for_each(|(out, rows)| vectors::run(Halve { rows, out }));
    out
}

/// The gradient of [`halve`] by its field.
pub(crate) fn double(field: &[f32], gradient: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; field.len()];
    out.par_chunks_mut((2 * width).max(1))
        .zip(field.par_chunks((2 * width).max(1)))
        .zip(gradient.par_chunks((width / 2).max(1)))
        .with_min_len(rows_at_once(width))
        .for_each(|((out, rows), gradient)| {
            vectors::run(Double {
                rows,
                gradient,
                out,
            });
        });
    out
}

/// Rows that a thread takes at once.
fn rows_at_once(width: usize) -> usize {
    (1 << 14) / width.max(1) + 1
}

/// Whether a cell wins over those before it.
#[inline(always)]
fn wins(cell: f32, best: f32) -> bool {
    (cell > best) | cell.is_nan()
}

struct Halve<'a> {
    rows: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Halve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (upper, lower) = self.rows.split_at(self.rows.len() / 2);
        let pairs = upper
            .as_chunks::<2>()
            .0
            .iter()
            .zip(lower.as_chunks::<2>().0);
        for (out, (upper, lower)) in self.out.iter_mut().zip(pairs) {
            let mut best = upper[0];
            for cell in [upper[1], lower[0], lower[1]] {
                best = if wins(cell, best) { cell } else { best };
            }
            *out = best;
        }
    }
}

struct Double<'a> {
    rows: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Double<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (upper, lower) = self.rows.split_at(self.rows.len() / 2);
        let (out_upper, out_lower) = self.out.split_at_mut(self.rows.len() / 2);
        let pairs = upper
            .as_chunks::<2>()
            .0
            .iter()
            .zip(lower.as_chunks::<2>().0);
        let outs = out_upper.as_chunks_mut::<2>().0.iter_mut();
        let outs = outs.zip(out_lower.as_chunks_mut::<2>().0);
        for (((upper, lower), outs), gradient) in pairs.zip(outs).zip(self.gradient) {
            let cells = [upper[0], upper[1], lower[0], lower[1]];
            let (mut best, mut winner) = (cells[0], 0_u32);
            for (index, cell) in (1..).zip(&cells[1..]) {
                let is_better = wins(*cell, best);
                best = if is_better { *cell } else { best };
                winner = if is_better { index } else { winner };
            }
            let share = |index: u32| if winner == index { *gradient } else { 0.0 };
            *outs.0 = [share(0), share(1)];
            *outs.1 = [share(2), share(3)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_kept_and_gets_the_gradient() {
        // Two rows of six: the largest last, equal ones, one that is missing.
        let field = [
            1.0,
            2.0,
            5.0,
            5.0,
            0.0,
            9.0,
            3.0,
            4.0,
            5.0,
            1.0,
            f32::NAN,
            0.0,
        ];
        let out = halve(&field, 6);
        assert_eq!(out[..2], [4.0, 5.0]);
        assert!(out[2].is_nan());
        let gradient = double(&field, &[10.0, 20.0, 30.0], 6);
        let expected = [
            0.0, 0.0, 20.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 30.0, 0.0,
        ];
        assert_eq!(gradient, expected);
    }

    /// Many rows, beside the definition cell by cell.
    #[test]
    fn fields_of_any_even_width_are_halved() {
        for width in [2_usize, 6, 34, 64] {
            let rows = 10;
            let value = |index: usize| f32::from(u16::try_from(index * 7919 % 251).unwrap());
            let field: Vec<f32> = (0..rows * width).map(value).collect();
            let expected: Vec<f32> = (0..rows / 2 * width / 2)
                .map(|index| {
                    let (row, column) = (index / (width / 2) * 2, index % (width / 2) * 2);
                    let cell =
                        |down: usize, right: usize| field[(row + down) * width + column + right];
                    cell(0, 0).max(cell(0, 1)).max(cell(1, 0)).max(cell(1, 1))
                })
                .collect();
            assert_eq!(halve(&field, width), expected);
            let ones = vec![1.0; expected.len()];
            let gradient = double(&field, &ones, width);
            assert_eq!(
                gradient.iter().filter(|share| **share == 1.0).count(),
                expected.len()
            );
            let kept: f32 = gradient.iter().zip(&field).map(|(g, cell)| g * cell).sum();
            assert_eq!(kept, expected.iter().sum::<f32>());
        }
    }
}
