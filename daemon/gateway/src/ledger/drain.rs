//! Draining: no event comes in, and what is here goes out. The wish is in the ledger, where intake
//! asks for it in the transaction that would store an event: once it is on disk, none is stored.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::{State, counts, gather};

/// The name of the wish among the settings.
const NAME: &str = "drain_since_ms";

/// What is left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Jobs that wait for submission.
    pub waiting: u64,
    /// Those of them whose service is paused: they are not submitted before it goes on.
    pub paused: u64,
    /// Jobs that are being submitted, or of which it is not certain whether they were.
    pub submitting: u64,
    /// Jobs in Slurm that have not ended.
    pub in_slurm: u64,
    /// Events that wait for others; without new events they cannot be jobs, and stay.
    pub gathering: u64,
}

impl Left {
    /// Whether all that can be submitted was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0 && self.submitting == 0
    }
}

/// Whether no events are to be taken.
pub fn is_draining(connection: &Connection) -> rusqlite::Result<bool> {
    drain_since(connection).map(|since| since.is_some())
}

/// Since when no events are to be taken, in milliseconds since 1970.
pub fn drain_since(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([NAME], |row| row.get(0))
        .optional()?;
    Ok(text.map(|text| text.parse().unwrap_or(0)))
}

/// Has no events taken, and makes jobs of batches that wait for more of them.
pub fn drain(connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![NAME, now_ms.to_string()],
    )?;
    gather::close_batches(connection, now_ms)
}

/// Has events taken again; whether they were not.
pub fn resume(connection: &Connection) -> rusqlite::Result<bool> {
    let gone = connection.execute("DELETE FROM settings WHERE name = ?1", [NAME])?;
    Ok(gone > 0)
}

/// What is left to do.
pub fn left(connection: &Connection) -> rusqlite::Result<Left> {
    let mut left = Left::default();
    for (state, count) in counts(connection)? {
        match state {
            State::Received => left.waiting += count,
            State::Submitting | State::Unsure => left.submitting += count,
            State::Submitted | State::Running => left.in_slurm += count,
            State::Gathering => left.gathering += count,
            _ => {}
        }
    }
    left.paused = connection
        .prepare_cached(
            "SELECT count(*) FROM jobs JOIN flow ON flow.service = jobs.service AND flow.paused
             WHERE state = 'received'",
        )?
        .query_row([], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))?;
    Ok(left)
}
