//! What a server answers, believed only as far as it is what was asked for.

use std::io::Read as _;

use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::RemoteError;
use super::client::{ATTEMPTS, Attempt};

/// The largest object that is taken as a whole from a server that sends no parts.
pub(super) const WHOLE_BYTES_MAX: usize = 16 << 20;

/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of them.
    Whole,
    /// So many from a place on.
    Range {
        /// The place.
        start: u64,
        /// How many, at least one.
        length: usize,
    },
    /// So many at its end, or all where it has fewer.
    Last {
        /// How many, at least one.
        length: usize,
    },
}

/// By what an object that was written again is told from what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    /// Of the whole object, where the server says it.
    pub(crate) size_bytes: Option<u64>,
}

/// What a server sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) version: Version,
    pub(crate) bytes: Vec<u8>,
    /// Whether `bytes` are the whole object although a part was asked for.
    pub(crate) is_whole: bool,
}

impl Version {
    fn of(headers: &HeaderMap, size_bytes: Option<u64>) -> Self {
        Self {
            etag: header(headers, "etag"),
            modified: header(headers, "last-modified"),
            size_bytes,
        }
    }

    /// Whether nothing that both know differs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        fn agrees<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        agrees(self.etag.as_ref(), other.etag.as_ref())
            && agrees(self.modified.as_ref(), other.modified.as_ref())
            && agrees(self.size_bytes.as_ref(), other.size_bytes.as_ref())
    }
}

/// An answer with all of an object.
pub(super) fn whole(
    response: &mut Response<Body>,
    part: Part,
    limit: usize,
) -> Result<Answer, Attempt> {
    let size_bytes = response.body().content_length();
    let mut version = Version::of(response.headers(), size_bytes);
    let was_part = part != Part::Whole;
    let limit = if was_part { WHOLE_BYTES_MAX } else { limit };
    let too_large = || match was_part {
        true => RemoteError::NoRanges { size_bytes },
        false => RemoteError::TooLarge { size_bytes, limit },
    };
    if size_bytes.is_some_and(|size| size > limit as u64) {
        return Err(too_large().into());
    }
    let bytes = body(response, size_bytes, limit)?;
    if bytes.len() > limit {
        return Err(too_large().into());
    }
    version.size_bytes = Some(bytes.len() as u64);
    Ok(Answer {
        version,
        bytes,
        is_whole: true,
    })
}

/// An answer with the part that was asked for.
pub(super) fn partial(
    response: &mut Response<Body>,
    part: Part,
    limit: usize,
) -> Result<Answer, Attempt> {
    let text = header(response.headers(), "content-range").unwrap_or_default();
    let unexpected = || RemoteError::Answer {
        expected: match part {
            Part::Whole => "all bytes".to_owned(),
            Part::Range { start, length } => format!("{length} bytes from {start} on"),
            Part::Last { length } => format!("the last {length} bytes"),
        },
        found: match text.len() {
            0 => "a part and not which".to_owned(),
            _ => format!("{text:?}"),
        },
    };
    let range = content_range(&text).ok_or_else(unexpected)?;
    let length = range.last - range.first + 1;
    let fits = match part {
        Part::Whole => false,
        Part::Range {
            start,
            length: wanted,
        } => range.first == start && length <= wanted as u64,
        Part::Last { length: wanted } => {
            length <= wanted as u64 && range.size_bytes.is_none_or(|size| range.last + 1 == size)
        }
    };
    if !fits || length > limit as u64 {
        return Err(unexpected().into());
    }
    let version = Version::of(response.headers(), range.size_bytes);
    let bytes = body(response, Some(length), limit)?;
    Ok(Answer {
        version,
        bytes,
        is_whole: false,
    })
}

/// The answer to a part that lies beyond the end: an empty object has no other.
pub(super) fn beyond(response: &Response<Body>, part: Part) -> Result<Answer, Attempt> {
    let text = header(response.headers(), "content-range").unwrap_or_default();
    let is_start = matches!(part, Part::Range { start: 0, .. } | Part::Last { .. });
    if is_start && matches!(text.trim(), "bytes */0" | "") {
        return Ok(Answer {
            version: Version::of(response.headers(), Some(0)),
            bytes: Vec::new(),
            is_whole: true,
        });
    }
    Err(RemoteError::CutShort.into())
}

/// Reads a body of a known length whole, or one more byte than `limit` of an unknown one.
fn body(
    response: &mut Response<Body>,
    length: Option<u64>,
    limit: usize,
) -> Result<Vec<u8>, Attempt> {
    let most = length.unwrap_or(limit as u64 + 1);
    let mut bytes = Vec::with_capacity(length.unwrap_or(0) as usize);
    let reader = response.body_mut().as_reader();
    let outcome = reader.take(most).read_to_end(&mut bytes);
    let is_whole = length.is_none_or(|length| bytes.len() as u64 == length);
    let reason = match outcome {
        Ok(_) if is_whole => return Ok(bytes),
        Ok(_) => "the connection was closed".to_owned(),
        Err(error) => error.to_string(),
    };
    let reason = format!("{reason}, after {} of {most} bytes", bytes.len());
    Err(Attempt::Later(
        None,
        RemoteError::Unreachable {
            attempts: ATTEMPTS,
            reason,
        },
    ))
}

/// What `bytes 0-9/100` says.
struct ContentRange {
    first: u64,
    last: u64,
    size_bytes: Option<u64>,
}

fn content_range(text: &str) -> Option<ContentRange> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let size_bytes = match size.trim() {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    let is_inside = size_bytes.is_none_or(|size| last < size);
    // The end of a range of all numbers has none.
    (first <= last && last < u64::MAX && is_inside).then_some(ContentRange {
        first,
        last,
        size_bytes,
    })
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_not_believed() {
        let found = content_range("bytes 0-9/100").unwrap();
        assert_eq!(
            (found.first, found.last, found.size_bytes),
            (0, 9, Some(100))
        );
        assert_eq!(content_range("bytes 5-5/*").unwrap().size_bytes, None);
        for wrong in [
            "",
            "bytes */0",
            "bytes 9-0/100",
            "bytes 0-100/100",
            "bytes 0-9",
            "bytes 0-18446744073709551615/*",
            "items 0-9/100",
        ] {
            assert!(content_range(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn versions_differ_by_what_both_know() {
        let version = |etag: Option<&str>, size_bytes| Version {
            etag: etag.map(str::to_owned),
            modified: None,
            size_bytes,
        };
        let opened = version(Some("\"a\""), Some(9));
        assert!(opened.is_same(&version(Some("\"a\""), None)));
        assert!(opened.is_same(&version(None, Some(9))));
        assert!(!opened.is_same(&version(Some("\"b\""), Some(9))));
        assert!(!opened.is_same(&version(None, Some(8))));
    }
}
