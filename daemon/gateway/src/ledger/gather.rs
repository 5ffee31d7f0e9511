//! Events that make one job together: each has a row of its own in `jobs`, which is `gathering`
//! until the others are there, then `joined`; the job that they make is a new row with a new event,
//! whose data hold all of theirs.
//!
//! Invariants:
//! - **An event is used once.** It waits exactly while its row is `gathering` and `waiting` is 1;
//!   both change in the transaction that makes the job, or buries the event.
//! - **What waits is on disk**, with the time until which it does; a kill changes nothing.
//! - **A passed window is a dead letter** with what was missing. Tried again, the event waits anew,
//!   and is never a job by itself.

use rusqlite::{Connection, OptionalExtension, params};

use super::accept::Match;
use super::join::{Group, Shape, Waiting, join, plain};
use super::rules::{Rule, rule, rules};

/// A batch is a job as soon as its events have this size together.
const MAX_JOB_BYTES: i64 = 16 << 20;

/// Most groups that are settled in one operation, so that intake is not kept waiting.
const GROUPS_AT_ONCE: u32 = 200;

/// What an event is among those that make a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its part; empty in a batch.
    pub part: String,
    /// Only events with the same one belong together.
    pub correlation: String,
    /// The rule.
    pub rule: Rule,
}

/// Lets the event of a new job wait, and makes the job if it was the last that was missing.
pub(super) fn add(
    connection: &Connection,
    now_ms: i64,
    job: i64,
    wanted: &Match,
    member: &Member,
    size_bytes: usize,
) -> rusqlite::Result<()> {
    let wait_ms = match member.rule {
        Rule::AllOf { within_ms, .. } => within_ms,
        Rule::Batch { after_ms, .. } => after_ms,
    };
    connection
        .prepare_cached(
            "INSERT INTO members (job, service, part, correlation, since_ms, until_ms, size_bytes,
                                  waiting)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
        )?
        .execute(params![
            job,
            wanted.service,
            member.part,
            member.correlation,
            now_ms,
            now_ms.saturating_add(wait_ms),
            i64::try_from(size_bytes).unwrap_or(i64::MAX),
        ])?;
    let group = Group {
        service: &wanted.service,
        correlation: &member.correlation,
    };
    complete(connection, now_ms, &group, &member.rule).map(drop)
}

/// Makes the jobs that a group has all events for; returns how many.
pub(super) fn complete(
    connection: &Connection,
    now_ms: i64,
    group: &Group<'_>,
    rule: &Rule,
) -> rusqlite::Result<usize> {
    let mut made = 0;
    match rule {
        Rule::AllOf { parts, .. } => loop {
            let mut members = Vec::with_capacity(parts.len());
            for part in parts {
                // What has waited for too long is buried by the next settlement.
                members.extend(first(connection, group, part, now_ms)?);
            }
            if parts.is_empty() || members.len() < parts.len() {
                return Ok(made);
            }
            join(connection, now_ms, group, &members, Shape::Named)?;
            made += 1;
        },
        Rule::Batch { events, .. } => loop {
            let (count, bytes) = size(connection, group)?;
            if count == 0 || (count < *events && bytes < MAX_JOB_BYTES) {
                return Ok(made);
            }
            let members = batch(connection, group, *events)?;
            join(connection, now_ms, group, &members, Shape::List)?;
            made += 1;
        },
    }
}

/// The event of a part that has waited longest and whose time is not over.
fn first(
    connection: &Connection,
    group: &Group<'_>,
    part: &str,
    now_ms: i64,
) -> rusqlite::Result<Option<Waiting>> {
    connection
        .prepare_cached(
            "SELECT job, part, size_bytes, until_ms FROM members
             WHERE service = ?1 AND correlation = ?2 AND part = ?3 AND waiting = 1 AND until_ms > ?4
             ORDER BY since_ms, job LIMIT 1",
        )?
        .query_row(
            params![group.service, group.correlation, part, now_ms],
            waiting,
        )
        .optional()
}

/// How many events of a group wait, and their bytes; read from the index alone.
fn size(connection: &Connection, group: &Group<'_>) -> rusqlite::Result<(u32, i64)> {
    connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM members
             WHERE service = ?1 AND correlation = ?2 AND waiting = 1",
        )?
        .query_row([group.service, group.correlation], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
}

/// The events of a group that have waited longest: at most `events`, and not many more bytes than
/// a job may have.
fn batch(
    connection: &Connection,
    group: &Group<'_>,
    events: u32,
) -> rusqlite::Result<Vec<Waiting>> {
    let mut list = connection.prepare_cached(
        "SELECT job, part, size_bytes, until_ms FROM members
         WHERE service = ?1 AND correlation = ?2 AND waiting = 1 ORDER BY since_ms, job LIMIT ?3",
    )?;
    let mut bytes = 0;
    let mut members = Vec::new();
    for one in list.query_map(params![group.service, group.correlation, events], waiting)? {
        let one = one?;
        bytes += one.size_bytes;
        members.push(one);
        if bytes >= MAX_JOB_BYTES {
            break;
        }
    }
    Ok(members)
}

fn waiting(row: &rusqlite::Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        job: row.get(0)?,
        part: row.get(1)?,
        size_bytes: row.get(2)?,
        until_ms: row.get(3)?,
    })
}

/// Whether a batch or a window's time is over.
pub fn is_due(connection: &Connection, now_ms: i64) -> rusqlite::Result<bool> {
    let due: Option<i64> = connection
        .prepare_cached("SELECT min(until_ms) FROM members WHERE waiting = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(due.is_some_and(|due| due <= now_ms))
}

/// Makes jobs of batches whose time is over, and dead letters of events whose window is; returns
/// how many groups were settled, at most so many at once.
pub fn settle(connection: &Connection, now_ms: i64) -> rusqlite::Result<usize> {
    let mut list = connection.prepare_cached(
        "SELECT DISTINCT service, correlation FROM members WHERE waiting = 1 AND until_ms <= ?1
         LIMIT ?2",
    )?;
    let groups: Vec<(String, String)> = list
        .query_map(params![now_ms, GROUPS_AT_ONCE], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (service, correlation) in &groups {
        let group = Group {
            service,
            correlation,
        };
        match rule(connection, service)? {
            Some(rule @ Rule::AllOf { .. }) => {
                complete(connection, now_ms, &group, &rule)?;
                bury(connection, now_ms, &group, &rule)?;
            }
            Some(Rule::Batch { events, .. }) => close(connection, now_ms, &group, events)?,
            None => abandon(connection, now_ms, service)?,
        }
    }
    Ok(groups.len())
}

/// Makes jobs of a batch until nothing of it is due.
fn close(
    connection: &Connection,
    now_ms: i64,
    group: &Group<'_>,
    events: u32,
) -> rusqlite::Result<()> {
    loop {
        let members = batch(connection, group, events)?;
        if !members.iter().any(|one| one.until_ms <= now_ms) {
            return Ok(());
        }
        join(connection, now_ms, group, &members, Shape::List)?;
    }
}

/// Makes jobs of all batches at once: nothing more will come for them. Windows stay open.
pub(super) fn close_batches(connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
    for (service, rule) in rules(connection)? {
        let Rule::Batch { events, .. } = rule else {
            continue;
        };
        let mut list = connection.prepare(
            "SELECT DISTINCT correlation FROM members WHERE service = ?1 AND waiting = 1",
        )?;
        let correlations: Vec<String> = list
            .query_map([&service], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for correlation in &correlations {
            let group = Group {
                service: &service,
                correlation,
            };
            loop {
                let members = batch(connection, &group, events)?;
                if members.is_empty() {
                    break;
                }
                join(connection, now_ms, &group, &members, Shape::List)?;
            }
        }
    }
    Ok(())
}

/// Makes dead letters of a group's events whose window has passed.
fn bury(
    connection: &Connection,
    now_ms: i64,
    group: &Group<'_>,
    rule: &Rule,
) -> rusqlite::Result<()> {
    let Rule::AllOf { parts, within_ms } = rule else {
        return Ok(());
    };
    let mut list = connection.prepare_cached(
        "SELECT job, part, size_bytes, until_ms FROM members
         WHERE service = ?1 AND correlation = ?2 AND waiting = 1 AND until_ms <= ?3",
    )?;
    let late: Vec<Waiting> = list
        .query_map(params![group.service, group.correlation, now_ms], waiting)?
        .collect::<rusqlite::Result<_>>()?;
    let mut present = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM members WHERE service = ?1 AND correlation = ?2 AND part = ?3
                        AND waiting = 1 AND since_ms <= ?4)",
    )?;
    let mut reasons = Vec::with_capacity(late.len());
    for one in &late {
        let others: Vec<&String> = parts.iter().filter(|part| **part != one.part).collect();
        let mut missing = Vec::new();
        for part in &others {
            let is_there: bool = present.query_row(
                params![group.service, group.correlation, part, one.until_ms],
                |row| row.get(0),
            )?;
            if !is_there {
                missing.push(part.as_str());
            }
        }
        if missing.is_empty() {
            missing = others.iter().map(|part| part.as_str()).collect();
        }
        let of = match plain(group.correlation) {
            "" => String::new(),
            value => format!(" of `{value}`"),
        };
        reasons.push(format!(
            "within {} s no event came for `{}`{of}",
            within_ms / 1000,
            missing.join("`, `")
        ));
    }
    for (one, reason) in late.iter().zip(&reasons) {
        give_up(connection, now_ms, one.job, reason)?;
    }
    Ok(())
}

fn give_up(connection: &Connection, now_ms: i64, job: i64, reason: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE jobs SET state = 'dead', reason = ?2, changed_ms = ?3, ended_ms = ?3
             WHERE id = ?1 AND state = 'gathering'",
        )?
        .execute(params![job, reason, now_ms])?;
    connection
        .prepare_cached("UPDATE members SET waiting = 0 WHERE job = ?1")?
        .execute([job])?;
    Ok(())
}

/// Makes dead letters of what waits for a service that gathers no more.
pub(super) fn abandon(connection: &Connection, now_ms: i64, service: &str) -> rusqlite::Result<()> {
    let mut list =
        connection.prepare("SELECT job FROM members WHERE service = ?1 AND waiting = 1")?;
    let jobs: Vec<i64> = list
        .query_map([service], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let reason = format!("the service `{service}` makes no job of several events any more");
    for job in jobs {
        give_up(connection, now_ms, job, &reason)?;
    }
    Ok(())
}

/// Lets events wait anew whose jobs were set to `gathering` again; called after it.
pub(super) fn again(connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
    let groups: Vec<(String, String)> = connection
        .prepare_cached(
            "UPDATE members SET waiting = 1, joined = NULL, since_ms = ?1,
                    until_ms = ?1 + (until_ms - since_ms)
             WHERE waiting = 0 AND job IN (SELECT id FROM jobs WHERE state = 'gathering')
             RETURNING service, correlation",
        )?
        .query_map([now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (service, correlation) in &groups {
        let group = Group {
            service,
            correlation,
        };
        match rule(connection, service)? {
            Some(rule) => drop(complete(connection, now_ms, &group, &rule)?),
            None => abandon(connection, now_ms, service)?,
        }
    }
    Ok(())
}

/// Has the time of what waits begin now where the clock was set back since.
pub(super) fn mend(connection: &Connection, now_ms: i64) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE members SET until_ms = ?1 + (until_ms - since_ms), since_ms = ?1
         WHERE waiting = 1 AND since_ms > ?1",
        [now_ms],
    )
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
