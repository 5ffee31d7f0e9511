//! Instants as PROV writes them: ISO 8601 in UTC.

use std::fmt;
use std::str::FromStr;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};

/// Unix time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .expect("64 bits of nanoseconds lie between the years 1677 and 2262");
        f.write_str(&instant.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// The text is not an ISO 8601 date and time within 64 bits of nanoseconds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not an ISO 8601 time such as 2026-11-23T16:05:00Z")]
pub struct ParseTimeError {
    found: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    /// A time without an offset is taken as UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseTimeError {
            found: text.to_owned(),
        };
        let instant = OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_| {
                let iso = time::format_description::well_known::Iso8601::DEFAULT;
                PrimitiveDateTime::parse(text, &iso).map(PrimitiveDateTime::assume_utc)
            })
            .map_err(|_| wrong())?;
        i64::try_from(instant.unix_timestamp_nanos())
            .map(Self)
            .map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_utc_and_parse_with_or_without_an_offset() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Timestamp(1_500_000_000).to_string(),
            "1970-01-01T00:00:01.5Z"
        );
        assert_eq!(
            "1970-01-01T00:00:01.5".parse(),
            Ok(Timestamp(1_500_000_000))
        );
        assert_eq!("1970-01-01T02:00:00+02:00".parse(), Ok(Timestamp(0)));
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("9999-01-01T00:00:00Z".parse::<Timestamp>().is_err());
    }
}
