//! Jobs of a service and their output: lists by pages, one, and the deletion of either.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mizar_slurm::Marker;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{answer, find_for, text, unavailable, write};
use super::intake::row_of;
use super::store;
use crate::http::Front;
use crate::identity::Caller;
use crate::interlink::logs::{LogOptions, walk};
use crate::interlink::status::stamp;
use crate::ledger::{self, JobRow, Selection, State as JobState, now_ms};
use crate::shared::Shared;
use crate::supervise::event::SCRIPT;
use crate::supervise::progress;

/// Jobs on one page, as in OSCAR.
const PAGE: u32 = 70;

/// Largest log in one answer; its end is what matters.
const MAX_LOG_BYTES: usize = 64 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    page: String,
    all: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ShowQuery {
    timestamps: String,
}

fn is_true(word: &str) -> bool {
    matches!(word, "true" | "1" | "True")
}

/// GET /system/logs/NAME.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Response {
    if let Err(response) = find_for(&front.shared, &caller, &name) {
        return response;
    }
    let owner = caller.sees_only();
    let before: Option<i64> = match query.page.as_str() {
        "" => None,
        page => match page.parse() {
            Ok(before) => Some(before),
            Err(_) => return text(StatusCode::BAD_REQUEST, "page is not one that we gave"),
        },
    };
    let selection = Selection {
        service: Some(name.clone()),
        before,
        only_present: true,
        owner: owner.clone(),
        limit: PAGE,
        ..Selection::default()
    };
    let shared = &front.shared;
    let found = shared.reader.read(|ledger| {
        let rows = ledger::jobs(ledger, &selection)?;
        let last = rows.last().map(|row| row.id);
        let left = match last {
            Some(last) => store::count_jobs(ledger, &name, Some(last), owner.as_deref())?,
            None => 0,
        };
        Ok((rows, last, left))
    });
    answer(found.map(|(rows, last, left)| {
        let jobs: BTreeMap<&str, Value> = rows
            .iter()
            .map(|row| (row.event_id.as_str(), shown(shared, row)))
            .collect();
        let mut value = json!({ "jobs": jobs });
        if left > 0 {
            value["next_page"] = json!(last.unwrap_or_default().to_string());
            value["remaining_jobs"] = json!(left);
        }
        value
    }))
}

/// A job as OSCAR shows it.
fn shown(shared: &Shared, row: &JobRow) -> Value {
    let status = match row.state {
        JobState::Received
        | JobState::Gathering
        | JobState::Submitting
        | JobState::Unsure
        | JobState::Submitted => "Pending",
        JobState::Running => match row.slurm_state.as_deref() {
            Some("SUSPENDED" | "STOPPED") => "Suspended",
            _ => "Running",
        },
        JobState::Completed | JobState::Joined => "Succeeded",
        JobState::Failed | JobState::Cancelled | JobState::Dead => "Failed",
        JobState::Vanished => "Unknown",
    };
    let own = folder(shared, row)
        .and_then(|folder| progress::read(&folder, SCRIPT))
        .unwrap_or_default();
    let mut value = json!({"status": status, "creation_time": stamp(row.received_ms)});
    if let Some(started) = own.started_ms.or(row.started_ms) {
        value["start_time"] = json!(stamp(started));
    }
    if row.state.is_final()
        && let Some(finished) = own.finished_ms.or(row.ended_ms)
    {
        value["finish_time"] = json!(stamp(finished));
    }
    value
}

fn folder(shared: &Shared, row: &JobRow) -> Option<std::path::PathBuf> {
    row.marker
        .parse::<Marker>()
        .ok()
        .map(|marker| shared.folder(&marker))
}

/// GET /system/logs/NAME/JOB.
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path((name, job)): Path<(String, String)>,
    Query(query): Query<ShowQuery>,
) -> Response {
    let row = match row_of(&front.shared, &name, &job, caller.sees_only()) {
        Ok(Some(row)) => row,
        Ok(None) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => return unavailable(&error),
    };
    let Some(folder) = folder(&front.shared, &row) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let options = LogOptions {
        timestamps: is_true(&query.timestamps),
        ..LogOptions::default()
    };
    let read = tokio::task::spawn_blocking(move || log_text(&folder, &options));
    match read.await.ok().flatten() {
        Some(bytes) => (StatusCode::OK, bytes).into_response(),
        // It never ran: the reason is all that there is to read.
        None if row.state.is_final() => text(StatusCode::OK, row.reason.unwrap_or_default()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn log_text(folder: &std::path::Path, options: &LogOptions) -> Option<Vec<u8>> {
    let path = progress::log_path(folder, SCRIPT);
    let file = progress::open_below(folder, &path).ok()?;
    drop(BufReader::new(file));
    let selection = options.select(0).ok()?;
    let mut bytes = Vec::new();
    let mut give = |piece: Vec<u8>| {
        bytes.extend(piece);
        bytes.len() < MAX_LOG_BYTES
    };
    walk(folder, SCRIPT, &selection, &mut give, &mut || true).ok()?;
    Some(bytes)
}

/// DELETE /system/logs/NAME/JOB: a job that has not ended is cancelled.
pub(super) async fn remove(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path((name, job)): Path<(String, String)>,
) -> Response {
    let row = match row_of(&front.shared, &name, &job, caller.sees_only()) {
        Ok(Some(row)) => row,
        Ok(None) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => return unavailable(&error),
    };
    match write(&front.shared, move |ledger| {
        ledger::delete(ledger, now_ms(), row.id)
    })
    .await
    {
        Ok(_) => {
            front.shared.look.ring();
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// DELETE /system/logs/NAME: those that ended well, or all with `all=true`.
pub(super) async fn remove_all(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Response {
    if let Err(response) = find_for(&front.shared, &caller, &name) {
        return response;
    }
    let all = is_true(&query.all);
    match write(&front.shared, move |ledger| {
        let owner = caller.sees_only();
        store::remove_jobs(ledger, now_ms(), &name, all, owner.as_deref())
    })
    .await
    {
        Ok(()) => {
            front.shared.look.ring();
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => unavailable(&error),
    }
}
