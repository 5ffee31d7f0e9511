//! The `zarr.json` of arrays and of the group, as zarr-python 3 and xarray write them. Pure.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Number, Value, json};

use super::super::codec::Stream;
use super::super::layout::Layout;
use crate::dataset::{AttrValue, Attributes, DType, Dataset, Variable};

/// What stands between the indexes of a chunk's key.
pub(super) const SEPARATOR: &str = ".";

/// JSON whose objects keep the order in which they were made: that of the file.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Value(Value),
    Object(Vec<(String, Node)>),
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, member) in members {
                    map.serialize_entry(name, member)?;
                }
                map.end()
            }
        }
    }
}

impl Node {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("every name is a text")
    }

    fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        let owned = members.map(|(name, member)| (name.to_owned(), member));
        Self::Object(owned.into())
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// The root, with the metadata of all arrays, which readers then need not ask for.
pub(super) fn group(dataset: &Dataset, members: Vec<(String, Node)>) -> Node {
    Node::object([
        ("attributes", attributes(&dataset.attributes, None)),
        ("zarr_format", json!(3).into()),
        (
            "consolidated_metadata",
            Node::object([
                ("kind", json!("inline").into()),
                ("must_understand", json!(false).into()),
                ("metadata", Node::Object(members)),
            ]),
        ),
        ("node_type", json!("group").into()),
    ])
}

/// How many dimensions the array of a variable has: rows of characters become texts.
pub(super) fn rank(layout: &Layout) -> usize {
    match layout.dtype {
        DType::Char => layout.shape.len().saturating_sub(1),
        _ => layout.shape.len(),
    }
}

/// One array.
pub(super) fn array(dataset: &Dataset, variable: &Variable, layout: &Layout) -> Node {
    let rank = rank(layout);
    let shape = &layout.shape[..rank];
    let chunk_shape = match &layout.chunk_shape {
        Some(chunk) => &chunk[..rank],
        None => shape,
    };
    let number = (!layout.dtype.is_text()).then_some(layout);
    let names: Vec<&str> = variable.dims[..rank]
        .iter()
        .map(|&dim| dataset.dimensions[dim].name.as_str())
        .collect();
    let mut array = vec![
        ("shape", json!(shape).into()),
        ("data_type", json!(data_type(layout.dtype)).into()),
        (
            "chunk_grid",
            json!({"name": "regular", "configuration": {"chunk_shape": chunk_shape}}).into(),
        ),
        (
            "chunk_key_encoding",
            json!({"name": "default", "configuration": {"separator": SEPARATOR}}).into(),
        ),
        ("fill_value", fill_value(layout).into()),
        ("codecs", codecs(layout).into()),
        ("attributes", attributes(&variable.attributes, number)),
    ];
    if rank > 0 {
        array.push(("dimension_names", json!(names).into()));
    }
    array.extend([
        ("zarr_format", json!(3).into()),
        ("node_type", json!("array").into()),
        ("storage_transformers", json!([]).into()),
    ]);
    let owned = array
        .into_iter()
        .map(|(name, node)| (name.to_owned(), node));
    Node::Object(owned.collect())
}

fn data_type(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::I16 => "int16",
        DType::U16 => "uint16",
        DType::I32 => "int32",
        DType::U32 => "uint32",
        DType::I64 => "int64",
        DType::U64 => "uint64",
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::Char | DType::Text => "string",
    }
}

fn codecs(layout: &Layout) -> Value {
    if layout.dtype.is_text() {
        return json!([{"name": "vlen-utf8", "configuration": {}}]);
    }
    // Elements are in the machine's own order.
    let endian = if cfg!(target_endian = "big") {
        "big"
    } else {
        "little"
    };
    let mut codecs = vec![json!({"name": "bytes", "configuration": {"endian": endian}})];
    match layout.codec.compressor {
        // Zarr has no codec for zlib's header; layouts of Zarr do not have it.
        Stream::Plain | Stream::Zlib(_) => {}
        Stream::Gzip(level) => {
            codecs.push(json!({"name": "gzip", "configuration": {"level": level}}));
        }
        Stream::Zstd(level) => codecs.push(json!({
            "name": "zstd", "configuration": {"level": level, "checksum": false}
        })),
    }
    Value::Array(codecs)
}

fn fill_value(layout: &Layout) -> Value {
    match &layout.fill_attribute {
        AttrValue::Text(text) => json!(text),
        number => first(value(number)),
    }
}

fn first(value: Value) -> Value {
    match value {
        Value::Array(mut values) if !values.is_empty() => values.remove(0),
        other => other,
    }
}

/// Attributes; `number` is the layout of their variable if it has numbers.
fn attributes(attributes: &Attributes, number: Option<&Layout>) -> Node {
    let mut members = Vec::new();
    for (name, attribute) in attributes.iter() {
        let value = match (name, number) {
            ("_FillValue", Some(layout)) => marker(layout),
            // Of texts NetCDF alone knows one.
            ("_FillValue", None) => continue,
            // JSON has no NaN; xarray takes the word for a text, and NaN is missing anyway.
            ("missing_value", _) if attribute.to_f64().is_some_and(f64::is_nan) => continue,
            _ => value(attribute),
        };
        members.push((name.to_owned(), value.into()));
    }
    Node::Object(members)
}

/// `_FillValue` as xarray reads it: floats as the eight bytes of a double in base 64.
fn marker(layout: &Layout) -> Value {
    match (&layout.fill_attribute, layout.dtype) {
        (fill, DType::F32 | DType::F64) => {
            let double = fill.to_f64().unwrap_or(f64::NAN);
            json!(base64(double.to_le_bytes()))
        }
        _ => fill_value(layout),
    }
}

/// A list of one is the same as a single value, as in NetCDF.
fn value(attribute: &AttrValue) -> Value {
    macro_rules! list {
        ($values:expr) => {
            match $values.as_slice() {
                [single] => json!(single),
                values => json!(values),
            }
        };
    }
    match attribute {
        AttrValue::Text(text) => json!(text),
        AttrValue::TextList(texts) => json!(texts),
        AttrValue::I8(values) => list!(values),
        AttrValue::U8(values) => list!(values),
        AttrValue::I16(values) => list!(values),
        AttrValue::U16(values) => list!(values),
        AttrValue::I32(values) => list!(values),
        AttrValue::U32(values) => list!(values),
        AttrValue::I64(values) => list!(values),
        AttrValue::U64(values) => list!(values),
        AttrValue::F32(values) => floats(values.iter().map(|&value| value.into())),
        AttrValue::F64(values) => floats(values.iter().copied()),
    }
}

fn floats(values: impl Iterator<Item = f64>) -> Value {
    let values: Vec<Value> = values.map(float).collect();
    match values.as_slice() {
        [single] => single.clone(),
        _ => Value::Array(values),
    }
}

/// A float in JSON: with every digit, or the word that Zarr has where JSON has no number.
fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

/// Eight bytes in base 64 (RFC 4648, section 4).
fn base64(bytes: [u8; 8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Eleven digits of six bits, the last two of which are zero.
    let bits = u128::from(u64::from_be_bytes(bytes)) << 2;
    let digit = |place: u32| char::from(DIGITS[(bits >> (60 - 6 * place)) as usize & 63]);
    (0..11).map(digit).chain(['=']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_in_base_64_are_those_of_python() {
        // base64.standard_b64encode(struct.pack("<d", x))
        assert_eq!(base64(1e20_f64.to_le_bytes()), "QIy1eB2vFUQ=");
        assert_eq!(base64(f64::NAN.to_le_bytes()), "AAAAAAAA+H8=");
        assert_eq!(base64((-1.5_f64).to_le_bytes()), "AAAAAAAA+L8=");
    }

    #[test]
    fn attributes_are_json_whatever_they_hold() {
        let attributes = [
            ("b", AttrValue::F32(vec![0.1])),
            ("a", AttrValue::F64(vec![f64::NEG_INFINITY, 1e20])),
            ("missing_value", AttrValue::F32(vec![f32::NAN])),
            ("n", AttrValue::I16(vec![3])),
            ("none", AttrValue::I32(Vec::new())),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
        let node = super::attributes(&Attributes::from_iter(attributes), None);
        let text = serde_json::to_string(&node).unwrap();
        let expected = r#"{"b":0.10000000149011612,"a":["-Infinity",1e+20],"n":3,"none":[]}"#;
        assert_eq!(text, expected);
    }
}
