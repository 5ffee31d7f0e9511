//! Output of a container: which lines and bytes of it are wanted, and the walk through its log
//! that gives exactly those.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::supervise::log::{self, Record, STAMP};

/// How often a log that is followed is looked at.
const FOLLOW_STEP: Duration = Duration::from_millis(200);

/// Output is handed on in pieces of about this size.
const CHUNK_BYTES: usize = 32 << 10;

/// The body of `/getLogs`, in the spellings of interLink, its OpenAPI and its SDK.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are those of interLink")]
pub struct LogRequest {
    #[serde(alias = "Namespace")]
    pub namespace: String,
    #[serde(alias = "PodUID", alias = "podUID", alias = "PodUid")]
    pub pod_uid: String,
    #[serde(alias = "PodName")]
    pub pod_name: String,
    #[serde(alias = "ContainerName")]
    pub container_name: String,
    #[serde(alias = "Opts")]
    pub opts: LogOptions,
}

/// Which part of the output is wanted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are those of interLink")]
pub struct LogOptions {
    #[serde(alias = "Tail", deserialize_with = "count")]
    pub tail: u64,
    #[serde(
        alias = "Bytes",
        alias = "bytes",
        alias = "LimitBytes",
        deserialize_with = "count"
    )]
    pub limit_bytes: u64,
    #[serde(alias = "Timestamps")]
    pub timestamps: bool,
    #[serde(alias = "Follow")]
    pub follow: bool,
    #[serde(alias = "Previous")]
    pub previous: bool,
    #[serde(alias = "SinceSeconds", deserialize_with = "count")]
    pub since_seconds: u64,
    #[serde(alias = "SinceTime")]
    pub since_time: Option<String>,
}

/// Null and absent are 0, and so is what is below.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number: Option<i64> = Option::deserialize(deserializer)?;
    Ok(number.map_or(0, |number| u64::try_from(number).unwrap_or(0)))
}

/// What is wanted, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only so many bytes.
    pub limit_bytes: Option<u64>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// Only what came at this time or later, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Whether to go on until the container has ended.
    pub follow: bool,
    /// Output of an earlier instance: there is never one.
    pub previous: bool,
}

impl LogOptions {
    /// Checks the options; `now_ns` is in nanoseconds since 1970.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn select(&self, now_ns: i64) -> Result<Selection, String> {
        if self.tail > 0 && self.limit_bytes > 0 {
            return Err("Tail and Bytes exclude each other".to_owned());
        }
        let given = self.since_time.as_deref().unwrap_or_default();
        // Go's zero time means none.
        let since = match given {
            "" => None,
            text if text.starts_with("0001-01-01T00:00:00") => None,
            text => Some(
                OffsetDateTime::parse(text, &Rfc3339)
                    .map_err(|_| "SinceTime is no time of RFC 3339".to_owned())?,
            ),
        };
        if since.is_some() && self.since_seconds > 0 {
            return Err("SinceTime and SinceSeconds exclude each other".to_owned());
        }
        let seconds_ns = i64::try_from(self.since_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000_000);
        let since_ns = match since {
            Some(time) => Some(i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)),
            None => (self.since_seconds > 0).then(|| now_ns.saturating_sub(seconds_ns)),
        };
        Ok(Selection {
            tail: (self.tail > 0).then_some(self.tail),
            limit_bytes: (self.limit_bytes > 0).then_some(self.limit_bytes),
            timestamps: self.timestamps,
            since_ns,
            follow: self.follow,
            previous: self.previous,
        })
    }
}

/// Walks through a log. Pieces go to `give`, which says whether somebody still listens;
/// `has_ended` says whether there will be no more output.
///
/// # Errors
/// If the log cannot be read.
pub fn walk(
    folder: &Path,
    container: &str,
    selection: &Selection,
    give: &mut dyn FnMut(Vec<u8>) -> bool,
    has_ended: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    if selection.previous {
        return Ok(());
    }
    let path = crate::supervise::progress::log_path(folder, container);
    let file = loop {
        match crate::supervise::progress::open_below(folder, &path) {
            Ok(file) => break file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // An empty piece only asks whether somebody still listens.
        if !selection.follow || has_ended() || !give(Vec::new()) {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_STEP);
    };
    let skip = match selection.tail {
        Some(tail) => lines(&file, selection)?.saturating_sub(tail),
        None => 0,
    };
    let mut walk = Walk {
        selection,
        skip,
        left: selection.limit_bytes,
        at_start: true,
        piece: Vec::new(),
    };
    follow(file, &mut walk, give, has_ended)
}

/// How many lines of a log are wanted by their time.
fn lines(file: &File, selection: &Selection) -> io::Result<u64> {
    let mut log = BufReader::new(file);
    log.rewind()?;
    let (mut count, mut open) = (0, false);
    while let Some(record) = log::next(&mut log)? {
        if is_wanted(selection, &record) {
            count += u64::from(!open);
            open = !record.ends_line();
        }
    }
    Ok(count)
}

fn is_wanted(selection: &Selection, record: &Record) -> bool {
    match (selection.since_ns, record.time_ns) {
        (Some(since), Some(time)) => time >= since,
        _ => true,
    }
}

struct Walk<'a> {
    selection: &'a Selection,
    skip: u64,
    left: Option<u64>,
    at_start: bool,
    piece: Vec<u8>,
}

impl Walk<'_> {
    /// Takes a record; false once nothing more is wanted.
    fn take(&mut self, record: &Record) -> bool {
        if !is_wanted(self.selection, record) {
            return true;
        }
        let begins = self.at_start;
        self.at_start = record.ends_line();
        if self.skip > 0 {
            self.skip -= u64::from(record.ends_line());
            return true;
        }
        if begins && self.selection.timestamps {
            let time = record.time_ns.unwrap_or(0);
            let stamp = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time))
                .ok()
                .and_then(|time| time.format(STAMP).ok());
            self.add(stamp.unwrap_or_default().as_bytes());
            self.add(b" ");
        }
        self.add(&record.text);
        self.left != Some(0)
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = self.left.map_or(bytes.len(), |left| {
            bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        self.piece.extend_from_slice(&bytes[..room]);
        if let Some(left) = &mut self.left {
            *left -= room as u64;
        }
    }
}

fn follow(
    mut file: File,
    walk: &mut Walk<'_>,
    give: &mut dyn FnMut(Vec<u8>) -> bool,
    has_ended: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    file.rewind()?;
    let mut log = BufReader::new(file);
    let mut whole = 0;
    loop {
        // Asked before the log is read to its end, so that nothing of it can be missed.
        let ended = !walk.selection.follow || has_ended();
        let looked = Instant::now();
        while let Some(record) = next_whole(&mut log, &mut whole, ended)? {
            let goes_on = walk.take(&record);
            if !goes_on || walk.piece.len() >= CHUNK_BYTES {
                let piece = std::mem::take(&mut walk.piece);
                if !give(piece) || !goes_on {
                    return Ok(());
                }
            }
        }
        if !give(std::mem::take(&mut walk.piece)) || ended {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_STEP.saturating_sub(looked.elapsed()));
    }
}

/// Reads a record unless it may still grow; `whole` is where the next one begins.
fn next_whole(
    log: &mut BufReader<File>,
    whole: &mut u64,
    ended: bool,
) -> io::Result<Option<Record>> {
    let Some(record) = log::next(log)? else {
        return Ok(None);
    };
    let place = log.stream_position()?;
    if !record.is_whole && !ended {
        log.seek(io::SeekFrom::Start(*whole))?;
        return Ok(None);
    }
    *whole = place;
    Ok(Some(record))
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
