//! From stored bytes to numbers: byte order, missing values, packing.
//!
//! Values are compared with `_FillValue`, `missing_value` and the valid range as they are
//! stored, before `scale_factor` and `add_offset` (CF 2.5.1 and 8.1).

mod number;
mod spot;

use std::marker::PhantomData;

pub(super) use self::number::Output;
use self::number::{Exact, Stored};
pub(super) use self::spot::Numbers;
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
        match (how.scaling, T::IS_SINGLE) {
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
        // No `for_each`, whose inside may be compiled apart, for every processor.
        if self.big_endian {
            for (out, element) in pairs {
                *out = convert(N::from_bytes(element, true));
            }
        } else {
            for (out, element) in pairs {
                *out = convert(N::from_bytes(element, false));
            }
        }
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
#[path = "convert_tests.rs"]
mod tests;
