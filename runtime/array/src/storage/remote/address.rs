//! Names of inputs that lie on a server: `http://…`, `https://…`, `s3://bucket/key`.
//!
//! What is shown to people has no query and no password: a signed link is a secret.

use std::path::{Path, PathBuf};

use mizar_http::{escaped, is_unreserved_or_slash};

use super::RemoteError;

/// Where an input lies.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A URL, with its query, whose path is escaped.
    Web { url: String },
    /// An object of an S3 service, by names that are not escaped.
    Bucket { bucket: String, key: String },
}

/// What begins an address.
const SCHEMES: [&str; 3] = ["http://", "https://", "s3://"];

/// Whether a path is the address of something on a server.
#[must_use]
pub fn is_remote(path: &Path) -> bool {
    path.to_str().and_then(scheme_of).is_some()
}

/// A word of a command line as it may be shown and stored: of an address in it, without its query
/// and its password.
#[must_use]
pub fn without_secrets(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let starts = SCHEMES.iter().filter(|scheme| **scheme != "s3://");
    let first = starts
        .filter_map(|scheme| Some((lower.find(scheme)?, scheme.len())))
        .min();
    let Some((start, length)) = first else {
        return word.to_owned();
    };
    let (before, rest) = word.split_at(start + length);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{before}{host}{path}")
}

/// As [`without_secrets`], of a path.
pub(crate) fn shown(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(without_secrets(text)),
        None => path.to_owned(),
    }
}

fn scheme_of(text: &str) -> Option<&'static str> {
    SCHEMES.into_iter().find(|scheme| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

impl Address {
    /// Understands a name that [`is_remote`].
    pub(crate) fn parse(text: &str) -> Result<Self, RemoteError> {
        let scheme = scheme_of(text).ok_or(RemoteError::Address {
            expected: "http://, https:// or s3://",
        })?;
        let rest = &text[scheme.len()..];
        if scheme == "s3://" {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() || !bucket.bytes().all(is_of_bucket) {
                return Err(RemoteError::Address {
                    expected: "s3://BUCKET/KEY",
                });
            }
            return Ok(Self::Bucket {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            });
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if host.is_empty() {
            return Err(RemoteError::Address {
                expected: "a host after the two slashes",
            });
        }
        if host.contains('@') {
            return Err(RemoteError::Address {
                expected: "no user and password in the URL, where every user of the node sees \
                           them",
            });
        }
        Ok(Self::Web {
            url: format!("{scheme}{}", escaped(rest, is_of_url)),
        })
    }

    /// What lies under a key below this prefix.
    pub(crate) fn child(&self, child: &str) -> Self {
        match self {
            Self::Web { url } => {
                let base = url.split('?').next().unwrap_or_default();
                let base = base.trim_end_matches('/');
                Self::Web {
                    url: format!("{base}/{}", escaped(child, is_unreserved_or_slash)),
                }
            }
            Self::Bucket { bucket, key } => {
                let base = key.trim_end_matches('/');
                let joins = if base.is_empty() { "" } else { "/" };
                Self::Bucket {
                    bucket: bucket.clone(),
                    key: format!("{base}{joins}{child}"),
                }
            }
        }
    }

    /// Whether the name says that it is a prefix, not an object.
    pub(crate) fn is_prefix(&self) -> bool {
        let name = match self {
            Self::Web { url } => url.split('?').next().unwrap_or_default(),
            Self::Bucket { key, .. } => key,
        };
        name.is_empty() || name.ends_with('/') || name.ends_with(".zarr")
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Web { url } => out.write_str(&without_secrets(url)),
            Self::Bucket { bucket, key } => write!(out, "s3://{bucket}/{key}"),
        }
    }
}

/// Those that stand in a URL that someone typed, escapes among them.
fn is_of_url(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

fn is_of_bucket(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (word, expected) in [
            ("in.nc", "in.nc"),
            ("-selname,tas", "-selname,tas"),
            ("s3://b/a?b.nc", "s3://b/a?b.nc"),
            ("https://h/a.nc?X-Amz-Signature=1", "https://h/a.nc"),
            ("HTTPS://u:p@h:1/a.nc#x", "HTTPS://h:1/a.nc"),
            ("http://h?token=1", "http://h"),
            ("in=https://h/a?secret", "in=https://h/a"),
            ("remapbil,http://u:p@h/a.nc?b", "remapbil,http://h/a.nc"),
        ] {
            assert_eq!(without_secrets(word), expected);
        }
        let address = Address::parse("https://h/a.nc?secret=1").unwrap();
        assert_eq!(format!("{address:?}"), "https://h/a.nc");
    }

    #[test]
    fn addresses_are_understood() {
        let web = |text: &str| match Address::parse(text) {
            Ok(Address::Web { url }) => url,
            other => panic!("{other:?}"),
        };
        assert_eq!(web("http://h/a b.nc?x=1#y"), "http://h/a%20b.nc?x=1");
        assert_eq!(web("http://h/ä%20.nc"), "http://h/%C3%A4%20.nc");
        let key = |text: &str| match Address::parse(text) {
            Ok(Address::Bucket { bucket, key }) => (bucket, key),
            other => panic!("{other:?}"),
        };
        let pair = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
        assert_eq!(key("s3://b/a b/c.nc"), pair("b", "a b/c.nc"));
        assert_eq!(key("s3://b"), pair("b", ""));
        for wrong in ["s3:///a", "s3://b?x/a", "http:///a", "https://u:p@h/a"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        let child = |text| Address::parse(text).unwrap().child("t/0.0");
        assert_eq!(
            child("http://h/x.zarr/?q"),
            Address::parse("http://h/x.zarr/t/0.0").unwrap()
        );
        assert_eq!(child("s3://b"), Address::parse("s3://b/t/0.0").unwrap());
        assert_eq!(
            child("s3://b/x.zarr/"),
            Address::parse("s3://b/x.zarr/t/0.0").unwrap()
        );
        assert!(!is_remote(Path::new("a/http://b")));
    }
}
