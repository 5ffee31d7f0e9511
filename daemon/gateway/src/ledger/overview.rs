//! How the services stand: what waits, what is in Slurm, what moved in the last minute. Read from
//! the partial indexes of waiting and live jobs and the newest changes, never from all jobs.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::changes::newest_change;
use super::{Flow, State, flows};

/// Over what the rates are measured.
const MINUTE_MS: i64 = 60_000;

/// Changes that are looked at for the rates: at more than this in a minute they are too low.
const RATE_CHANGES: i64 = 20_000;

/// A service and its jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// How it may flow.
    pub flow: Flow,
    /// Events that wait for submission.
    pub waiting: i64,
    /// Jobs on their way into Slurm.
    pub submitting: i64,
    /// Jobs in Slurm that have not started.
    pub submitted: i64,
    /// Jobs that run.
    pub running: i64,
    /// Dead letters: events that never became a job.
    pub dead: i64,
    /// What happened in the last minute.
    pub last_minute: Minute,
}

/// What happened to a service's jobs in the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Minute {
    /// Events taken.
    pub accepted: i64,
    /// Jobs submitted.
    pub submitted: i64,
    /// Jobs that ended well.
    pub completed: i64,
    /// Jobs that ended otherwise, and dead letters.
    pub failed: i64,
}

/// The services that are named or have a flow, a waiting or live job or a dead letter, by name.
pub fn overview(
    connection: &Connection,
    now_ms: i64,
    named: &[String],
) -> rusqlite::Result<Vec<ServiceRow>> {
    let mut rows: BTreeMap<String, ServiceRow> = BTreeMap::new();
    for name in named.iter().cloned().chain(oscar(connection)?) {
        rows.entry(name).or_default();
    }
    for (name, flow) in flows(connection)? {
        rows.entry(name).or_default().flow = flow;
    }
    for (service, state, count) in standing(connection)? {
        let row = rows.entry(service).or_default();
        match state {
            State::Received | State::Gathering => row.waiting += count,
            State::Submitting | State::Unsure => row.submitting += count,
            State::Submitted => row.submitted += count,
            State::Running => row.running += count,
            State::Dead => row.dead += count,
            State::Completed
            | State::Failed
            | State::Cancelled
            | State::Vanished
            | State::Joined => {}
        }
    }
    for (service, was, state, count) in moved(connection, now_ms)? {
        let minute = &mut rows.entry(service).or_default().last_minute;
        match state {
            State::Received if was.is_none() => minute.accepted += count,
            State::Submitted if was != Some(State::Running) => minute.submitted += count,
            State::Completed => minute.completed += count,
            state if state.is_final() => minute.failed += count,
            _ => {}
        }
    }
    let named = rows.into_iter();
    Ok(named
        .map(|(name, row)| ServiceRow { name, ..row })
        .collect())
}

fn oscar(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut list = connection.prepare_cached("SELECT name FROM oscar_services")?;
    list.query_map([], |row| row.get(0))?.collect()
}

/// Jobs by service and state, of those states that few jobs are in, or that have an index.
fn standing(connection: &Connection) -> rusqlite::Result<Vec<(String, State, i64)>> {
    let mut list = connection.prepare_cached(
        "SELECT service, 'received', count(*) FROM jobs WHERE state = 'received' GROUP BY service
         UNION ALL
         SELECT service, state, count(*) FROM jobs
         WHERE state IN ('gathering', 'submitting', 'unsure', 'submitted', 'running')
         GROUP BY service, state
         UNION ALL
         SELECT service, 'dead', count(*) FROM jobs
         WHERE state = 'dead' AND deleted_ms IS NULL GROUP BY service",
    )?;
    let rows = list.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

type Flowed = (String, Option<State>, State, i64);

fn moved(connection: &Connection, now_ms: i64) -> rusqlite::Result<Vec<Flowed>> {
    let first = newest_change(connection)? - RATE_CHANGES;
    let mut list = connection.prepare_cached(
        "SELECT service, was, state, count(*) FROM changes WHERE id > ?1 AND at_ms > ?2
         GROUP BY service, was, state",
    )?;
    let rows = list.query_map(params![first, now_ms - MINUTE_MS], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    rows.collect()
}
