//! Questions about jobs and services, and the one thing an operator may ask for: a retry.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Front, refuse};
use crate::identity::Caller;
use crate::ledger::{self, LedgerError, Selection};

/// Jobs in one answer, unless fewer are asked for.
const PAGE: u32 = 100;

/// Most steps of one job's way, the newest.
const WAY_STEPS: u32 = 200;

/// Most jobs in one answer.
const PAGE_MAX: u32 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    service: Option<String>,
    state: Option<String>,
    before: Option<i64>,
    limit: Option<u32>,
    /// Only what nobody deleted or discarded.
    #[serde(default)]
    present: bool,
    /// The token, where the webhook specification puts it; checked before, unused here.
    #[serde(rename = "access_token")]
    _access_token: Option<String>,
}

pub(super) async fn list(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "known are service, state, before, limit and present",
        );
    };
    let state = match query
        .state
        .as_deref()
        .map(|word| (word, ledger::State::from_word(word)))
    {
        None => None,
        Some((_, Some(state))) => Some(state),
        Some((word, None)) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                format!("there is no state `{word}`"),
            );
        }
    };
    let selection = Selection {
        service: query.service,
        state,
        job: None,
        before: query.before,
        only_present: query.present,
        owner: caller.sees_only(),
        limit: query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX),
        ..Selection::default()
    };
    let limit = selection.limit as usize;
    let found = ask(&front, move |connection| {
        ledger::jobs(connection, &selection)
    })
    .await;
    answer(found.map(|jobs| {
        let next = if jobs.len() == limit {
            jobs.last().map(|job| job.id)
        } else {
            None
        };
        json!({"jobs": jobs, "next_before": next})
    }))
}

pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<i64>,
) -> Response {
    let found = ask(&front, move |connection| {
        let selection = Selection {
            job: Some(job),
            owner: caller.sees_only(),
            limit: 1,
            ..Selection::default()
        };
        let row = ledger::jobs(connection, &selection)?.pop();
        let way = ledger::changes_of(connection, job, WAY_STEPS)?;
        Ok((row, ledger::document(connection, job)?, way))
    })
    .await;
    match found {
        Ok((Some(row), document, way)) => {
            let event: Option<Value> =
                document.and_then(|document| serde_json::from_str(&document).ok());
            Json(json!({"job": row, "event": event, "way": way})).into_response()
        }
        Ok((None, ..)) => refuse(StatusCode::NOT_FOUND, format!("there is no job {job}")),
        Err(error) => answer(Err(error)),
    }
}

pub(super) async fn retry(State(front): State<Arc<Front>>, Path(job): Path<i64>) -> Response {
    let asked = front
        .shared
        .writer
        .submit(move |connection| ledger::retry(connection, ledger::now_ms(), job));
    let done = match asked {
        Ok(pending) => pending.done().await,
        Err(error) => Err(error),
    };
    match done {
        Ok(None) => refuse(StatusCode::NOT_FOUND, format!("there is no job {job}")),
        Ok(Some((state, false))) => refuse(
            StatusCode::CONFLICT,
            format!(
                "job {job} is {}: only what ended badly is tried again",
                state.word()
            ),
        ),
        Ok(Some((_, true))) => {
            front.shared.work.ring();
            (
                StatusCode::ACCEPTED,
                Json(json!({"job": job, "state": "received"})),
            )
                .into_response()
        }
        Err(error) => answer(Err(error)),
    }
}

/// POST /v1/jobs/ID/discard: a dead letter is not shown among them any more. The ledger goes on to
/// know its event, which is no new one if it comes again.
pub(super) async fn discard(State(front): State<Arc<Front>>, Path(job): Path<i64>) -> Response {
    let asked = front.shared.writer.submit(move |connection| {
        let selection = Selection {
            job: Some(job),
            only_present: true,
            limit: 1,
            ..Selection::default()
        };
        let state = ledger::jobs(connection, &selection)?
            .pop()
            .map(|row| row.state);
        if state == Some(ledger::State::Dead) {
            ledger::delete(connection, ledger::now_ms(), job)?;
        }
        Ok(state)
    });
    let done = match asked {
        Ok(pending) => pending.done().await,
        Err(error) => Err(error),
    };
    match done {
        Ok(Some(ledger::State::Dead)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Some(state)) => refuse(
            StatusCode::CONFLICT,
            format!(
                "job {job} is {}: only dead letters are discarded",
                state.word()
            ),
        ),
        Ok(None) => refuse(StatusCode::NOT_FOUND, format!("there is no job {job}")),
        Err(error) => answer(Err(error)),
    }
}

pub(super) async fn services(State(front): State<Arc<Front>>) -> Response {
    Json(json!({"services": front.shared.services})).into_response()
}

pub(super) async fn ask<T: Send + 'static>(
    front: &Arc<Front>,
    query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, LedgerError> {
    let shared = Arc::clone(&front.shared);
    tokio::task::spawn_blocking(move || shared.reader.read(query))
        .await
        .unwrap_or(Err(LedgerError::Closed))
}

pub(super) fn answer(result: Result<Value, LedgerError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(LedgerError::Full) => refuse(
            StatusCode::INSUFFICIENT_STORAGE,
            "the disk of the ledger is full",
        ),
        Err(error) => {
            tracing::error!(%error, "cannot use the ledger");
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "the ledger does not answer",
            )
        }
    }
}
