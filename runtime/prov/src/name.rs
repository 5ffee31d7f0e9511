//! Qualified names: a prefix that a document maps to a namespace, and a local part.

use std::fmt;
use std::str::FromStr;

/// `prefix:local`; an empty prefix means the document's default namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QualifiedName {
    prefix: String,
    local: String,
}

impl QualifiedName {
    /// A name whose local part is made safe by [`escape`].
    #[must_use]
    pub fn new(prefix: &str, local: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            local: escape(local),
        }
    }

    /// The prefix, possibly empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The local part, as it stands in documents.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix.is_empty() {
            f.write_str(&self.local)
        } else {
            write!(f, "{}:{}", self.prefix, self.local)
        }
    }
}

/// The text is not a qualified name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not a qualified name (`prefix:local`)")]
pub struct ParseNameError {
    found: String,
}

impl FromStr for QualifiedName {
    type Err = ParseNameError;

    /// Takes the text as it stands, split at its first colon: other tools' names are theirs.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prefix, local) = text.split_once(':').unwrap_or(("", text));
        if prefix == "_" || (prefix.is_empty() && local.is_empty()) {
            return Err(ParseNameError {
                found: text.to_owned(),
            });
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            local: local.to_owned(),
        })
    }
}

/// Percent-encodes every byte that is not plain in both an IRI and PROV-N.
///
/// `/`, `.`, `_`, `-`, `@` and ASCII letters and digits stand for themselves; a `.` or `-` at
/// an end, where PROV-N forbids it, does not.
#[must_use]
pub fn escape(local: &str) -> String {
    let bytes = local.as_bytes();
    let last = bytes.len().saturating_sub(1);
    let mut out = String::with_capacity(local.len());
    for (index, &byte) in bytes.iter().enumerate() {
        let plain = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'/' | b'@' => true,
            b'.' | b'-' => index != 0 && index != last,
            _ => false,
        };
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts_are_escaped_and_read_back_as_written() {
        for (local, text) in [
            ("scratch/in.nc@0af3", "file:scratch/in.nc@0af3"),
            ("my file: 50%.nc", "file:my%20file%3A%2050%25.nc"),
            ("été", "file:%C3%A9t%C3%A9"),
            (".hidden-", "file:%2Ehidden%2D"),
        ] {
            let name = QualifiedName::new("file", local);
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse(), Ok(name));
        }
        assert!("".parse::<QualifiedName>().is_err());
        assert!("_:b1".parse::<QualifiedName>().is_err());
        assert_eq!("plain".parse::<QualifiedName>().unwrap().prefix(), "");
    }
}
