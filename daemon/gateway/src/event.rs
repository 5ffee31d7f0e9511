//! The one model that every source of events is translated into.
//!
//! An [`Event`] is a CloudEvent in its structured JSON form, with the key that makes a repeat
//! of it recognisable. Sources build it ([`crate::cloudevents`], [`crate::s3`]); filters,
//! parameters and the event file of a job read it. Nothing after the sources knows formats.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use mizar_slurm::marker::HASH_DIGITS;

/// Longest id, source, type or subject: CloudEvents asks for nothing longer than its 64 KiB.
pub const MAX_ATTRIBUTE_BYTES: usize = 4096;

/// An object of a store that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key, decoded.
    pub key: String,
    /// Its version, if the bucket keeps versions.
    pub version_id: Option<String>,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// What happened, without the `s3:` prefix: `ObjectCreated:Put`.
    pub event_name: String,
}

impl StoredObject {
    /// Whether the object went away.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        ["ObjectRemoved:", "LifecycleExpiration:"]
            .iter()
            .any(|prefix| self.event_name.starts_with(prefix))
    }
}

/// An event, whatever brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `type`.
    pub kind: String,
    /// CloudEvents `subject`; the key of a stored object.
    pub subject: Option<String>,
    /// The stored object, if it is about one.
    pub object: Option<StoredObject>,
    /// The whole event in structured JSON: what a job's event file holds.
    pub document: Value,
    /// What makes two deliveries the same event, in order; see [`Event::key_hash`].
    pub key: Vec<String>,
}

impl Event {
    /// The name of this event for `service` in markers and folders: 128 bits of SHA-256.
    ///
    /// Each part is preceded by its length, so that no two keys run together.
    #[must_use]
    pub fn key_hash(&self, service: &str) -> String {
        hash_key(service, self.key.iter().map(String::as_str))
    }

    /// Rebuilds the event from its document, for the jobs that wait in the ledger.
    ///
    /// # Errors
    /// [`crate::cloudevents::FormatError`] if the document is no CloudEvent.
    pub fn from_document(document: Value) -> Result<Self, crate::cloudevents::FormatError> {
        crate::cloudevents::structured(document)
    }
}

/// The name of a key's event for `service`.
pub(crate) fn hash_key<'a>(service: &'a str, key: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for part in std::iter::once(service).chain(key) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    mizar_core::hex(&hasher.finalize()[..HASH_DIGITS / 2])
}

/// Why a body is no acceptable JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("the body is not JSON")]
    Syntax(#[source] serde_json::Error),
    /// Deeper than allowed.
    #[error("the JSON is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}

/// Parses `body`, refusing what is nested deeper than `limit`.
///
/// # Errors
/// [`JsonError`].
pub fn parse_json(body: &[u8], limit: usize) -> Result<Value, JsonError> {
    check_nesting(body, limit)?;
    serde_json::from_slice(body).map_err(JsonError::Syntax)
}

/// Refuses what is nested deeper than `limit`, before a parser recurses.
///
/// # Errors
/// [`JsonError::TooDeep`].
pub fn check_nesting(body: &[u8], limit: usize) -> Result<(), JsonError> {
    // Brackets outside strings are all that nests.
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return Err(JsonError::TooDeep { limit });
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Builds the structured form of an event about a stored object.
pub(crate) fn object_document(
    id: &str,
    source: &str,
    kind: &str,
    subject: &str,
    time: Option<&str>,
    data: Value,
) -> Value {
    let mut document = json!({
        "specversion": "1.0", "id": id, "source": source, "type": kind, "subject": subject,
        "datacontenttype": "application/json", "data": data,
    });
    if let Some(time) = time {
        document["time"] = json!(time);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_run_together() {
        let event = |key: &[&str]| Event {
            id: String::new(),
            source: String::new(),
            kind: String::new(),
            subject: None,
            object: None,
            document: Value::Null,
            key: key.iter().map(|&part| part.to_owned()).collect(),
        };
        let hash = event(&["ab", "c"]).key_hash("s");
        assert_eq!(hash.len(), HASH_DIGITS);
        assert_eq!(hash, event(&["ab", "c"]).key_hash("s"));
        for (key, service) in [
            (&["a", "bc"][..], "s"),
            (&["abc"], "s"),
            (&["ab", "c"], "t"),
        ] {
            assert_ne!(hash, event(key).key_hash(service));
        }
    }

    #[test]
    fn nesting_is_counted_outside_strings() {
        assert!(parse_json(b"[[1]]", 2).is_ok());
        assert!(matches!(
            parse_json(b"[[[1]]]", 2),
            Err(JsonError::TooDeep { limit: 2 })
        ));
        assert!(parse_json(br#"["[[[[\"[[["]"#, 2).is_ok());
        assert!(parse_json(br#"["\\",[1]]"#, 2).is_ok());
        let deep = vec![b'['; 1 << 20];
        assert!(matches!(
            parse_json(&deep, 64),
            Err(JsonError::TooDeep { .. })
        ));
        assert!(matches!(parse_json(b"{", 2), Err(JsonError::Syntax(_))));
    }
}
