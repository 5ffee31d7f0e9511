//! Rounding to half precisions, and the loss scale.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::Precision;

/// Steps without overflow after which the scale doubles.
const GROW_AFTER: u64 = 2000;

/// Above this a scale only makes overflows.
const SCALE_MAX: f64 = 16_777_216.0;

/// Numbers that are rounded at a time.
const CHUNK: usize = 1024;

impl Precision {
    /// Rounds parameters as the model gets them.
    pub(crate) fn round_parameters(self, values: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::Bf16 => round_bf16(values),
            Self::F16 => round_f16(values),
        }
    }

    /// Rounds a gradient as the model gives it; `true` if that overflows.
    pub(crate) fn round_gradient(self, values: &mut [f32], scale: f32) -> bool {
        match self {
            Self::F32 => false,
            Self::Bf16 => {
                round_bf16(values);
                false
            }
            Self::F16 => {
                values.iter_mut().for_each(|value| *value *= scale);
                round_f16(values);
                let overflows = !are_finite(values);
                let back = 1.0 / scale;
                values.iter_mut().for_each(|value| *value *= back);
                overflows
            }
        }
    }
}

fn round_bf16(values: &mut [f32]) {
    let mut narrow = [bf16::ZERO; CHUNK];
    for values in values.chunks_mut(CHUNK) {
        let narrow = &mut narrow[..values.len()];
        narrow.convert_from_f32_slice(values);
        narrow.convert_to_f32_slice(values);
    }
}

fn round_f16(values: &mut [f32]) {
    let mut narrow = [f16::ZERO; CHUNK];
    for values in values.chunks_mut(CHUNK) {
        let narrow = &mut narrow[..values.len()];
        narrow.convert_from_f32_slice(values);
        narrow.convert_to_f32_slice(values);
    }
}

/// Is none of them infinite or not a number?
pub(crate) fn are_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // No early end: the loop is a vector instruction a line of the cache.
    let bad = |value: &f32| u32::from(value.to_bits() & EXPONENT == EXPONENT);
    values.iter().map(bad).fold(0, |any, bad| any | bad) == 0
}

/// By what gradients are multiplied before they are rounded to half precision, so that small
/// ones survive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LossScale {
    pub(crate) scale: f64,
    /// Steps since it changed last.
    pub(crate) good_steps: u64,
}

impl LossScale {
    /// After a step; `false` if it overflows at the smallest scale too.
    pub(crate) fn after(&mut self, overflows: bool) -> bool {
        if overflows {
            let lowest = self.scale <= 1.0;
            self.scale = (self.scale / 2.0).max(1.0);
            self.good_steps = 0;
            return !lowest;
        }
        self.good_steps += 1;
        if self.good_steps == GROW_AFTER {
            self.scale = (self.scale * 2.0).min(SCALE_MAX);
            self.good_steps = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_gradients_survive_by_the_scale_and_large_ones_overflow() {
        let mut small = [1e-8_f32; 3000];
        Precision::F16.round_gradient(&mut small, 1.0);
        assert!(small.iter().all(|value| *value == 0.0));
        let mut small = [1e-8_f32; 3000];
        assert!(!Precision::F16.round_gradient(&mut small, 65_536.0));
        assert!(small.iter().all(|value| (value / 1e-8 - 1.0).abs() < 1e-3));
        assert!(Precision::F16.round_gradient(&mut [2.0], 65_536.0));
        assert!(!Precision::Bf16.round_gradient(&mut [1e30], 1.0));
    }

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_long_peace() {
        let mut scale = LossScale {
            scale: 4.0,
            good_steps: 0,
        };
        assert!(scale.after(true));
        for _ in 0..GROW_AFTER {
            assert_eq!(scale.scale, 2.0);
            assert!(scale.after(false));
        }
        assert_eq!(scale.scale, 4.0);
        assert!(scale.after(true));
        assert!(scale.after(true));
        assert!(!scale.after(true));
    }

    #[test]
    fn what_is_not_finite_is_found() {
        assert!(are_finite(&[0.0, -1.0, f32::MAX, f32::MIN_POSITIVE / 2.0]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!are_finite(&[0.0, bad, 1.0]));
        }
    }
}
