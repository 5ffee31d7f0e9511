//! Flow of services: how fast, how many at once, in which order, or not at all. Kept in the
//! ledger, so that a change takes effect at the next claim and outlives a restart.
//!
//! A rate is a bucket of tokens that holds those of one second, or one: a change is exact after
//! that time, and a service that waited long does not come with all of it at once.

use std::collections::BTreeMap;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::arrays::{Arrays, Claimed, claim_sharers, share};
use super::gather;
use super::jobs::{ANEW, Claim, Which, claim_where};

/// Fastest rate that can be asked for, per second.
const MAX_RATE: f64 = 10_000.0;

/// Priorities go from minus this to this.
const MAX_PRIORITY: i32 = 1000;

/// States in which a job takes one of its service's places.
const LIVE: &str = "'submitting', 'unsure', 'submitted', 'running'";

/// How a service may flow; what is None has no bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {
    /// Submissions per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Jobs in Slurm at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Services of a higher one are submitted first; without a flow it is 0.
    pub priority: i32,
    /// Whether events are kept and nothing is submitted.
    pub paused: bool,
}

/// One change of a flow, as people write it: `rate=5/s`, `concurrency=none`, `paused=true`.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Submissions per second.
    Rate(Option<f64>),
    /// Jobs in Slurm at once.
    Concurrency(Option<u32>),
    /// Order among services.
    Priority(i32),
    /// Nothing is submitted.
    Paused(bool),
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
        let odd = |expected: &str| format!("`{value}` is no {name}: expected {expected}");
        match name {
            "rate" => parse_rate(value)
                .map(Self::Rate)
                .ok_or_else(|| odd("none, or a number up to 10,000 per s, min or h, as 5/s")),
            "concurrency" if value == "none" => Ok(Self::Concurrency(None)),
            "concurrency" => match value.parse() {
                Ok(count) if count > 0 => Ok(Self::Concurrency(Some(count))),
                _ => Err(odd("none, or a whole number of at least 1")),
            },
            "priority" => match value.parse::<i32>() {
                Ok(priority) if priority.abs() <= MAX_PRIORITY => Ok(Self::Priority(priority)),
                _ => Err(odd("-1000 to 1000")),
            },
            "paused" => value
                .parse()
                .map(Self::Paused)
                .map_err(|_| odd("true or false")),
            _ => Err(format!(
                "`{name}` cannot be set; there are rate, concurrency, priority and paused"
            )),
        }
    }
}

/// A rate per second; the outer None means that it is none.
fn parse_rate(text: &str) -> Option<Option<f64>> {
    if text == "none" {
        return Some(None);
    }
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let rate = number.parse::<f64>().ok()? / seconds;
    (rate > 0.0 && rate <= MAX_RATE).then_some(Some(rate))
}

impl Flow {
    /// Takes a change over.
    pub fn set(&mut self, setting: &Setting) {
        match setting {
            Setting::Rate(rate) => self.rate = *rate,
            Setting::Concurrency(count) => self.concurrency = *count,
            Setting::Priority(priority) => self.priority = *priority,
            Setting::Paused(paused) => self.paused = *paused,
        }
    }
}

/// A flow with what its bucket holds.
struct Kept {
    service: String,
    flow: Flow,
    tokens: f64,
    filled_ms: i64,
}

fn kept(connection: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut list = connection.prepare_cached(
        "SELECT service, rate, concurrency, priority, paused, tokens, filled_ms FROM flow
         ORDER BY priority DESC, service",
    )?;
    let rows = list.query_map([], |row| {
        Ok(Kept {
            service: row.get(0)?,
            flow: Flow {
                rate: row.get(1)?,
                concurrency: row.get(2)?,
                priority: row.get(3)?,
                paused: row.get(4)?,
            },
            tokens: row.get(5)?,
            filled_ms: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// The flow of each service that has one.
pub fn flows(connection: &Connection) -> rusqlite::Result<Vec<(String, Flow)>> {
    let all = kept(connection)?.into_iter();
    Ok(all.map(|one| (one.service, one.flow)).collect())
}

/// Changes a service's flow and returns what it is now.
pub fn set_flow(
    connection: &Connection,
    now_ms: i64,
    service: &str,
    settings: &[Setting],
) -> rusqlite::Result<Flow> {
    let old = kept(connection)?
        .into_iter()
        .find(|one| one.service == service);
    let (mut flow, tokens, filled_ms) = match old {
        Some(one) => (one.flow.clone(), one.bucket(now_ms), now_ms),
        None => (Flow::default(), 1.0, now_ms),
    };
    for setting in settings {
        flow.set(setting);
    }
    connection.execute(
        "INSERT OR REPLACE INTO flow
             (service, rate, concurrency, priority, paused, tokens, filled_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            service,
            flow.rate,
            flow.concurrency,
            flow.priority,
            flow.paused,
            tokens,
            filled_ms
        ],
    )?;
    Ok(flow)
}

/// Sets a service's flow if nobody ever did; whether it was.
pub fn first_flow(
    connection: &Connection,
    now_ms: i64,
    service: &str,
    setting: &Setting,
) -> rusqlite::Result<bool> {
    let is_set = kept(connection)?.iter().any(|one| one.service == service);
    if !is_set {
        set_flow(connection, now_ms, service, std::slice::from_ref(setting))?;
    }
    Ok(!is_set)
}

impl Kept {
    /// What the bucket holds now.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds since a claim")]
    fn bucket(&self, now_ms: i64) -> f64 {
        let Some(rate) = self.flow.rate else {
            return 1.0;
        };
        // A clock that was set back gives nothing and takes nothing.
        let waited = now_ms.saturating_sub(self.filled_ms).max(0) as f64 / 1000.0;
        (self.tokens + waited * rate).min(rate.max(1.0))
    }

    /// How many may be submitted now.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 10,000"
    )]
    fn allowance(
        &self,
        connection: &Connection,
        now_ms: i64,
        most: usize,
    ) -> rusqlite::Result<usize> {
        if self.flow.paused {
            return Ok(0);
        }
        let mut most = most;
        if self.flow.rate.is_some() {
            most = most.min(self.bucket(now_ms).max(0.0) as usize);
        }
        if let Some(concurrency) = self.flow.concurrency {
            let live: i64 = connection
                .prepare_cached(&format!(
                    "SELECT count(*) FROM jobs WHERE service = ?1 AND state IN ({LIVE})"
                ))?
                .query_row([&self.service], |row| row.get(0))?;
            let left = i64::from(concurrency).saturating_sub(live);
            most = most.min(usize::try_from(left).unwrap_or(0));
        }
        Ok(most)
    }

    #[allow(clippy::cast_precision_loss, reason = "at most 10,000")]
    fn pay(&self, connection: &Connection, now_ms: i64, count: usize) -> rusqlite::Result<()> {
        if count > 0 && self.flow.rate.is_some() {
            connection
                .prepare_cached("UPDATE flow SET tokens = ?2, filled_ms = ?3 WHERE service = ?1")?
                .execute(params![
                    self.service,
                    self.bucket(now_ms) - count as f64,
                    now_ms
                ])?;
        }
        Ok(())
    }
}

/// Claims jobs for submission: from the moment this is on disk sbatch may be run for them.
/// Services of a higher priority come first, and none beyond its flow; at most `limit` submissions.
pub fn claim(
    connection: &Connection,
    now_ms: i64,
    limit: usize,
    arrays: &Arrays,
) -> rusqlite::Result<Vec<Claimed>> {
    let flows = kept(connection)?;
    let mut claimed = Vec::new();
    let (first, last): (Vec<&Kept>, Vec<&Kept>) =
        flows.iter().partition(|one| one.flow.priority > 0);
    for one in first {
        take(connection, now_ms, limit, one, arrays, &mut claimed)?;
    }
    take_others(connection, now_ms, limit, arrays, &mut claimed)?;
    for one in last {
        take(connection, now_ms, limit, one, arrays, &mut claimed)?;
    }
    Ok(claimed)
}

/// Takes from all services without a flow, in the order of waiting; one that has an event in it
/// fills an array with those behind.
fn take_others(
    connection: &Connection,
    now_ms: i64,
    limit: usize,
    arrays: &Arrays,
    claimed: &mut Vec<Claimed>,
) -> rusqlite::Result<()> {
    loop {
        let left = limit.saturating_sub(claimed.len());
        if left == 0 {
            return Ok(());
        }
        let found = claim_where(connection, now_ms, &Which::WithoutFlow(left))?;
        let is_all = found.len() < left;
        let mut sharers: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        for claim in found {
            let service = claim.marker.service();
            match arrays.contains_key(service) && claim.can_share {
                true => sharers.entry(service.to_owned()).or_default().push(claim),
                false => claimed.push(alone(claim)),
            }
        }
        for (service, mut claims) in sharers {
            let most = arrays[&service] as usize;
            let room = most.saturating_sub(claims.len());
            if room > 0 && !is_all {
                claims.extend(claim_sharers(connection, now_ms, &service, room)?.0);
            }
            claimed.extend(share(connection, now_ms, claims, most)?);
        }
        if is_all {
            return Ok(());
        }
    }
}

fn alone(claim: Claim) -> Claimed {
    Claimed {
        array: None,
        claims: vec![claim],
    }
}

/// Takes from one service what its flow allows.
fn take(
    connection: &Connection,
    now_ms: i64,
    limit: usize,
    one: &Kept,
    arrays: &Arrays,
    claimed: &mut Vec<Claimed>,
) -> rusqlite::Result<()> {
    let left = limit.saturating_sub(claimed.len());
    if left == 0 {
        return Ok(());
    }
    let most = arrays.get(&one.service).map_or(1, |most| *most as usize);
    let allowed = one.allowance(connection, now_ms, left.saturating_mul(most))?;
    if allowed == 0 {
        return Ok(());
    }
    let (mut paid, mut is_all) = (0, true);
    if most > 1 {
        let (claims, no_more) = claim_sharers(connection, now_ms, &one.service, allowed)?;
        (paid, is_all) = (claims.len(), no_more);
        claimed.extend(share(connection, now_ms, claims, most)?);
    }
    let left = limit.saturating_sub(claimed.len()).min(allowed - paid);
    if is_all && left > 0 {
        let found = claim_where(connection, now_ms, &Which::Of(&one.service, left))?;
        paid += found.len();
        claimed.extend(found.into_iter().map(alone));
    }
    one.pay(connection, now_ms, paid)
}

/// Has another job made for every event of a service that came in a time and whose job has
/// ended; returns how many. Times are in milliseconds since 1970, the end is not included.
pub fn replay(
    connection: &Connection,
    now_ms: i64,
    service: &str,
    from_ms: i64,
    to_ms: i64,
) -> rusqlite::Result<usize> {
    let count = connection.execute(
        &format!(
            "UPDATE jobs SET {ANEW}, changed_ms = ?4
         WHERE service = ?1 AND door = 'event' AND deleted_ms IS NULL
           AND state IN ('completed', 'failed', 'cancelled', 'vanished', 'dead')
           AND event IN (SELECT id FROM events WHERE received_ms >= ?2 AND received_ms < ?3)"
        ),
        params![service, from_ms, to_ms, now_ms],
    )?;
    if count > 0 {
        gather::again(connection, now_ms)?;
    }
    Ok(count)
}

/// Whether the ledger knows a service: by its flow, by a job, or from OSCAR.
pub fn is_known(connection: &Connection, service: &str) -> rusqlite::Result<bool> {
    connection
        .query_row(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM flow WHERE service = ?1)
                 OR EXISTS (SELECT 1 FROM jobs WHERE service = ?1)
                 OR EXISTS (SELECT 1 FROM oscar_services WHERE name = ?1)",
            [service],
            |_| Ok(()),
        )
        .optional()
        .map(|found| found.is_some())
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
