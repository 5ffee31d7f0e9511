//! Forgetting what ended long ago, at a cost of what is forgotten and not of what is kept.
//!
//! Jobs that ended are in an index of their own, by the time of their last change; the events
//! are those of the jobs that went. Pods stay: their one job is for ever.

use rusqlite::{Connection, params};

/// The index, as a step of the schema; never edited.
pub(super) const INDEX: &str = "
CREATE INDEX jobs_ended ON jobs (changed_ms)
  WHERE state IN ('completed', 'failed', 'cancelled', 'vanished', 'joined', 'dead')
    AND door <> 'pod';
";

/// Says in the words of the index which jobs are old; without it there would be no such query.
const JOBS: &str = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_ended
     WHERE state IN ('completed', 'failed', 'cancelled', 'vanished', 'joined', 'dead')
       AND door <> 'pod' AND changed_ms < ?1 ORDER BY changed_ms LIMIT ?2)
 RETURNING event";

/// An event goes with its last job.
const EVENT: &str = "DELETE FROM events WHERE id = ?1
     AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.event = ?1)";

/// Forgets what ended before `before_ms`, at most `limit` jobs, the oldest first; returns how many.
pub fn forget(connection: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    let mut jobs = connection.prepare_cached(JOBS)?;
    let events: Vec<i64> = jobs
        .query_map(params![before_ms, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut event = connection.prepare_cached(EVENT)?;
    for id in &events {
        event.execute([id])?;
    }
    Ok(events.len())
}

#[cfg(test)]
mod tests {
    use super::super::{Door, NewEvent, Sender, Writer, accept};
    use super::*;
    use rusqlite::StatementStatus;

    fn event(id: u32, services: &[&str]) -> NewEvent {
        let matched = services.iter();
        NewEvent {
            id: id.to_string(),
            source: "/s".to_owned(),
            kind: "t".to_owned(),
            subject: None,
            document: "{}".to_owned(),
            matched: matched
                .map(|one| ((*one).to_owned(), format!("{id:032}")).into())
                .collect(),
            door: Door::Event,
            payload: None,
            sender: Sender::default(),
        }
    }

    /// Runs on a ledger with so many jobs that ended at 1000 and are kept, and 50 that did at 10.
    fn with<T: Send + 'static>(
        kept: u32,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = Writer::open(&folder.path().join("l")).unwrap();
        let done = writer.write(move |ledger| {
            let events: Vec<NewEvent> = (0..kept + 50).map(|n| event(n, &["a"])).collect();
            accept(ledger, 5, &events, 0)?;
            ledger.execute(
                "UPDATE jobs SET state = 'completed',
                     changed_ms = CASE WHEN id > ?1 THEN 10 ELSE 1000 END",
                [kept],
            )?;
            run(ledger)
        });
        drop(writer);
        thread.join().unwrap();
        done.unwrap()
    }

    /// What the statement itself took: instructions, and rows that it went through one by one.
    fn effort(ledger: &Connection, sql: &str, values: &[i64]) -> rusqlite::Result<(i32, i32)> {
        let mut statement = ledger.prepare(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while rows.next()?.is_some() {}
        drop(rows);
        let scanned = statement.get_status(StatementStatus::FullscanStep);
        Ok((statement.get_status(StatementStatus::VmStep), scanned))
    }

    #[test]
    fn forgetting_costs_what_is_forgotten() {
        let cost = |kept| {
            with(kept, |ledger| {
                let jobs = effort(ledger, JOBS, &[100, 20])?;
                let event = effort(ledger, EVENT, &[1])?;
                // Nothing is old any more: that is found out at once.
                forget(ledger, 100, 99)?;
                let none = effort(ledger, JOBS, &[100, 99])?;
                Ok((jobs, event, none))
            })
        };
        let (few, many) = (cost(50), cost(5_000));
        assert_eq!(few, many);
        let (jobs, event, none) = many;
        // The outer statement goes through the list of ids, never through a table.
        assert!(jobs.1 <= 20 && event.1 == 0 && none.1 == 0, "{many:?}");
        assert!(none.0 < 100 && event.0 < 100, "{many:?}");
    }

    #[test]
    fn the_oldest_go_first_and_an_event_with_its_last_job() {
        with(0, |ledger| {
            accept(ledger, 6, &[event(90, &["a", "b"])], 0)?;
            let count = |what: &str| {
                ledger.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| {
                    row.get::<_, i64>(0)
                })
            };
            let old = |service: &str| {
                ledger.execute(
                    "UPDATE jobs SET state = 'failed', changed_ms = 1
                     WHERE event = 51 AND service = ?1",
                    [service],
                )
            };
            old("a")?;
            assert_eq!(forget(ledger, 100, 1)?, 1);
            assert_eq!(
                (count("jobs")?, count("events")?),
                (51, 51),
                "b waits still"
            );
            assert_eq!(count("jobs WHERE event = 51")?, 1);
            old("b")?;
            assert_eq!(forget(ledger, 100, 1)?, 1);
            assert_eq!((count("jobs")?, count("events")?), (50, 50));
            assert_eq!(forget(ledger, 10, 99)?, 0, "none is older than it is");
            ledger.execute("UPDATE jobs SET door = 'pod' WHERE id = 1", [])?;
            assert_eq!(forget(ledger, 11, 99)?, 49);
            assert_eq!((count("jobs")?, count("events")?), (1, 1));
            Ok(())
        });
    }
}
