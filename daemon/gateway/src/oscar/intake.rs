//! Calls of a service: what a body becomes, on disk before the answer; and the synchronous call,
//! which is the same job with somebody waiting for it.
//!
//! The body is bytes, whatever its type claims: clients send base64 and forms as JSON. A body
//! with several `Records` is a job for each of them. A synchronous call that nothing says may have
//! come before is made by a warm worker, where the site has them.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mizar_slurm::Marker;
use serde_json::{Value, json};

use super::http::{header_text, text, unavailable};
use super::store::Kept;
use super::warm::MAX_REPLY_BYTES;
use crate::event::{Event, parse_json};
use crate::http::Front;
use crate::http::intake::{announce, body, store};
use crate::http::record::touching;
use crate::identity::{Caller, How};
use crate::ledger::{self, Door, JobRow, LedgerError, NewEvent, Receipt, Selection, Sender};
use crate::s3;
use crate::shared::Shared;
use crate::supervise::event::{REPLY_FILE, SCRIPT, undelegated};
use crate::supervise::progress;
use mizar_core::chain;

/// Answer header with the job's name; several are parted by commas.
const JOB_HEADER: &str = "x-mizar-job-id";

/// CloudEvents type of a call.
const CALL_TYPE: &str = "org.grycap.oscar.call";

/// Services with names of this length or more are cut in the names of their jobs, as OSCAR does.
const LONG_NAME_BYTES: usize = 25;
const CUT_NAME_BYTES: usize = 16;

/// Longest id that a delegating cluster may give.
const MAX_ID_BYTES: usize = 100;

/// How often a synchronous call looks for its answer.
const LOOK: Duration = Duration::from_millis(20);

/// Every so many looks the ledger is asked as well: a job that never starts leaves no answer.
const LEDGER_EVERY: u32 = 25;

/// POST /job/NAME: 201 without a body, as OSCAR's clients know it.
pub(super) async fn job(
    State(front): State<Arc<Front>>,
    Extension(kept): Extension<Kept>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let opened = match open(&front.shared, request, true).await {
        Ok(opened) => opened,
        Err(response) => return response,
    };
    let callee = Callee {
        kept: &kept,
        caller: &caller,
    };
    match keep(&front.shared, &callee, opened).await {
        Ok(names) => named(StatusCode::CREATED.into_response(), &names),
        Err(response) => response,
    }
}

/// POST /run/NAME: the function's output.
pub(super) async fn run(
    State(front): State<Arc<Front>>,
    Extension(kept): Extension<Kept>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let shared = &front.shared;
    let opened = match open(shared, request, front.warm.is_none()).await {
        Ok(opened) => opened,
        Err(response) => return response,
    };
    if let Some(warm) = &front.warm
        && opened.is_plain(shared)
    {
        return super::warm::run(shared, warm, &kept, opened.body).await;
    }
    let callee = Callee {
        kept: &kept,
        caller: &caller,
    };
    let names = match keep(shared, &callee, opened).await {
        Ok(names) => names,
        Err(response) => return response,
    };
    let Some(first) = names.first().cloned() else {
        return StatusCode::OK.into_response();
    };
    let name = &kept.definition.name;
    let owner = callee.sender().owner;
    named(wait(&front.shared, name, &first, owner).await, &names)
}

/// An answer that tells the jobs' names.
pub(super) fn named(mut response: Response, names: &[String]) -> Response {
    if let Ok(value) = HeaderValue::from_str(&names.join(",")) {
        response.headers_mut().insert(JOB_HEADER, value);
    }
    touching(response, names.to_vec())
}

/// A call as it came.
struct Opened {
    given: Option<String>,
    body: Bytes,
}

impl Opened {
    /// Whether two such calls are two calls: nothing in it says that it may have come before.
    fn is_plain(&self, shared: &Shared) -> bool {
        let value = parse_json(&self.body, shared.config.limits.nesting).ok();
        let event = value.map(undelegated).filter(s3::is_notification);
        self.given.is_none() && event.is_none()
    }
}

/// Reads a call.
async fn open(shared: &Shared, request: Request, is_job: bool) -> Result<Opened, Response> {
    if is_job {
        // Before the body is read: a full queue should cost the caller and us little.
        room(shared)?;
    }
    let given =
        given_id(request.headers()).map_err(|problem| text(StatusCode::BAD_REQUEST, problem))?;
    let body = body(request, shared.config.limits.body_bytes).await?;
    Ok(Opened { given, body })
}

/// Refuses a call while too much waits for submission.
#[allow(
    clippy::result_large_err,
    reason = "an answer is what the caller has for it"
)]
fn room(shared: &Shared) -> Result<(), Response> {
    if shared.backlog.load(std::sync::atomic::Ordering::SeqCst) < shared.config.limits.queue_events
    {
        return Ok(());
    }
    let mut busy = text(
        StatusCode::TOO_MANY_REQUESTS,
        "too many events wait for submission",
    );
    busy.headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    Err(busy)
}

/// Stores the jobs of a call; returns their names.
async fn keep(
    shared: &Shared,
    callee: &Callee<'_>,
    opened: Opened,
) -> Result<Vec<String>, Response> {
    room(shared)?;
    let events = calls(callee, &opened.body, opened.given, shared)
        .map_err(|problem| text(StatusCode::BAD_REQUEST, problem))?;
    let names: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    if names.is_empty() {
        return Ok(names);
    }
    match store(shared, events).await {
        Ok(receipts) => {
            let fresh = |receipt: &&Receipt| !receipt.duplicate;
            announce(
                shared,
                receipts.iter().flatten().filter(fresh).count() as u64,
            );
            Ok(names)
        }
        Err(error) => Err(unavailable(&error)),
    }
}

/// The name that somebody else gave this call: a delegating cluster, or a client that repeats.
fn given_id(headers: &HeaderMap) -> Result<Option<String>, String> {
    for name in ["x-delegated-job-id", "idempotency-key"] {
        if let Some(id) = header_text(headers, name) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if id.is_empty()
                || id.len() > MAX_ID_BYTES
                || id.starts_with('.')
                || !id.bytes().all(plain)
            {
                return Err(format!(
                    "{name} must be 1 to {MAX_ID_BYTES} of A-Z, a-z, 0-9, -, _ and ."
                ));
            }
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The calls of a body: one, or one for each of its records.
fn calls(
    callee: &Callee<'_>,
    body: &[u8],
    given: Option<String>,
    shared: &Shared,
) -> Result<Vec<NewEvent>, String> {
    let limits = &shared.config.limits;
    let value = parse_json(body, limits.nesting).ok();
    let event = value.map(undelegated).filter(s3::is_notification);
    if let Some(event) = event {
        let found = s3::read(&event, limits.batch_events).map_err(|error| chain(&error))?;
        let several = event["Records"].as_array().map_or(0, Vec::len) > 1;
        let calls = found.events.iter().map(|one| {
            let payload = if several {
                json!({"Records": [one.document["data"].clone()]})
                    .to_string()
                    .into_bytes()
            } else {
                body.to_vec()
            };
            let id = given.clone().filter(|_| !several);
            let key = id
                .clone()
                .map_or_else(|| one.key.clone(), |id| vec!["id".to_owned(), id]);
            call(callee, key, id, payload)
        });
        return Ok(calls.collect());
    }
    let key = match &given {
        Some(id) => vec!["id".to_owned(), id.clone()],
        None => vec![
            "random".to_owned(),
            random_hex(16).map_err(|error| format!("no random bytes: {error}"))?,
        ],
    };
    Ok(vec![call(callee, key, given, body.to_vec())])
}

/// A service, and who calls it.
struct Callee<'a> {
    kept: &'a Kept,
    caller: &'a Caller,
}

impl Callee<'_> {
    /// Whether somebody else calls than its owner, and those whom its owner gave the token.
    fn is_others(&self) -> bool {
        self.caller.how != How::Service
            && !self.caller.is_operator
            && self.caller.name != self.kept.owner
    }

    /// Whose the job is: who called asks about it, and it runs as the user whose script it is.
    fn sender(&self) -> Sender {
        let owner = match self.is_others() {
            true => self.caller.name.clone(),
            false => self.kept.owner.clone(),
        };
        Sender {
            owner: Some(owner),
            user: self.kept.user.clone(),
        }
    }
}

fn call(
    callee: &Callee<'_>,
    mut key: Vec<String>,
    id: Option<String>,
    payload: Vec<u8>,
) -> NewEvent {
    let kept = callee.kept;
    if callee.is_others() {
        // Nobody's call can be taken for a repeat of another's.
        key.extend(["caller".to_owned(), callee.caller.name.clone()]);
    }
    let service = kept.definition.name.as_str();
    // A service that was removed and made again is another one.
    let key = [vec!["oscar".to_owned(), kept.created_ms.to_string()], key].concat();
    let source = format!("/oscar/{service}");
    let mut event = Event {
        id: String::new(),
        source: source.clone(),
        kind: CALL_TYPE.to_owned(),
        subject: None,
        object: None,
        document: Value::Null,
        key,
    };
    let hash = event.key_hash(service);
    event.id = id.unwrap_or_else(|| job_name(service, &hash));
    let document =
        json!({"specversion": "1.0", "id": event.id, "source": source, "type": CALL_TYPE});
    NewEvent {
        id: event.id,
        source,
        kind: event.kind,
        subject: None,
        document: document.to_string(),
        matched: vec![(service.to_owned(), hash).into()],
        door: Door::Oscar,
        payload: Some(payload),
        sender: callee.sender(),
    }
}

/// `<service>-<uuid>`, as OSCAR names jobs; a repeated event gives the same one.
pub(super) fn job_name(service: &str, hash: &str) -> String {
    let short = if service.len() >= LONG_NAME_BYTES {
        &service[..CUT_NAME_BYTES]
    } else {
        service
    };
    let parts = [
        &hash[..8],
        &hash[8..12],
        &hash[12..16],
        &hash[16..20],
        &hash[20..],
    ];
    format!("{short}-{}", parts.join("-"))
}

/// So many random bytes as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> std::io::Result<String> {
    let mut random = vec![0; bytes];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    Ok(mizar_core::hex(random))
}

/// One job of a service, by its name, of everybody or of one.
pub(super) fn row_of(
    shared: &Shared,
    service: &str,
    job: &str,
    owner: Option<String>,
) -> Result<Option<JobRow>, LedgerError> {
    let selection = Selection {
        service: Some(service.to_owned()),
        event_id: Some(job.to_owned()),
        only_present: true,
        owner,
        limit: 1,
        ..Selection::default()
    };
    let row = shared
        .reader
        .read(|ledger| ledger::jobs(ledger, &selection))?
        .pop();
    Ok(row.filter(|row| row.door == Door::Oscar))
}

/// Waits for a job's answer, as long as the site lets a call wait.
async fn wait(shared: &Shared, service: &str, job: &str, owner: Option<String>) -> Response {
    let limit = shared.config.oscar.as_ref().map_or(0, |oscar| oscar.run_ms);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(limit);
    let row = match row_of(shared, service, job, owner.clone()) {
        Ok(Some(row)) => row,
        Ok(None) => return text(StatusCode::GONE, format!("the job {job} was deleted")),
        Err(error) => return unavailable(&error),
    };
    let Ok(marker) = row.marker.parse::<Marker>() else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the ledger holds no marker for this job",
        );
    };
    let folder = shared.folder(&marker);
    for look in 0_u32.. {
        if let Some(response) = reply(&folder) {
            return response;
        }
        if look.is_multiple_of(LEDGER_EVERY) {
            match row_of(shared, service, job, owner.clone()) {
                Ok(Some(row)) if row.state.is_final() => {
                    // It may have left its answer between the two looks.
                    return reply(&folder).unwrap_or_else(|| {
                        let reason = row.reason.unwrap_or_default();
                        text(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            format!("the job {job} is {}: {reason}", row.state.word()),
                        )
                    });
                }
                Ok(Some(_)) => {}
                Ok(None) => return text(StatusCode::GONE, format!("the job {job} was deleted")),
                Err(error) => return unavailable(&error),
            }
        }
        if tokio::time::Instant::now() >= deadline || shared.is_stopping() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    text(
        StatusCode::GATEWAY_TIMEOUT,
        format!(
            "the job {job} has not ended within {limit} ms; it goes on, and its output will be in /system/logs/{service}/{job}"
        ),
    )
}

/// The answer in a job's folder: 200 if its script ended with 0, else 500.
fn reply(folder: &std::path::Path) -> Option<Response> {
    let file = progress::open_below(folder, &folder.join(REPLY_FILE)).ok()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_REPLY_BYTES), &mut bytes).ok()?;
    let code = progress::read(folder, SCRIPT).and_then(|progress| progress.exit_code);
    let status = if code == Some(0) {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Some((status, kind, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_oscar() {
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            job_name("plants", hash),
            "plants-01234567-89ab-cdef-0123-456789abcdef"
        );
        let long = "a-service-with-a-long-name";
        assert!(job_name(long, hash).starts_with("a-service-with-a-0123"));
    }
}
