//! The two files of a process that are read: `stat` and `io`.

use crate::text::{keyed, number, words};

/// What `/proc/<pid>/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// State: `R`, `S`, …; `Z` is ended and not waited for.
    pub state: u8,
    /// Parent.
    pub parent: i32,
    /// User and system time, own and of waited-for children, in clock ticks.
    pub cpu_ticks: u64,
    /// Threads.
    pub threads: u64,
    /// When it began, in clock ticks since boot: with the pid, a name that is never reused.
    pub start_ticks: u64,
    /// Resident pages.
    pub resident_pages: u64,
}

/// Reads a line of `/proc/<pid>/stat`; `None` if it is not one.
#[must_use]
pub fn parse_stat(line: &[u8]) -> Option<Stat> {
    // The name in brackets may hold anything, brackets and blanks too.
    let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = words(&line[after_name..]);
    let state = *fields.next()?.first()?;
    let parent = i32::try_from(number(fields.next()?)?).ok()?;
    let mut from_minor_faults = fields.skip(9);
    let mut cpu_ticks = 0_u64;
    for _ in 0..4 {
        cpu_ticks = cpu_ticks.saturating_add(signed(from_minor_faults.next()?)?);
    }
    let mut from_threads = from_minor_faults.skip(2);
    let threads = number(from_threads.next()?)?;
    let mut from_start = from_threads.skip(1);
    let start_ticks = number(from_start.next()?)?;
    let resident_pages = signed(from_start.nth(1)?)?;
    Some(Stat {
        state,
        parent,
        cpu_ticks,
        threads,
        start_ticks,
        resident_pages,
    })
}

/// Some kernels print these as signed and, racing, below zero.
fn signed(digits: &[u8]) -> Option<u64> {
    match digits.strip_prefix(b"-") {
        Some(magnitude) => number(magnitude).map(|_| 0),
        None => number(digits),
    }
}

/// Reads `/proc/<pid>/io`: rchar, wchar, read_bytes, write_bytes; `None` if it is not one.
#[must_use]
pub fn parse_io(text: &[u8]) -> Option<[u64; 4]> {
    Some([
        keyed(text, b"rchar")?,
        keyed(text, b"wchar")?,
        keyed(text, b"read_bytes")?,
        keyed(text, b"write_bytes")?,
    ])
}
