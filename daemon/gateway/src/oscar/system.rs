//! What OSCAR's clients ask about the cluster, and how a service is deployed, which on a batch
//! system only means that it is there.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::definition::HIDDEN;
use super::http::{answer, find_for, text, unavailable, write};
use super::settings::StoreSettings;
use super::store;
use crate::event::parse_json;
use crate::http::Front;
use crate::identity::Caller;
use crate::ledger::{counts, now_ms};
use crate::shared::Shared;

/// The release of OSCAR whose API this is.
const API_VERSION: &str = "4.1.2";

/// Setting: image repositories that services may use; an empty list means all.
pub(super) const IMAGES: &str = "allowed_image_repositories";

/// Most such repositories.
const MAX_IMAGES: usize = 1000;

/// GET /system/info.
pub(super) async fn info() -> Response {
    Json(json!({
        "version": API_VERSION, "git_commit": "", "architecture": std::env::consts::ARCH,
        "kubernetes_version": "", "serverless_backend": {"name": "slurm", "version": mizar_core::VERSION},
    }))
    .into_response()
}

/// GET /system/config.
pub(super) async fn config(State(front): State<Arc<Front>>) -> Response {
    let shared = &front.shared;
    let Some(settings) = &shared.config.oscar else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Users see the address of the default store; its keys are the site's, not theirs.
    let (endpoint, region) = match settings.stores.get("minio.default") {
        Some(StoreSettings::S3 {
            endpoint, region, ..
        }) => (endpoint.clone(), region.clone()),
        _ => (String::new(), String::new()),
    };
    let gpus = shared
        .capacity()
        .is_some_and(|seen| seen.gres_count("gpu") > 0);
    let images = shared.reader.read(|ledger| store::setting(ledger, IMAGES));
    let groups: Vec<&str> = front.gate.groups().collect();
    answer(images.map(|images| {
        let images: Value = images.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| json!([]));
        json!({
            "config": {
                "name": settings.name, "namespace": "oscar", "services_namespace": "oscar-svc",
                "controller_service_account": "", "gpu_available": gpus,
                "interLink_available": shared.config.interlink.is_some(), "serverless_backend": "slurm",
                "yunikorn_enable": false, "kueue_enable": false, "volume_enable": false,
                "oidc_groups": groups, "minio_quota_enabled": false,
            },
            "minio_provider": {
                "endpoint": endpoint, "verify": true, "access_key": HIDDEN, "secret_key": HIDDEN, "region": region,
            },
            "allowed_image_repositories": images,
        })
    }))
}

/// PUT /system/config: the list of image repositories.
pub(super) async fn set_config(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    if !caller.is_operator {
        return text(
            StatusCode::FORBIDDEN,
            "the list of repositories is the administrators'",
        );
    }
    let limits = &front.shared.config.limits;
    let body = match crate::http::intake::body(request, limits.body_bytes).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let value = parse_json(&body, limits.nesting).unwrap_or_default();
    let list: Option<Vec<String>> = serde_json::from_value(value[IMAGES].clone()).ok();
    let Some(list) = list.filter(|list| list.len() <= MAX_IMAGES) else {
        return text(
            StatusCode::BAD_REQUEST,
            format!("{IMAGES} must be a list of at most {MAX_IMAGES} texts"),
        );
    };
    let (kept, shown) = (json!(list).to_string(), json!(list));
    match write(&front.shared, move |ledger| {
        store::set_setting(ledger, IMAGES, &kept)
    })
    .await
    {
        Ok(_) => Json(shown).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// GET /system/status.
pub(super) async fn status(State(front): State<Arc<Front>>) -> Response {
    let shared = &front.shared;
    let seen = shared.capacity().unwrap_or_default();
    let away = shared.away.load(std::sync::atomic::Ordering::SeqCst);
    answer(shared.reader.read(counts).map(|counts| {
        let live = counts.iter().filter(|(state, _)| !state.is_final());
        let live: u64 = live.map(|(_, count)| count).sum();
        let issuers: Vec<&str> = front.gate.issuers().collect();
        let groups: Vec<&str> = front.gate.groups().collect();
        let oidc = json!({"enabled": !issuers.is_empty(), "issuers": issuers, "groups": groups});
        json!({
            "cluster": {
                "nodes_count": seen.nodes,
                "metrics": {
                    "cpu": {"total_cores": seen.cpus},
                    "memory": {"total_bytes": seen.memory_mib * 1_048_576},
                    "gpu": {"total_gpu": seen.gres_count("gpu")},
                },
                "nodes": [],
            },
            "oscar": {
                "deployment_name": "mizar-gateway", "ready": !away, "deployment": {}, "jobs_count": live,
                "pods": {"total": 0, "states": {}}, "oidc": oidc,
            },
            "minio": {"buckets_count": 0, "total_objects": 0},
        })
    }))
}

/// How a service is deployed.
pub(super) fn deployment_of(shared: &Shared, name: &str) -> Value {
    let away = shared.away.load(std::sync::atomic::Ordering::SeqCst);
    let (state, reason) = if away {
        (
            "degraded",
            "Slurm does not answer; calls are kept until it does",
        )
    } else {
        ("ready", "calls become Slurm jobs")
    };
    json!({
        "service_name": name, "namespace": "oscar-svc", "state": state, "reason": reason,
        "last_transition_time": crate::interlink::status::stamp(now_ms()),
        "active_instances": 0, "affected_instances": 0, "resource_kind": "SlurmJob",
    })
}

/// GET /system/services/NAME/deployment.
pub(super) async fn deployment(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    match find_for(&front.shared, &caller, &name) {
        Ok(_) => Json(deployment_of(&front.shared, &name)).into_response(),
        Err(response) => response,
    }
}

/// GET /system/services/NAME/deployment/logs.
pub(super) async fn deployment_logs(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    match find_for(&front.shared, &caller, &name) {
        Ok(_) => Json(json!({
            "service_name": name, "available": false, "entries": [],
            "message": "a service is no process of its own; its jobs have logs",
        }))
        .into_response(),
        Err(response) => response,
    }
}
