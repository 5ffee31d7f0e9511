//! The marker that makes a job ours: `mizar:<service>:<key hash>`, with `.<n>` appended for
//! the n-th generation after the first (a retry that a person asked for, or a job that the
//! scheduler lost).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Every marker starts with it.
pub const PREFIX: &str = "mizar:";

/// Longest service name: a DNS label.
pub const MAX_SERVICE_BYTES: usize = 63;

/// Hexadecimal digits of the key hash: 128 bits.
pub const HASH_DIGITS: usize = 32;

/// Which event, for which service, for which time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marker {
    service: String,
    hash: String,
    generation: u32,
}

/// The text is not a marker.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not a marker: expected mizar:<service>:<32 hex digits>[.<generation>]")]
pub struct MarkerError {
    found: String,
}

impl Marker {
    /// Builds a marker.
    ///
    /// # Errors
    /// [`MarkerError`] unless `service` is a DNS label and `hash` 32 lower-case hex digits.
    pub fn new(service: &str, hash: &str, generation: u32) -> Result<Self, MarkerError> {
        if !is_label(service) || !is_hash(hash) {
            return Err(MarkerError {
                found: format!("{PREFIX}{service}:{hash}"),
            });
        }
        Ok(Self {
            service: service.to_owned(),
            hash: hash.to_owned(),
            generation,
        })
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The hash of the event's key.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Zero for the first job of the event.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

/// Whether `text` is a DNS label: lower-case letters, digits and inner hyphens.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= MAX_SERVICE_BYTES
        && bytes
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}", self.service, self.hash)?;
        if self.generation > 0 {
            write!(f, ".{}", self.generation)?;
        }
        Ok(())
    }
}

impl FromStr for Marker {
    type Err = MarkerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MarkerError {
            found: text.to_owned(),
        };
        let rest = text.strip_prefix(PREFIX).ok_or_else(error)?;
        let (service, key) = rest.split_once(':').ok_or_else(error)?;
        let (hash, generation) = match key.split_once('.') {
            None => (key, 0),
            // One spelling per marker: no sign, no leading zero, no `.0`.
            Some((hash, digits)) => match digits.parse() {
                Ok(number @ 1..) if !digits.starts_with(['0', '+']) => (hash, number),
                _ => return Err(error()),
            },
        };
        Self::new(service, hash, generation).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn markers_print_and_parse() {
        for (generation, text) in [
            (0, format!("mizar:monthly-mean:{HASH}")),
            (3, format!("mizar:monthly-mean:{HASH}.3")),
        ] {
            let marker = Marker::new("monthly-mean", HASH, generation).unwrap();
            assert_eq!(marker.to_string(), text);
            assert_eq!(text.parse(), Ok(marker));
        }
    }

    #[test]
    fn other_comments_are_not_markers() {
        for text in [
            "",
            "mizar:",
            "mizar:a",
            "mizar:a:",
            "mizar:a:xyz",
            &format!("mizar:A:{HASH}"),
            &format!("mizar:-a:{HASH}"),
            &format!("mizar::{HASH}"),
            &format!("mizar:a:{HASH}.0"),
            &format!("mizar:a:{HASH}.01"),
            &format!("mizar:a:{HASH}.+1"),
            &format!("mizar:a:{HASH}.x"),
            &format!("mizar:a:{HASH} "),
            &format!(" mizar:a:{HASH}"),
        ] {
            assert!(text.parse::<Marker>().is_err(), "{text}");
        }
    }
}
