//! Tensors in KServe's protocol, version 2: numbers in JSON, or as bytes behind it.
//!
//! Used by the server for requests and by the client for answers; both have the same form.
//!
//! Source: the Open Inference Protocol (kserve/open-inference-protocol), with its extension for
//! binary tensor data.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tensor::cells;
use crate::{ElementType, Tensor, Values};

/// Says how many bytes of a body are JSON; the rest are numbers.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// Why tensors of a message cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WireError {
    /// Not the JSON of the protocol.
    #[error("the JSON is not that of the protocol: {0}")]
    Json(#[from] serde_json::Error),
    /// The header says more than there is.
    #[error("{HEADER_LENGTH} is {found}, but the body has {length} bytes")]
    Header {
        /// As it says.
        found: String,
        /// What there is.
        length: usize,
    },
    /// A type that is not served.
    #[error("tensor `{name}` is of type {found}; served are FP32, FP64, INT32 and INT64")]
    Type {
        /// Which.
        name: String,
        /// Its type.
        found: String,
    },
    /// The numbers do not fill the shape.
    #[error("tensor `{name}` of shape {shape:?} needs {expected}, not {found}")]
    Data {
        /// Which.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What it needs.
        expected: String,
        /// What there is.
        found: String,
    },
}

/// A request or an answer, as far as both are alike.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub(crate) parameters: Parameters,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inputs: Vec<Entry>,
    /// Of a request: which are wanted, all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) outputs: Vec<Entry>,
}

/// A tensor, or in a request an output that is wanted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shape: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) datatype: Option<String>,
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub(crate) parameters: Parameters,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
}

/// Those that mean something here; others are allowed and passed over.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) binary_data_size: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) binary_data: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) binary_data_output: Option<bool>,
}

impl Parameters {
    fn is_empty(&self) -> bool {
        let Self {
            binary_data_size,
            binary_data,
            binary_data_output,
        } = self;
        binary_data_size.is_none() && binary_data.is_none() && binary_data_output.is_none()
    }
}

/// Cuts a body into its JSON and its numbers.
pub(crate) fn split<'a>(
    body: &'a [u8],
    header_length: Option<&str>,
) -> Result<(Message, &'a [u8]), WireError> {
    let Some(text) = header_length else {
        return Ok((serde_json::from_slice(body)?, &[]));
    };
    let cut = text.trim().parse().ok();
    let cut = cut.and_then(|length: usize| body.split_at_checked(length));
    let (json, numbers) = cut.ok_or_else(|| WireError::Header {
        found: text.to_owned(),
        length: body.len(),
    })?;
    Ok((serde_json::from_slice(json)?, numbers))
}

/// The tensors of entries, in their order.
pub(crate) fn decode(
    entries: Vec<Entry>,
    mut numbers: &[u8],
) -> Result<Vec<(String, Tensor)>, WireError> {
    let mut tensors = Vec::new();
    for entry in entries {
        let name = entry.name;
        let found = entry.datatype.unwrap_or_default();
        let element_type = ElementType::of_name(&found).ok_or_else(|| WireError::Type {
            name: name.clone(),
            found,
        })?;
        let shape = entry.shape.unwrap_or_default();
        let refuse = |expected: String, found: String| WireError::Data {
            name: name.clone(),
            shape: shape.clone(),
            expected,
            found,
        };
        let count = cells(&shape).and_then(|count| count.checked_mul(element_type.size_bytes()));
        let size_bytes = count.ok_or_else(|| refuse("less".to_owned(), "so much".to_owned()))?;
        let values = if let Some(size) = entry.parameters.binary_data_size {
            let cut = (size == size_bytes).then(|| numbers.split_at_checked(size));
            let (own, rest) = cut.flatten().ok_or_else(|| {
                let found = format!("{size} of {} that are left", numbers.len());
                refuse(format!("{size_bytes} bytes"), found)
            })?;
            numbers = rest;
            Values::from_bytes(element_type, own)
        } else {
            let expected = || format!("{} numbers", size_bytes / element_type.size_bytes());
            let data = entry.data.unwrap_or_default();
            let values = of_json(&data, element_type)
                .ok_or_else(|| refuse(expected(), "something else".to_owned()))?;
            if values.len() * element_type.size_bytes() != size_bytes {
                return Err(refuse(expected(), values.len().to_string()));
            }
            values
        };
        let expected = || refuse("as many numbers".to_owned(), "another count".to_owned());
        let tensor = Tensor::new(shape.clone(), values).map_err(|_| expected())?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// Entries for tensors, and the bytes that follow the JSON; `is_binary` by the place of each.
pub(crate) fn encode<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    is_binary: impl Fn(&str) -> bool,
) -> (Vec<Entry>, Vec<u8>) {
    let mut numbers = Vec::new();
    let mut entries = Vec::new();
    for (name, tensor) in tensors {
        let values = tensor.values();
        let mut entry = Entry {
            name: name.to_owned(),
            shape: Some(tensor.shape().to_vec()),
            datatype: Some(values.element_type().name().to_owned()),
            ..Entry::default()
        };
        if is_binary(name) {
            let before = numbers.len();
            values.to_bytes(&mut numbers);
            entry.parameters.binary_data_size = Some(numbers.len() - before);
        } else {
            entry.data = Some(to_json(values));
        }
        entries.push(entry);
    }
    (entries, numbers)
}

/// JSON and numbers one after the other, and how long the JSON is if numbers follow.
pub(crate) fn join(message: &Message, numbers: &[u8]) -> (Vec<u8>, Option<usize>) {
    // A message has no keys that are not texts, and no numbers that JSON cannot hold but NaN.
    let mut body = serde_json::to_vec(message).unwrap_or_default();
    let length = (!numbers.is_empty()).then_some(body.len());
    body.extend_from_slice(numbers);
    (body, length)
}

fn to_json(values: &Values) -> Value {
    match values {
        Values::F32(values) => Value::from(values.clone()),
        Values::F64(values) => Value::from(values.clone()),
        Values::I32(values) => Value::from(values.clone()),
        Values::I64(values) => Value::from(values.clone()),
    }
}

/// Numbers in lists of lists; `null` is NaN, which JSON has no other way to say.
fn of_json(data: &Value, element_type: ElementType) -> Option<Values> {
    let mut flat = Vec::new();
    flatten(data, &mut flat, 0)?;
    let floats = || {
        flat.iter().map(|value| match value {
            Value::Null => Some(f64::NAN),
            other => other.as_f64(),
        })
    };
    let integers = || flat.iter().map(|value| value.as_i64());
    Some(match element_type {
        ElementType::F64 => Values::F64(floats().collect::<Option<_>>()?),
        ElementType::F32 => {
            let single = floats().map(|value| value.map(|value| value as f32));
            Values::F32(single.collect::<Option<_>>()?)
        }
        ElementType::I64 => Values::I64(integers().collect::<Option<_>>()?),
        ElementType::I32 => {
            let narrow = integers().map(|value| i32::try_from(value?).ok());
            Values::I32(narrow.collect::<Option<_>>()?)
        }
    })
}

/// No tensor has more dimensions.
const DEPTH_MAX: usize = 16;

fn flatten<'a>(data: &'a Value, flat: &mut Vec<&'a Value>, depth: usize) -> Option<()> {
    match data {
        Value::Array(parts) if depth < DEPTH_MAX => parts
            .iter()
            .try_for_each(|part| flatten(part, flat, depth + 1)),
        Value::Array(_) => None,
        number => {
            flat.push(number);
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Tensor)> {
        let floats = Values::F32(vec![1.5, -2.0, 0.1, 1e30]);
        let integers = Values::I64(vec![1, -(1 << 60)]);
        vec![
            ("a".to_owned(), Tensor::new(vec![2, 2], floats).unwrap()),
            ("b".to_owned(), Tensor::new(vec![2], integers).unwrap()),
        ]
    }

    #[test]
    fn tensors_survive_the_wire_either_way() {
        for binary in ["", "a", "ab"] {
            let tensors = tensors();
            let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
            let (inputs, numbers) = encode(named, |name| binary.contains(name));
            let message = Message {
                inputs,
                ..Message::default()
            };
            let (body, length) = join(&message, &numbers);
            let length = length.map(|length| length.to_string());
            let (message, numbers) = split(&body, length.as_deref()).unwrap();
            assert_eq!(
                decode(message.inputs, numbers).unwrap(),
                tensors,
                "{binary}"
            );
        }
    }

    #[test]
    fn nested_lists_and_null_are_understood() {
        let body = br#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32",
            "data":[[1,null],[3,4.5]]}]}"#;
        let (message, _) = split(body, None).unwrap();
        let tensors = decode(message.inputs, &[]).unwrap();
        let Values::F32(values) = tensors[0].1.values() else {
            panic!("single precision");
        };
        assert!(values[1].is_nan());
        assert_eq!([values[0], values[2], values[3]], [1.0, 3.0, 4.5]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases = [
            (
                r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,2]}]}"#,
                "3 numbers",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a"]}]}"#,
                "BYTES",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT32","data":[1.5]}]}"#,
                "something else",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32",
                    "parameters":{"binary_data_size":8}}]}"#,
                "8 of 0 that are left",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[4611686018427387904,4],"datatype":"FP32"}]}"#,
                "needs less",
            ),
        ];
        for (body, message) in cases {
            let (parsed, numbers) = split(body.as_bytes(), None).unwrap();
            let error = decode(parsed.inputs, numbers).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let error = split(b"{}", Some("9")).unwrap_err().to_string();
        assert!(error.contains("9, but the body has 2"), "{error}");
    }
}
