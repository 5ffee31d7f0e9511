//! Numbers that lie plain in the file and are of the result's own type: read to their place and
//! converted there, without a buffer between.
//!
//! [`Numbers`] is the sink of [`RunReader`](super::super::runs::RunReader), for other numbers too.

use super::{Conversion, Missing, Output, Scaling};
use crate::simd::{self, Kernel};
use crate::storage::runs::Sink;

impl Conversion {
    /// The same on the spot, for bytes that were read straight into results; `None` where stored
    /// numbers are of another type than `T`, or packed.
    fn on_the_spot<T: Output>(&self) -> Option<OnTheSpot<'_, T>> {
        let rules = T::rules(&self.rules)?;
        (self.scaling == Scaling::None).then_some(OnTheSpot {
            rules,
            is_foreign: self.big_endian != cfg!(target_endian = "big"),
        })
    }
}

/// Results that take the stored bytes of their cells run by run.
pub(in crate::storage) struct Numbers<'a, T> {
    conversion: &'a Conversion,
    on_the_spot: Option<OnTheSpot<'a, T>>,
    out: &'a mut [T],
}

impl<'a, T: Output> Numbers<'a, T> {
    pub(in crate::storage) fn new(conversion: &'a Conversion, out: &'a mut [T]) -> Self {
        Self {
            conversion,
            on_the_spot: conversion.on_the_spot(),
            out,
        }
    }
}

impl<T: Output> Sink for Numbers<'_, T> {
    fn take(&mut self, bytes: &[u8], first: usize, length: usize) {
        let out = &mut self.out[first..first + length];
        self.conversion.run(bytes, out);
    }

    fn place(&mut self, first: usize, length: usize) -> Option<&mut [u8]> {
        self.on_the_spot?;
        Some(bytemuck::cast_slice_mut(
            &mut self.out[first..first + length],
        ))
    }

    fn landed(&mut self, first: usize, length: usize) {
        if let Some(on_the_spot) = &self.on_the_spot {
            on_the_spot.run(&mut self.out[first..first + length]);
        }
    }
}

/// What makes numbers of stored bytes that lie where the numbers shall.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct OnTheSpot<'a, T> {
    rules: &'a Missing<T>,
    is_foreign: bool,
}

impl<T: Output> OnTheSpot<'_, T> {
    /// Converts elements.
    pub(in crate::storage) fn run(&self, values: &mut [T]) {
        let rules = self.rules;
        if self.is_foreign {
            values.iter_mut().for_each(|value| *value = value.swapped());
        }
        match (rules.equal_to.as_slice(), rules.below, rules.above) {
            ([], None, None) => {}
            (&[only], None, None) => simd::run(Cleaning {
                values,
                is_missing: |value| value == only,
            }),
            _ => simd::run(Cleaning {
                values,
                is_missing: |value| rules.is_missing(value),
            }),
        }
    }
}

/// Puts NaN in place of missing values. Every cell is written: to ask first whether a block has any
/// costs more where they are scattered, for the processor cannot guess the answer.
struct Cleaning<'a, T, M> {
    values: &'a mut [T],
    is_missing: M,
}

impl<T: Output, M: Fn(T) -> bool> Kernel for Cleaning<'_, T, M> {
    #[inline(always)]
    fn run(self) {
        let is_missing = self.is_missing;
        let nothing = T::from_f64(simd::nothing());
        let clean = |value: T| {
            if is_missing(value) { T::MISSING } else { value }
        };
        // No `for_each`, whose inside may be compiled apart, for every processor.
        for value in self.values {
            *value = clean(*value) + nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{AttrValue, DType};

    #[test]
    fn on_the_spot_is_as_through_a_buffer() {
        let fill = ("_FillValue", AttrValue::F32(vec![1e20]));
        let low = ("valid_min", AttrValue::F32(vec![3.0]));
        let stored: Vec<f32> = (0..1000)
            .map(|i| if i % 7 == 0 { 1e20 } else { i as f32 })
            .collect();
        for of_range in [false, true] {
            let pairs = if of_range {
                vec![fill.clone(), low.clone()]
            } else {
                vec![fill.clone()]
            };
            let owned = |(name, value): (&str, AttrValue)| (name.to_owned(), value);
            let attributes = pairs.into_iter().map(owned).collect();
            for big_endian in [false, true] {
                let conversion = Conversion::new(DType::F32, &attributes, big_endian);
                let to_bytes = |value: &f32| match big_endian {
                    true => value.to_be_bytes(),
                    false => value.to_le_bytes(),
                };
                let bytes: Vec<u8> = stored.iter().flat_map(to_bytes).collect();
                let mut through = vec![0.0_f32; stored.len()];
                conversion.run(&bytes, &mut through);
                let mut spot = vec![0.0_f32; stored.len()];
                let mut numbers = Numbers::new(&conversion, &mut spot);
                numbers
                    .place(0, stored.len())
                    .unwrap()
                    .copy_from_slice(&bytes);
                numbers.landed(0, stored.len());
                assert!(through[0].is_nan() && through[1].is_nan() == of_range);
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&spot), bits(&through));
                let doubles = &mut [0.0_f64];
                assert!(Numbers::new(&conversion, doubles).place(0, 1).is_none());
            }
        }
    }
}
