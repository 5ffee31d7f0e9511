//! `<node>.<segment>.jsonl`: one event a line, on disk before the caller goes on.
//!
//! A line is either whole or absent: after a failed write the file is cut back to its last
//! whole line, and a reader ignores a last line without its newline.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

use crate::RecordError;
use crate::model::{Event, SCHEMA};

/// The longest line a reader takes: an event holds at most one command line.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// A file of events that grows.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    whole_bytes: u64,
}

impl EventLog {
    /// Creates the file; it must not exist.
    ///
    /// # Errors
    /// [`RecordError::Io`], also if the name is taken.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(RecordError::io("create", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            whole_bytes: 0,
        })
    }

    /// Appends events, all or none, and waits until they are on disk.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the file is then as before the call.
    pub fn append(&mut self, events: &[Event]) -> Result<(), RecordError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event).expect("events have only string keys");
            lines.push(b'\n');
        }
        let written = self
            .file
            .write_all(&lines)
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Nothing better is known if even this fails: readers ignore half a line.
            let _ = self.file.set_len(self.whole_bytes);
            return Err(RecordError::io("append events to", &self.path)(source));
        }
        self.whole_bytes += lines.len() as u64;
        Ok(())
    }
}

/// Reads all whole lines of a file of events.
///
/// # Errors
/// [`RecordError::Damaged`] if a whole line is not an event, [`RecordError::Newer`] if a
/// later release wrote it, [`RecordError::Io`].
pub fn read_events(path: &Path) -> Result<Vec<Event>, RecordError> {
    let mut reader = open(path)?;
    let mut events = Vec::new();
    while let Some(event) = next_event(&mut reader, path, events.len() + 1)? {
        events.push(event);
    }
    Ok(events)
}

/// The first event of a file, if its line is whole.
pub(crate) fn first_event(path: &Path) -> Result<Option<Event>, RecordError> {
    next_event(&mut open(path)?, path, 1)
}

fn open(path: &Path) -> Result<BufReader<File>, RecordError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
        .map_err(RecordError::io("open", path))?;
    Ok(BufReader::new(file))
}

fn next_event(
    reader: &mut BufReader<File>,
    path: &Path,
    number: usize,
) -> Result<Option<Event>, RecordError> {
    let mut line = Vec::new();
    let count = reader
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(RecordError::io("read", path))?;
    if count as u64 == MAX_LINE_BYTES {
        let what = format!("line {number} is longer than {MAX_LINE_BYTES} bytes");
        return Err(RecordError::Damaged {
            path: path.to_owned(),
            what,
        });
    }
    if line.last() != Some(&b'\n') {
        return Ok(None);
    }
    parse(path, number, &line).map(Some)
}

pub(crate) fn parse(path: &Path, number: usize, line: &[u8]) -> Result<Event, RecordError> {
    match serde_json::from_slice(line) {
        Ok(Event::Begin { schema, .. }) if schema != SCHEMA => Err(RecordError::Newer {
            path: path.to_owned(),
            found: schema,
        }),
        Ok(event) => Ok(event),
        Err(error) => Err(RecordError::Damaged {
            path: path.to_owned(),
            what: format!("line {number} is not an event: {error}"),
        }),
    }
}
