//! How all stands: services with what waits and runs, webhooks with what they were told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Front;
use super::jobs::{answer, ask};
use crate::ledger::{self, now_ms};

/// GET /v1/overview.
pub(super) async fn show(State(front): State<Arc<Front>>) -> Response {
    let shared = &front.shared;
    let mut names: Vec<String> = shared.services.iter().map(|one| one.name.clone()).collect();
    if shared.config.interlink.is_some() {
        names.push(crate::interlink::SERVICE.to_owned());
    }
    if front.warm.is_some() {
        names.push(ledger::WORKERS.to_owned());
    }
    let now = now_ms();
    let found = ask(&front, move |connection| {
        let services = ledger::overview(connection, now, &names)?;
        Ok((services, ledger::newest_change(connection)?))
    });
    let draining = shared.is_draining();
    let way = shared.scheduler.way();
    let away = shared.away.load(Ordering::SeqCst);
    answer(found.await.map(|(services, change)| {
        json!({
            "version": mizar_core::VERSION,
            "time_ms": now,
            "change": change,
            "slurm_answers": !away,
            "submission": way,
            "draining": draining,
            "services": services,
        })
    }))
}

/// GET /v1/webhooks.
pub(super) async fn webhooks(State(front): State<Arc<Front>>) -> Response {
    let found = ask(&front, ledger::webhooks).await;
    answer(found.map(|webhooks| json!({ "webhooks": webhooks })))
}

/// GET /v1/workers.
pub(super) async fn workers(State(front): State<Arc<Front>>) -> Response {
    let services = front.warm.as_ref().map(|warm| warm.view());
    Json(json!({ "services": services.unwrap_or_default() })).into_response()
}
