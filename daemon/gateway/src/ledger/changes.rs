//! What happened to jobs, in order: every state that a job came into, written by the tables' own
//! triggers, so that no way of changing a job can forget it.
//!
//! Numbers grow by one and are never used twice; what has a smaller number was on disk before.
//! Whoever remembers the number that it saw last can go on after it: listeners of the stream, the
//! webhooks, and the page. Left out: changes of a ledger from before this table.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::State;

/// The table, as a step of the schema; never edited.
pub(super) const TABLE: &str = "
CREATE TABLE changes (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  job         INTEGER NOT NULL,
  service     TEXT NOT NULL,
  generation  INTEGER NOT NULL,
  was         TEXT,
  state       TEXT NOT NULL,
  slurm_job   INTEGER,
  slurm_state TEXT,
  exit_code   INTEGER,
  reason      TEXT,
  at_ms       INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_by_job ON changes (job, id);
CREATE TRIGGER jobs_made AFTER INSERT ON jobs BEGIN
  INSERT INTO changes (job, service, generation, state, at_ms)
  VALUES (NEW.id, NEW.service, NEW.generation, NEW.state, NEW.changed_ms);
END;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state OR NEW.generation <> OLD.generation BEGIN
  INSERT INTO changes (job, service, generation, was, state, slurm_job, slurm_state, exit_code,
                       reason, at_ms)
  VALUES (NEW.id, NEW.service, NEW.generation, OLD.state, NEW.state, NEW.slurm_job,
          NEW.slurm_state, NEW.exit_code, NEW.reason, NEW.changed_ms);
END;
CREATE TABLE webhooks (
  name          TEXT PRIMARY KEY,
  mark          INTEGER NOT NULL,
  state         TEXT NOT NULL,
  delivered     INTEGER NOT NULL DEFAULT 0,
  refused       INTEGER NOT NULL DEFAULT 0,
  dropped       INTEGER NOT NULL DEFAULT 0,
  last_error    TEXT,
  last_error_ms INTEGER,
  changed_ms    INTEGER NOT NULL
) STRICT;
";

/// Changes that one look passes over at most, wanted or not: the reader is shared.
const WINDOW: i64 = 5_000;

/// A state that a job came into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its number.
    pub id: i64,
    /// The job in the ledger.
    pub job: i64,
    /// The service.
    pub service: String,
    /// Which job of the event it is: the first is 0.
    pub generation: u32,
    /// The state before; None for a new job.
    pub was: Option<State>,
    /// The state since.
    pub state: State,
    /// Slurm's id.
    pub slurm_job: Option<u32>,
    /// Slurm's state.
    pub slurm_state: Option<String>,
    /// The script's exit code.
    pub exit_code: Option<i32>,
    /// Why.
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// CloudEvents id of the job's event; None once the job is forgotten.
    pub event_id: Option<String>,
    /// CloudEvents source of the event.
    pub event_source: Option<String>,
    /// CloudEvents type of the event.
    pub event_type: Option<String>,
    /// CloudEvents subject of the event.
    pub event_subject: Option<String>,
}

/// Some changes, and the number up to which nothing else is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The wanted ones, in order.
    pub changes: Vec<Moved>,
    /// All up to this number has been looked at.
    pub until: i64,
}

const COLUMNS: &str = "changes.id, changes.job, changes.service, changes.generation, was,
    changes.state, changes.slurm_job, changes.slurm_state, changes.exit_code, changes.reason, at_ms,
    event_id, source, type, subject";

/// Jobs are numbered anew once all are forgotten: a change is of the job that was there then.
const JOINS: &str = "LEFT JOIN jobs ON jobs.id = changes.job AND jobs.service = changes.service
    LEFT JOIN events ON events.id = jobs.event AND events.received_ms <= at_ms";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Moved> {
    Ok(Moved {
        id: row.get(0)?,
        job: row.get(1)?,
        service: row.get(2)?,
        generation: row.get(3)?,
        was: row.get(4)?,
        state: row.get(5)?,
        slurm_job: row.get(6)?,
        slurm_state: row.get(7)?,
        exit_code: row.get(8)?,
        reason: row.get(9)?,
        at_ms: row.get(10)?,
        event_id: row.get(11)?,
        event_source: row.get(12)?,
        event_type: row.get(13)?,
        event_subject: row.get(14)?,
    })
}

/// The changes after a number, of some services or, with none named, of all; at most `limit`.
pub fn changes_after(
    connection: &Connection,
    after: i64,
    services: &[String],
    limit: u32,
) -> rusqlite::Result<Stretch> {
    let end = newest_change(connection)?.min(after.saturating_add(WINDOW));
    let wanted = serde_json::to_string(services).unwrap_or_default();
    let mut list = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM changes {JOINS}
         WHERE changes.id > ?1 AND changes.id <= ?2
           AND (?3 OR changes.service IN (SELECT value FROM json_each(?4)))
         ORDER BY changes.id LIMIT ?5"
    ))?;
    let rows = list.query_map(
        params![after, end, services.is_empty(), wanted, limit],
        read,
    )?;
    let changes: Vec<Moved> = rows.collect::<rusqlite::Result<_>>()?;
    let is_cut = changes.len() == limit as usize;
    let until = match changes.last() {
        Some(last) if is_cut => last.id,
        _ => end.max(after),
    };
    Ok(Stretch { changes, until })
}

/// How many changes there are after one number up to another, of some services or of all.
pub fn count_changes(
    connection: &Connection,
    after: i64,
    until: i64,
    services: &[String],
) -> rusqlite::Result<u32> {
    let wanted = serde_json::to_string(services).unwrap_or_default();
    connection.query_row(
        "SELECT count(*) FROM changes WHERE id > ?1 AND id <= ?2
           AND (?3 OR service IN (SELECT value FROM json_each(?4)))",
        params![after, until, services.is_empty(), wanted],
        |row| row.get(0),
    )
}

/// The way of one job, from its event's intake on; at most `limit` of the newest changes.
pub fn changes_of(connection: &Connection, job: i64, limit: u32) -> rusqlite::Result<Vec<Moved>> {
    let mut list = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM changes {JOINS}
         WHERE changes.job = ?1 AND events.id IS NOT NULL ORDER BY changes.id DESC LIMIT ?2"
    ))?;
    let rows = list.query_map(params![job, limit], read)?;
    let mut way: Vec<Moved> = rows.collect::<rusqlite::Result<_>>()?;
    way.reverse();
    Ok(way)
}

/// The number of the last change, 0 if there never was one; also if it is forgotten.
pub fn newest_change(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)",
        )?
        .query_row([], |row| row.get(0))
}

/// The number after which nothing has been forgotten.
pub fn changes_known_after(connection: &Connection) -> rusqlite::Result<i64> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(id) FROM changes")?
        .query_row([], |row| row.get(0))?;
    match oldest {
        Some(oldest) => Ok(oldest - 1),
        None => newest_change(connection),
    }
}

/// Forgets changes before a time, and those that are more than `keep`; at most `limit` at once.
pub fn forget_changes(
    connection: &Connection,
    before_ms: i64,
    keep: u32,
    limit: u32,
) -> rusqlite::Result<usize> {
    let last = newest_change(connection)? - i64::from(keep);
    connection.execute(
        "DELETE FROM changes WHERE id IN (
             SELECT id FROM (SELECT id, at_ms FROM changes ORDER BY id LIMIT ?3)
             WHERE id <= ?1 OR at_ms < ?2)",
        params![last, before_ms, limit],
    )
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
