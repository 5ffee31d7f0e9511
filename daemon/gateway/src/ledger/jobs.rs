//! The life of a job after intake: claims, changes, retries, and what is forgotten.

use rusqlite::{Connection, OptionalExtension, Row, params};

use mizar_slurm::{JobId, Marker};

use super::arrays::{CAN_SHARE, Place, place};
use super::gather;
use super::state::{Door, State, Verdict};

/// A job that a submitter has claimed.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job in the ledger.
    pub job: i64,
    /// Its marker.
    pub marker: Marker,
    /// The event in structured JSON.
    pub document: String,
    /// Failed submissions before this one.
    pub failures: u32,
    /// The front door.
    pub door: Door,
    /// What came with the event and is not shown.
    pub payload: Option<Vec<u8>>,
    /// The Unix user of the job; None means the gateway's own.
    pub user: Option<String>,
    /// Whether it may be a task of an array.
    pub can_share: bool,
}

/// Which jobs are claimed.
pub(super) enum Which<'a> {
    /// Those that waited longest, at most so many, of services without a flow.
    WithoutFlow(usize),
    /// Those of this service that waited longest, at most so many.
    Of(&'a str, usize),
    /// These.
    These(&'a [i64]),
}

/// Claims waiting jobs.
pub(super) fn claim_where(
    connection: &Connection,
    now_ms: i64,
    which: &Which<'_>,
) -> rusqlite::Result<Vec<Claim>> {
    let due = "SELECT id FROM jobs WHERE state = 'received' AND next_ms <= ?1";
    let oldest = "ORDER BY next_ms, id LIMIT ?2";
    let chosen = match which {
        Which::WithoutFlow(_) => format!(
            "{due} AND NOT EXISTS (SELECT 1 FROM flow WHERE flow.service = jobs.service) {oldest}"
        ),
        Which::Of(..) => format!("{due} AND service = ?3 {oldest}"),
        Which::These(_) => format!("{due} AND id IN (SELECT value FROM json_each(?2))"),
    };
    let mut claim = connection.prepare_cached(&format!(
        "UPDATE jobs SET state = 'submitting', attempts = attempts + 1, attempt_ms = ?1,
                         changed_ms = ?1, verdict = NULL, looks = 0
         WHERE id IN ({chosen})
         RETURNING id, service, key_hash, generation, failures,
                   (SELECT document FROM events WHERE events.id = jobs.event), door,
                   (SELECT body FROM payloads WHERE payloads.event = jobs.event), user,
                   {CAN_SHARE}",
    ))?;
    let read = |row: &Row<'_>| {
        Ok(Claim {
            job: row.get(0)?,
            marker: marker(row, 1)?,
            failures: row.get(4)?,
            document: row.get(5)?,
            door: row.get(6)?,
            payload: row.get(7)?,
            user: row.get(8)?,
            can_share: row.get(9)?,
        })
    };
    let most = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    match which {
        Which::WithoutFlow(limit) => claim
            .query_map(params![now_ms, most(*limit)], read)?
            .collect(),
        Which::Of(service, limit) => claim
            .query_map(params![now_ms, most(*limit), service], read)?
            .collect(),
        Which::These(ids) => {
            let ids = serde_json::to_string(ids).unwrap_or_default();
            claim.query_map(params![now_ms, ids], read)?.collect()
        }
    }
}

/// Reads service, hash and generation from three columns.
pub(super) fn marker(row: &Row<'_>, first: usize) -> rusqlite::Result<Marker> {
    let (service, hash): (String, String) = (row.get(first)?, row.get(first + 1)?);
    Marker::new(&service, &hash, row.get(first + 2)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            first,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

/// A change of one job; every field that is None stays or, for `reason`, is cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The job in the ledger.
    pub job: i64,
    /// The generation that it was decided for.
    pub generation: u32,
    /// The state that it was decided from.
    pub from: State,
    /// The new state.
    pub to: State,
    /// What the failure of sbatch means.
    pub verdict: Option<Verdict>,
    /// Slurm's id.
    pub slurm_job: Option<JobId>,
    /// Slurm's state.
    pub slurm_state: Option<&'static str>,
    /// The script's exit code.
    pub exit_code: Option<i32>,
    /// Why.
    pub reason: Option<String>,
    /// Looks that found nothing.
    pub looks: u32,
    /// Whether this counts as a failed submission.
    pub failed: bool,
    /// Whether Slurm lost the job: the next one is of a new generation.
    pub lost: bool,
    /// Whether it is never to share an array again.
    pub alone: bool,
    /// Earliest time of the next step.
    pub next_ms: i64,
}

impl Change {
    /// A change to `to` and nothing else.
    #[must_use]
    pub fn new(job: i64, generation: u32, from: State, to: State) -> Self {
        Self {
            job,
            generation,
            from,
            to,
            verdict: None,
            slurm_job: None,
            slurm_state: None,
            exit_code: None,
            reason: None,
            looks: 0,
            failed: false,
            lost: false,
            alone: false,
            next_ms: 0,
        }
    }
}

/// Applies changes; one whose job has moved on meanwhile does nothing. Returns how many took.
pub fn apply(connection: &Connection, now_ms: i64, changes: &[Change]) -> rusqlite::Result<usize> {
    let mut update = connection.prepare_cached(
        // Nothing is submitted for what its owner deleted; see [`super::delete`].
        "UPDATE jobs SET state = CASE WHEN ?4 = 'received' AND deleted_ms IS NOT NULL
                                      THEN 'cancelled' ELSE ?4 END, verdict = ?5,
             started_ms = CASE WHEN ?15 THEN coalesce(started_ms, ?14) ELSE started_ms END,
             ended_ms = CASE WHEN ?16 THEN ?14 END,
             slurm_job = CASE ?12 WHEN 0 THEN coalesce(?6, slurm_job) END,
             slurm_state = CASE ?12 WHEN 0 THEN coalesce(?7, slurm_state) END, exit_code = coalesce(?8, exit_code),
             reason = ?9, looks = ?10, failures = failures + ?11, generation = generation + ?12,
             array_id = CASE WHEN ?4 <> 'received' THEN array_id END,
             task = CASE WHEN ?4 <> 'received' THEN task END, alone = max(alone, ?17),
             next_ms = ?13, changed_ms = ?14
         WHERE id = ?1 AND generation = ?2 AND state = ?3",
    )?;
    let mut took = 0;
    for change in changes {
        took += update.execute(params![
            change.job,
            change.generation,
            change.from,
            change.to,
            change.verdict,
            change.slurm_job.map(|job| job.0),
            change.slurm_state,
            change.exit_code,
            change.reason,
            change.looks,
            u32::from(change.failed),
            u32::from(change.lost),
            change.next_ms,
            now_ms,
            change.to == State::Running,
            change.to.is_final(),
            change.alone,
        ])?;
    }
    Ok(took)
}

/// Makes every claim of a gateway that is gone doubtful: its sbatch may have succeeded.
pub fn doubt_claims(connection: &Connection, now_ms: i64) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE jobs SET state = 'unsure', verdict = 'interrupted', looks = 0, next_ms = 0,
                reason = 'the gateway stopped during submission', changed_ms = ?1
         WHERE state = 'submitting'",
        [now_ms],
    )
}

/// Lets jobs go on that wait for a time which the clock, set back since, may not reach for
/// years.
pub fn mend_waits(connection: &Connection, now_ms: i64) -> rusqlite::Result<usize> {
    gather::mend(connection, now_ms)?;
    connection.execute(
        "UPDATE jobs SET next_ms = ?1, changed_ms = ?1
         WHERE state = 'received' AND next_ms > ?1 AND changed_ms > ?1",
        [now_ms],
    )
}

/// What makes a job anew: nothing of the one before stays, and what was one of several events is so
/// again.
pub(super) const ANEW: &str =
    "state = CASE WHEN EXISTS (SELECT 1 FROM members WHERE members.job = jobs.id)
                  THEN 'gathering' ELSE 'received' END,
     generation = generation + 1, verdict = NULL, slurm_job = NULL, slurm_state = NULL,
     exit_code = NULL, reason = NULL, started_ms = NULL, ended_ms = NULL,
     array_id = NULL, task = NULL, alone = 0, failures = 0, looks = 0, next_ms = 0";

/// Has another job made for an event. Returns the state it was in, and whether that allows it.
pub fn retry(
    connection: &Connection,
    now_ms: i64,
    job: i64,
) -> rusqlite::Result<Option<(State, bool)>> {
    let found: Option<(State, bool)> = connection
        .query_row(
            "SELECT state, door = 'event' AND deleted_ms IS NULL FROM jobs WHERE id = ?1",
            [job],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    // A pod has one job for ever, and what was deleted stays so.
    let Some((state, is_ours)) = found else {
        return Ok(None);
    };
    let can_retry = state.can_retry() && is_ours;
    if can_retry {
        connection.execute(
            &format!("UPDATE jobs SET {ANEW}, changed_ms = ?2 WHERE id = ?1"),
            [job, now_ms],
        )?;
        gather::again(connection, now_ms)?;
    }
    Ok(Some((state, can_retry)))
}

/// A job that the shared look has to follow.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The job in the ledger.
    pub job: i64,
    /// Its marker.
    pub marker: Marker,
    /// Its state.
    pub state: State,
    /// What sbatch's failure means.
    pub verdict: Option<Verdict>,
    /// Slurm's id.
    pub slurm_job: Option<JobId>,
    /// Slurm's state as last seen.
    pub slurm_state: Option<String>,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// Looks that found nothing.
    pub looks: u32,
    /// Failed submissions.
    pub failures: u32,
    /// Earliest time of the next step.
    pub next_ms: i64,
    /// When it changed last.
    pub changed_ms: i64,
    /// Its owner deleted it: it is cancelled wherever it is seen.
    pub is_deleted: bool,
    /// The Unix user of the job; None means the gateway's own.
    pub user: Option<String>,
    /// The task that it is, if it went to Slurm in an array.
    pub place: Option<Place>,
}

/// Lists all jobs that Slurm may know and that have not ended.
pub fn followed(connection: &Connection) -> rusqlite::Result<Vec<Followed>> {
    let mut list = connection.prepare_cached(
        "SELECT jobs.id, jobs.service, key_hash, generation, state, verdict, slurm_job, slurm_state,
                reason, looks, failures, next_ms, changed_ms, deleted_ms IS NOT NULL, user,
                arrays.service, arrays.hash, 0, task
         FROM jobs LEFT JOIN arrays ON arrays.id = jobs.array_id WHERE state IN ('unsure', 'submitted', 'running')",
    )?;
    let rows = list.query_map([], |row| {
        Ok(Followed {
            job: row.get(0)?,
            marker: marker(row, 1)?,
            state: row.get(4)?,
            verdict: row.get(5)?,
            slurm_job: row.get::<_, Option<u32>>(6)?.map(JobId),
            slurm_state: row.get(7)?,
            reason: row.get(8)?,
            looks: row.get(9)?,
            failures: row.get(10)?,
            next_ms: row.get(11)?,
            changed_ms: row.get(12)?,
            is_deleted: row.get(13)?,
            user: row.get(14)?,
            place: place(row, 15)?,
        })
    })?;
    rows.collect()
}

/// The generation that the ledger holds for a marker's event.
pub fn generation_of(connection: &Connection, marker: &Marker) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached("SELECT generation FROM jobs WHERE service = ?1 AND key_hash = ?2")?
        .query_row([marker.service(), marker.hash()], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::super::{NewEvent, accept};
    use super::*;

    #[test]
    fn a_wait_that_the_clock_was_set_back_from_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let (writer, thread) = super::super::Writer::open(&path).unwrap();
        let event = NewEvent {
            id: "1".to_owned(),
            source: "/s".to_owned(),
            kind: "t".to_owned(),
            subject: None,
            document: "{}".to_owned(),
            matched: vec![("svc".to_owned(), "0".repeat(32)).into()],
            door: Door::Event,
            payload: None,
            sender: super::super::Sender::default(),
        };
        writer
            .write(move |ledger| accept(ledger, 5_000, &[event], 0))
            .unwrap();
        let wait = |from_ms: i64| {
            let change = Change {
                next_ms: from_ms + 300,
                ..Change::new(1, 0, State::Received, State::Received)
            };
            let took = writer.write(move |ledger| apply(ledger, from_ms, &[change]));
            assert_eq!(took, Ok(1));
        };
        let claims = || {
            writer
                .write(|ledger| {
                    mend_waits(ledger, 1_000)?;
                    super::super::arrays::claim_each(ledger, 1_000, 9)
                })
                .unwrap()
                .len()
        };
        wait(900);
        assert_eq!(claims(), 0, "it has begun and is not over");
        wait(9_000);
        assert_eq!(claims(), 1);
        drop(writer);
        thread.join().unwrap();
    }
}
