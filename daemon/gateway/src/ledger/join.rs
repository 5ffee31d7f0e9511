//! Makes one job of several events: a new event whose data hold theirs, a new row in `jobs`, and
//! each of theirs used up, all in the transaction of the caller.
//!
//! Called by [`super::gather`], which says when and of which.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::accept::Sender;
use crate::event::hash_key;

/// Type of the event of a job that several events made.
pub(super) const JOINED_TYPE: &str = "mizar.events.joined";

/// Events of one service with one correlation.
pub(super) struct Group<'a> {
    pub(super) service: &'a str,
    pub(super) correlation: &'a str,
}

/// Parts the user from what events have in common.
const PART: char = '\u{1f}';

/// What events of one user have in common: nobody's event is ever in another's job.
pub(super) fn among(user: Option<&str>, correlation: &str) -> String {
    match user {
        None if !correlation.starts_with(PART) => correlation.to_owned(),
        user => format!("{PART}{}{PART}{correlation}", user.unwrap_or_default()),
    }
}

/// The same as its sender knows it.
pub(super) fn plain(among: &str) -> &str {
    let rest = among.strip_prefix(PART);
    let rest = rest.and_then(|rest| rest.split_once(PART));
    rest.map_or(among, |(_, correlation)| correlation)
}

/// How a job finds its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// By their parts.
    Named,
    /// One after the other.
    List,
}

impl Shape {
    /// Documents are JSON already, and are put in as they are.
    fn write(self, members: &[Waiting], documents: &[String]) -> String {
        match self {
            Self::List => format!("[{}]", documents.join(",")),
            Self::Named => {
                let named: Vec<String> = members
                    .iter()
                    .zip(documents)
                    .map(|(member, document)| format!("{}:{document}", json!(member.part)))
                    .collect();
                format!("{{{}}}", named.join(","))
            }
        }
    }
}

/// An event that waits.
pub(super) struct Waiting {
    pub(super) job: i64,
    pub(super) part: String,
    pub(super) size_bytes: i64,
    pub(super) until_ms: i64,
}

/// Makes one job for events that wait.
pub(super) fn join(
    connection: &Connection,
    now_ms: i64,
    group: &Group<'_>,
    members: &[Waiting],
    shape: Shape,
) -> rusqlite::Result<()> {
    let mut key = vec!["joined".to_owned()];
    let mut documents = Vec::with_capacity(members.len());
    let mut sender: Option<Sender> = None;
    {
        let mut find = connection.prepare_cached(
            "SELECT key_hash, generation, document, owner, user FROM jobs JOIN events ON events.id = jobs.event
             WHERE jobs.id = ?1",
        )?;
        for member in members {
            let (hash, generation, document, own): (String, u32, String, Sender) =
                find.query_row([member.job], |row| {
                    let (owner, user) = (row.get(3)?, row.get(4)?);
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        Sender { owner, user },
                    ))
                })?;
            // All are of one user, by what they have in common.
            sender.get_or_insert(own);
            key.push(format!("{hash}.{generation}"));
            documents.push(document);
        }
    }
    let hash = hash_key(group.service, key.iter().map(String::as_str));
    let source = format!("/services/{}", group.service);
    let correlation = plain(group.correlation);
    let subject = (!correlation.is_empty()).then_some(correlation);
    let sender = sender.unwrap_or_default();
    let events = shape.write(members, &documents);
    let document = document(&hash, &source, subject, now_ms, &events);
    connection
        .prepare_cached(
            "INSERT INTO events (event_id, source, type, subject, document, received_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            hash,
            source,
            JOINED_TYPE,
            subject,
            document,
            now_ms
        ])?;
    let event = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "INSERT INTO jobs (event, service, key_hash, state, changed_ms, owner, user)
             VALUES (?1, ?2, ?3, 'received', ?4, ?5, ?6)",
        )?
        .execute(params![
            event,
            group.service,
            hash,
            now_ms,
            sender.owner,
            sender.user
        ])?;
    let made = connection.last_insert_rowid();
    let mut use_up = connection.prepare_cached(
        "UPDATE jobs SET state = 'joined', reason = ?2, changed_ms = ?3, ended_ms = ?3
         WHERE id = ?1 AND state = 'gathering'",
    )?;
    let mut release = connection.prepare_cached(
        "UPDATE members SET waiting = 0, joined = ?2 WHERE job = ?1 AND waiting = 1",
    )?;
    let reason = format!("job {made} was made for it and others");
    for member in members {
        let used = use_up.execute(params![member.job, reason, now_ms])?;
        let released = release.execute([member.job, made])?;
        if (used, released) != (1, 1) {
            // Rather nothing than an event in two jobs: the operation is undone.
            return Err(rusqlite::Error::StatementChangedRows(used));
        }
    }
    Ok(())
}

/// The event of the job.
fn document(hash: &str, source: &str, subject: Option<&str>, now_ms: i64, events: &str) -> String {
    let mut head = json!({"specversion": "1.0", "id": hash, "source": source, "type": JOINED_TYPE,
        "datacontenttype": "application/json"});
    if let Some(subject) = subject {
        head["subject"] = json!(subject);
    }
    if let Some(time) = moment(now_ms) {
        head["time"] = Value::String(time);
    }
    let head = head.to_string();
    format!(
        "{},\"data\":{{\"correlation\":{},\"events\":{events}}}}}",
        head.strip_suffix('}').unwrap_or(&head),
        json!(subject),
    )
}

/// A time in RFC 3339.
fn moment(ms: i64) -> Option<String> {
    let nanoseconds = i128::from(ms) * 1_000_000;
    let moment = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    moment
        .format(&time::format_description::well_known::Rfc3339)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_can_claim_to_be_among_anothers() {
        let told = |user, correlation| among(user, correlation);
        assert_eq!(told(None, "a"), "a", "as in older ledgers");
        for user in [None, Some("ann"), Some("bob")] {
            for own in [
                "",
                "a",
                "\u{1f}",
                "\u{1f}ann\u{1f}a",
                "\u{1f}\u{1f}a",
                "a\u{1f}b",
            ] {
                assert_eq!(plain(&told(user, own)), own, "{user:?}");
                for (other, correlation) in [(None, "a"), (Some("ann"), "a"), (Some("ann"), "")] {
                    let is_same = (user, own) == (other, correlation);
                    assert_eq!(told(user, own) == told(other, correlation), is_same);
                }
            }
        }
    }
}
