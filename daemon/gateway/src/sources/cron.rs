//! The clock as a source: one event for each due time, never two.
//!
//! The identity is the due time, and the last one that was taken is in the ledger, so that a
//! restart knows what it missed. What is late by more than a minute came while the gateway was
//! down or the clock jumped ahead: `catch_up` decides. A clock that was set back repeats nothing.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cron_time::Schedule;
use super::message::Message;
use super::{Hub, MAX_BATCH, SourceError};
use crate::ledger::now_ms;

/// Lateness up to which a due time is simply due.
const ON_TIME_MS: i64 = 60_000;

/// How far ahead of the clock the last due time may be before it is taken for an error.
const AHEAD_MS: i64 = 60_000;

/// How often the clock is read: it may be set meanwhile.
const TICK: Duration = Duration::from_millis(500);

/// Most missed due times that are made up for; older ones are not.
const MAX_CATCH_UP: usize = 10_000;

/// The item that holds the last due time, in milliseconds since 1970.
const LAST: &str = "last";

/// The table of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// Five fields, in UTC.
    pub schedule: String,
    /// What becomes of due times that were missed.
    #[serde(default)]
    pub catch_up: CatchUp,
}

/// What becomes of due times that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// They are skipped.
    #[default]
    None,
    /// The last of them is made up for.
    One,
    /// All of them are, up to 10,000.
    All,
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        self.parse().map(drop)
    }

    fn parse(&self) -> Result<Schedule, String> {
        let parsed = self.schedule.parse();
        parsed.map_err(|problem: String| format!("`schedule` {problem}"))
    }
}

/// Waits for due times for ever.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let schedule = settings
        .parse()
        .map_err(|problem| SourceError::server(&settings.schedule, problem))?;
    let known = hub.item(LAST).await?.and_then(|last| last.parse().ok());
    let mut last: i64 = match known {
        Some(last) => last,
        None => {
            // The first run ever begins now: there is nothing to make up for.
            let now = now_ms();
            hub.remember(LAST, now.to_string()).await?;
            now
        }
    };
    hub.connected();
    loop {
        let now = now_ms();
        if last > now + AHEAD_MS {
            // It was taken by a clock that was wrong; identities keep a repeat from a second job.
            tracing::warn!(source = settings.name, "the clock was set back");
            last = now;
        }
        let due = due(&schedule, last, now, settings.catch_up);
        if let Some(&newest) = due.last() {
            for batch in due.chunks(MAX_BATCH) {
                let messages = batch.iter().map(|&at| {
                    let mark = (LAST.to_owned(), Some(at.to_string()));
                    (message(settings, at), vec![mark])
                });
                hub.take(messages.collect()).await?;
            }
            last = newest;
        } else if now - last > ON_TIME_MS {
            // What was skipped is not looked at again, whatever the clock does; in memory only,
            // since after a restart the same decision comes out.
            last = now - ON_TIME_MS;
        }
        tokio::time::sleep(TICK).await;
    }
}

/// The due times after `last` up to `now` that become events, oldest first.
fn due(schedule: &Schedule, last: i64, now: i64, catch_up: CatchUp) -> Vec<i64> {
    let begin = match catch_up {
        CatchUp::None => last.max(now - ON_TIME_MS),
        CatchUp::One | CatchUp::All => last,
    };
    let mut found = std::collections::VecDeque::new();
    let mut missed = 0_usize;
    let mut at = begin;
    while let Some(next) = next_ms(schedule, at).filter(|&next| next <= now) {
        at = next;
        if now - next > ON_TIME_MS {
            missed += 1;
            let keep = match catch_up {
                CatchUp::All => MAX_CATCH_UP,
                _ => 1,
            };
            if missed > keep {
                found.pop_front();
            }
        }
        found.push_back(next);
    }
    found.into()
}

fn next_ms(schedule: &Schedule, after_ms: i64) -> Option<i64> {
    let after = OffsetDateTime::from_unix_timestamp(after_ms.div_euclid(1000)).ok()?;
    Some(schedule.next_after(after)?.unix_timestamp() * 1000)
}

fn message(settings: &Settings, at_ms: i64) -> Message {
    let due = OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000))
        .ok()
        .and_then(|due| due.format(&Rfc3339).ok())
        .unwrap_or_default();
    Message {
        identity: vec![due.clone()],
        kind: "mizar.cron.due".to_owned(),
        subject: Some(due.clone()),
        time: Some(due.clone()),
        body: json!({"due": due, "schedule": settings.schedule})
            .to_string()
            .into_bytes(),
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn found(last: i64, now: i64, catch_up: CatchUp) -> Vec<i64> {
        let schedule: Schedule = "*/10 * * * *".parse().unwrap();
        let due = due(&schedule, last * MINUTE, now * MINUTE, catch_up);
        due.into_iter().map(|at| at / MINUTE).collect()
    }

    #[test]
    fn downtime_is_made_up_for_as_told() {
        assert_eq!(found(3, 9, CatchUp::All), [0_i64; 0]);
        assert_eq!(found(3, 10, CatchUp::None), [10], "on time");
        assert_eq!(found(3, 45, CatchUp::None), [0_i64; 0]);
        assert_eq!(found(3, 45, CatchUp::One), [40]);
        assert_eq!(found(3, 45, CatchUp::All), [10, 20, 30, 40]);
        assert_eq!(found(3, 50, CatchUp::None), [50]);
        assert_eq!(found(3, 50, CatchUp::One), [40, 50], "one missed, one due");
        assert_eq!(found(3, 50, CatchUp::All), [10, 20, 30, 40, 50]);
    }

    #[test]
    fn a_clock_set_back_repeats_nothing() {
        for catch_up in [CatchUp::None, CatchUp::One, CatchUp::All] {
            assert_eq!(found(50, 45, catch_up), [0_i64; 0]);
            assert_eq!(found(50, 50, catch_up), [0_i64; 0]);
        }
    }

    #[test]
    fn what_is_made_up_for_is_bounded() {
        let schedule: Schedule = "* * * * *".parse().unwrap();
        let now = 100_000 * MINUTE;
        let due = due(&schedule, 0, now, CatchUp::All);
        assert!(due.len() <= MAX_CATCH_UP + 2, "{}", due.len());
        assert_eq!(due.last(), Some(&now));
    }
}
