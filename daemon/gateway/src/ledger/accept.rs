//! Intake: events with the services that want them, each a job that is made once.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::gather::{self, Member};
use super::join;
use super::state::{Door, State};

/// An event that was matched, ready to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// CloudEvents id.
    pub id: String,
    /// CloudEvents source.
    pub source: String,
    /// CloudEvents type.
    pub kind: String,
    /// CloudEvents subject.
    pub subject: Option<String>,
    /// The event in structured JSON.
    pub document: String,
    /// The services that want it.
    pub matched: Vec<Match>,
    /// The front door.
    pub door: Door,
    /// Bytes for the job that nobody is shown: a pod with its secrets, a body as it came.
    pub payload: Option<Vec<u8>>,
    /// Whose job it is.
    pub sender: Sender,
}

/// Whose a job is; what the site itself brings is nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The caller that may ask about it.
    pub owner: Option<String>,
    /// The Unix user that it runs as; None means the gateway's own.
    pub user: Option<String>,
}

/// A service that wants an event.
#[derive(Clone, Debug)]
pub struct Match {
    /// The service.
    pub service: String,
    /// The hash of the event's key for it.
    pub key_hash: String,
    /// What the event is among those that the service's job needs, if it needs several.
    pub member: Option<Member>,
}

impl From<(String, String)> for Match {
    fn from((service, key_hash): (String, String)) -> Self {
        Self {
            service,
            key_hash,
            member: None,
        }
    }
}

/// What became of one (event, service) at intake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The service.
    pub service: String,
    /// The job in the ledger.
    pub job: i64,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// Stores events; one list of receipts for each. Keeps `unmatched_limit` without a service.
pub fn accept(
    connection: &Connection,
    now_ms: i64,
    events: &[NewEvent],
    unmatched_limit: u32,
) -> rusqlite::Result<Vec<Vec<Receipt>>> {
    events
        .iter()
        .map(|event| accept_one(connection, now_ms, event, unmatched_limit))
        .collect()
}

fn accept_one(
    connection: &Connection,
    now_ms: i64,
    event: &NewEvent,
    unmatched_limit: u32,
) -> rusqlite::Result<Vec<Receipt>> {
    if event.matched.is_empty() {
        connection
            .prepare_cached(
                "INSERT INTO unmatched (event_id, source, type, subject, received_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                event.id,
                event.source,
                event.kind,
                event.subject,
                now_ms
            ])?;
        let newest = connection.last_insert_rowid();
        connection
            .prepare_cached("DELETE FROM unmatched WHERE id <= ?1")?
            .execute([newest - i64::from(unmatched_limit)])?;
        return Ok(Vec::new());
    }
    let mut find =
        connection.prepare_cached("SELECT id FROM jobs WHERE service = ?1 AND key_hash = ?2")?;
    let mut stored: Option<i64> = None;
    let mut receipts = Vec::with_capacity(event.matched.len());
    for wanted in &event.matched {
        let (service, hash) = (&wanted.service, &wanted.key_hash);
        let known: Option<i64> = find
            .query_row([service, hash], |row| row.get(0))
            .optional()?;
        if let Some(job) = known {
            receipts.push(Receipt {
                service: service.clone(),
                job,
                duplicate: true,
            });
            continue;
        }
        let event_row = match stored {
            Some(id) => id,
            None => *stored.insert(store_event(connection, now_ms, event)?),
        };
        let state = match wanted.member {
            Some(_) => State::Gathering,
            None => State::Received,
        };
        connection
            .prepare_cached(
                "INSERT INTO jobs (event, service, key_hash, state, changed_ms, door, owner, user)
                 VALUES (?1, ?2, ?3, ?6, ?4, ?5, ?7, ?8)",
            )?
            .execute(params![
                event_row,
                service,
                hash,
                now_ms,
                event.door,
                state,
                event.sender.owner,
                event.sender.user
            ])?;
        let job = connection.last_insert_rowid();
        if let Some(member) = &wanted.member {
            let member = Member {
                correlation: join::among(event.sender.user.as_deref(), &member.correlation),
                ..member.clone()
            };
            gather::add(
                connection,
                now_ms,
                job,
                wanted,
                &member,
                event.document.len(),
            )?;
        }
        receipts.push(Receipt {
            service: service.clone(),
            job,
            duplicate: false,
        });
    }
    Ok(receipts)
}

fn store_event(connection: &Connection, now_ms: i64, event: &NewEvent) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO events (event_id, source, type, subject, document, received_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            event.id,
            event.source,
            event.kind,
            event.subject,
            event.document,
            now_ms
        ])?;
    let row = connection.last_insert_rowid();
    if let Some(payload) = &event.payload {
        connection
            .prepare_cached("INSERT INTO payloads (event, body) VALUES (?1, ?2)")?
            .execute(params![row, payload])?;
    }
    Ok(row)
}
