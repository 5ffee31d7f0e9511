//! What people ask of the ledger: lists of jobs, one job's event, counts.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::State;
use super::rows::marker;

/// A job as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct JobRow {
    /// The job in the ledger.
    pub id: i64,
    /// The service.
    pub service: String,
    /// Where it stands.
    pub state: State,
    /// Slurm's id.
    pub slurm_job: Option<u32>,
    /// Slurm's state as last seen.
    pub slurm_state: Option<String>,
    /// The script's exit code, or 128 plus a signal.
    pub exit_code: Option<i32>,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// Runs of sbatch.
    pub attempts: u32,
    /// The marker in the job's comment.
    pub marker: String,
    /// CloudEvents id.
    pub event_id: String,
    /// CloudEvents source.
    pub source: String,
    /// CloudEvents type.
    #[serde(rename = "type")]
    pub kind: String,
    /// CloudEvents subject.
    pub subject: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub received_ms: i64,
    /// When it changed last, in milliseconds since 1970.
    pub changed_ms: i64,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only of this service.
    pub service: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only this one.
    pub job: Option<i64>,
    /// Only older than this one, for the next page.
    pub before: Option<i64>,
    /// At most so many, newest first.
    pub limit: u32,
}

/// Lists jobs, newest first.
pub fn jobs(connection: &Connection, selection: &Selection) -> rusqlite::Result<Vec<JobRow>> {
    let mut list = connection.prepare_cached(
        "SELECT jobs.id, service, key_hash, generation, state, slurm_job, slurm_state, exit_code,
                reason, attempts, event_id, source, type, subject, received_ms, changed_ms
         FROM jobs JOIN events ON events.id = jobs.event
         WHERE (?1 IS NULL OR service = ?1) AND (?2 IS NULL OR state = ?2)
           AND (?3 IS NULL OR jobs.id = ?3) AND (?4 IS NULL OR jobs.id < ?4)
         ORDER BY jobs.id DESC LIMIT ?5",
    )?;
    let chosen = params![
        selection.service,
        selection.state,
        selection.job,
        selection.before,
        selection.limit
    ];
    let rows = list.query_map(chosen, |row| {
        Ok(JobRow {
            id: row.get(0)?,
            service: row.get(1)?,
            marker: marker(row, 1)?.to_string(),
            state: row.get(4)?,
            slurm_job: row.get(5)?,
            slurm_state: row.get(6)?,
            exit_code: row.get(7)?,
            reason: row.get(8)?,
            attempts: row.get(9)?,
            event_id: row.get(10)?,
            source: row.get(11)?,
            kind: row.get(12)?,
            subject: row.get(13)?,
            received_ms: row.get(14)?,
            changed_ms: row.get(15)?,
        })
    })?;
    rows.collect()
}

/// The event of a job, in structured JSON.
pub fn document(connection: &Connection, job: i64) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT document FROM events JOIN jobs ON jobs.event = events.id WHERE jobs.id = ?1",
            [job],
            |row| row.get(0),
        )
        .optional()
}

/// How many jobs are in each state; states without any are left out.
pub fn counts(connection: &Connection) -> rusqlite::Result<Vec<(State, u64)>> {
    let mut list = connection.prepare_cached("SELECT state, count(*) FROM jobs GROUP BY state")?;
    let rows = list.query_map([], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    rows.collect()
}

/// How many events without a service are kept.
pub fn unmatched(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM unmatched", [], |row| {
        Ok(row.get::<_, i64>(0)?.unsigned_abs())
    })
}
