//! Flow of services over HTTP: shown, changed, replayed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::jobs::{answer, ask};
use super::{Front, intake, parse_time, refuse};
use crate::event::parse_json;
use crate::ledger::{self, Setting, now_ms};
use mizar_core::chain;

/// Whether there is such a service; else the answer that there is none.
async fn known(front: &Arc<Front>, name: &str) -> Result<(), Response> {
    let configured = front
        .shared
        .services
        .iter()
        .any(|service| service.name == name);
    let own = configured || name == crate::interlink::SERVICE || name == crate::ledger::WORKERS;
    let asked = name.to_owned();
    match ask(front, move |ledger| ledger::is_known(ledger, &asked)).await {
        Ok(found) if own || found => Ok(()),
        Ok(_) => Err(refuse(
            StatusCode::NOT_FOUND,
            format!("there is no service `{}`", name.escape_debug()),
        )),
        Err(error) => Err(answer(Err(error))),
    }
}

/// GET /v1/services/NAME/flow.
pub(super) async fn show(State(front): State<Arc<Front>>, Path(name): Path<String>) -> Response {
    if let Err(response) = known(&front, &name).await {
        return response;
    }
    let found = ask(&front, ledger::flows).await;
    answer(found.map(|all| {
        let own = all.into_iter().find(|(service, _)| *service == name);
        json!(own.map(|(_, flow)| flow).unwrap_or_default())
    }))
}

/// Reads a small JSON object.
async fn object(
    front: &Front,
    request: Request,
) -> Result<serde_json::Map<String, Value>, Response> {
    let limits = &front.shared.config.limits;
    let body = intake::body(request, limits.body_bytes).await?;
    match parse_json(&body, limits.nesting) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(refuse(
            StatusCode::BAD_REQUEST,
            "the body is no JSON object",
        )),
        Err(error) => Err(refuse(StatusCode::BAD_REQUEST, chain(&error))),
    }
}

/// PUT /v1/services/NAME/flow: what is named changes, what is null has no bound.
pub(super) async fn set(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if let Err(response) = known(&front, &name).await {
        return response;
    }
    let given = match object(&front, request).await {
        Ok(given) => given,
        Err(response) => return response,
    };
    let mut settings: Vec<Setting> = Vec::new();
    for (key, value) in given {
        let word = match value {
            Value::Null => "none".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        match format!("{key}={word}").parse() {
            Ok(setting) => settings.push(setting),
            Err(problem) => return refuse(StatusCode::BAD_REQUEST, problem),
        }
    }
    let shared = &front.shared;
    let written = shared
        .writer
        .submit(move |ledger| ledger::set_flow(ledger, now_ms(), &name, &settings));
    let flow = match written {
        Ok(pending) => pending.done().await,
        Err(error) => Err(error),
    };
    shared.work.ring();
    answer(flow.map(|flow| json!(flow)))
}

/// POST /v1/services/NAME/replay: `{"from": TIME, "to": TIME}`.
pub(super) async fn replay(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if let Err(response) = known(&front, &name).await {
        return response;
    }
    let given = match object(&front, request).await {
        Ok(given) => given,
        Err(response) => return response,
    };
    let time = |key: &str| given.get(key).and_then(Value::as_str).and_then(parse_time);
    let (Some(from_ms), Some(to_ms)) = (time("from"), time("to")) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "from and to must be times as 2026-01-02T10:00:00Z",
        );
    };
    let shared = &front.shared;
    let written = shared
        .writer
        .submit(move |ledger| ledger::replay(ledger, now_ms(), &name, from_ms, to_ms));
    let count = match written {
        Ok(pending) => pending.done().await,
        Err(error) => Err(error),
    };
    match count {
        Ok(count) => {
            shared.work.ring();
            (StatusCode::ACCEPTED, Json(json!({ "replayed": count }))).into_response()
        }
        Err(error) => answer(Err(error)),
    }
}
