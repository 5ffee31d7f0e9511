//! The HTTP front: its routes. [`connections`] takes the connections. Events are read in [`intake`],
//! questions about jobs in [`jobs`]; [`admit`] says who may ask what; [`stream`] tells what happens to them, and [`page`] is the
//! page that people see.

pub(crate) mod admit;
pub(crate) mod connections;
mod drain;
mod flow;
pub(crate) mod intake;
mod joblog;
mod jobs;
mod overview;
mod page;
pub(crate) mod record;
mod sources;
mod stream;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::json;

pub use self::connections::serve;
pub use self::record::Record;
pub use self::stream::Feed;
use crate::identity::Gate;
use crate::shared::Shared;
use crate::tls::Acceptor;

/// What every handler gets.
pub struct Front {
    /// The gateway.
    pub shared: Arc<Shared>,
    /// What proves who calls.
    pub gate: Gate,
    /// What connections are met with; None is plain HTTP.
    pub tls: Option<Acceptor>,
    /// Numbers, bounds and the audit log of calls.
    pub record: Record,
    /// Workers of the OSCAR API's synchronous calls; None where the site has none.
    pub warm: Option<Arc<crate::oscar::warm::Warm>>,
    /// What listeners of the stream share.
    pub feed: Feed,
}

impl Front {
    /// Tells that the services of the OSCAR API are others now.
    pub(crate) fn services_changed(&self) {
        if let Some(warm) = &self.warm {
            warm.services_changed();
        }
    }
}

/// The routes.
pub fn router(front: Arc<Front>) -> Router {
    let config = &front.shared.config;
    let mut router = Router::new();
    if config.interlink.is_some() {
        router = router.merge(crate::interlink::routes());
    }
    if config.oscar.is_some() {
        router = router.merge(crate::oscar::routes(&front));
    }
    router
        .route("/", get(page::page))
        .route("/events", post(intake::events).options(intake::handshake))
        .route(
            "/events/s3",
            post(intake::notifications).options(intake::handshake),
        )
        .route("/metrics", get(metrics))
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/log", get(joblog::show))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/discard", post(jobs::discard))
        .route("/v1/events/stream", get(stream::stream))
        .route("/v1/overview", get(overview::show))
        .route("/v1/webhooks", get(overview::webhooks))
        .route("/v1/workers", get(overview::workers))
        .route("/v1/services", get(jobs::services))
        .route("/v1/services/{name}/flow", get(flow::show).put(flow::set))
        .route("/v1/services/{name}/replay", post(flow::replay))
        .route(
            "/v1/drain",
            get(drain::show).post(drain::start).delete(drain::resume),
        )
        .route("/v1/sources", get(sources::list))
        .route("/v1/dead-letters", get(sources::dead_letters))
        .route("/v1/dead-letters/{id}", delete(sources::discard))
        .route("/v1/dead-letters/{id}/replay", post(sources::replay))
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .fallback(|| async {
            refuse(
                StatusCode::NOT_FOUND,
                "there is nothing here: events are taken by POST /events",
            )
        })
        .method_not_allowed_fallback(|| async {
            refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "this method is not for this path",
            )
        })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&front),
            admit::admit,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&front),
            record::record,
        ))
        .with_state(front)
}

/// The routes of the plugin API alone, for callers whom the kernel named.
pub(crate) fn plugin_router(front: Arc<Front>) -> Router {
    crate::interlink::routes()
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is only the plugin API here") })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&front),
            admit::named_by_kernel,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&front),
            record::record,
        ))
        .with_state(front)
}

async fn health(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let wants_json = wants_json.is_some_and(|kinds| kinds.contains("json"));
    if front.shared.config.oscar.is_some() && !wants_json {
        // What clients of OSCAR know.
        return "Ok".into_response();
    }
    let away = front.shared.away.load(std::sync::atomic::Ordering::SeqCst);
    Json(
        json!({"status": "ok", "version": mizar_core::VERSION, "slurm_answers": !away,
        "draining": front.shared.is_draining()}),
    )
    .into_response()
}

/// The description of every route, of which a test makes sure.
pub const OPENAPI: &str = include_str!("openapi.json");

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn metrics(State(front): State<Arc<Front>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], front.shared.metrics.text()).into_response()
}

/// An answer that says no.
pub(crate) fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

/// An answer that says no for now.
pub(crate) fn refuse_for(status: StatusCode, message: &str, seconds: u64) -> Response {
    let mut response = refuse(status, message);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Milliseconds since 1970 of a time of RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let format = time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(text, &format).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Header names and values as bytes; names are lower-case.
pub(crate) fn plain_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}
