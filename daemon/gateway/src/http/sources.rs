//! Sources and the messages of theirs that are no events, over HTTP: listed, replayed, discarded.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::jobs::{answer, ask};
use super::{Front, intake, refuse};
use crate::ledger::{self, LedgerError};
use crate::sources::{self, Replayed};

/// Most dead letters in one answer; discarded and replayed ones make room.
const PAGE: u32 = 1000;

/// GET /v1/sources.
pub(super) async fn list(State(front): State<Arc<Front>>) -> Response {
    let found = ask(&front, ledger::sources).await;
    answer(found.map(|sources| json!({ "sources": sources })))
}

/// GET /v1/dead-letters: the newest messages that are no events.
pub(super) async fn dead_letters(State(front): State<Arc<Front>>) -> Response {
    let found = ask(&front, |connection| ledger::dead_messages(connection, PAGE)).await;
    answer(found.map(|messages| json!({ "messages": messages })))
}

/// DELETE /v1/dead-letters/ID.
pub(super) async fn discard(State(front): State<Arc<Front>>, Path(id): Path<i64>) -> Response {
    let done = write(&front, move |connection| {
        ledger::discard_dead_message(connection, id)
    });
    match done.await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => missing(id),
        Err(error) => answer(Err(error)),
    }
}

/// POST /v1/dead-letters/ID/replay.
pub(super) async fn replay(State(front): State<Arc<Front>>, Path(id): Path<i64>) -> Response {
    let shared = Arc::clone(&front.shared);
    let done = write(&front, move |connection| {
        sources::replay(connection, &shared.services, &shared.config.limits, id)
    });
    match done.await {
        Ok(Replayed::Taken(tally)) => {
            intake::announce(&front.shared, tally.accepted);
            let told = json!({"accepted": tally.accepted, "duplicates": tally.duplicates,
                "unmatched": tally.unmatched});
            (StatusCode::ACCEPTED, Json(told)).into_response()
        }
        Ok(Replayed::Missing) => missing(id),
        Ok(Replayed::Refused(reason)) => refuse(StatusCode::CONFLICT, reason),
        Err(error) => answer(Err(error)),
    }
}

async fn write<T: Send + 'static>(
    front: &Front,
    operation: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, LedgerError> {
    front.shared.writer.submit(operation)?.done().await
}

fn missing(id: i64) -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        format!("there is no message {id} among the dead letters"),
    )
}
