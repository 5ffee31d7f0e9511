//! How far each webhook has come: a mark among the changes, kept with what became of its calls.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::changes::newest_change;

/// A webhook as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookRow {
    /// Its name.
    pub name: String,
    /// The change up to which its receiver has everything that it wants.
    pub mark: i64,
    /// Changes after the mark, wanted or not.
    pub waiting: i64,
    /// `starting`, `open`, `failed` or `gone`.
    pub state: String,
    /// Changes that the receiver took.
    pub delivered: i64,
    /// Changes that the receiver will not have, and that were passed over.
    pub refused: i64,
    /// Changes that were passed over because too many waited.
    pub dropped: i64,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it was, in milliseconds since 1970.
    pub last_error_ms: Option<i64>,
    /// Since when it is in its state, in milliseconds since 1970.
    pub changed_ms: i64,
}

/// What became of changes, to be counted with the new mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The new mark.
    pub mark: i64,
    /// Taken by the receiver.
    pub delivered: u32,
    /// Refused for what they are.
    pub refused: u32,
    /// Passed over because too many waited.
    pub dropped: u32,
}

/// Makes the table that of the configuration: a new webhook begins with the next change, one that
/// stays goes on at its mark.
pub fn configure_webhooks(
    connection: &Connection,
    now_ms: i64,
    names: &[String],
) -> rusqlite::Result<()> {
    for known in webhooks(connection)? {
        if !names.contains(&known.name) {
            connection.execute("DELETE FROM webhooks WHERE name = ?1", [known.name])?;
        }
    }
    let newest = newest_change(connection)?;
    for name in names {
        connection.execute(
            "INSERT INTO webhooks (name, mark, state, changed_ms) VALUES (?1, ?2, 'starting', ?3)
             ON CONFLICT DO UPDATE SET state = 'starting', changed_ms = ?3",
            params![name, newest, now_ms],
        )?;
    }
    Ok(())
}

/// Lists the webhooks by name.
pub fn webhooks(connection: &Connection) -> rusqlite::Result<Vec<WebhookRow>> {
    let newest = newest_change(connection)?;
    let mut list = connection.prepare_cached(
        "SELECT name, mark, state, delivered, refused, dropped, last_error, last_error_ms,
                changed_ms FROM webhooks ORDER BY name",
    )?;
    let rows = list.query_map([], |row| {
        let mark: i64 = row.get(1)?;
        Ok(WebhookRow {
            name: row.get(0)?,
            mark,
            waiting: (newest - mark).max(0),
            state: row.get(2)?,
            delivered: row.get(3)?,
            refused: row.get(4)?,
            dropped: row.get(5)?,
            last_error: row.get(6)?,
            last_error_ms: row.get(7)?,
            changed_ms: row.get(8)?,
        })
    })?;
    rows.collect()
}

/// The mark of a webhook.
pub fn webhook_mark(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT mark FROM webhooks WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
}

/// Moves the mark of a webhook and counts what became of the changes before it.
pub fn advance_webhook(
    connection: &Connection,
    name: &str,
    progress: Progress,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE webhooks SET mark = ?2, delivered = delivered + ?3, refused = refused + ?4,
                    dropped = dropped + ?5 WHERE name = ?1",
        )?
        .execute(params![
            name,
            progress.mark,
            progress.delivered,
            progress.refused,
            progress.dropped
        ])
}

/// Notes the state of a webhook, and what failed.
pub fn set_webhook_state(
    connection: &Connection,
    now_ms: i64,
    name: &str,
    state: &str,
    error: Option<&str>,
) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE webhooks SET changed_ms = CASE WHEN state = ?2 THEN changed_ms ELSE ?4 END,
                state = ?2, last_error = coalesce(?3, last_error),
                last_error_ms = CASE WHEN ?3 IS NULL THEN last_error_ms ELSE ?4 END
         WHERE name = ?1",
        params![name, state, error, now_ms],
    )
}
