//! The rules by which events of a service make jobs together, as the configuration has them, kept so
//! that what waits is settled by the rule that it waits for.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::gather::{abandon, complete};
use super::join::Group;

/// How the events of a service make jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// One of each part, all of them within a time.
    AllOf {
        /// The parts, in order.
        parts: Vec<String>,
        /// The time from the first on.
        within_ms: i64,
    },
    /// So many, or fewer after a time.
    Batch {
        /// How many.
        events: u32,
        /// The time from the first on.
        after_ms: i64,
    },
}

/// The rule of a service, if its jobs need several events.
pub(super) fn rule(connection: &Connection, service: &str) -> rusqlite::Result<Option<Rule>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT rule FROM conditions WHERE service = ?1")?
        .query_row([service], |row| row.get(0))
        .optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The rules of all services that have one.
pub(super) fn rules(connection: &Connection) -> rusqlite::Result<Vec<(String, Rule)>> {
    let mut list = connection.prepare_cached("SELECT service, rule FROM conditions")?;
    let rows = list.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (service, text) = row?;
        found.extend(serde_json::from_str(&text).ok().map(|rule| (service, rule)));
    }
    Ok(found)
}

/// Makes the rules those of the configuration, which what waits follows from now on; what waits
/// for a service without one becomes a dead letter.
pub fn configure_conditions(
    connection: &Connection,
    now_ms: i64,
    configured: &[(String, Rule)],
) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM conditions", [])?;
    for (service, rule) in configured {
        let text = serde_json::to_string(rule).unwrap_or_default();
        connection.execute(
            "INSERT INTO conditions (service, rule) VALUES (?1, ?2)",
            [service, &text],
        )?;
    }
    let mut list = connection
        .prepare("SELECT DISTINCT service, correlation FROM members WHERE waiting = 1")?;
    let groups: Vec<(String, String)> = list
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (service, correlation) in &groups {
        let group = Group {
            service,
            correlation,
        };
        match configured.iter().find(|(name, _)| name == service) {
            // With a smaller number a batch may be whole now.
            Some((_, rule)) => drop(complete(connection, now_ms, &group, rule)?),
            None => abandon(connection, now_ms, service)?,
        }
    }
    Ok(())
}
