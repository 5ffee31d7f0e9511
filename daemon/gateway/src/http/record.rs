//! What is done around every call, whoever makes it: it gets a number, those who are refused too
//! often are told to wait, and what changed something or was refused goes into the audit log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::admit::{Peer, Stranger};
use super::{Front, refuse_for};
use crate::audit::{AuditLog, Line, MAX_TOUCHED};
use crate::config::Limits;
use crate::identity::{Caller, How};
use crate::rate::{Limited, Rate, of_address};

/// Header of the answer with the call's number.
const ID_HEADER: &str = "x-request-id";

/// Services, jobs and pods that a call made or changed; an extension of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Touched(pub(crate) Vec<String>);

/// Numbers, bounds and the log of calls.
pub struct Record {
    started: String,
    count: AtomicU64,
    callers: Rate,
    tokens: Rate,
    refused: Rate,
    pub(crate) log: Option<Arc<AuditLog>>,
}

impl Record {
    /// With the bounds of the configuration.
    #[must_use]
    pub fn new(limits: &Limits, log: Option<Arc<AuditLog>>) -> Self {
        Self {
            // Numbers of one start are of no other.
            started: format!("{:x}", mizar_core::clock::unix_ns() / 1_000),
            count: AtomicU64::new(0),
            callers: Rate::new(limits.caller_per_s),
            tokens: Rate::new(limits.token_per_s),
            refused: Rate::new(limits.refused_per_s),
            log,
        }
    }

    fn next_id(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.started)
    }

    /// Whether a caller may call now.
    pub(super) fn take(&self, caller: &Caller, peer: Option<&Peer>) -> Result<(), Limited> {
        let now = Instant::now();
        match caller.how {
            How::Basic | How::Oidc | How::Certificate => self.callers.take(&caller.name, now),
            How::Token | How::Service => self.tokens.take(&caller.name, now),
            How::Open => match peer {
                Some(peer) => self.tokens.take(&of_address(peer.address.ip()), now),
                None => Ok(()),
            },
        }
    }
}

/// The answer to somebody who calls too often.
pub(super) fn limited(limited: Limited) -> Response {
    let seconds = limited.wait.as_secs() + 1;
    let message = "you call more often than this gateway takes it from one caller";
    let mut response = refuse_for(StatusCode::TOO_MANY_REQUESTS, message, seconds);
    response.extensions_mut().insert(limited);
    response
}

/// What is remembered of a call until its answer.
struct Call {
    id: String,
    time_ms: i64,
    method: Method,
    path: String,
    peer: Option<Peer>,
}

pub(super) async fn record(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Response {
    let call = Call {
        id: front.record.next_id(),
        time_ms: crate::ledger::now_ms(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        peer: request.extensions().get::<Peer>().cloned(),
    };
    let mut response = next.run(request).await;
    let caller = response.extensions_mut().remove::<Caller>();
    let is_refused = matches!(
        response.status(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    );
    if let (None, true, Some(peer)) = (&caller, is_refused, &call.peer)
        && let Err(wait) = front
            .record
            .refused
            .take(&of_address(peer.address.ip()), Instant::now())
    {
        response = limited(wait);
    }
    if let Some(log) = &front.record.log
        && is_told(&call, &response)
        && !write(log, &call, caller.as_ref(), &response)
    {
        front.shared.metrics.audit_failed.inc();
    }
    if let Ok(id) = HeaderValue::from_str(&call.id) {
        response.headers_mut().insert(ID_HEADER, id);
    }
    front
        .shared
        .metrics
        .count_request(response.status().as_u16());
    response
}

/// Whether a call is written down: not the many after the first that came too often.
fn is_told(call: &Call, response: &Response) -> bool {
    let limited = response.extensions().get::<Limited>();
    if limited.is_some_and(|limited| !limited.is_first) {
        return false;
    }
    changes(&call.method, &call.path) || response.status().as_u16() >= 400
}

/// Whether a call would change something. interLink's routes take any method.
fn changes(method: &Method, path: &str) -> bool {
    match path {
        "/create" | "/delete" => true,
        "/status" | "/getLogs" | "/pinglink" => false,
        _ => !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS),
    }
}

fn door(path: &str) -> &'static str {
    let of = |doors: &[&str]| doors.contains(&path);
    if of(&["/events", "/events/s3"]) {
        "events"
    } else if of(&["/create", "/delete", "/status", "/getLogs", "/pinglink"]) {
        "interlink"
    } else if crate::oscar::is_route(path) {
        "oscar"
    } else {
        "api"
    }
}

fn write(log: &AuditLog, call: &Call, caller: Option<&Caller>, response: &Response) -> bool {
    let touched = response.extensions().get::<Touched>();
    let touched = touched.map_or(&[][..], |touched| &touched.0);
    let stranger = response.extensions().get::<Stranger>();
    let stranger = stranger.map(|stranger| stranger.0.as_str());
    let status = response.status();
    log.write(&Line {
        time: crate::interlink::status::stamp(call.time_ms),
        id: &call.id,
        caller: caller.map(|caller| caller.name.as_str()).or(stranger),
        how: caller.map(|caller| caller.how.word()),
        user: caller.and_then(|caller| caller.user.as_deref()),
        peer: call.peer.as_ref().map(|peer| peer.address.to_string()),
        door: door(&call.path),
        method: call.method.as_str(),
        path: &call.path,
        touched: &touched[..touched.len().min(MAX_TOUCHED)],
        status: status.as_u16(),
        outcome: match status.as_u16() {
            ..400 => "done",
            400..500 => "refused",
            _ => "failed",
        },
    })
}

/// An answer that says what was made or changed.
pub(crate) fn touching(mut response: Response, touched: Vec<String>) -> Response {
    response.extensions_mut().insert(Touched(touched));
    response
}
