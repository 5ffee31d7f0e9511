//! The commonest activations and their slopes, in one pass each over a field.
//!
//! Called by the CPU back end. The exponential is a polynomial that vectorises: within 2 units of
//! the last place of the C library's.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::layers::LEAK;
use crate::vectors;

/// Cells that a thread takes at once.
const CELLS: usize = 1 << 15;

/// What is done to each cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointwise {
    Relu,
    Leaky,
    Silu,
}

impl Pointwise {
    /// Of all cells.
    pub(crate) fn apply(self, input: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; input.len()];
        output
            .par_chunks_mut(CELLS)
            .zip(input.par_chunks(CELLS))
            .for_each(|(output, input)| {
                vectors::run(Apply {
                    how: self,
                    input,
                    output,
                });
            });
        output
    }

    /// The gradient by the input, of the gradient by the output.
    pub(crate) fn slope(self, input: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; input.len()];
        output
            .par_chunks_mut(CELLS)
            .zip(input.par_chunks(CELLS))
            .zip(gradient.par_chunks(CELLS))
            .for_each(|((output, input), gradient)| {
                vectors::run(Slope {
                    how: self,
                    input,
                    gradient,
                    output,
                });
            });
        output
    }
}

struct Apply<'a> {
    how: Pointwise,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let cells = self.output.iter_mut().zip(self.input);
        match self.how {
            // What is missing stays missing.
            Pointwise::Relu => cells.for_each(|(to, x)| *to = if *x <= 0.0 { 0.0 } else { *x }),
            Pointwise::Leaky => {
                cells.for_each(|(to, x)| *to = if *x < 0.0 { LEAK * x } else { *x })
            }
            Pointwise::Silu => cells.for_each(|(to, x)| *to = x / (1.0 + exp(-x))),
        }
    }
}

struct Slope<'a> {
    how: Pointwise,
    input: &'a [f32],
    gradient: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let cells = self.output.iter_mut().zip(self.input).zip(self.gradient);
        match self.how {
            Pointwise::Relu => {
                cells.for_each(|((to, x), by)| *to = if *x <= 0.0 { 0.0 } else { *by });
            }
            Pointwise::Leaky => {
                cells.for_each(|((to, x), by)| *to = if *x < 0.0 { LEAK * by } else { *by });
            }
            Pointwise::Silu => cells.for_each(|((to, x), by)| {
                let share = 1.0 / (1.0 + exp(-x));
                *to = by * share * x.mul_add(1.0 - share, 1.0);
            }),
        }
    }
}

/// The exponential; beyond ±87 that of ±87. Source: Cody and Waite's reduction of the argument,
/// and the Taylor polynomial of what is left, at most ln 2 / 2.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LIMIT: f32 = 87.0;
    /// ln 2 in few enough bits that its products with powers are exact, and the rest of it.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Added and taken away again, it leaves whole numbers.
    const WHOLE: f32 = 12_582_912.0;
    // Comparisons that are false leave what is not a number as it is.
    let x = if x > LIMIT { LIMIT } else { x };
    let x = if x < -LIMIT { -LIMIT } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, WHOLE);
    let power = shifted - WHOLE;
    let rest = power.mul_add(-LN_2_LOW, power.mul_add(-LN_2_HIGH, x));
    let mut sum = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = rest.mul_add(sum, coefficient);
    }
    // The whole number stands in the low bits of `shifted`; 127 is the bias of exponents.
    let power = shifted
        .to_bits()
        .wrapping_sub(WHOLE.to_bits())
        .wrapping_add(127);
    sum * f32::from_bits(power << 23)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "single precision is meant")]

    use super::*;

    #[test]
    fn the_exponential_is_that_of_double_precision() {
        for step in -8_700_i16..=8_700 {
            let x = f32::from(step) / 100.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.4e-7, "{x}: {error}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::INFINITY) > 1e37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    /// Against differences of the definition in double precision.
    #[test]
    fn slopes_are_those_of_the_functions() {
        let input: Vec<f32> = (-400_i16..400)
            .map(|x| f32::from(x) / 20.0 + 0.01)
            .collect();
        let gradient: Vec<f32> = input.iter().map(|x| 1.0 + x.cos()).collect();
        for (how, function) in [
            (Pointwise::Relu, (|x| x.max(0.0)) as fn(f64) -> f64),
            (Pointwise::Leaky, |x| if x < 0.0 { 0.2 * x } else { x }),
            (Pointwise::Silu, |x| x / (1.0 + (-x).exp())),
        ] {
            let (applied, slope) = (how.apply(&input), how.slope(&input, &gradient));
            for (index, x) in input.iter().map(|x| f64::from(*x)).enumerate() {
                let expected = function(x);
                assert!((f64::from(applied[index]) - expected).abs() < 1e-6 * (1.0 + x.abs()));
                let step = 1e-4;
                let rise = (function(x + step) - function(x - step)) / (2.0 * step);
                let expected = rise * f64::from(gradient[index]);
                assert!(
                    (f64::from(slope[index]) - expected).abs() < 1e-5,
                    "{how:?} {x}"
                );
            }
        }
    }

    #[test]
    fn what_is_missing_stays_missing() {
        for how in [Pointwise::Relu, Pointwise::Leaky, Pointwise::Silu] {
            assert!(how.apply(&[f32::NAN; 17]).iter().all(|x| x.is_nan()));
        }
    }
}
