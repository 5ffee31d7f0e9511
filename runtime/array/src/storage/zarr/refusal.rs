//! Why one array of a store is not read.

use serde_json::Value;

/// Why an array is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its metadata contradicts itself or the format.
    Damaged(String),
    /// Its elements are none that a NetCDF variable has: it is left out, with a note.
    Ignored(String),
    /// It is compressed with something that is not known here.
    UnknownCodec(String),
}

impl Refusal {
    pub(super) fn damaged(problem: impl Into<String>) -> Self {
        Self::Damaged(problem.into())
    }
}

/// What to do about a codec that is not known.
pub(super) fn remedy(codec: &str, variable: &str) -> String {
    format!(
        "stored with the codec {codec} in variable `{variable}`, which is not read (known are \
         gzip, zlib, zstd, lz4, blosc without snappy inside, shuffle, crc32c, transpose and \
         sharding_indexed): rewrite it with one of these"
    )
}

/// A list of lengths.
pub(super) fn lengths(value: &Value, what: &str) -> Result<Vec<usize>, Refusal> {
    let length = |value: &Value| {
        value
            .as_u64()
            .and_then(|length| usize::try_from(length).ok())
    };
    value
        .as_array()
        .and_then(|values| values.iter().map(length).collect())
        .ok_or_else(|| Refusal::damaged(format!("its `{what}` is no list of lengths")))
}
