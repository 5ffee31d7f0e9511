//! From numbers to elements in bytes: type and fill value.

use crate::dataset::{AttrValue, DType};

/// A value that its variable's type cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DoesNotFit(pub(super) f64);

/// NetCDF's fill values by type.
fn default_fill(dtype: DType) -> AttrValue {
    match dtype {
        DType::I8 => AttrValue::I8(vec![-127]),
        DType::U8 => AttrValue::U8(vec![255]),
        DType::I16 => AttrValue::I16(vec![-32_767]),
        DType::U16 => AttrValue::U16(vec![65_535]),
        DType::I32 => AttrValue::I32(vec![-2_147_483_647]),
        DType::U32 => AttrValue::U32(vec![4_294_967_295]),
        DType::I64 => AttrValue::I64(vec![-9_223_372_036_854_775_806]),
        DType::U64 => AttrValue::U64(vec![18_446_744_073_709_551_614]),
        DType::F32 => AttrValue::F32(vec![9.969_21e36]),
        DType::F64 => AttrValue::F64(vec![9.969_209_968_386_869e36]),
        DType::Char | DType::Text => AttrValue::from(""),
    }
}

/// The fill value of a variable in its own type: what the attribute says, or NetCDF's default.
pub(super) fn fill_value(
    dtype: DType,
    attribute: Option<&AttrValue>,
) -> Result<AttrValue, DoesNotFit> {
    let Some(attribute) = attribute else {
        return Ok(default_fill(dtype));
    };
    let Some(value) = attribute.to_f64() else {
        return Ok(default_fill(dtype));
    };
    if !dtype.is_text() && element_bytes_of(attribute).is_some_and(|found| found.0 == dtype) {
        return Ok(attribute.clone());
    }
    let mut bytes = Vec::new();
    // NaN is a fill value of floats only.
    if value.is_nan() && !matches!(dtype, DType::F32 | DType::F64) {
        return Err(DoesNotFit(value));
    }
    let nan = f64::NAN.to_ne_bytes();
    let fill: &[u8] = if dtype == DType::F32 {
        &[0, 0, 0xc0, 0x7f]
    } else {
        &nan
    };
    to_bytes(dtype, &[value], fill, &mut bytes)?;
    Ok(match dtype {
        DType::I8 => AttrValue::I8(vec![value as i8]),
        DType::U8 => AttrValue::U8(vec![value as u8]),
        DType::I16 => AttrValue::I16(vec![value as i16]),
        DType::U16 => AttrValue::U16(vec![value as u16]),
        DType::I32 => AttrValue::I32(vec![value as i32]),
        DType::U32 => AttrValue::U32(vec![value as u32]),
        DType::I64 => AttrValue::I64(vec![value as i64]),
        DType::U64 => AttrValue::U64(vec![value as u64]),
        DType::F32 => AttrValue::F32(vec![value as f32]),
        DType::F64 => AttrValue::F64(vec![value]),
        DType::Char | DType::Text => default_fill(dtype),
    })
}

/// The type and the bytes (in the machine's own order) of the first number of an attribute.
pub(super) fn element_bytes_of(value: &AttrValue) -> Option<(DType, Vec<u8>)> {
    Some(match value {
        AttrValue::Text(_) | AttrValue::TextList(_) => return None,
        AttrValue::I8(values) => (DType::I8, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::U8(values) => (DType::U8, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::I16(values) => (DType::I16, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::U16(values) => (DType::U16, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::I32(values) => (DType::I32, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::U32(values) => (DType::U32, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::I64(values) => (DType::I64, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::U64(values) => (DType::U64, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::F32(values) => (DType::F32, values.first()?.to_ne_bytes().to_vec()),
        AttrValue::F64(values) => (DType::F64, values.first()?.to_ne_bytes().to_vec()),
    })
}

/// A number type of callers.
pub(crate) trait Input: Copy + Sync {
    fn to_f64(self) -> f64;
    fn to_f32(self) -> Option<f32>;
}

impl Input for f32 {
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn to_f32(self) -> Option<f32> {
        Some(self)
    }
}

impl Input for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    /// `None` when a finite number becomes infinite.
    fn to_f32(self) -> Option<f32> {
        let single = self as f32;
        (single.is_finite() || !self.is_finite()).then_some(single)
    }
}

/// Appends values as elements of `dtype` in the machine's own byte order; NaN becomes `fill`.
pub(super) fn to_bytes<T: Input>(
    dtype: DType,
    values: &[T],
    fill: &[u8],
    bytes: &mut Vec<u8>,
) -> Result<(), DoesNotFit> {
    macro_rules! integers {
        ($type:ty) => {{
            // The largest double below the type's end, and its smallest value: both exact.
            let (low, end) = (<$type>::MIN as f64, <$type>::MAX as f64 + 1.0);
            for &value in values {
                let value = value.to_f64();
                if value.is_nan() {
                    bytes.extend_from_slice(fill);
                    continue;
                }
                let rounded = value.round_ties_even();
                if rounded < low || rounded >= end {
                    return Err(DoesNotFit(value));
                }
                bytes.extend_from_slice(&(rounded as $type).to_ne_bytes());
            }
        }};
    }
    bytes.reserve(values.len() * dtype.size_bytes());
    match dtype {
        DType::I8 => integers!(i8),
        DType::U8 | DType::Char => integers!(u8),
        DType::I16 => integers!(i16),
        DType::U16 => integers!(u16),
        DType::I32 => integers!(i32),
        DType::U32 => integers!(u32),
        DType::I64 | DType::Text => integers!(i64),
        DType::U64 => integers!(u64),
        DType::F32 => {
            let fill = fill.try_into().map_or(f32::NAN, f32::from_ne_bytes);
            return floats(values, bytes, |value| {
                let single = value.to_f32()?;
                Some(if single.is_nan() { fill } else { single }.to_ne_bytes())
            });
        }
        DType::F64 => {
            let fill = fill.try_into().map_or(f64::NAN, f64::from_ne_bytes);
            return floats(values, bytes, |value| {
                let double = value.to_f64();
                Some(if double.is_nan() { fill } else { double }.to_ne_bytes())
            });
        }
    }
    Ok(())
}

/// Appends numbers block by block, which the compiler turns into vector instructions.
fn floats<T: Input, const N: usize>(
    values: &[T],
    bytes: &mut Vec<u8>,
    to_bytes: impl Fn(T) -> Option<[u8; N]>,
) -> Result<(), DoesNotFit> {
    const BLOCK: usize = 16;
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    for block in blocks {
        let mut all_fit = true;
        let encoded: [[u8; N]; BLOCK] = std::array::from_fn(|cell| {
            let encoded = to_bytes(block[cell]);
            all_fit &= encoded.is_some();
            encoded.unwrap_or([0; N])
        });
        if !all_fit {
            let misfit = block.iter().find(|value| to_bytes(**value).is_none());
            return Err(DoesNotFit(misfit.map_or(f64::NAN, |value| value.to_f64())));
        }
        bytes.extend_from_slice(encoded.as_flattened());
    }
    for &value in rest {
        let encoded = to_bytes(value).ok_or(DoesNotFit(value.to_f64()))?;
        bytes.extend_from_slice(&encoded);
    }
    Ok(())
}

/// A text as a row of single bytes, zeros at its end: UTF-8, or Latin-1 where only that fits,
/// which is how older files have it; `None` where nothing fits.
pub(super) fn row(text: &str, width: usize) -> Option<Vec<u8>> {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() > width {
        let letters = text.chars().map(|letter| u8::try_from(letter).ok());
        bytes = letters.collect::<Option<_>>()?;
    }
    if bytes.len() > width {
        return None;
    }
    bytes.resize(width, 0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let mut bytes = Vec::new();
        let fill = (-1_i16).to_ne_bytes();
        to_bytes(
            DType::I16,
            &[1.5, 2.5, f64::NAN, -32768.0],
            &fill,
            &mut bytes,
        )
        .unwrap();
        let stored: Vec<i16> = bytes
            .chunks_exact(2)
            .map(|bytes| i16::from_ne_bytes([bytes[0], bytes[1]]))
            .collect();
        assert_eq!(stored, [2, 2, -1, -32768]);
        let refused = to_bytes(DType::I16, &[32767.5], &fill, &mut bytes);
        assert_eq!(refused, Err(DoesNotFit(32767.5)));
        let refused = to_bytes(DType::F32, &[1e300], &[0; 4], &mut bytes);
        assert_eq!(refused, Err(DoesNotFit(1e300)));
    }

    #[test]
    fn fill_values_take_the_type_of_their_variable() {
        let given = AttrValue::F64(vec![1e20]);
        assert_eq!(
            fill_value(DType::F32, Some(&given)),
            Ok(AttrValue::F32(vec![1e20]))
        );
        assert_eq!(fill_value(DType::I16, Some(&given)), Err(DoesNotFit(1e20)));
        assert_eq!(
            fill_value(DType::I16, None),
            Ok(AttrValue::I16(vec![-32_767]))
        );
    }
}
