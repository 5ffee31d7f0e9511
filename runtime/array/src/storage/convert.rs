//! From stored bytes to numbers: byte order, missing values, packing.
//!
//! Values are compared with `_FillValue`, `missing_value` and the valid range as they are
//! stored, before `scale_factor` and `add_offset` (CF 2.5.1 and 8.1).

use std::marker::PhantomData;

use super::runs::Sink;
use crate::dataset::{AttrValue, Attributes, DType};
use crate::simd::{self, Kernel};

/// How the stored values of one variable become numbers.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    rules: Rules,
    big_endian: bool,
    scaling: Scaling,
}

/// What is missing, in the type that is stored.
#[derive(Clone, Debug)]
pub(super) enum Rules {
    I8(Missing<i8>),
    U8(Missing<u8>),
    I16(Missing<i16>),
    U16(Missing<u16>),
    I32(Missing<i32>),
    U32(Missing<u32>),
    I64(Missing<i64>),
    U64(Missing<u64>),
    F32(Missing<f32>),
    F64(Missing<f64>),
}

#[derive(Clone, Debug)]
pub(super) struct Missing<N> {
    equal_to: Vec<N>,
    below: Option<N>,
    above: Option<N>,
}

/// The arithmetic of unpacking, in the type of its attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scaling {
    None,
    F32 { factor: f32, offset: f32 },
    F64 { factor: f64, offset: f64 },
}

/// A number type of files.
pub(super) trait Stored: Copy + PartialOrd + Default {
    /// NetCDF's fill value of the type; none for single bytes, where it is a common value.
    const DEFAULT_FILL: Option<Self>;
    const SIZE_BYTES: usize;
    fn from_bytes(bytes: &[u8], big_endian: bool) -> Self;
    fn from_exact(exact: Exact) -> Option<Self>;
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
}

/// A number type of results.
pub(super) trait Output: bytemuck::Pod + PartialOrd {
    const MISSING: Self;
    #[doc(hidden)]
    fn rules(rules: &Rules) -> Option<&Missing<Self>>;
    #[doc(hidden)]
    fn swapped(self) -> Self;
    #[doc(hidden)]
    fn from_f64(value: f64) -> Self;
    fn from_f32(value: f32) -> Self;
    fn is_single() -> bool;
}

impl Output for f32 {
    const MISSING: Self = Self::NAN;
    fn rules(rules: &Rules) -> Option<&Missing<Self>> {
        match rules {
            Rules::F32(missing) => Some(missing),
            _ => None,
        }
    }
    #[inline(always)]
    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
    fn is_single() -> bool {
        true
    }
}

impl Output for f64 {
    const MISSING: Self = Self::NAN;
    fn rules(rules: &Rules) -> Option<&Missing<Self>> {
        match rules {
            Rules::F64(missing) => Some(missing),
            _ => None,
        }
    }
    #[inline(always)]
    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value.into()
    }
    fn is_single() -> bool {
        false
    }
}

/// A number of an attribute without loss.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exact {
    Integer(i128),
    Float(f64),
}

macro_rules! stored_integer {
    ($type:ty, $fill:expr) => {
        impl Stored for $type {
            const DEFAULT_FILL: Option<Self> = $fill;
            const SIZE_BYTES: usize = size_of::<Self>();
            #[inline(always)]
            fn from_bytes(bytes: &[u8], big_endian: bool) -> Self {
                let mut array = [0; size_of::<Self>()];
                array.copy_from_slice(bytes);
                if big_endian {
                    Self::from_be_bytes(array)
                } else {
                    Self::from_le_bytes(array)
                }
            }
            fn from_exact(exact: Exact) -> Option<Self> {
                match exact {
                    Exact::Integer(value) => Self::try_from(value).ok(),
                    Exact::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => {
                        Self::try_from(value as i128).ok()
                    }
                    Exact::Float(_) => None,
                }
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    };
}
stored_integer!(i8, None);
stored_integer!(u8, None);
stored_integer!(i16, Some(-32_767));
stored_integer!(u16, Some(65_535));
stored_integer!(i32, Some(-2_147_483_647));
stored_integer!(u32, Some(4_294_967_295));
stored_integer!(i64, Some(-9_223_372_036_854_775_806));
stored_integer!(u64, Some(18_446_744_073_709_551_614));

macro_rules! stored_float {
    ($type:ty, $fill:expr) => {
        impl Stored for $type {
            const DEFAULT_FILL: Option<Self> = Some($fill);
            const SIZE_BYTES: usize = size_of::<Self>();
            #[inline(always)]
            fn from_bytes(bytes: &[u8], big_endian: bool) -> Self {
                let mut array = [0; size_of::<Self>()];
                array.copy_from_slice(bytes);
                if big_endian {
                    Self::from_be_bytes(array)
                } else {
                    Self::from_le_bytes(array)
                }
            }
            fn from_exact(exact: Exact) -> Option<Self> {
                Some(match exact {
                    Exact::Integer(value) => value as Self,
                    Exact::Float(value) => value as Self,
                })
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    };
}
stored_float!(f32, 9.969_21e36);
stored_float!(f64, 9.969_209_968_386_869e36);

macro_rules! with_rules {
    ($rules:expr, $missing:ident => $body:expr) => {
        match $rules {
            Rules::I8($missing) => $body,
            Rules::U8($missing) => $body,
            Rules::I16($missing) => $body,
            Rules::U16($missing) => $body,
            Rules::I32($missing) => $body,
            Rules::U32($missing) => $body,
            Rules::I64($missing) => $body,
            Rules::U64($missing) => $body,
            Rules::F32($missing) => $body,
            Rules::F64($missing) => $body,
        }
    };
}

impl Conversion {
    /// The rules of a numeric variable.
    pub(super) fn new(dtype: DType, attributes: &Attributes, big_endian: bool) -> Self {
        let dtype = reinterpreted(dtype, attributes);
        let rules = match dtype {
            DType::I8 => Rules::I8(Missing::of(attributes)),
            DType::U8 | DType::Char | DType::Text => Rules::U8(Missing::of(attributes)),
            DType::I16 => Rules::I16(Missing::of(attributes)),
            DType::U16 => Rules::U16(Missing::of(attributes)),
            DType::I32 => Rules::I32(Missing::of(attributes)),
            DType::U32 => Rules::U32(Missing::of(attributes)),
            DType::I64 => Rules::I64(Missing::of(attributes)),
            DType::U64 => Rules::U64(Missing::of(attributes)),
            DType::F32 => Rules::F32(Missing::of(attributes)),
            DType::F64 => Rules::F64(Missing::of(attributes)),
        };
        Self {
            rules,
            big_endian,
            scaling: Scaling::of(dtype, attributes),
        }
    }

    /// The same for bytes in the machine's own order, as the library gives them.
    pub(super) fn native(&self) -> Self {
        Self {
            big_endian: cfg!(target_endian = "big"),
            ..self.clone()
        }
    }

    /// Whether results in single precision lose nothing and the data are floats.
    pub(super) fn is_f32(&self) -> bool {
        match self.scaling {
            Scaling::None => matches!(self.rules, Rules::F32(_)),
            Scaling::F32 { .. } => true,
            Scaling::F64 { .. } => false,
        }
    }

    /// The same on the spot, for bytes that were read straight into results; `None` where stored
    /// numbers are of another type than `T`, or packed.
    pub(super) fn on_the_spot<T: Output>(&self) -> Option<OnTheSpot<'_, T>> {
        let rules = T::rules(&self.rules)?;
        (self.scaling == Scaling::None).then_some(OnTheSpot {
            rules,
            is_foreign: self.big_endian != cfg!(target_endian = "big"),
        })
    }

    /// Converts elements; `bytes` has exactly those of `out`.
    pub(super) fn run<T: Output>(&self, bytes: &[u8], out: &mut [T]) {
        with_rules!(&self.rules, missing => missing.convert(self, bytes, out));
    }
}

/// `_Unsigned = "true"` says that the bits of a signed type are meant without sign.
fn reinterpreted(dtype: DType, attributes: &Attributes) -> DType {
    let is_unsigned = attributes
        .get_text("_Unsigned")
        .is_some_and(|text| text.eq_ignore_ascii_case("true"));
    match (is_unsigned, dtype) {
        (true, DType::I8) => DType::U8,
        (true, DType::I16) => DType::U16,
        (true, DType::I32) => DType::U32,
        (true, DType::I64) => DType::U64,
        _ => dtype,
    }
}

impl Scaling {
    fn of(dtype: DType, attributes: &Attributes) -> Self {
        let factor = attributes
            .get("scale_factor")
            .filter(|value| value.to_f64().is_some());
        let offset = attributes
            .get("add_offset")
            .filter(|value| value.to_f64().is_some());
        if factor.is_none() && offset.is_none() {
            return Self::None;
        }
        let is_single = |value: Option<&AttrValue>| {
            value.is_none_or(|value| matches!(value, AttrValue::F32(_)))
        };
        let is_narrow = !matches!(
            dtype,
            DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F64
        );
        let number = |value: Option<&AttrValue>, default| {
            value.and_then(AttrValue::to_f64).unwrap_or(default)
        };
        let (in_f32, factor, offset) = (
            is_narrow && is_single(factor) && is_single(offset),
            number(factor, 1.0),
            number(offset, 0.0),
        );
        match in_f32 {
            true => Self::F32 {
                factor: factor as f32,
                offset: offset as f32,
            },
            false => Self::F64 { factor, offset },
        }
    }
}

impl<N: Copy + PartialOrd> Missing<N> {
    fn is_missing(&self, value: N) -> bool {
        self.equal_to.contains(&value)
            || self.below.is_some_and(|low| value < low)
            || self.above.is_some_and(|high| value > high)
    }
}

impl<N: Stored> Missing<N> {
    fn of(attributes: &Attributes) -> Self {
        let values = |name| attributes.get(name).map_or_else(Vec::new, numbers::<N>);
        let mut equal_to = values("_FillValue");
        if attributes.get("_FillValue").is_none() {
            equal_to.extend(N::DEFAULT_FILL);
        }
        equal_to.extend(values("missing_value"));
        let mut distinct: Vec<N> = Vec::new();
        for value in equal_to {
            // NaN, which has no order, is missing in any case.
            if value.partial_cmp(&value).is_some() && !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        let range = values("valid_range");
        let (range_low, range_high) = match range.as_slice() {
            [low, high] => (Some(*low), Some(*high)),
            _ => (None, None),
        };
        Self {
            equal_to: distinct,
            below: range_low.or_else(|| values("valid_min").first().copied()),
            above: range_high.or_else(|| values("valid_max").first().copied()),
        }
    }

    /// Chooses the loop by the tests that are needed, so that each one is short.
    fn convert<T: Output>(&self, how: &Conversion, bytes: &[u8], out: &mut [T]) {
        let has_range = self.below.is_some() || self.above.is_some();
        match (self.equal_to.as_slice(), has_range) {
            ([], false) => self.scale(how, bytes, out, |_| false),
            (&[only], false) => self.scale(how, bytes, out, |value| value == only),
            (&[first, second], false) => {
                self.scale(how, bytes, out, |value| value == first || value == second);
            }
            _ => self.scale(how, bytes, out, |value| self.is_missing(value)),
        }
    }

    fn scale<T: Output>(
        &self,
        how: &Conversion,
        bytes: &[u8],
        out: &mut [T],
        is_missing: impl Fn(N) -> bool,
    ) {
        match (how.scaling, T::is_single()) {
            (Scaling::None, true) => {
                each(how, bytes, out, is_missing, |value| {
                    T::from_f32(value.to_f32())
                });
            }
            (Scaling::None, false) => {
                each(how, bytes, out, is_missing, |value| {
                    T::from_f64(value.to_f64())
                });
            }
            (Scaling::F32 { factor, offset }, _) => each(how, bytes, out, is_missing, |value| {
                T::from_f32(value.to_f32() * factor + offset)
            }),
            (Scaling::F64 { factor, offset }, _) => each(how, bytes, out, is_missing, |value| {
                T::from_f64(value.to_f64() * factor + offset)
            }),
        }
    }
}

/// The one loop, made for each type, byte order, test and arithmetic.
fn each<N: Stored, T: Output>(
    how: &Conversion,
    bytes: &[u8],
    out: &mut [T],
    is_missing: impl Fn(N) -> bool,
    unpack: impl Fn(N) -> T,
) {
    simd::run(Each {
        big_endian: how.big_endian,
        bytes,
        out,
        is_missing,
        unpack,
        stored: PhantomData::<N>,
    });
}

struct Each<'a, N, T, M, U> {
    big_endian: bool,
    bytes: &'a [u8],
    out: &'a mut [T],
    is_missing: M,
    unpack: U,
    stored: PhantomData<N>,
}

impl<N: Stored, T: Output, M: Fn(N) -> bool, U: Fn(N) -> T> Kernel for Each<'_, N, T, M, U> {
    #[inline(always)]
    fn run(self) {
        let pairs = self
            .out
            .iter_mut()
            .zip(self.bytes.chunks_exact(N::SIZE_BYTES));
        let (is_missing, unpack) = (self.is_missing, self.unpack);
        let convert = |value: N| {
            if is_missing(value) {
                T::MISSING
            } else {
                unpack(value)
            }
        };
        if self.big_endian {
            pairs.for_each(|(out, element)| *out = convert(N::from_bytes(element, true)));
        } else {
            pairs.for_each(|(out, element)| *out = convert(N::from_bytes(element, false)));
        }
    }
}

/// Results that take the stored bytes of their cells run by run.
pub(super) struct Numbers<'a, T> {
    conversion: &'a Conversion,
    on_the_spot: Option<OnTheSpot<'a, T>>,
    out: &'a mut [T],
}

impl<'a, T: Output> Numbers<'a, T> {
    pub(super) fn new(conversion: &'a Conversion, out: &'a mut [T]) -> Self {
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
pub(super) struct OnTheSpot<'a, T> {
    rules: &'a Missing<T>,
    is_foreign: bool,
}

impl<T: Output> OnTheSpot<'_, T> {
    /// Converts elements.
    pub(super) fn run(&self, values: &mut [T]) {
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

/// Puts NaN in place of missing values.
struct Cleaning<'a, T, M> {
    values: &'a mut [T],
    is_missing: M,
}

/// Cells that are looked at together, and written only if one is missing.
const CLEANED_CELLS: usize = 32;

impl<T: Output, M: Fn(T) -> bool> Kernel for Cleaning<'_, T, M> {
    #[inline(always)]
    fn run(self) {
        let is_missing = self.is_missing;
        let clean = |value: T| {
            if is_missing(value) { T::MISSING } else { value }
        };
        let (blocks, rest) = self.values.as_chunks_mut::<CLEANED_CELLS>();
        for block in blocks {
            let found = block
                .iter()
                .fold(false, |found, &value| found | is_missing(value));
            if found {
                block.iter_mut().for_each(|value| *value = clean(*value));
            }
        }
        rest.iter_mut().for_each(|value| *value = clean(*value));
    }
}

/// The numbers of an attribute that the stored type can hold.
fn numbers<N: Stored>(value: &AttrValue) -> Vec<N> {
    let integer = |value: i128| Exact::Integer(value);
    let exact: Vec<Exact> = match value {
        AttrValue::Text(_) | AttrValue::TextList(_) => Vec::new(),
        AttrValue::I8(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::U8(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::I16(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::U16(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::I32(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::U32(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::I64(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::U64(values) => values.iter().map(|&v| integer(v.into())).collect(),
        AttrValue::F32(values) => values.iter().map(|&v| Exact::Float(v.into())).collect(),
        AttrValue::F64(values) => values.iter().map(|&v| Exact::Float(v)).collect(),
    };
    exact
        .into_iter()
        .filter_map(|exact| from_attribute(exact))
        .collect()
}

/// As [`Stored::from_exact`], and a negative number as the bits of an unsigned type, for
/// variables whose sign `_Unsigned` takes away.
fn from_attribute<N: Stored>(exact: Exact) -> Option<N> {
    N::from_exact(exact).or_else(|| match exact {
        Exact::Integer(value) if value < 0 => {
            N::from_exact(Exact::Integer(value + (1_i128 << (8 * N::SIZE_BYTES))))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, AttrValue)]) -> Attributes {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    fn shorts(values: &[i16]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_be_bytes())
            .collect()
    }

    #[test]
    fn stored_values_are_compared_before_they_are_scaled() {
        let packed = attributes(&[
            ("_FillValue", AttrValue::I16(vec![-1])),
            ("missing_value", AttrValue::I16(vec![7])),
            ("valid_max", AttrValue::I16(vec![100])),
            ("scale_factor", AttrValue::F64(vec![0.5])),
            ("add_offset", AttrValue::F64(vec![1.0])),
        ]);
        let conversion = Conversion::new(DType::I16, &packed, true);
        let mut out = [0.0_f64; 5];
        conversion.run(&shorts(&[-1, 7, 101, 100, -2]), &mut out);
        assert!(out[..3].iter().all(|value| value.is_nan()));
        assert_eq!(out[3..], [51.0, 0.0]);
        assert!(!conversion.is_f32());
    }

    #[test]
    fn a_fill_value_of_another_type_is_compared_in_the_stored_one() {
        let float = attributes(&[("_FillValue", AttrValue::F64(vec![1e20]))]);
        let conversion = Conversion::new(DType::F32, &float, false);
        let bytes: Vec<u8> = [1e20_f32, 2.5, f32::NAN]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let mut out = [0.0_f32; 3];
        conversion.run(&bytes, &mut out);
        assert!(out[0].is_nan() && out[1] == 2.5 && out[2].is_nan());
        assert!(conversion.is_f32());
    }

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
            for big_endian in [false, true] {
                let conversion = Conversion::new(DType::F32, &attributes(&pairs), big_endian);
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

    #[test]
    fn unsigned_bytes_may_be_declared_by_an_attribute() {
        let bytes = attributes(&[
            ("_Unsigned", AttrValue::from("true")),
            ("_FillValue", AttrValue::I8(vec![-1])),
        ]);
        let conversion = Conversion::new(DType::I8, &bytes, false);
        let mut out = [0.0_f64; 2];
        conversion.run(&[254, 255], &mut out);
        assert_eq!(out[0], 254.0);
        assert!(out[1].is_nan());
    }

    #[test]
    fn without_a_fill_value_the_default_one_is_missing_except_for_bytes() {
        let mut out = [0.0_f64];
        let none = Attributes::default();
        Conversion::new(DType::I16, &none, true).run(&shorts(&[-32_767]), &mut out);
        assert!(out[0].is_nan());
        Conversion::new(DType::I8, &none, true).run(&[129], &mut out);
        assert_eq!(out[0], -127.0);
    }
}
