//! Fill values: one element as it would be stored, from how the metadata writes it.

use serde_json::Value;

use super::array::Element;
use super::json;
use super::refusal::Refusal;
use crate::dataset::{AttrValue, DType};

/// The bytes of one element that was never written. No fill value means zeros, as in
/// zarr-python.
pub(super) fn of(element: Element, big_endian: bool, value: &Value) -> Result<Vec<u8>, Refusal> {
    let Element::Number(dtype) = element else {
        return Ok(vec![0; element.size_bytes().unwrap_or(0)]);
    };
    if value.is_null() {
        return Ok(vec![0; dtype.size_bytes()]);
    }
    let mut bytes = match attribute(dtype, value) {
        Some(AttrValue::I8(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::U8(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::I16(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::U16(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::I32(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::U32(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::I64(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::U64(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::F32(v)) => v[0].to_le_bytes().to_vec(),
        Some(AttrValue::F64(v)) => v[0].to_le_bytes().to_vec(),
        _ => {
            let problem = format!("its fill value {value} is none of its type");
            return Err(Refusal::damaged(problem));
        }
    };
    if big_endian {
        bytes.reverse();
    }
    Ok(bytes)
}

/// The fill value as an attribute of the variable's own type; `None` when there is none.
pub(super) fn attribute(dtype: DType, value: &Value) -> Option<AttrValue> {
    let integer = || -> Option<i128> {
        let number = value.as_i64().map(i128::from);
        let number = number.or_else(|| value.as_u64().map(i128::from));
        let number = number.or_else(|| value.as_bool().map(i128::from));
        number.or_else(|| {
            let float = value.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128)
        })
    };
    Some(match dtype {
        DType::I8 => AttrValue::I8(vec![integer()?.try_into().ok()?]),
        DType::U8 => AttrValue::U8(vec![integer()?.try_into().ok()?]),
        DType::I16 => AttrValue::I16(vec![integer()?.try_into().ok()?]),
        DType::U16 => AttrValue::U16(vec![integer()?.try_into().ok()?]),
        DType::I32 => AttrValue::I32(vec![integer()?.try_into().ok()?]),
        DType::U32 => AttrValue::U32(vec![integer()?.try_into().ok()?]),
        DType::I64 => AttrValue::I64(vec![integer()?.try_into().ok()?]),
        DType::U64 => AttrValue::U64(vec![integer()?.try_into().ok()?]),
        DType::F32 => AttrValue::F32(vec![json::float(value)? as f32]),
        DType::F64 => AttrValue::F64(vec![json::float(value)?]),
        DType::Char | DType::Text => return None,
    })
}
