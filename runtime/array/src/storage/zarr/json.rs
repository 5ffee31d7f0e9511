//! Zarr's JSON: read leniently where Python writes more than JSON, and turned into attributes.

use serde_json::Value;

use crate::dataset::{AttrValue, Attributes, DType};

/// Attributes whose value is one of the variable's own type.
const OF_OWN_TYPE: [&str; 5] = [
    "_FillValue",
    "missing_value",
    "valid_min",
    "valid_max",
    "valid_range",
];

/// Parses JSON in which numbers may be `NaN`, `Infinity` or `-Infinity`, as Python writes them:
/// they become the texts that Zarr has for them elsewhere.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => {
            serde_json::from_slice(&quote_numbers(bytes)).map_err(|_| format!("not JSON: {error}"))
        }
    }
}

/// Puts the words that are numbers in Python into quotes, outside of texts.
fn quote_numbers(bytes: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut in_text = false;
    let mut place = 0;
    while place < bytes.len() {
        let rest = &bytes[place..];
        if in_text && rest[0] == b'\\' && rest.len() > 1 {
            out.extend_from_slice(&rest[..2]);
            place += 2;
            continue;
        }
        if !in_text && let Some(word) = WORDS.iter().find(|word| rest.starts_with(word)) {
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
            place += word.len();
            continue;
        }
        in_text ^= rest[0] == b'"';
        out.push(rest[0]);
        place += 1;
    }
    out
}

/// Attributes as they stand in a JSON object; what cannot be one is told in `notes`.
pub(super) fn attributes(
    value: Option<&Value>,
    dtype: Option<DType>,
    owner: &str,
    notes: &mut Vec<String>,
) -> Attributes {
    let Some(Value::Object(object)) = value else {
        return Attributes::default();
    };
    let mut found = Attributes::default();
    for (name, value) in object {
        let own = dtype.filter(|_| OF_OWN_TYPE.contains(&name.as_str()));
        match attribute(value, own) {
            Some(value) => found.set(name, value),
            None => notes.push(format!(
                "attribute `{name}` of {owner} is neither text nor number and is ignored"
            )),
        }
    }
    found
}

/// One attribute; `own` is the variable's type where the attribute shares it.
fn attribute(value: &Value, own: Option<DType>) -> Option<AttrValue> {
    let is_float = matches!(own, Some(DType::F32 | DType::F64));
    let values = match value {
        Value::Array(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    };
    if is_float {
        let floats: Option<Vec<f64>> = values.iter().map(float).collect();
        if let Some(floats) = floats {
            return Some(match own {
                Some(DType::F32) => AttrValue::F32(floats.iter().map(|&v| v as f32).collect()),
                _ => AttrValue::F64(floats),
            });
        }
    }
    if let Value::String(text) = value {
        return Some(AttrValue::Text(text.clone()));
    }
    if let Some(texts) = texts(values) {
        return Some(AttrValue::TextList(texts));
    }
    let integers: Option<Vec<i64>> = values.iter().map(integer).collect();
    if let Some(integers) = integers {
        let narrow: Result<Vec<i32>, _> = integers.iter().map(|&v| i32::try_from(v)).collect();
        return Some(narrow.map_or(AttrValue::I64(integers), AttrValue::I32));
    }
    let unsigned: Option<Vec<u64>> = values.iter().map(Value::as_u64).collect();
    if let Some(unsigned) = unsigned {
        return Some(AttrValue::U64(unsigned));
    }
    let floats: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
    floats.map(AttrValue::F64)
}

fn texts(values: &[Value]) -> Option<Vec<String>> {
    if values.is_empty() {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    values.iter().map(text).collect()
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_bool().map(i64::from))
}

/// A float as Zarr and xarray write one: a number, a word, the bits in hexadecimal, or the eight
/// bytes of a double in base 64.
pub(super) fn float(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    match text {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let bits = u64::from_str_radix(digits, 16).ok()?;
        return match digits.len() {
            8 => Some(f32::from_bits(bits as u32).into()),
            16 => Some(f64::from_bits(bits)),
            _ => None,
        };
    }
    Some(f64::from_le_bytes(base64(text)?.try_into().ok()?))
}

/// Decodes base 64 (RFC 4648, section 4).
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_python_are_read() {
        let value = parse(br#"{"a": NaN, "b": [-Infinity, 1], "c": "a \" NaN"}"#).unwrap();
        assert!(float(&value["a"]).unwrap().is_nan());
        assert_eq!(float(&value["b"][0]), Some(f64::NEG_INFINITY));
        assert_eq!(value["c"], "a \" NaN");
        assert!(parse(b"{").is_err());
    }

    #[test]
    fn doubles_are_read_from_base_64_and_bits() {
        let float = |text: &str| float(&Value::String(text.to_owned()));
        assert_eq!(float("QIy1eB2vFUQ="), Some(1e20));
        assert!(float("AAAAAAAA+H8=").unwrap().is_nan());
        assert_eq!(float("0x3f800000"), Some(1.0));
        assert_eq!(float("nonsense"), None);
    }
}
