//! Warm workers in the ledger: each is a job like any other, found again by its marker, and none
//! takes the place of another before that one's end was seen.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use mizar_slurm::Marker;
use serde::Serialize;

use super::accept::{NewEvent, accept};
use super::jobs::marker;
use super::state::State;

/// The service that all workers belong to in ledger, markers and folders.
pub const WORKERS: &str = "oscar-workers";

/// A worker whose job has not ended, as far as the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// The job in the ledger.
    pub job: i64,
    /// Its marker.
    pub marker: Marker,
    /// Where it stands.
    pub state: State,
    /// The service that it serves.
    pub serves: String,
    /// Its event, which tells its place and what it was made of.
    pub document: String,
    /// Whether it is to end.
    pub is_deleted: bool,
}

fn read(row: &Row<'_>) -> rusqlite::Result<WorkerRow> {
    Ok(WorkerRow {
        job: row.get(0)?,
        marker: marker(row, 1)?,
        state: row.get(4)?,
        serves: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
        document: row.get(6)?,
        is_deleted: row.get(7)?,
    })
}

const COLUMNS: &str = "SELECT jobs.id, service, key_hash, generation, state, subject, document,
                              deleted_ms IS NOT NULL
                       FROM jobs JOIN events ON events.id = jobs.event";

/// Workers that have not ended, oldest first; from the indexes of waiting and of live jobs.
pub fn live_workers(connection: &Connection) -> rusqlite::Result<Vec<WorkerRow>> {
    let mut list = connection.prepare_cached(&format!(
        "{COLUMNS} WHERE service = ?1 AND state = 'received'
         UNION ALL
         {COLUMNS} WHERE service = ?1 AND state IN ('submitting', 'unsure', 'submitted', 'running')
         ORDER BY 1"
    ))?;
    list.query_map([WORKERS], read)?.collect()
}

/// The worker of a marker, if it may still work.
pub fn worker(connection: &Connection, marker: &Marker) -> rusqlite::Result<Option<WorkerRow>> {
    let found = connection
        .prepare_cached(&format!(
            "{COLUMNS} WHERE service = ?1 AND key_hash = ?2 AND generation = ?3"
        ))?
        .query_row(params![WORKERS, marker.hash(), marker.generation()], read)
        .optional()?;
    Ok(found.filter(|row| marker.service() == WORKERS && !row.is_deleted && !row.state.is_final()))
}

/// Has a worker made in a place of its service, unless another has not left that place, or there
/// are `most` workers; returns the job.
pub fn add_worker(
    connection: &Connection,
    now_ms: i64,
    event: &NewEvent,
    place: u32,
    most: usize,
) -> rusqlite::Result<Option<i64>> {
    let live = live_workers(connection)?;
    let taken = live
        .iter()
        .any(|row| Some(&row.serves) == event.subject.as_ref() && place_of(&row.document) == place);
    if taken || live.len() >= most {
        return Ok(None);
    }
    let receipts = accept(connection, now_ms, std::slice::from_ref(event), 0)?;
    let fresh = receipts.into_iter().flatten().find(|one| !one.duplicate);
    Ok(fresh.map(|one| one.job))
}

/// The place of a worker among those of its service.
#[must_use]
pub fn place_of(document: &str) -> u32 {
    let document: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
    let place = document["data"]["place"].as_u64();
    place
        .and_then(|place| u32::try_from(place).ok())
        .unwrap_or(u32::MAX)
}

/// Has the workers of a service end.
pub fn delete_workers(connection: &Connection, now_ms: i64, serves: &str) -> rusqlite::Result<()> {
    for row in live_workers(connection)? {
        if row.serves == serves && !row.is_deleted {
            super::delete(connection, now_ms, row.job)?;
        }
    }
    Ok(())
}

/// Lets the folders of workers go that ended while nobody looked.
pub fn delete_ended_workers(connection: &Connection, now_ms: i64) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE jobs SET deleted_ms = ?2 WHERE service = ?1 AND deleted_ms IS NULL
         AND state IN ('completed', 'failed', 'cancelled', 'vanished', 'dead')",
        params![WORKERS, now_ms],
    )
}

/// The workers of a service, as the ledger knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerCount {
    /// The service that they serve.
    pub service: String,
    /// Those whose jobs have not started.
    pub waiting: u64,
    /// Those whose jobs run.
    pub running: u64,
}

/// How many workers each service has.
pub fn worker_counts(connection: &Connection) -> rusqlite::Result<Vec<WorkerCount>> {
    let mut counts: BTreeMap<String, WorkerCount> = BTreeMap::new();
    for row in live_workers(connection)? {
        let count = counts.entry(row.serves).or_default();
        match row.state {
            State::Running => count.running += 1,
            _ => count.waiting += 1,
        }
    }
    let counts = counts.into_iter();
    Ok(counts
        .map(|(service, count)| WorkerCount { service, ..count })
        .collect())
}
