//! What people ask of the ledger: lists of jobs, one job's event, counts.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::jobs::marker;
use super::{Door, State};

/// A job as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRow {
    /// The job in the ledger.
    pub id: i64,
    /// The service.
    pub service: String,
    /// Where it stands.
    pub state: State,
    /// Slurm's id; a task of an array has its array's while it waits.
    pub slurm_job: Option<u32>,
    /// The task's index, if it went to Slurm in a job array.
    pub slurm_task: Option<u32>,
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
    /// The front door.
    pub door: Door,
    /// When it was first seen running, in milliseconds since 1970.
    pub started_ms: Option<i64>,
    /// When its end was seen, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
    /// When its owner deleted it, in milliseconds since 1970.
    pub deleted_ms: Option<i64>,
    /// The job that it was joined in with other events.
    pub joined: Option<i64>,
    /// The caller whose it is; none for what the site itself brought.
    pub owner: Option<String>,
    /// The Unix user that it runs as; none for the gateway's own.
    pub user: Option<String>,
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
    /// Only with this hash of its key.
    pub key_hash: Option<String>,
    /// Only of the event with this id.
    pub event_id: Option<String>,
    /// Only of this caller.
    pub owner: Option<String>,
    /// Only what its owner did not delete.
    pub only_present: bool,
    /// At most so many, newest first.
    pub limit: u32,
}

/// The columns of a [`JobRow`].
const ROW: &str = "SELECT jobs.id, service, key_hash, generation, state, slurm_job, slurm_state,
        exit_code, reason, attempts, event_id, source, type, subject, received_ms, changed_ms,
        door, started_ms, ended_ms, deleted_ms,
        (SELECT joined FROM members WHERE members.job = jobs.id), owner, user, task
    FROM jobs JOIN events ON events.id = jobs.event";

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
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
        door: row.get(16)?,
        started_ms: row.get(17)?,
        ended_ms: row.get(18)?,
        deleted_ms: row.get(19)?,
        joined: row.get(20)?,
        owner: row.get(21)?,
        user: row.get(22)?,
        slurm_task: row.get(23)?,
    })
}

/// Lists jobs, newest first.
pub fn jobs(connection: &Connection, selection: &Selection) -> rusqlite::Result<Vec<JobRow>> {
    let mut list = connection.prepare_cached(&format!(
        "{ROW} WHERE (?1 IS NULL OR service = ?1) AND (?2 IS NULL OR state = ?2)
           AND (?3 IS NULL OR jobs.id = ?3) AND (?4 IS NULL OR jobs.id < ?4)
           AND (?6 IS NULL OR key_hash = ?6) AND (?7 IS NULL OR deleted_ms IS NULL)
           AND (?8 IS NULL OR event_id = ?8) AND (?9 IS NULL OR owner = ?9)
         ORDER BY jobs.id DESC LIMIT ?5"
    ))?;
    let chosen = params![
        selection.service,
        selection.state,
        selection.job,
        selection.before,
        selection.limit,
        selection.key_hash,
        selection.only_present.then_some(1),
        selection.event_id,
        selection.owner,
    ];
    list.query_map(chosen, job_row)?.collect()
}

/// The job of a service's event, found by its key and not looked for.
pub fn job_of(
    connection: &Connection,
    service: &str,
    key_hash: &str,
) -> rusqlite::Result<Option<JobRow>> {
    connection
        .prepare_cached(&of_key())?
        .query_row([service, key_hash], job_row)
        .optional()
}

fn of_key() -> String {
    format!("{ROW} WHERE service = ?1 AND key_hash = ?2")
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

/// The bytes that came with a job's event and are shown to nobody.
pub fn payload(connection: &Connection, job: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached(
            "SELECT body FROM payloads JOIN jobs ON jobs.event = payloads.event WHERE jobs.id = ?1",
        )?
        .query_row([job], |row| row.get(0))
        .optional()
}

/// The caller whose a job is.
pub fn owner(connection: &Connection, job: i64) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT owner FROM jobs WHERE id = ?1", [job], |row| {
        row.get(0)
    })
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

#[cfg(test)]
mod tests {
    use super::super::{NewEvent, Sender, Writer, accept};
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_job_is_found_by_its_key_however_many_there_are() {
        let steps = |count: u32| {
            let folder = tempfile::tempdir().unwrap();
            let (writer, thread) = Writer::open(&folder.path().join("l")).unwrap();
            let found = writer.write(move |ledger| {
                let event = |n: u32| NewEvent {
                    id: n.to_string(),
                    source: "/s".to_owned(),
                    kind: "t".to_owned(),
                    subject: None,
                    document: "{}".to_owned(),
                    matched: vec![("svc".to_owned(), format!("{n:032}")).into()],
                    door: Door::Pod,
                    payload: None,
                    sender: Sender::default(),
                };
                accept(ledger, 5, &(0..count).map(event).collect::<Vec<_>>(), 0)?;
                let hash = format!("{:032}", 7);
                assert_eq!(
                    job_of(ledger, "svc", &hash)?.map(|job| job.event_id),
                    Some("7".to_owned())
                );
                assert_eq!(job_of(ledger, "other", &hash)?, None);
                let mut statement = ledger.prepare(&of_key())?;
                statement.query_row(["svc", &hash], |_| Ok(()))?;
                Ok(statement.get_status(StatementStatus::VmStep))
            });
            drop(writer);
            thread.join().unwrap();
            found.unwrap()
        };
        assert_eq!(steps(20), steps(2_000));
    }
}
