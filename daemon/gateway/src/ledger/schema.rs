//! The tables, and how older files get them.

use rusqlite::Connection;

use super::LedgerError;

/// The version this release writes: the number of steps below.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Each step takes a file from the version of its index to the next; steps are never edited.
const STEPS: [&str; 2] = [
    "
CREATE TABLE events (
  id          INTEGER PRIMARY KEY,
  event_id    TEXT NOT NULL,
  source      TEXT NOT NULL,
  type        TEXT NOT NULL,
  subject     TEXT,
  document    TEXT NOT NULL,
  received_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE jobs (
  id          INTEGER PRIMARY KEY,
  event       INTEGER NOT NULL REFERENCES events(id),
  service     TEXT NOT NULL,
  key_hash    TEXT NOT NULL,
  generation  INTEGER NOT NULL DEFAULT 0,
  state       TEXT NOT NULL,
  verdict     TEXT,
  slurm_job   INTEGER,
  slurm_state TEXT,
  exit_code   INTEGER,
  reason      TEXT,
  attempts    INTEGER NOT NULL DEFAULT 0,
  failures    INTEGER NOT NULL DEFAULT 0,
  looks       INTEGER NOT NULL DEFAULT 0,
  next_ms     INTEGER NOT NULL DEFAULT 0,
  attempt_ms  INTEGER,
  changed_ms  INTEGER NOT NULL,
  UNIQUE (service, key_hash)
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, next_ms);
CREATE INDEX jobs_by_event ON jobs (event);
CREATE TABLE unmatched (
  id          INTEGER PRIMARY KEY,
  event_id    TEXT NOT NULL,
  source      TEXT NOT NULL,
  type        TEXT NOT NULL,
  subject     TEXT,
  received_ms INTEGER NOT NULL
) STRICT;
",
    "
ALTER TABLE jobs ADD COLUMN door TEXT NOT NULL DEFAULT 'event';
ALTER TABLE jobs ADD COLUMN deleted_ms INTEGER;
ALTER TABLE jobs ADD COLUMN started_ms INTEGER;
ALTER TABLE jobs ADD COLUMN ended_ms INTEGER;
CREATE INDEX jobs_by_service ON jobs (service, id);
CREATE INDEX jobs_deleted ON jobs (deleted_ms) WHERE deleted_ms IS NOT NULL;
CREATE TABLE payloads (
  event INTEGER PRIMARY KEY REFERENCES events(id) ON DELETE CASCADE,
  body  BLOB NOT NULL
) STRICT;
CREATE TABLE oscar_services (
  name       TEXT PRIMARY KEY,
  owner      TEXT NOT NULL,
  definition TEXT NOT NULL,
  token      TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
",
];

/// Refuses files of a newer release.
pub(super) fn check(connection: &Connection) -> Result<i64, LedgerError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(LedgerError::Newer {
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(found)
}

/// Brings a file to the current version, in one transaction per step.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let mut version = check(connection)?;
    while version < SCHEMA_VERSION {
        let step = usize::try_from(version).unwrap_or(0);
        let transaction = connection.transaction()?;
        transaction.execute_batch(STEPS[step])?;
        version += 1;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
