//! A container's log: every piece of output with the time at which it came, so that any later
//! question about lines, bytes and times has an exact answer.
//!
//! One record per line of output: `2026-01-02T10:00:00.000000000Z F text`. `P` instead of `F`
//! is a piece whose line goes on. The supervisor writes it, `/getLogs` and OSCAR's logs read it.

use std::io::{self, BufRead, Read, Write};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Nine digits always, so that stamps sort as text.
pub const STAMP: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// Bytes of a stamp.
const STAMP_BYTES: usize = 30;

/// Longest piece of a line in one record.
const PIECE_BYTES: usize = 16 << 10;

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it came, in nanoseconds since 1970; none if the line is not ours.
    pub time_ns: Option<i64>,
    /// The output, with its line end.
    pub text: Vec<u8>,
    /// Whether it is written to its end; if not, more of it may come.
    pub is_whole: bool,
}

impl Record {
    /// Whether the line ends here.
    #[must_use]
    pub fn ends_line(&self) -> bool {
        self.text.last() == Some(&b'\n')
    }
}

/// Copies `source` to its end into `log`. Reading goes on when writing fails, because a full
/// disk must not stop the container.
///
/// # Errors
/// If `source` cannot be read.
pub fn record(mut source: impl Read, mut log: impl Write) -> io::Result<()> {
    let mut chunk = vec![0; PIECE_BYTES];
    loop {
        let count = match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let stamp = now_stamp();
        let mut records = Vec::with_capacity(count + 64);
        for line in chunk[..count].split_inclusive(|&byte| byte == b'\n') {
            let (text, tag) = match line.strip_suffix(b"\n") {
                Some(text) => (text, b" F "),
                None => (line, b" P "),
            };
            records.extend_from_slice(stamp.as_bytes());
            records.extend_from_slice(tag);
            records.extend_from_slice(text);
            records.push(b'\n');
        }
        // One write each, so that a reader sees whole records nearly always.
        let _ = log.write_all(&records);
    }
}

fn now_stamp() -> String {
    OffsetDateTime::now_utc()
        .format(STAMP)
        .unwrap_or_else(|_| "1970-01-01T00:00:00.000000000Z".to_owned())
}

/// Reads one whole record; None at the end, or where the writer has not finished one.
///
/// # Errors
/// If `log` cannot be read.
pub fn next(log: &mut impl BufRead) -> io::Result<Option<Record>> {
    let mut line = Vec::new();
    // A record is a stamp and a piece; what is longer was not written by us.
    let most = (STAMP_BYTES + 4 + PIECE_BYTES) as u64;
    log.take(most).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(parse(line)))
}

fn parse(mut line: Vec<u8>) -> Record {
    let is_whole = line.last() == Some(&b'\n');
    let stamp = line
        .get(..STAMP_BYTES)
        .and_then(|bytes| std::str::from_utf8(bytes).ok());
    let time_ns = stamp.and_then(parse_stamp);
    let tag = line.get(STAMP_BYTES..STAMP_BYTES + 3);
    match (time_ns, tag) {
        (Some(_), Some(b" F ")) => {}
        (Some(_), Some(b" P ")) => {
            if line.last() == Some(&b'\n') {
                line.pop();
            }
        }
        _ => {
            return Record {
                time_ns: None,
                text: line,
                is_whole,
            };
        }
    }
    let text = line.split_off(STAMP_BYTES + 3);
    Record {
        time_ns,
        text,
        is_whole,
    }
}

/// Nanoseconds since 1970 of a stamp.
fn parse_stamp(stamp: &str) -> Option<i64> {
    let parsed = time::PrimitiveDateTime::parse(stamp, STAMP).ok()?;
    i64::try_from(parsed.assume_utc().unix_timestamp_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn output_comes_back_byte_for_byte(output in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut log = Vec::new();
            record(&output[..], &mut log).unwrap();
            let mut found = Vec::new();
            let mut reader = &log[..];
            while let Some(record) = next(&mut reader).unwrap() {
                prop_assert!(record.time_ns.is_some());
                found.extend(record.text);
            }
            prop_assert_eq!(found, output);
        }

        #[test]
        fn any_file_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = &bytes[..];
            let mut length = 0;
            while let Some(record) = next(&mut reader).unwrap() {
                length += record.text.len();
            }
            prop_assert!(length <= bytes.len());
        }
    }
}
