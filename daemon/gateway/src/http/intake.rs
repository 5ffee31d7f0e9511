//! Intake: read events, match them with services, store them, and only then answer 202.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::record::touching;
use super::{Front, plain_headers, refuse, refuse_for};
use crate::audit::MAX_TOUCHED;
use crate::cloudevents::{self, Bounds, FormatError};
use crate::event::{Event, parse_json};
use crate::identity::Caller;
use crate::ledger::{
    Door, LedgerError, Match, NewEvent, Receipt, Sender, Share, accept, is_draining, now_ms,
};
use crate::s3;
use crate::service::Service;
use crate::shared::Shared;
use mizar_core::chain;

/// When a sender may come again after the queue or the disk was full.
const RETRY_SECONDS: u64 = 5;

/// When a sender may come again while the gateway is drained.
const DRAIN_RETRY_SECONDS: u64 = 30;

/// Answers the webhook handshake: anybody with a token may send, at any rate.
pub(super) async fn handshake(headers: HeaderMap) -> Response {
    let mut response = StatusCode::OK.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ALLOW, HeaderValue::from_static("OPTIONS, POST"));
    if let Some(origin) = headers.get("webhook-request-origin") {
        answer.insert("webhook-allowed-origin", origin.clone());
        answer.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    response
}

/// POST /events: CloudEvents in any mode, or a notification of an object store.
pub(super) async fn events(State(front): State<Arc<Front>>, request: Request) -> Response {
    let headers = plain_headers(request.headers());
    take(
        &front.shared,
        request,
        |body, bounds| match cloudevents::mode(&headers)? {
            Some(mode) => Ok((cloudevents::read(mode, &headers, body, bounds)?, 0)),
            None => {
                let value =
                    parse_json(body, bounds.nesting).map_err(|_| FormatError::NotCloudEvents)?;
                if !s3::is_notification(&value) {
                    return Err(FormatError::NotCloudEvents);
                }
                notification(&value, bounds)
            }
        },
    )
    .await
}

/// POST /events/s3: a notification of an object store.
pub(super) async fn notifications(State(front): State<Arc<Front>>, request: Request) -> Response {
    take(&front.shared, request, |body, bounds| {
        notification(&parse_json(body, bounds.nesting)?, bounds)
    })
    .await
}

fn notification(value: &Value, bounds: Bounds) -> Result<(Vec<Event>, usize), FormatError> {
    let found = s3::read(value, bounds.batch_events)?;
    Ok((found.events, found.skipped))
}

/// Reads a request with `read`, stores its events and answers.
async fn take(
    shared: &Shared,
    request: Request,
    read: impl FnOnce(&[u8], Bounds) -> Result<(Vec<Event>, usize), FormatError>,
) -> Response {
    let sender = request.extensions().get::<Caller>();
    let sender = sender.map(Caller::sender).unwrap_or_default();
    // Before the body is read: a full queue should cost the sender and us little.
    if shared.backlog.load(Ordering::SeqCst) >= shared.config.limits.queue_events {
        let message = "too many events wait for submission";
        return refuse_for(StatusCode::TOO_MANY_REQUESTS, message, RETRY_SECONDS);
    }
    let body = match body(request, shared.config.limits.body_bytes).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let limits = &shared.config.limits;
    let bounds = Bounds {
        nesting: limits.nesting,
        batch_events: limits.batch_events,
    };
    let (events, skipped) = match read(&body, bounds) {
        Ok(found) => found,
        Err(error) => {
            shared.metrics.count_events("refused", 1);
            return refuse(status_of(&error), chain(&error));
        }
    };
    let events: Vec<NewEvent> = events
        .into_iter()
        .map(|event| matched(&shared.services, None, event, &sender))
        .collect();
    match store(shared, events.clone()).await {
        Ok(receipts) => accepted(shared, &events, &receipts, skipped),
        Err(error) => unstored(shared, &error),
    }
}

/// Reads the whole body, refusing what is longer before it is held.
pub(crate) async fn body(request: Request, limit: usize) -> Result<Bytes, Response> {
    let too_long = || {
        let mut response = refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body may have {limit} bytes"),
        );
        // The rest of the body is not worth reading.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    };
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let body: Body = request.into_body();
    to_bytes(body, limit).await.map_err(|error| {
        let error = error.into_inner();
        if error.to_string().contains("length limit exceeded") {
            too_long()
        } else {
            refuse(StatusCode::BAD_REQUEST, "the body ended early")
        }
    })
}

fn status_of(error: &FormatError) -> StatusCode {
    match error {
        FormatError::NotCloudEvents | FormatError::UnsupportedFormat { .. } => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        FormatError::BatchTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// An event with the services that want it, whose it is; `source` fetched it, or it came by HTTP.
/// Users have keys of their own, so that nobody's event can be taken for a repeat of another's.
pub(crate) fn matched(
    services: &[Service],
    source: Option<&str>,
    mut event: Event,
    sender: &Sender,
) -> NewEvent {
    if let Some(user) = &sender.user {
        event.key.extend(["user".to_owned(), user.clone()]);
    }
    let taking = services.iter().filter(|service| service.takes_from(source));
    let wanted = taking.filter_map(|service| {
        Some(Match {
            member: service.wants(&event)?,
            service: service.name.clone(),
            key_hash: event.key_hash(&service.name),
        })
    });
    let matched = wanted.collect();
    NewEvent {
        document: event.document.to_string(),
        id: event.id,
        source: event.source,
        kind: event.kind,
        subject: event.subject,
        matched,
        door: Door::Event,
        payload: None,
        sender: sender.clone(),
    }
}

pub(crate) async fn store(
    shared: &Shared,
    events: Vec<NewEvent>,
) -> Result<Vec<Vec<Receipt>>, LedgerError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let started = Instant::now();
    let unmatched_limit = shared.config.limits.unmatched_events;
    let pending =
        shared
            .writer
            .submit_as(Share::of(events.len()), move |ledger| {
                match is_draining(ledger)? {
                    true => Ok(None),
                    false => accept(ledger, now_ms(), &events, unmatched_limit).map(Some),
                }
            })?;
    let receipts = pending.done().await?.ok_or(LedgerError::Draining)?;
    shared
        .metrics
        .commit
        .observe(started.elapsed().as_secs_f64());
    Ok(receipts)
}

/// Tells the submitters of new jobs.
pub(crate) fn announce(shared: &Shared, new: u64) {
    if new > 0 {
        shared.backlog.fetch_add(new, Ordering::SeqCst);
        shared.work.ring();
    }
}

fn accepted(
    shared: &Shared,
    events: &[NewEvent],
    receipts: &[Vec<Receipt>],
    skipped: usize,
) -> Response {
    let all = || receipts.iter().flatten();
    let new = all().filter(|receipt| !receipt.duplicate).count() as u64;
    let unmatched = receipts.iter().filter(|matched| matched.is_empty()).count() as u64;
    shared.metrics.count_events("accepted", new);
    shared
        .metrics
        .count_events("duplicate", all().count() as u64 - new);
    shared.metrics.count_events("unmatched", unmatched);
    shared.metrics.count_events("skipped", skipped as u64);
    announce(shared, new);
    let listed: Vec<Value> = events
        .iter()
        .zip(receipts)
        .map(|(event, matched)| json!({"id": event.id, "source": event.source, "matched": matched}))
        .collect();
    let answer = (
        StatusCode::ACCEPTED,
        Json(json!({"events": listed, "skipped": skipped})),
    );
    let name = |receipt: &Receipt| format!("{}/{}", receipt.service, receipt.job);
    let touched = all().take(MAX_TOUCHED).map(name).collect();
    touching(answer.into_response(), touched)
}

/// The answer of every door while the gateway is drained.
pub(crate) fn draining() -> Response {
    let message = LedgerError::Draining.to_string();
    refuse_for(
        StatusCode::SERVICE_UNAVAILABLE,
        &message,
        DRAIN_RETRY_SECONDS,
    )
}

pub(crate) fn unstored(shared: &Shared, error: &LedgerError) -> Response {
    match error {
        LedgerError::Full => {
            shared.metrics.disk_full.inc();
            let message = "the disk of the ledger is full; nothing of this request was taken";
            refuse_for(StatusCode::INSUFFICIENT_STORAGE, message, RETRY_SECONDS)
        }
        LedgerError::Draining => draining(),
        error => {
            tracing::error!(%error, "cannot store events");
            let message = "the ledger cannot take events now; nothing of this request was taken";
            refuse_for(StatusCode::SERVICE_UNAVAILABLE, message, RETRY_SECONDS)
        }
    }
}
