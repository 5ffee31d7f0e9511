//! The tables, and how older files get them.

use rusqlite::Connection;

use super::LedgerError;

/// The version this release writes: the number of steps below.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Each step takes a file from the version of its index to the next; steps are never edited.
const STEPS: [&str; 9] = [
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
    "
CREATE TABLE flow (
  service     TEXT PRIMARY KEY,
  rate        REAL,
  concurrency INTEGER,
  priority    INTEGER NOT NULL,
  paused      INTEGER NOT NULL,
  tokens      REAL NOT NULL,
  filled_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_waiting ON jobs (service, next_ms, id) WHERE state = 'received';
CREATE INDEX jobs_live ON jobs (service)
  WHERE state IN ('submitting', 'unsure', 'submitted', 'running');
",
    "
CREATE TABLE sources (
  name            TEXT PRIMARY KEY,
  kind            TEXT NOT NULL,
  state           TEXT NOT NULL,
  accepted        INTEGER NOT NULL DEFAULT 0,
  duplicates      INTEGER NOT NULL DEFAULT 0,
  unmatched       INTEGER NOT NULL DEFAULT 0,
  dead            INTEGER NOT NULL DEFAULT 0,
  last_message_ms INTEGER,
  last_error      TEXT,
  last_error_ms   INTEGER,
  changed_ms      INTEGER NOT NULL
) STRICT;
CREATE TABLE source_items (
  source  TEXT NOT NULL,
  item    TEXT NOT NULL,
  version TEXT NOT NULL,
  PRIMARY KEY (source, item)
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_messages (
  id          INTEGER PRIMARY KEY,
  source      TEXT NOT NULL,
  identity    TEXT NOT NULL,
  subject     TEXT,
  reason      TEXT NOT NULL,
  head        BLOB NOT NULL,
  size_bytes  INTEGER NOT NULL,
  envelope    TEXT NOT NULL,
  body        BLOB,
  received_ms INTEGER NOT NULL,
  UNIQUE (source, identity)
) STRICT;
",
    "
CREATE TABLE conditions (
  service TEXT PRIMARY KEY,
  rule    TEXT NOT NULL
) STRICT;
CREATE TABLE members (
  job         INTEGER PRIMARY KEY REFERENCES jobs(id) ON DELETE CASCADE,
  service     TEXT NOT NULL,
  part        TEXT NOT NULL,
  correlation TEXT NOT NULL,
  since_ms    INTEGER NOT NULL,
  until_ms    INTEGER NOT NULL,
  size_bytes  INTEGER NOT NULL,
  waiting     INTEGER NOT NULL,
  joined      INTEGER
) STRICT;
CREATE INDEX members_waiting ON members (service, correlation, part, since_ms, job, size_bytes)
  WHERE waiting = 1;
CREATE INDEX members_due ON members (until_ms) WHERE waiting = 1;
",
    super::changes::TABLE,
    "
ALTER TABLE jobs ADD COLUMN user TEXT;
ALTER TABLE jobs ADD COLUMN owner TEXT;
CREATE INDEX jobs_by_owner ON jobs (owner, id) WHERE owner IS NOT NULL;
ALTER TABLE oscar_services ADD COLUMN user TEXT;
",
    super::forget::INDEX,
    super::arrays::TABLES,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_of_the_first_release_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(STEPS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO events VALUES (1, 'e', '/s', 't', NULL, '{}', 5);
             INSERT INTO jobs (event, service, key_hash, state, changed_ms)
             VALUES (1, 'svc', '0123456789abcdef0123456789abcdef', 'received', 5);
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let (writer, thread) = crate::ledger::Writer::open(&path).unwrap();
        let claims = writer
            .write(|ledger| crate::ledger::arrays::claim_each(ledger, 9, 5))
            .unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(
            (claims[0].door, claims[0].payload.as_ref()),
            (crate::ledger::Door::Event, None)
        );
        assert_eq!(claims[0].user, None, "what was the gateway's own stays so");
        drop(writer);
        thread.join().unwrap();
        let mut again = Connection::open(&path).unwrap();
        migrate(&mut again).unwrap();
        assert_eq!(check(&again).unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn a_ledger_before_conditions_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let old = Connection::open(&path).unwrap();
        for step in &STEPS[..4] {
            old.execute_batch(step).unwrap();
        }
        old.execute_batch(
            "INSERT INTO events VALUES (1, 'e', '/s', 't', NULL, '{}', 5);
             INSERT INTO jobs (event, service, key_hash, state, changed_ms)
             VALUES (1, 'svc', '0123456789abcdef0123456789abcdef', 'dead', 5);
             PRAGMA user_version = 4;",
        )
        .unwrap();
        drop(old);
        let (writer, thread) = crate::ledger::Writer::open(&path).unwrap();
        let tried = writer.write(|ledger| {
            crate::ledger::retry(ledger, 9, 1)?;
            crate::ledger::settle(ledger, 9)?;
            crate::ledger::arrays::claim_each(ledger, 9, 5)
        });
        assert_eq!(tried.unwrap().len(), 1, "an event that was alone stays so");
        drop(writer);
        thread.join().unwrap();
        let again = Connection::open(&path).unwrap();
        assert_eq!(check(&again).unwrap(), SCHEMA_VERSION);
    }
}
