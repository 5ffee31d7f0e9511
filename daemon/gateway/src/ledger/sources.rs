//! What pulled sources keep: their state, what they have seen, and messages that are no events.
//!
//! A message, the marks that make its source go on after it, and the counts are one operation,
//! so that no kill leaves one without the others. Called by [`crate::sources`].

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{NewEvent, accept};

/// Most messages that are kept as dead letters; the oldest go first.
pub const MAX_DEAD_MESSAGES: u32 = 10_000;

/// One message of a source, as it goes into the ledger.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What it holds.
    pub content: Content,
    /// What its source remembers with it: the item, and its version or None to forget it.
    pub marks: Vec<(String, Option<String>)>,
}

/// What a message holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Events, or none.
    Events(Vec<NewEvent>),
    /// No events: it is kept for a person.
    Dead(DeadMessage),
}

/// A message that is no event.
#[derive(Clone, Debug)]
pub struct DeadMessage {
    /// What makes its repeat recognisable.
    pub identity: String,
    /// Its topic, path or key.
    pub subject: Option<String>,
    /// Why it is no event.
    pub reason: String,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its size.
    pub size_bytes: u64,
    /// All of it but the body, in JSON.
    pub envelope: String,
    /// The body, unless it is longer than intake takes.
    pub body: Option<Vec<u8>>,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// New jobs.
    pub accepted: u64,
    /// Jobs and dead letters that were there already.
    pub duplicates: u64,
    /// Events that no service wanted.
    pub unmatched: u64,
    /// New dead letters.
    pub dead: u64,
}

/// Stores the messages of a source with its marks, and counts them.
pub fn take(
    connection: &Connection,
    now_ms: i64,
    source: &str,
    deliveries: &[Delivery],
    unmatched_limit: u32,
) -> rusqlite::Result<Tally> {
    let mut tally = Tally::default();
    for delivery in deliveries {
        match &delivery.content {
            Content::Events(events) => {
                for receipts in accept(connection, now_ms, events, unmatched_limit)? {
                    let known = receipts.iter().filter(|one| one.duplicate).count() as u64;
                    tally.duplicates += known;
                    tally.accepted += receipts.len() as u64 - known;
                    tally.unmatched += u64::from(receipts.is_empty());
                }
            }
            Content::Dead(message) => match bury(connection, now_ms, source, message)? {
                true => tally.dead += 1,
                false => tally.duplicates += 1,
            },
        }
        for (item, version) in &delivery.marks {
            mark(connection, source, item, version.as_deref())?;
        }
    }
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "UPDATE sources SET accepted = accepted + ?2, duplicates = duplicates + ?3,
                    unmatched = unmatched + ?4, dead = dead + ?5,
                    last_message_ms = CASE WHEN ?6 THEN ?7 ELSE last_message_ms END
             WHERE name = ?1",
        )?
        .execute(params![
            source,
            count(tally.accepted),
            count(tally.duplicates),
            count(tally.unmatched),
            count(tally.dead),
            tally != Tally::default(),
            now_ms,
        ])?;
    Ok(tally)
}

/// Keeps a dead letter; false if it was there.
fn bury(
    connection: &Connection,
    now_ms: i64,
    source: &str,
    message: &DeadMessage,
) -> rusqlite::Result<bool> {
    let added = connection
        .prepare_cached(
            "INSERT INTO dead_messages (source, identity, subject, reason, head, size_bytes,
                                        envelope, body, received_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            source,
            message.identity,
            message.subject,
            message.reason,
            message.head,
            i64::try_from(message.size_bytes).unwrap_or(i64::MAX),
            message.envelope,
            message.body,
            now_ms,
        ])?;
    if added > 0 {
        connection
            .prepare_cached(
                "DELETE FROM dead_messages WHERE id <= (SELECT id FROM dead_messages
                     ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute([MAX_DEAD_MESSAGES])?;
    }
    Ok(added > 0)
}

fn mark(
    connection: &Connection,
    source: &str,
    item: &str,
    version: Option<&str>,
) -> rusqlite::Result<usize> {
    match version {
        Some(version) => connection
            .prepare_cached(
                "INSERT INTO source_items (source, item, version) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET version = excluded.version",
            )?
            .execute([source, item, version]),
        None => connection
            .prepare_cached("DELETE FROM source_items WHERE source = ?1 AND item = ?2")?
            .execute([source, item]),
    }
}

/// The version that a source remembers of an item.
pub fn item(connection: &Connection, source: &str, item: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT version FROM source_items WHERE source = ?1 AND item = ?2")?
        .query_row([source, item], |row| row.get(0))
        .optional()
}

/// What a source remembers after the item `after`, up to `until` or to the end, in order; at most
/// `limit` items.
pub fn items(
    connection: &Connection,
    source: &str,
    after: &str,
    until: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<(String, String)>> {
    let mut list = connection.prepare_cached(
        "SELECT item, version FROM source_items
         WHERE source = ?1 AND item > ?2 AND (?3 IS NULL OR item <= ?3) ORDER BY item LIMIT ?4",
    )?;
    let rows = list.query_map(params![source, after, until, limit], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    rows.collect()
}

/// Forgets all that a source remembers.
pub fn forget_items(connection: &Connection, source: &str) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM source_items WHERE source = ?1", [source])
}

/// A source as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct SourceRow {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// `starting`, `connected`, `paused`, `failed` or `stopped`.
    pub state: String,
    /// New jobs.
    pub accepted: i64,
    /// Messages that came again.
    pub duplicates: i64,
    /// Events that no service wanted.
    pub unmatched: i64,
    /// Messages that went to the dead letters.
    pub dead: i64,
    /// When the last message was stored, in milliseconds since 1970.
    pub last_message_ms: Option<i64>,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it was, in milliseconds since 1970.
    pub last_error_ms: Option<i64>,
    /// Since when it is in its state, in milliseconds since 1970.
    pub changed_ms: i64,
}

/// Lists the sources by name.
pub fn sources(connection: &Connection) -> rusqlite::Result<Vec<SourceRow>> {
    let mut list = connection.prepare_cached(
        "SELECT name, kind, state, accepted, duplicates, unmatched, dead, last_message_ms,
                last_error, last_error_ms, changed_ms FROM sources ORDER BY name",
    )?;
    let rows = list.query_map([], |row| {
        Ok(SourceRow {
            name: row.get(0)?,
            kind: row.get(1)?,
            state: row.get(2)?,
            accepted: row.get(3)?,
            duplicates: row.get(4)?,
            unmatched: row.get(5)?,
            dead: row.get(6)?,
            last_message_ms: row.get(7)?,
            last_error: row.get(8)?,
            last_error_ms: row.get(9)?,
            changed_ms: row.get(10)?,
        })
    })?;
    rows.collect()
}

/// Makes the table of sources that of the configuration; counts of those that stay are kept.
pub fn configure_sources(
    connection: &Connection,
    now_ms: i64,
    configured: &[(String, &'static str)],
) -> rusqlite::Result<()> {
    for known in sources(connection)? {
        if !configured.iter().any(|(name, _)| *name == known.name) {
            connection.execute("DELETE FROM sources WHERE name = ?1", [known.name])?;
        }
    }
    for (name, kind) in configured {
        connection.execute(
            "INSERT INTO sources (name, kind, state, changed_ms) VALUES (?1, ?2, 'starting', ?3)
             ON CONFLICT DO UPDATE SET kind = excluded.kind, state = 'starting', changed_ms = ?3",
            params![name, kind, now_ms],
        )?;
    }
    Ok(())
}

/// Notes the state of a source, and what failed.
pub fn set_source_state(
    connection: &Connection,
    now_ms: i64,
    name: &str,
    state: &str,
    error: Option<&str>,
) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE sources SET state = ?2, changed_ms = CASE WHEN state = ?2 THEN changed_ms ELSE ?4 END,
                last_error = coalesce(?3, last_error),
                last_error_ms = CASE WHEN ?3 IS NULL THEN last_error_ms ELSE ?4 END
         WHERE name = ?1",
        params![name, state, error, now_ms],
    )
}

/// A dead letter as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct DeadRow {
    /// Its number.
    pub id: i64,
    /// The source.
    pub source: String,
    /// Its topic, path or key.
    pub subject: Option<String>,
    /// Why it is no event.
    pub reason: String,
    /// Its first bytes, as text.
    pub head: String,
    /// Its size.
    pub size_bytes: i64,
    /// Whether it can be replayed: its body was kept.
    pub can_replay: bool,
    /// When it came, in milliseconds since 1970.
    pub received_ms: i64,
}

/// Lists dead letters of sources, newest first.
pub fn dead_messages(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<DeadRow>> {
    let mut list = connection.prepare_cached(
        "SELECT id, source, subject, reason, head, size_bytes, body IS NOT NULL, received_ms
         FROM dead_messages ORDER BY id DESC LIMIT ?1",
    )?;
    let rows = list.query_map([limit], |row: &Row<'_>| {
        let head: Vec<u8> = row.get(4)?;
        Ok(DeadRow {
            id: row.get(0)?,
            source: row.get(1)?,
            subject: row.get(2)?,
            reason: row.get(3)?,
            head: String::from_utf8_lossy(&head).into_owned(),
            size_bytes: row.get(5)?,
            can_replay: row.get(6)?,
            received_ms: row.get(7)?,
        })
    })?;
    rows.collect()
}

/// A dead letter as it is replayed: source, envelope, body.
pub type Buried = (String, String, Option<Vec<u8>>);

/// One dead letter with its body.
pub fn dead_message(connection: &Connection, id: i64) -> rusqlite::Result<Option<Buried>> {
    connection
        .query_row(
            "SELECT source, envelope, body FROM dead_messages WHERE id = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()
}

/// Forgets a dead letter; false if there is none.
pub fn discard_dead_message(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM dead_messages WHERE id = ?1", [id])? > 0)
}
