//! One message of a source, and how it becomes events. Pure.
//!
//! The formats are those of the HTTP doors: CloudEvents, notifications of object stores; and the
//! messages of Rucio, whatever broker brings them. Anything else is wrapped into an event that bears its source's name and its own identity. What claims to
//! be one of the formats and is not is refused, with the reason.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::cloudevents::{self, Bounds, FormatError};
use crate::config::Limits;
use crate::event::{Event, JsonError, parse_json};
use crate::ledger::DeadMessage;
use crate::{rucio, s3};
use mizar_core::chain;

/// Bytes of a dead letter that are shown.
const HEAD_BYTES: usize = 256;

/// A message as a source gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What makes its repeat recognisable within its source, in order.
    pub identity: Vec<String>,
    /// CloudEvents type of the event that wraps it.
    pub kind: String,
    /// Topic, path, key or name.
    pub subject: Option<String>,
    /// When it happened, in RFC 3339.
    pub time: Option<String>,
    /// As its sender says.
    pub content_type: Option<String>,
    /// Headers, lower-case; attributes of CloudEvents begin with `ce-`.
    pub headers: Vec<(String, String)>,
    /// Why it can be no event, as its source knows.
    #[serde(default)]
    pub flaw: Option<String>,
    /// How long it is, where only the start of what it holds was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_bytes: Option<u64>,
    /// What it holds.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Message {
    /// Its identity as one short word: 128 bits of SHA-256 over the parts and their lengths.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(self.identity.iter().map(String::as_bytes))
    }

    /// Turns it into events of the source `source`.
    ///
    /// # Errors
    /// Why it is none, for the dead letter.
    pub fn events(&self, source: &str, limits: &Limits) -> Result<Vec<Event>, String> {
        if let Some(flaw) = &self.flaw {
            return Err(flaw.clone());
        }
        let (found, limit) = (self.size_bytes(), limits.body_bytes);
        if found > limit as u64 {
            return Err(format!(
                "it has {found} bytes, and limits.body_bytes is {limit}"
            ));
        }
        self.read(source, limits).map_err(|error| chain(&error))
    }

    fn size_bytes(&self) -> u64 {
        self.whole_bytes.unwrap_or(self.body.len() as u64)
    }

    fn read(&self, source: &str, limits: &Limits) -> Result<Vec<Event>, FormatError> {
        let bounds = Bounds {
            nesting: limits.nesting,
            batch_events: limits.batch_events,
        };
        let mut headers: Vec<(String, Vec<u8>)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        if let Some(kind) = &self.content_type {
            headers.push(("content-type".to_owned(), kind.clone().into_bytes()));
        }
        if let Some(mode) = cloudevents::mode(&headers)? {
            return cloudevents::read(mode, &headers, &self.body, bounds);
        }
        match parse_json(&self.body, limits.nesting) {
            Err(error @ JsonError::TooDeep { .. }) if self.may_be_json() => Err(error.into()),
            Ok(value) if value.get("specversion").is_some() => {
                Ok(vec![cloudevents::structured(value)?])
            }
            Ok(value) if s3::is_notification(&value) => {
                Ok(s3::read(&value, limits.batch_events)?.events)
            }
            Ok(value) => match rucio::read(&value) {
                Some(told) => Ok(vec![self.known_as(told).wrap(source, Some(value))?]),
                None => Ok(vec![self.wrap(source, Some(value))?]),
            },
            Err(_) => Ok(vec![self.wrap(source, None)?]),
        }
    }

    /// This message, named by what it says of itself and not by its delivery.
    fn known_as(&self, told: rucio::Told) -> Self {
        let own = std::iter::once("rucio".to_owned());
        Self {
            identity: own.chain(told.identity).collect(),
            kind: told.kind,
            subject: Some(told.subject),
            time: told.time,
            content_type: self.content_type.clone(),
            ..Self::default()
        }
    }

    /// Whether brackets in the body nest anything.
    fn may_be_json(&self) -> bool {
        matches!(self.body.trim_ascii_start().first(), Some(b'{' | b'['))
    }

    /// An event about a plain payload.
    fn wrap(&self, source: &str, value: Option<Value>) -> Result<Event, FormatError> {
        let mut document = Map::new();
        let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
        set("specversion", json!("1.0"));
        set("id", json!(self.digest()));
        set("source", json!(format!("/sources/{source}")));
        set("type", json!(self.kind));
        if let Some(subject) = self.subject.as_ref().filter(|subject| !subject.is_empty()) {
            set("subject", json!(subject));
        }
        if let Some(time) = &self.time {
            set("time", json!(time));
        }
        let said = self.content_type.clone().filter(|kind| !kind.is_empty());
        let is_json = value.is_some();
        if let Some(value) = value {
            set("data", value);
        } else if let Ok(text) = std::str::from_utf8(&self.body) {
            set("data", json!(text));
        } else {
            set("data_base64", json!(cloudevents::base64(&self.body)));
        }
        if let Some(kind) = said.or_else(|| is_json.then(|| "application/json".to_owned())) {
            set("datacontenttype", json!(kind));
        }
        let mut event = cloudevents::structured(Value::Object(document))?;
        // Not `ce`: nobody who sends CloudEvents can take the identity of another's message.
        event.key = vec!["source".to_owned(), source.to_owned()];
        event.key.extend(self.identity.iter().cloned());
        Ok(event)
    }

    /// The dead letter that it becomes.
    #[must_use]
    pub fn bury(&self, reason: String, limits: &Limits) -> DeadMessage {
        DeadMessage {
            // The content too: where a sender uses an identity twice, both are kept.
            identity: digest([self.digest().as_bytes(), &self.body]),
            subject: self.subject.clone(),
            reason,
            head: self.body[..self.body.len().min(HEAD_BYTES)].to_vec(),
            size_bytes: self.size_bytes(),
            envelope: serde_json::to_string(self).unwrap_or_default(),
            body: (self.size_bytes() <= limits.body_bytes as u64).then(|| self.body.clone()),
        }
    }
}

/// The attribute of CloudEvents that a header of a broker means: `cloudEvents:id`,
/// `cloudEvents_id`, `ce_id` or `ce-id`.
pub(super) fn attribute(header: &str) -> Option<String> {
    ["cloudEvents:", "cloudEvents_", "ce_", "ce-"]
        .iter()
        .find_map(|start| header.strip_prefix(start))
        .map(|name| format!("ce-{name}"))
}

/// 128 bits of SHA-256 over parts, each preceded by its length, in hexadecimal digits.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    mizar_core::hex(&hasher.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> Message {
        Message {
            identity: vec!["1".to_owned()],
            kind: "mizar.test.message".to_owned(),
            subject: Some("a/b".to_owned()),
            body: body.to_vec(),
            ..Message::default()
        }
    }

    fn limits() -> Limits {
        Limits {
            body_bytes: 400,
            nesting: 8,
            ..Limits::default()
        }
    }

    #[test]
    fn each_format_is_told_by_itself() {
        let own = |message: &Message| message.events("src", &limits()).unwrap().remove(0);
        let event = own(&message(
            br#"{"specversion":"1.0","id":"7","source":"/x","type":"t"}"#,
        ));
        assert_eq!(event.key, ["ce", "/x", "7"]);
        let stored = br#"{"Records":[{"eventSource":"minio:s3","eventName":"s3:ObjectCreated:Put","responseElements":{"x-amz-request-id":"R","x-amz-id-2":"n"},"s3":{"bucket":{"name":"b"},"object":{"key":"k","sequencer":"5"}}}]}"#;
        assert_eq!(own(&message(stored)).key[0], "s3");
        let event = own(&message(b"21.5"));
        assert_eq!(event.key, ["source", "src", "1"]);
        assert_eq!(event.document["data"], json!(21.5));
        assert_eq!(
            (event.source.as_str(), event.subject.as_deref()),
            ("/sources/src", Some("a/b"))
        );
        assert_eq!(own(&message(b"plain")).document["data"], json!("plain"));
        assert_eq!(own(&message(b"\xff\x00")).document["data_base64"], "/wA=");
        let rucio = own(&message(
            br#"{"event_type":"close","payload":{"scope":"s","name":"d"},"created_at":"2026-01-02 10:00:00"}"#,
        ));
        assert_eq!(rucio.key[..4], ["source", "src", "rucio", "close"]);
        assert_eq!(rucio.document["data"]["payload"]["name"], "d");
        let mut binary = message(b"{\"n\":1}");
        binary.headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "9"),
            ("ce-source", "/y"),
            ("ce-type", "t"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(own(&binary).key, ["ce", "/y", "9"]);
    }

    #[test]
    fn what_claims_a_format_and_breaks_it_is_refused_with_the_reason() {
        for (body, reason) in [
            (&br#"{"specversion":"1.0","id":"7"}"#[..], "source"),
            (br#"{"Records":[{"eventSource":"other"}]}"#, "eventSource"),
            (b"[[[[[[[[[1]]]]]]]]]", "nested deeper"),
            (&[b'x'; 401], "401 bytes"),
        ] {
            let found = message(body).events("src", &limits()).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
        let mut named = message(b"1");
        named.subject = Some("a\nb".to_owned());
        assert!(
            named
                .events("src", &limits())
                .unwrap_err()
                .contains("control character")
        );
    }

    #[test]
    fn a_dead_letter_comes_back_as_it_was() {
        let whole = message(b"[[[[[1]]]]]");
        let dead = whole.bury("why".to_owned(), &limits());
        let mut back: Message = serde_json::from_str(&dead.envelope).unwrap();
        back.body = dead.body.unwrap();
        assert_eq!(back, whole);
        let large = message(&[b'x'; 401]).bury(String::new(), &limits());
        assert_eq!(
            (large.body, large.head.len(), large.size_bytes),
            (None, 256, 401)
        );
        let mut cut = message(b"start");
        cut.whole_bytes = Some(500);
        let reason = cut.events("src", &limits()).unwrap_err();
        assert!(reason.contains("500 bytes"), "{reason}");
        let dead = cut.bury(reason, &limits());
        assert_eq!((dead.body, dead.size_bytes), (None, 500));
    }
}
