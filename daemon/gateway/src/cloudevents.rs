//! CloudEvents 1.0 over HTTP: binary, structured and batched content.
//!
//! Source: cloudevents/spec `http-protocol-binding.md` and `json-format.md`, 1.0.2. Headers
//! are read as the text that HTTP carries: unquoted, then percent-decoded once.

use serde_json::{Map, Value};

use crate::event::{Event, JsonError, MAX_ATTRIBUTE_BYTES, parse_json};
use crate::s3;

/// How an HTTP request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in `ce-` headers, data in the body.
    Binary,
    /// One event as JSON.
    Structured,
    /// An array of events as JSON.
    Batch,
}

/// Why a request is not CloudEvents.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Neither CloudEvents headers nor their media type.
    #[error(
        "no CloudEvents: send ce- headers, application/cloudevents+json or application/cloudevents-batch+json"
    )]
    NotCloudEvents,
    /// An event format that is not JSON.
    #[error("the event format `{found}` is not supported: send JSON")]
    UnsupportedFormat {
        /// The media type.
        found: String,
    },
    /// The body is no acceptable JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The JSON has another shape.
    #[error("expected {expected}")]
    Shape {
        /// What was expected.
        expected: &'static str,
    },
    /// More events in one batch than allowed.
    #[error("a batch may hold {limit} events, this one has {found}")]
    BatchTooLong {
        /// The limit.
        limit: usize,
        /// The number of events.
        found: usize,
    },
    /// An attribute is missing, empty or malformed.
    #[error("attribute `{name}` {problem}")]
    Attribute {
        /// The attribute.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// One event of a batch; none of the batch is taken.
    #[error("event {index} of the batch")]
    InBatch {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: Box<FormatError>,
    },
}

/// What bounds the reading of a request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Deepest nesting of JSON.
    pub nesting: usize,
    /// Most events in a batch.
    pub batch_events: usize,
}

/// Tells the mode from the headers; None if there are no signs of CloudEvents.
///
/// # Errors
/// [`FormatError::UnsupportedFormat`] for the Avro, Protobuf and XML formats.
pub fn mode(headers: &[(String, Vec<u8>)]) -> Result<Option<Mode>, FormatError> {
    let kind = content_type(headers).to_ascii_lowercase();
    // `-batch` first: the structured prefix is a prefix of it as well.
    for (prefix, mode) in [
        ("application/cloudevents-batch", Mode::Batch),
        ("application/cloudevents", Mode::Structured),
    ] {
        if let Some(rest) = kind.strip_prefix(prefix) {
            let format = rest.split(';').next().unwrap_or_default().trim();
            if format == "+json" || format.is_empty() {
                return Ok(Some(mode));
            }
            return Err(FormatError::UnsupportedFormat { found: kind });
        }
    }
    Ok(headers
        .iter()
        .any(|(name, _)| name == "ce-specversion")
        .then_some(Mode::Binary))
}

fn content_type(headers: &[(String, Vec<u8>)]) -> String {
    let value = headers
        .iter()
        .find(|(name, _)| name == "content-type")
        .map(|(_, value)| value);
    value
        .map(|value| String::from_utf8_lossy(value).trim().to_owned())
        .unwrap_or_default()
}

/// Reads all events of one request; all of them or none. Header names are lower-case.
///
/// # Errors
/// [`FormatError`].
pub fn read(
    mode: Mode,
    headers: &[(String, Vec<u8>)],
    body: &[u8],
    bounds: Bounds,
) -> Result<Vec<Event>, FormatError> {
    match mode {
        Mode::Binary => Ok(vec![structured(binary_document(headers, body, bounds)?)?]),
        Mode::Structured => Ok(vec![structured(parse_json(body, bounds.nesting)?)?]),
        Mode::Batch => {
            let Value::Array(items) = parse_json(body, bounds.nesting)? else {
                return Err(FormatError::Shape {
                    expected: "an array of events",
                });
            };
            if items.len() > bounds.batch_events {
                let (limit, found) = (bounds.batch_events, items.len());
                return Err(FormatError::BatchTooLong { limit, found });
            }
            let read = |(index, item)| {
                structured(item).map_err(|error| FormatError::InBatch {
                    index,
                    source: Box::new(error),
                })
            };
            items.into_iter().enumerate().map(read).collect()
        }
    }
}

/// Checks one event in structured form.
///
/// # Errors
/// [`FormatError`].
pub fn structured(document: Value) -> Result<Event, FormatError> {
    let Value::Object(mut attributes) = document else {
        return Err(FormatError::Shape {
            expected: "an event: a JSON object",
        });
    };
    // `null` means absent.
    attributes.retain(|_, value| !value.is_null());
    if text(&attributes, "specversion")? != Some("1.0") {
        return Err(attribute("specversion", "must be `1.0`"));
    }
    let id = required(&attributes, "id")?;
    let source = required(&attributes, "source")?;
    let kind = required(&attributes, "type")?;
    let subject = optional(&attributes, "subject")?;
    optional(&attributes, "datacontenttype")?;
    optional(&attributes, "dataschema")?;
    if let Some(time) = optional(&attributes, "time")? {
        use time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(&time, &Rfc3339)
            .map_err(|_| attribute("time", "is not an RFC 3339 time"))?;
    }
    check_extensions(&attributes)?;
    if attributes.contains_key("data") && attributes.contains_key("data_base64") {
        return Err(attribute("data_base64", "may not stand beside `data`"));
    }
    if let Some(value) = attributes.get("data_base64")
        && !value.as_str().is_some_and(is_base64)
    {
        return Err(attribute("data_base64", "is not base64"));
    }
    let data = attributes.get("data");
    let object = data.and_then(|data| s3::stored_object(data, &kind));
    let key = match (&object, data) {
        (Some(object), Some(data)) => s3::key(object, data),
        _ => vec!["ce".to_owned(), source.clone(), id.clone()],
    };
    let document = Value::Object(attributes);
    Ok(Event {
        id,
        source,
        kind,
        subject,
        object,
        document,
        key,
    })
}

/// Extension names are lower-case letters and digits; their values are not structures.
fn check_extensions(attributes: &Map<String, Value>) -> Result<(), FormatError> {
    for (name, value) in attributes {
        if name == "data" || name == "data_base64" {
            continue;
        }
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(attribute(name, "has a name with other than a-z and 0-9"));
        }
        if value.is_object() || value.is_array() {
            return Err(attribute(name, "must be a string, a number or a boolean"));
        }
    }
    Ok(())
}

/// Turns binary content into the structured form.
fn binary_document(
    headers: &[(String, Vec<u8>)],
    body: &[u8],
    bounds: Bounds,
) -> Result<Value, FormatError> {
    let mut document = Map::new();
    for (name, value) in headers {
        let Some(name) = name.strip_prefix("ce-") else {
            continue;
        };
        if matches!(name, "datacontenttype" | "data" | "data_base64") {
            return Err(attribute(name, "is forbidden as a header"));
        }
        let value =
            decode_header(value).ok_or_else(|| attribute(name, "is not percent-encoded UTF-8"))?;
        if document
            .insert(name.to_owned(), Value::String(value))
            .is_some()
        {
            return Err(attribute(name, "is given twice"));
        }
    }
    let kind = content_type(headers);
    if !kind.is_empty() {
        document.insert("datacontenttype".to_owned(), Value::String(kind.clone()));
    }
    if body.is_empty() {
        return Ok(Value::Object(document));
    }
    if is_json(&kind) {
        document.insert("data".to_owned(), parse_json(body, bounds.nesting)?);
    } else if let Ok(text) = std::str::from_utf8(body)
        && kind.to_ascii_lowercase().starts_with("text/")
    {
        document.insert("data".to_owned(), Value::String(text.to_owned()));
    } else {
        document.insert("data_base64".to_owned(), Value::String(base64(body)));
    }
    Ok(Value::Object(document))
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind.is_empty() || kind.ends_with("/json") || kind.ends_with("+json")
}

/// Unquotes, then decodes percent triples once. None if the result is not UTF-8 or holds a
/// control character.
fn decode_header(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let mut plain = Vec::with_capacity(value.len());
    if let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    {
        let mut bytes = inner.iter();
        while let Some(&byte) = bytes.next() {
            plain.push(if byte == b'\\' { *bytes.next()? } else { byte });
        }
    } else {
        plain.extend_from_slice(value);
    }
    percent_decode(&plain, false)
}

/// Decodes `%XX`, and `+` to a space if `plus` says so. None if the result is not UTF-8 or a
/// triple is malformed.
pub(crate) fn percent_decode(text: &[u8], plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn attribute(name: &str, problem: &'static str) -> FormatError {
    let name = name.chars().filter(|c| !c.is_control()).take(64).collect();
    FormatError::Attribute { name, problem }
}

fn text<'a>(
    attributes: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, FormatError> {
    match attributes.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(attribute(name, "must be a string")),
    }
}

fn optional(attributes: &Map<String, Value>, name: &str) -> Result<Option<String>, FormatError> {
    let Some(text) = text(attributes, name)? else {
        return Ok(None);
    };
    if text.is_empty() {
        return Err(attribute(name, "is empty"));
    }
    if text.len() > MAX_ATTRIBUTE_BYTES {
        return Err(attribute(name, "is longer than 4096 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(attribute(name, "holds a control character"));
    }
    Ok(Some(text.to_owned()))
}

fn required(attributes: &Map<String, Value>, name: &str) -> Result<String, FormatError> {
    optional(attributes, name)?.ok_or_else(|| attribute(name, "is missing"))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648).
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |word, (i, &b)| word | u32::from(b) << (16 - 8 * i));
        for place in 0..4 {
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|byte| ALPHABET.contains(&byte))
}

#[cfg(test)]
#[path = "cloudevents_tests.rs"]
mod tests;
