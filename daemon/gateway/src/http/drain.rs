//! Draining over HTTP: started, watched, undone; and which requests it turns away.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Front;
use super::jobs::{answer, ask};
use crate::ledger::{self, LedgerError, now_ms};

/// Whether a request would make new work: what only asks, changes or ends something is let in.
pub(super) fn brings_work(request: &Request) -> bool {
    let path = request.uri().path().trim_end_matches('/');
    let takes = |door: &str| {
        path.strip_prefix(door)
            .is_some_and(|name| name.starts_with('/'))
    };
    *request.method() != Method::OPTIONS
        && (matches!(path, "/events" | "/events/s3" | "/create") || takes("/job") || takes("/run"))
}

/// Whether the gateway is drained, since when, and what is left.
async fn told(front: &Arc<Front>) -> Result<Value, LedgerError> {
    let found = ask(front, |ledger| {
        Ok((ledger::drain_since(ledger)?, ledger::left(ledger)?))
    });
    let (since_ms, left) = found.await?;
    Ok(
        json!({"draining": since_ms.is_some(), "since_ms": since_ms, "empty": left.is_empty(),
        "left": left}),
    )
}

/// GET /v1/drain.
pub(super) async fn show(State(front): State<Arc<Front>>) -> Response {
    answer(told(&front).await)
}

/// POST /v1/drain: from the answer on no event is taken.
pub(super) async fn start(State(front): State<Arc<Front>>) -> Response {
    if let Err(error) = change(&front, |ledger| ledger::drain(ledger, now_ms())).await {
        return answer(Err(error));
    }
    match told(&front).await {
        Ok(value) => (StatusCode::ACCEPTED, Json(value)).into_response(),
        Err(error) => answer(Err(error)),
    }
}

/// DELETE /v1/drain: events are taken again.
pub(super) async fn resume(State(front): State<Arc<Front>>) -> Response {
    if let Err(error) = change(&front, |ledger| ledger::resume(ledger).map(drop)).await {
        return answer(Err(error));
    }
    answer(told(&front).await)
}

/// Changes the wish, and has all parts hear of it.
async fn change(
    front: &Front,
    operation: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<()> + Send + 'static,
) -> Result<(), LedgerError> {
    front.shared.writer.submit(operation)?.done().await?;
    front.shared.look_at_drain()?;
    // What batches waited for has become jobs.
    front.shared.work.ring();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_brings_work_is_turned_away() {
        let asks = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path);
            brings_work(&request.body(axum::body::Body::empty()).unwrap())
        };
        for path in [
            "/events",
            "/events/s3",
            "/create",
            "/job/a",
            "/run/a/",
            "/events?access_token=x",
        ] {
            assert!(asks("POST", path), "{path}");
        }
        for (method, path) in [
            ("OPTIONS", "/events"),
            ("GET", "/v1/jobs"),
            ("POST", "/v1/jobs/1/retry"),
            ("POST", "/delete"),
            ("GET", "/status"),
            ("GET", "/system/logs/a"),
            ("POST", "/system/services"),
            ("DELETE", "/v1/drain"),
            ("GET", "/jobs"),
            ("GET", "/health"),
        ] {
            assert!(!asks(method, path), "{method} {path}");
        }
    }
}
