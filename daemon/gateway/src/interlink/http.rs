//! The routes of the plugin API. Peers ignore methods, so any is taken; answers other than 200
//! carry their reason as text, which travels on to the pod's events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Json, Router};
use mizar_slurm::Marker;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::logs::{LogRequest, walk};
use super::pod::Create;
use super::question::{self, QuestionError, row_of};
use super::status::job_id;
use super::translate::{Site, is_uid, translate};
use super::{SERVICE, key_hash, new_event};
use crate::event::parse_json;
use crate::http::Front;
use crate::http::intake::{announce, body, store};
use crate::http::record::touching;
use crate::identity::Caller;
use crate::ledger::{self, LedgerError, State as JobState, now_ms};
use crate::shared::Shared;
use mizar_core::chain;

/// First wait for Slurm's answer to a create; it doubles, up to the next.
const LOOK_MIN: Duration = Duration::from_millis(20);
/// Longest wait between two looks into the ledger.
const LOOK_MAX: Duration = Duration::from_millis(200);

/// Pieces of a log that wait for a slow reader.
const PIECES: usize = 8;

/// The routes.
pub fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/create", any(create))
        .route("/delete", any(delete))
        .route("/status", any(status))
        .route("/getLogs", any(logs))
        .route("/pinglink", any(ping))
}

fn text(status: StatusCode, message: impl Into<String>) -> Response {
    let mut message: String = message.into();
    message.push('\n');
    (status, message).into_response()
}

fn unavailable(error: &LedgerError) -> Response {
    if *error == LedgerError::Draining {
        return crate::http::intake::draining();
    }
    tracing::error!(%error, "cannot use the ledger for a pod");
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("the gateway's ledger does not answer: {error}"),
    )
}

/// Reads a request as `T`, and the bytes as they came.
async fn read<T: DeserializeOwned>(
    shared: &Shared,
    request: Request,
) -> Result<(T, Bytes), Response> {
    let limit = shared
        .config
        .interlink
        .as_ref()
        .map_or(0, |settings| settings.body_bytes);
    let bytes = body(request, limit).await?;
    let value = parse_json(&bytes, shared.config.limits.nesting)
        .map_err(|error| text(StatusCode::BAD_REQUEST, chain(&error)))?;
    let read = serde_json::from_value(value).map_err(|error| {
        text(
            StatusCode::BAD_REQUEST,
            format!("the body has another shape: {error}"),
        )
    })?;
    Ok((read, bytes))
}

/// POST /create: one pod, on disk before the answer.
async fn create(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let shared = &front.shared;
    if shared.backlog.load(std::sync::atomic::Ordering::SeqCst) >= shared.config.limits.queue_events
    {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pods and events wait for submission",
        );
    }
    let (create, bytes): (Create, _) = match read(shared, request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    if let Err(error) = check(shared, &create, caller.user.as_deref()) {
        return text(StatusCode::BAD_REQUEST, error);
    }
    let metadata = &create.pod.metadata;
    let event = new_event(
        &metadata.uid,
        &metadata.namespace,
        &metadata.name,
        Some(bytes.to_vec()),
        caller.sender(),
    );
    let receipts = match store(shared, vec![event]).await {
        Ok(receipts) => receipts,
        Err(error) => return unavailable(&error),
    };
    let is_new = receipts.iter().flatten().any(|receipt| !receipt.duplicate);
    announce(shared, u64::from(is_new));
    tracing::info!(pod = %metadata.uid, namespace = %metadata.namespace, name = %metadata.name, is_new, "a pod came");
    let answer = answer_create(shared, &metadata.uid, &caller).await;
    touching(answer, vec![metadata.uid.clone()])
}

/// Translates a pod for its errors alone: the job is made when it is submitted.
fn check(shared: &Shared, create: &Create, user: Option<&str>) -> Result<(), String> {
    let uid = &create.pod.metadata.uid;
    let marker = Marker::new(SERVICE, &key_hash(uid), 0).map_err(|error| error.to_string())?;
    let folder = shared.folder(&marker).display().to_string();
    plan(shared, create, &folder, user).map(drop)
}

/// Translates a pod with the site's settings, as a job of `user`.
pub(crate) fn plan(
    shared: &Shared,
    create: &Create,
    folder: &str,
    user: Option<&str>,
) -> Result<crate::jobfiles::Planned, String> {
    let settings = shared.config.interlink.as_ref();
    let interlink = settings.ok_or("this site takes no pods any more")?;
    let site = Site {
        containers: &shared.config.containers,
        interlink,
        folder,
        uid: crate::identity::uid_of(user)?,
    };
    translate(create, site).map_err(|error| error.to_string())
}

/// Waits a little for Slurm's id, so that the pod gets it at once where that is possible.
async fn answer_create(shared: &Shared, uid: &str, caller: &Caller) -> Response {
    let limit = shared
        .config
        .interlink
        .as_ref()
        .map_or(0, |settings| settings.create_wait_ms);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(limit);
    let mut pause = LOOK_MIN;
    loop {
        let row = match row_of(shared, uid) {
            Ok(Some(row)) => row,
            Ok(None) => return unavailable(&LedgerError::Closed),
            Err(error) => return unavailable(&error),
        };
        if !caller.may_touch(row.owner.as_deref()) {
            return text(
                StatusCode::CONFLICT,
                format!("the pod {uid} is another caller's"),
            );
        }
        if row.deleted_ms.is_some() {
            return text(StatusCode::CONFLICT, format!("the pod {uid} was deleted"));
        }
        if row.state == JobState::Dead {
            let reason = row.reason.unwrap_or_default();
            return text(
                StatusCode::BAD_REQUEST,
                format!("Slurm takes no job for the pod {uid}: {reason}"),
            );
        }
        if row.slurm_job.is_some() || tokio::time::Instant::now() >= deadline {
            return Json(json!({"PodUID": uid, "PodJID": job_id(&row)})).into_response();
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

/// POST /delete: a pod, or anything with its `metadata.uid`.
///
/// What is not known is remembered as deleted all the same: its create may be under way.
async fn delete(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let shared = &front.shared;
    let (value, _): (Value, _) = match read(shared, request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let find = |pointer| value.pointer(pointer).and_then(Value::as_str);
    let uid = find("/metadata/uid")
        .or_else(|| find("/pod/metadata/uid"))
        .or_else(|| find("/UID"));
    let Some(uid) = uid.filter(|uid| is_uid(uid)) else {
        return text(
            StatusCode::BAD_REQUEST,
            "metadata.uid is no UUID of lower-case digits",
        );
    };
    let name = |pointer| {
        find(pointer)
            .unwrap_or_default()
            .chars()
            .take(253)
            .collect::<String>()
    };
    let touched = vec![uid.to_owned()];
    let event = new_event(
        uid,
        &name("/metadata/namespace"),
        &name("/metadata/name"),
        None,
        caller.sender(),
    );
    let deleted = shared.writer.submit(move |ledger| {
        let receipts = ledger::accept(ledger, now_ms(), &[event], 0)?;
        receipts.iter().flatten().try_fold(0, |sum, receipt| {
            let owner = ledger::owner(ledger, receipt.job)?;
            match caller.may_touch(owner.as_deref()) {
                true => Ok(sum + ledger::delete(ledger, now_ms(), receipt.job)?),
                // As of a pod that is not there: it is not this caller's.
                false => Ok(sum),
            }
        })
    });
    let deleted = match deleted {
        Ok(pending) => pending.done().await,
        Err(error) => Err(error),
    };
    match deleted {
        Ok(count) => {
            tracing::info!(pod = %uid, count, "a pod was deleted");
            shared.look.ring();
            touching(
                text(StatusCode::OK, format!("the pod {uid} is deleted")),
                touched,
            )
        }
        Err(error) => unavailable(&error),
    }
}

/// GET /status: pods as they are; without any it is the ping.
async fn status(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let limit = front.shared.config.interlink.as_ref();
    let limit = limit.map_or(0, |settings| settings.body_bytes);
    let bytes = match body(request, limit).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let shared = Arc::clone(&front.shared);
    let told = tokio::task::spawn_blocking(move || question::answer(&shared, &caller, &bytes));
    match told.await.unwrap_or(Err(LedgerError::Closed.into())) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(QuestionError::Shape(problem)) => text(StatusCode::BAD_REQUEST, problem),
        Err(QuestionError::Ledger(error)) => unavailable(&error),
    }
}

async fn ping() -> Response {
    text(StatusCode::OK, "pong")
}

/// GET /getLogs: output of one container, while it comes if asked so.
async fn logs(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (wanted, _): (LogRequest, _) = match read(&front.shared, request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let selection = match wanted.opts.select(mizar_core::clock::unix_ns()) {
        Ok(selection) => selection,
        Err(problem) => return text(StatusCode::BAD_REQUEST, problem),
    };
    if !is_uid(&wanted.pod_uid) || !mizar_slurm::marker::is_label(&wanted.container_name) {
        return text(
            StatusCode::BAD_REQUEST,
            "PodUID must be a UUID and ContainerName a DNS label",
        );
    }
    let row = match row_of(&front.shared, &wanted.pod_uid) {
        Ok(Some(row)) if row.deleted_ms.is_none() && caller.may_touch(row.owner.as_deref()) => row,
        Ok(_) => {
            return text(
                StatusCode::NOT_FOUND,
                format!("there is no pod {}", wanted.pod_uid),
            );
        }
        Err(error) => return unavailable(&error),
    };
    let Ok(marker) = row.marker.parse::<Marker>() else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the ledger holds no marker for this pod",
        );
    };
    let (folder, shared) = (front.shared.folder(&marker), Arc::clone(&front.shared));
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut give = |piece: Vec<u8>| match piece.is_empty() {
            true => !sender.is_closed(),
            false => sender.blocking_send(Bytes::from(piece)).is_ok(),
        };
        let mut has_ended = || {
            shared.is_stopping()
                || is_over(&shared, &wanted.pod_uid, &folder, &wanted.container_name)
        };
        if let Err(error) = walk(
            &folder,
            &wanted.container_name,
            &selection,
            &mut give,
            &mut has_ended,
        ) {
            tracing::warn!(%error, pod = %wanted.pod_uid, "cannot read a log");
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|piece| (Ok::<_, Infallible>(piece), receiver))
    });
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, Body::from_stream(pieces)).into_response()
}

/// Whether a container will write no more.
fn is_over(shared: &Shared, uid: &str, folder: &std::path::Path, container: &str) -> bool {
    let ended = crate::supervise::progress::read(folder, container)
        .is_some_and(|progress| progress.finished_ms.is_some());
    ended
        || !matches!(row_of(shared, uid), Ok(Some(row)) if !row.state.is_final() && row.deleted_ms.is_none())
}
