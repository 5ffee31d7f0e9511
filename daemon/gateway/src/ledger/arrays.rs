//! Bursts: waiting events of one service that go to Slurm together, as the tasks of one job array.
//!
//! Each event keeps its own row in `jobs`, with its own state, folder and retries; while its job is
//! a task, the row says of which array, and which one. Nothing waits for an array to fill: what
//! waits when a submitter is free goes at once, so that arrays grow with the burst.
//!
//! Invariants:
//! - **A row is of an array before its sbatch runs**, and until it is to be submitted again: what
//!   Slurm says of a task is of the row that points at it, and of no other.
//! - **A refused array refuses nobody.** Its events are submitted alone next, since the array may
//!   be what Slurm does not want.
//! - **Only the gateway's own jobs are tasks**; a mapped user's are made by the helper, singly.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use mizar_slurm::Marker;

use super::jobs::{Claim, Which, claim_where, marker};
use crate::event::hash_key;

/// The tables, as a step of the schema; never edited.
pub(super) const TABLES: &str = "
CREATE TABLE arrays (
  id      INTEGER PRIMARY KEY,
  service TEXT NOT NULL,
  hash    TEXT NOT NULL,
  made_ms INTEGER NOT NULL,
  UNIQUE (service, hash)
) STRICT;
CREATE INDEX arrays_by_age ON arrays (made_ms);
ALTER TABLE jobs ADD COLUMN array_id INTEGER REFERENCES arrays(id);
ALTER TABLE jobs ADD COLUMN task INTEGER;
ALTER TABLE jobs ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_by_array ON jobs (array_id, task) WHERE array_id IS NOT NULL;
";

/// Which rows may be tasks.
pub(super) const CAN_SHARE: &str = "door = 'event' AND user IS NULL AND alone = 0";

/// Most bytes of events that are claimed at once for arrays; they are held until sbatch has them.
const MAX_BYTES: i64 = 16 << 20;

/// The services whose events may share an array, and how many tasks one has at most.
pub type Arrays = BTreeMap<String, u32>;

/// What goes to Slurm in one submission.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The marker of the array; None for a plain job.
    pub array: Option<Marker>,
    /// The event of each task, in their order; one of a plain job.
    pub claims: Vec<Claim>,
}

/// Where in an array a job is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The array's marker.
    pub array: Marker,
    /// The task's index.
    pub task: u32,
}

/// Reads a place from four columns: service, the array's hash, the task; no place if they are null.
pub(super) fn place(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Place>> {
    let hash: Option<String> = row.get(first + 1)?;
    match hash {
        None => Ok(None),
        Some(_) => Ok(Some(Place {
            array: marker(row, first)?,
            task: row.get(first + 3)?,
        })),
    }
}

/// Claims waiting events of a service that may share arrays, at most `count`; and whether there
/// are no more of them.
pub(super) fn claim_sharers(
    connection: &Connection,
    now_ms: i64,
    service: &str,
    count: usize,
) -> rusqlite::Result<(Vec<Claim>, bool)> {
    let mut list = connection.prepare_cached(&format!(
        "SELECT jobs.id, length(document) FROM jobs JOIN events ON events.id = jobs.event
         WHERE state = 'received' AND next_ms <= ?1 AND service = ?2 AND {CAN_SHARE}
         ORDER BY next_ms, jobs.id LIMIT ?3"
    ))?;
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    let (mut ids, mut bytes, mut is_all) = (Vec::new(), 0, true);
    for row in list.query_map(params![now_ms, service, limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })? {
        let (id, size) = row?;
        bytes += size;
        if bytes > MAX_BYTES && !ids.is_empty() {
            is_all = false;
            break;
        }
        ids.push(id);
    }
    is_all &= ids.len() < count;
    let claims = claim_where(connection, now_ms, &Which::These(&ids))?;
    Ok((claims, is_all))
}

/// Makes submissions of claims of one service that share arrays of at most `most` tasks.
pub(super) fn share(
    connection: &Connection,
    now_ms: i64,
    mut claims: Vec<Claim>,
    most: usize,
) -> rusqlite::Result<Vec<Claimed>> {
    claims.sort_by_key(|claim| claim.job);
    let mut made = Vec::with_capacity(claims.len().div_ceil(most.max(1)));
    while !claims.is_empty() {
        let rest = claims.split_off(claims.len().min(most.max(1)));
        let array = match claims.len() {
            1 => None,
            _ => Some(register(connection, now_ms, &claims)?),
        };
        made.push(Claimed { array, claims });
        claims = rest;
    }
    Ok(made)
}

/// Puts down which task each event is.
fn register(connection: &Connection, now_ms: i64, claims: &[Claim]) -> rusqlite::Result<Marker> {
    let service = claims[0].marker.service();
    let markers: Vec<String> = claims.iter().map(|one| one.marker.to_string()).collect();
    // No service has a space in its name: no event has such a hash.
    let hash = hash_key(
        &format!("{service} array"),
        markers.iter().map(String::as_str),
    );
    let id: i64 = connection
        .prepare_cached(
            "INSERT INTO arrays (service, hash, made_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET made_ms = excluded.made_ms RETURNING id",
        )?
        .query_row(params![service, hash, now_ms], |row| row.get(0))?;
    let mut point =
        connection.prepare_cached("UPDATE jobs SET array_id = ?1, task = ?2 WHERE id = ?3")?;
    for (task, claim) in (0_u32..).zip(claims) {
        point.execute(params![id, task, claim.job])?;
    }
    Marker::new(service, &hash, 0).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Whether a task is of an array of this ledger, and of an event that has moved on from it.
pub fn is_left(connection: &Connection, place: &Place) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM arrays WHERE service = ?1 AND hash = ?2
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE array_id = arrays.id AND task = ?3))",
        )?
        .query_row(
            params![place.array.service(), place.array.hash(), place.task],
            |row| row.get(0),
        )
}

/// Arrays that no job points at any more and that are older than `before_ms`, at most `limit`.
pub fn old_arrays(
    connection: &Connection,
    before_ms: i64,
    limit: u32,
) -> rusqlite::Result<Vec<(i64, Marker)>> {
    let mut list = connection.prepare_cached(
        "SELECT id, service, hash, 0 FROM arrays WHERE made_ms < ?1
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE array_id = arrays.id) LIMIT ?2",
    )?;
    let rows = list.query_map(params![before_ms, limit], |row| {
        Ok((row.get(0)?, marker(row, 1)?))
    })?;
    rows.collect()
}

/// Forgets an array, unless a job points at it again.
pub fn forget_array(connection: &Connection, id: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM arrays WHERE id = ?1
               AND NOT EXISTS (SELECT 1 FROM jobs WHERE array_id = ?1)",
        )?
        .execute([id])
}

/// Claims each job for itself.
#[cfg(test)]
pub(crate) fn claim_each(
    connection: &Connection,
    now_ms: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Claim>> {
    let claimed = super::claim(connection, now_ms, limit, &Arrays::new())?;
    assert!(claimed.iter().all(|one| one.array.is_none()));
    Ok(claimed.into_iter().flat_map(|one| one.claims).collect())
}

#[cfg(test)]
#[path = "arrays_tests.rs"]
mod tests;
