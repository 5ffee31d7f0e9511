//! Typed values taken from an event and handed to a script as arguments.
//!
//! Invariant: what comes out is one argument without control characters that cannot be taken
//! for an option: text never starts with `-`, and only numbers may be negative.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Event;
use crate::wildcard::{self, Piece};

/// Longest value unless the parameter says otherwise.
pub const DEFAULT_MAX_LEN: usize = 1024;

/// Longest value that a parameter may ask for; Linux takes 128 KiB per argument.
pub const MAX_LEN: usize = 65_536;

/// One argument of a script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name in messages.
    pub name: String,
    /// What it must be.
    #[serde(rename = "type", default)]
    pub kind: Kind,
    /// Where in the event it is: `id`, `source`, `type`, `subject`, `time`, an extension,
    /// `data`, `data.a.b.0`, `s3.bucket`, `s3.key`, `s3.size`, `s3.etag`, `s3.version`,
    /// `s3.event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A fixed value instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Used where the event has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it must look like, with `*` for any text and `?` for any character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Its longest length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_len: Option<usize>,
    /// For a path: the folder that it is put under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<PathBuf>,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any text of one line.
    #[default]
    String,
    /// A relative path without `..`.
    Path,
    /// A whole number of 64 bits.
    Int,
    /// A finite number.
    Float,
    /// `true` or `false`.
    Bool,
}

/// Why an event has no acceptable value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("argument `{name}`: {problem}")]
pub struct ParameterError {
    /// The parameter.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Parameter {
    /// Checks the definition; the problem is told without the parameter's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match (&self.from, &self.value) {
            (None, None) | (Some(_), Some(_)) => return Err("give either `from` or `value`".into()),
            (Some(from), None) if !is_known(from) => {
                return Err(format!("`from = \"{from}\"` names no part of an event"));
            }
            _ => {}
        }
        if self
            .max_len
            .is_some_and(|length| length == 0 || length > MAX_LEN)
        {
            return Err(format!("`max_len` must be 1 to {MAX_LEN}"));
        }
        match &self.under {
            Some(_) if self.kind != Kind::Path => Err("`under` is for paths only".into()),
            Some(folder) if !folder.is_absolute() => Err("`under` must be absolute".into()),
            _ => {
                for text in self.value.iter().chain(&self.default) {
                    self.accept(text)?;
                }
                Ok(())
            }
        }
    }

    /// Takes the value from an event.
    ///
    /// # Errors
    /// [`ParameterError`] if it is missing or not what it must be.
    pub fn take(&self, event: &Event) -> Result<String, ParameterError> {
        let error = |problem| ParameterError {
            name: self.name.clone(),
            problem,
        };
        let found = match (&self.value, &self.from) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(from)) => look_up(event, from),
            (None, None) => None,
        };
        let text = found
            .or_else(|| self.default.clone())
            .ok_or_else(|| error("the event has no such value".to_owned()))?;
        self.accept(&text).map_err(error)
    }

    fn accept(&self, text: &str) -> Result<String, String> {
        let limit = self.max_len.unwrap_or(DEFAULT_MAX_LEN);
        if text.len() > limit {
            return Err(format!("is longer than {limit} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        if let Some(pattern) = &self.pattern
            && !matches(pattern, text)
        {
            return Err(format!("does not look like `{pattern}`"));
        }
        match self.kind {
            Kind::String if text.starts_with('-') => Err("starts with `-`".to_owned()),
            Kind::String => Ok(text.to_owned()),
            Kind::Path => self.accept_path(text),
            Kind::Int => match text.parse::<i64>() {
                Ok(number) => Ok(number.to_string()),
                Err(_) => Err("is not a whole number".to_owned()),
            },
            Kind::Float => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(text.trim_start_matches('+').to_owned()),
                _ => Err("is not a finite number".to_owned()),
            },
            Kind::Bool if matches!(text, "true" | "false") => Ok(text.to_owned()),
            Kind::Bool => Err("is neither `true` nor `false`".to_owned()),
        }
    }

    fn accept_path(&self, text: &str) -> Result<String, String> {
        if text.is_empty() || text.starts_with('/') {
            return Err("is not a relative path".to_owned());
        }
        if text.split('/').any(|part| part == "..") {
            return Err("holds `..`".to_owned());
        }
        match &self.under {
            Some(folder) => Ok(format!("{}/{text}", folder.display())),
            None if text.starts_with('-') => Err("starts with `-`".to_owned()),
            None => Ok(text.to_owned()),
        }
    }
}

const OBJECT_FIELDS: [&str; 6] = ["bucket", "key", "size", "etag", "version", "event"];

/// Whether `from` names a part of an event.
pub(crate) fn is_known(from: &str) -> bool {
    match from.split_once('.') {
        Some(("data", path)) => path.split('.').all(|part| !part.is_empty()),
        Some(("s3", field)) => OBJECT_FIELDS.contains(&field),
        Some(_) => false,
        None => {
            !from.is_empty()
                && from
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        }
    }
}

/// Finds a value; structures and null count as absent.
pub(crate) fn look_up(event: &Event, from: &str) -> Option<String> {
    if let Some(field) = from.strip_prefix("s3.") {
        let object = event.object.as_ref()?;
        return match field {
            "bucket" => Some(object.bucket.clone()),
            "key" => Some(object.key.clone()),
            "size" => object.size_bytes.map(|size| size.to_string()),
            "etag" => object.etag.clone(),
            "version" => object.version_id.clone(),
            _ => Some(object.event_name.clone()),
        };
    }
    let mut value = &event.document;
    for part in from.split('.') {
        value = match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            other => other.get(part)?,
        };
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a text looks like a pattern with `*` and `?`.
fn matches(pattern: &str, text: &str) -> bool {
    let piece = |character| match character {
        '*' => Piece::Any,
        '?' => Piece::One,
        other => Piece::Exactly(other),
    };
    let pieces: Vec<Piece> = pattern.chars().map(piece).collect();
    wildcard::matches(&pieces, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event() -> Event {
        Event::from_document(json!({"specversion":"1.0","id":"7","source":"/s",
            "type":"com.amazonaws.s3.ObjectCreated:Put","ext":true,
            "data":{"n":-3,"list":["x",{"deep":1.5}],"none":null,
                "s3":{"bucket":{"name":"b"},"object":{"key":"in%2Fa+b.nc","size":9}}}}))
        .unwrap()
    }

    fn parameter(text: &str) -> Parameter {
        toml::from_str(&format!("name = 'p'\n{text}")).unwrap()
    }

    #[test]
    fn values_are_found_and_typed() {
        for (text, expected) in [
            ("from='id'", Some("7")),
            ("from='ext'\ntype='bool'", Some("true")),
            ("from='s3.key'\ntype='path'", Some("in/a b.nc")),
            (
                "from='s3.key'\ntype='path'\nunder='/data'",
                Some("/data/in/a b.nc"),
            ),
            ("from='s3.size'\ntype='int'", Some("9")),
            ("from='data.n'\ntype='int'", Some("-3")),
            ("from='data.list.1.deep'\ntype='float'", Some("1.5")),
            ("from='data.n'", None),
            ("from='data.list'", None),
            ("from='data.none'", None),
            ("from='data.none'\ndefault='d'", Some("d")),
            ("from='s3.key'\ntype='int'", None),
            ("from='s3.key'\npattern='in/*.nc'", Some("in/a b.nc")),
            ("from='s3.key'\npattern='*.txt'", None),
            ("from='s3.key'\nmax_len=3", None),
            ("value='fixed'", Some("fixed")),
        ] {
            let parameter = parameter(text);
            parameter.check().unwrap();
            assert_eq!(parameter.take(&event()).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn bad_definitions_are_refused() {
        for text in [
            "",
            "from='id'\nvalue='x'",
            "from='s3.colour'",
            "from='nosuch.x'",
            "from='data.'",
            "value='-x'",
            "value='x'\ntype='int'",
            "value='../x'\ntype='path'",
            "from='id'\nunder='/x'",
            "from='id'\nmax_len=0",
        ] {
            assert!(parameter(text).check().is_err(), "{text}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("?", "é", true),
            ("?", "", false),
            ("*a*b*", "xxaxxbxx", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_becomes_an_option_or_a_line(text in "(-|\\.\\./|/)?[\\PC\n\0\t]{0,20}") {
            for kind in ["string", "path"] {
                let parameter = parameter(&format!("from='x'\ntype='{kind}'"));
                if let Ok(value) = parameter.accept(&text) {
                    prop_assert!(!value.starts_with('-'));
                    prop_assert!(!value.chars().any(char::is_control));
                    prop_assert!(kind == "string" || !value.split('/').any(|part| part == ".."));
                }
            }
        }
    }
}
