//! The routes of the OSCAR API, who may use them, and services: made, read, changed, removed.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use mizar_slurm::marker::is_label;
use serde::Deserialize;
use serde_json::Value;

use super::definition::{Definition, DefinitionError};
use super::store::{self, Kept};
use super::{access, intake, logs, system};
use crate::event::parse_json;
use crate::http::Front;
use crate::http::record::touching;
use crate::identity::Caller;
use crate::ledger::{LedgerError, now_ms};
use crate::shared::Shared;
use mizar_core::chain;

/// Whether a path is OSCAR's: these prove who asks by themselves.
#[must_use]
pub fn is_route(path: &str) -> bool {
    ["/system/", "/job/", "/run/"]
        .iter()
        .any(|start| path.starts_with(start))
}

/// The routes. Clients ask with and without a slash at the end.
pub fn routes(front: &Arc<Front>) -> Router<Arc<Front>> {
    let mut all = Router::new();
    for end in ["", "/"] {
        let path = |path: &str| format!("{path}{end}");
        all = all
            .route(&path("/system/info"), get(system::info))
            .route(
                &path("/system/config"),
                get(system::config).put(system::set_config),
            )
            .route(&path("/system/status"), get(system::status))
            .route(
                &path("/system/services"),
                get(list).post(create).put(update),
            )
            .route(&path("/system/services/{name}"), get(show).delete(remove))
            .route(
                &path("/system/services/{name}/deployment"),
                get(system::deployment),
            )
            .route(
                &path("/system/services/{name}/deployment/logs"),
                get(system::deployment_logs),
            )
            .route(
                &path("/system/logs/{name}"),
                get(logs::list).delete(logs::remove_all),
            )
            .route(
                &path("/system/logs/{name}/{job}"),
                get(logs::show).delete(logs::remove),
            );
        for verb in ["stop", "start", "restart", "auth"] {
            all = all.route(
                &path(&format!("/system/services/{{name}}/{verb}")),
                any(not_exposed),
            );
        }
        for (place, reason) in ABSENT {
            all = all.route(&path(place), any(move || async move { absent(reason) }));
        }
    }
    let admit = middleware::from_fn_with_state(Arc::clone(front), access::admit);
    all.layer(admit).merge(calls(front))
}

/// The routes that are called with a service's own token, or by those who see it.
fn calls(front: &Arc<Front>) -> Router<Arc<Front>> {
    let mut all = Router::new();
    for end in ["", "/"] {
        all = all
            .route(&format!("/job/{{name}}{end}"), post(intake::job))
            .route(&format!("/run/{{name}}{end}"), post(intake::run));
    }
    let admit = middleware::from_fn_with_state(Arc::clone(front), access::admit_call);
    all.layer(admit)
}

/// What is not kept here, and why.
const ABSENT: [(&str, &str); 12] = [
    (
        "/system/logs",
        "the gateway logs its requests to stderr, which the site's journal keeps",
    ),
    ("/system/metrics", METRICS),
    ("/system/metrics/breakdown", METRICS),
    ("/system/metrics/{name}", METRICS),
    ("/system/quotas/user", QUOTAS),
    ("/system/quotas/user/{id}", QUOTAS),
    ("/system/volumes", VOLUMES),
    ("/system/volumes/{name}", VOLUMES),
    ("/system/buckets", BUCKETS),
    ("/system/buckets/{name}", BUCKETS),
    ("/system/buckets/{name}/presign", BUCKETS),
    ("/system/federation/{name}", FEDERATION),
];
const METRICS: &str = "metrics are served in Prometheus' format at /metrics";
const QUOTAS: &str = "limits of users are those of their Slurm associations: see sacctmgr";
const VOLUMES: &str =
    "volumes need Kubernetes; the shared file system of the cluster is there anyway";
const BUCKETS: &str = "buckets are made and read at the object store itself";
const FEDERATION: &str =
    "federations are not kept here; delegate to a service of this cluster from elsewhere";

fn absent(reason: &str) -> Response {
    text(StatusCode::NOT_IMPLEMENTED, reason)
}

async fn not_exposed() -> Response {
    absent(
        "services of a Slurm cluster are batch jobs: there is nothing exposed to stop, start or log in to",
    )
}

pub(super) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

pub(super) fn text(status: StatusCode, message: impl Into<String>) -> Response {
    (status, message.into()).into_response()
}

pub(super) fn unavailable(error: &LedgerError) -> Response {
    if *error == LedgerError::Draining {
        return crate::http::intake::draining();
    }
    tracing::error!(%error, "cannot use the ledger for OSCAR");
    let status = match error {
        LedgerError::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(
        status,
        format!("the gateway's ledger does not answer: {error}"),
    )
}

/// Runs an operation on the ledger and waits until it is on disk.
pub(super) async fn write<T: Send + 'static>(
    shared: &Shared,
    operation: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, LedgerError> {
    shared.writer.submit(operation)?.done().await
}

/// One service, or the answer that there is none.
#[allow(
    clippy::result_large_err,
    reason = "an answer is what the caller has for it"
)]
pub(super) fn find(shared: &Shared, name: &str) -> Result<Kept, Response> {
    if !is_label(name) {
        return Err(StatusCode::NOT_FOUND.into_response());
    }
    match shared.reader.read(|ledger| store::find(ledger, name)) {
        Ok(Some(kept)) => Ok(kept),
        Ok(None) => Err(StatusCode::NOT_FOUND.into_response()),
        Err(error) => Err(unavailable(&error)),
    }
}

/// One service that a caller may see, or the answer that it may not.
#[allow(
    clippy::result_large_err,
    reason = "an answer is what the caller has for it"
)]
pub(super) fn find_for(shared: &Shared, caller: &Caller, name: &str) -> Result<Kept, Response> {
    let kept = find(shared, name)?;
    match access::sees(caller, &kept) {
        true => Ok(kept),
        false => Err(forbidden(name)),
    }
}

/// The same of a service that is the caller's own.
#[allow(
    clippy::result_large_err,
    reason = "an answer is what the caller has for it"
)]
pub(super) fn find_own(shared: &Shared, caller: &Caller, name: &str) -> Result<Kept, Response> {
    let kept = find(shared, name)?;
    match access::owns(caller, &kept) {
        true => Ok(kept),
        false => Err(forbidden(name)),
    }
}

fn forbidden(name: &str) -> Response {
    text(
        StatusCode::FORBIDDEN,
        format!("the service {name} is not yours"),
    )
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Include {
    #[serde(default)]
    include: String,
}

async fn list(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<Include>,
) -> Response {
    match front.shared.reader.read(store::list) {
        Ok(all) => {
            let shown: Vec<Value> = all
                .iter()
                .filter(|kept| access::sees(&caller, kept))
                .map(|kept| shown(&front.shared, &caller, kept, &query))
                .collect();
            Json(shown).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn show(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<Include>,
) -> Response {
    match find_for(&front.shared, &caller, &name) {
        Ok(kept) => Json(shown(&front.shared, &caller, &kept, &query)).into_response(),
        Err(response) => response,
    }
}

/// A service as a caller reads it: its token is for those whose own it is.
fn shown(shared: &Shared, caller: &Caller, kept: &Kept, query: &Include) -> Value {
    let token = match access::owns(caller, kept) {
        true => kept.token.as_str(),
        false => "",
    };
    let mut value = kept.definition.shown(&kept.owner, token);
    if query.include.split(',').any(|word| word == "deployment") {
        value["deployment"] = system::deployment_of(shared, &kept.definition.name);
    }
    value
}

/// Reads and checks a definition of a request.
async fn read(shared: &Shared, request: Request) -> Result<Definition, Response> {
    let limits = &shared.config.limits;
    let body = crate::http::intake::body(request, limits.body_bytes).await?;
    let value = parse_json(&body, limits.nesting)
        .map_err(|error| text(StatusCode::BAD_REQUEST, chain(&error)))?;
    let definition = Definition::read(value).map_err(|error| {
        let status = match error {
            DefinitionError::Invalid(_) => StatusCode::BAD_REQUEST,
            DefinitionError::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
        };
        text(status, error.to_string())
    })?;
    let gpu = shared
        .config
        .oscar
        .as_ref()
        .map_or("gpu:1", |oscar| oscar.gpu.as_str());
    super::job::options(&definition, gpu)
        .map_err(|problem| text(StatusCode::BAD_REQUEST, problem))?;
    check_images(shared, &definition)?;
    Ok(definition)
}

/// Refuses images that the site's list, where there is one, does not hold.
#[allow(
    clippy::result_large_err,
    reason = "an answer is what the caller has for it"
)]
fn check_images(shared: &Shared, definition: &Definition) -> Result<(), Response> {
    let kept = shared
        .reader
        .read(|ledger| store::setting(ledger, system::IMAGES));
    let kept = kept.map_err(|error| unavailable(&error))?;
    let allowed: Vec<String> = kept
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let image = definition
        .image
        .strip_prefix("docker://")
        .unwrap_or(&definition.image);
    let fits = |start: &String| {
        let start = start.trim_end_matches('*');
        image == start
            || image
                .strip_prefix(start.trim_end_matches('/'))
                .is_some_and(|rest| rest.starts_with(['/', ':', '@']))
    };
    if allowed.is_empty() || allowed.iter().any(fits) {
        return Ok(());
    }
    Err(text(
        StatusCode::BAD_REQUEST,
        format!(
            "the image {} is of no allowed repository: {}",
            definition.image.escape_debug(),
            allowed.join(", ")
        ),
    ))
}

async fn create(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let shared = &front.shared;
    let definition = match read(shared, request).await {
        Ok(definition) => definition,
        Err(response) => return response,
    };
    let name = definition.name.clone();
    let taken = name == crate::interlink::SERVICE
        || name == crate::ledger::WORKERS
        || shared.services.iter().any(|service| service.name == name);
    if taken {
        return text(
            StatusCode::BAD_REQUEST,
            format!("the name {name} is the site's own: choose another"),
        );
    }
    let token = match intake::random_hex(32) {
        Ok(token) => token,
        Err(error) => {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("no random bytes: {error}"),
            );
        }
    };
    let new = Kept {
        definition,
        owner: caller.name,
        user: caller.user,
        token,
        created_ms: now_ms(),
    };
    match write(shared, move |ledger| store::insert(ledger, &new)).await {
        Ok(true) => {
            tracing::info!(service = %name, "a service was made");
            front.services_changed();
            touching(StatusCode::CREATED.into_response(), vec![name])
        }
        Ok(false) => text(
            StatusCode::BAD_REQUEST,
            format!("a service with the name {name} exists already"),
        ),
        Err(error) => unavailable(&error),
    }
}

async fn update(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let definition = match read(&front.shared, request).await {
        Ok(definition) => definition,
        Err(response) => return response,
    };
    let mut found = match find_own(&front.shared, &caller, &definition.name) {
        Ok(found) => found,
        Err(response) => return response,
    };
    if caller.name == found.owner {
        // The map may have changed since.
        found.user.clone_from(&caller.user);
    }
    let name = definition.name.clone();
    match write(&front.shared, move |ledger| {
        store::update(ledger, now_ms(), &found, &definition)
    })
    .await
    {
        Ok(true) => {
            front.services_changed();
            touching(StatusCode::NO_CONTENT.into_response(), vec![name])
        }
        Ok(false) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn remove(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let found = match find_own(&front.shared, &caller, &name) {
        Ok(found) => found,
        Err(response) => return response,
    };
    match write(&front.shared, move |ledger| {
        store::remove(ledger, now_ms(), &found)
    })
    .await
    {
        Ok(true) => {
            tracing::info!(service = %name.escape_debug(), "a service was removed with its jobs");
            front.services_changed();
            front.shared.look.ring();
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(false) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

/// A caller's answer in JSON.
pub(super) fn answer(found: Result<Value, LedgerError>) -> Response {
    match found {
        Ok(value) => Json(value).into_response(),
        Err(error) => unavailable(&error),
    }
}
