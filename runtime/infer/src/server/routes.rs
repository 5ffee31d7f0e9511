//! KServe's protocol, version 2: paths, answers and their codes.
//!
//! Source: the Open Inference Protocol and its extensions for binary tensor data and model
//! repositories.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path as Part, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::held::{AskError, Held};
use super::store::{Standing, Store, StoreError};
use super::{Settings, grpc};
use crate::wire::{self, HEADER_LENGTH, Message};
use crate::{ModelError, Port, Tensor};
use mizar_core::chain;

/// What the server knows beside the protocol's core.
pub(super) const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

/// Who can reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its owner alone, who may have it read any file.
    Owner,
    /// Others too: the models are those that it was started with.
    Network,
}

/// What all requests share.
pub(super) struct Front {
    store: Arc<Store>,
    settings: Settings,
    reach: Reach,
    /// Whether the server is about to end.
    stopped: watch::Receiver<bool>,
}

impl Front {
    pub(super) fn new(
        store: Arc<Store>,
        settings: Settings,
        reach: Reach,
        stopped: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            settings,
            reach,
            stopped,
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A model that is ready.
    pub(super) async fn held(&self, name: &str) -> Result<Arc<Held>, Arc<StoreError>> {
        self.store.get(name).await
    }

    /// Whether it goes on.
    pub(super) fn is_ready(&self) -> bool {
        !*self.stopped.borrow()
    }

    async fn model(&self, name: &str) -> Result<Arc<Held>, Response> {
        let held = self.held(name).await;
        held.map_err(|error| of_store(&error))
    }
}

type Shared = State<Arc<Front>>;

/// The name of a model: that of its file, without the suffix.
pub(super) fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    stem.to_string_lossy().into_owned()
}

pub(super) fn router(front: Arc<Front>) -> Router {
    let guard = axum::middleware::from_fn_with_state(Arc::clone(&front), authorize);
    Router::new()
        .route("/v2", get(about))
        .route("/v2/health/live", get(|| async {}))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{name}", get(metadata))
        .route("/v2/models/{name}/ready", get(model_ready))
        .route("/v2/models/{name}/infer", post(infer))
        .route("/v2/models/{name}/versions/{version}", get(metadata_of))
        .route(
            "/v2/models/{name}/versions/{version}/ready",
            get(model_ready_of),
        )
        .route("/v2/models/{name}/versions/{version}/infer", post(infer_of))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{name}/load", post(load))
        .route("/v2/repository/models/{name}/unload", post(unload))
        .route(grpc::PATH, post(grpc::call))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such path") })
        .layer(guard)
        .with_state(front)
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

fn of_store(error: &StoreError) -> Response {
    let status = match error {
        StoreError::Unknown(_) => StatusCode::NOT_FOUND,
        StoreError::Memory { .. } => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::Changed(_) => StatusCode::CONFLICT,
        StoreError::Open(_) => StatusCode::BAD_REQUEST,
        StoreError::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        StoreError::Loading { .. } | StoreError::Full(_) | StoreError::Thread(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    ask_again(refuse(status, &chain(error)))
}

/// Says when, of what may be there soon.
fn ask_again(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    response
}

/// Lets those pass who bring the token, if one is wanted.
async fn authorize(State(front): Shared, request: Request, next: Next) -> Response {
    if let (Reach::Network, Some(token)) = (front.reach, &front.settings.token) {
        let brought = request.headers().get(header::AUTHORIZATION);
        let brought = brought.map_or(&[][..], HeaderValue::as_bytes);
        if !is_same(brought, format!("Bearer {token}").as_bytes()) {
            let message = "bring the token: Authorization: Bearer TOKEN";
            let kind = request.headers().get(header::CONTENT_TYPE);
            if kind.is_some_and(|kind| kind.as_bytes().starts_with(grpc::MEDIA_TYPE.as_bytes())) {
                return grpc::refuse(tonic::Status::unauthenticated(message));
            }
            return refuse(StatusCode::UNAUTHORIZED, message);
        }
    }
    next.run(request).await
}

/// Takes as long whatever differs.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differs == 0
}

async fn about() -> Response {
    let version = mizar_core::VERSION;
    Json(json!({ "name": "mizar", "version": version, "extensions": EXTENSIONS })).into_response()
}

async fn ready(State(front): Shared) -> Response {
    match front.is_ready() {
        true => StatusCode::OK.into_response(),
        false => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is about to end",
        ),
    }
}

async fn metadata(State(front): Shared, Part(name): Part<String>) -> Response {
    match front.model(&name).await {
        Ok(held) => Json(describe(&name, &held)).into_response(),
        Err(response) => response,
    }
}

async fn metadata_of(shared: Shared, Part((name, version)): Part<(String, String)>) -> Response {
    match check_version(&shared, &name, &version).await {
        Ok(()) => metadata(shared, Part(name)).await,
        Err(response) => response,
    }
}

fn describe(name: &str, held: &Held) -> Value {
    let ports = |ports: &[Port]| -> Vec<Value> {
        let port = |port: &Port| {
            let (datatype, shape) = (port.element_type.name(), lengths(port));
            json!({ "name": port.name, "datatype": datatype, "shape": shape })
        };
        ports.iter().map(port).collect()
    };
    json!({
        "name": name,
        "versions": [held.digest],
        "platform": held.platform,
        "inputs": ports(&held.inputs),
        "outputs": ports(&held.outputs),
        "parameters": {
            "backend": held.backend,
            "metadata": held.metadata,
            "notes": held.notes,
        },
    })
}

/// The shape of a port; -1 is the protocol's sign for a length that is free.
pub(super) fn lengths(port: &Port) -> Vec<i64> {
    let shape = port.shape.as_deref().unwrap_or_default();
    let length = |len: &Option<usize>| len.map_or(-1, |len| len as i64);
    shape.iter().map(length).collect()
}

async fn model_ready(State(front): Shared, Part(name): Part<String>) -> Response {
    match front.model(&name).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(response) => response,
    }
}

async fn model_ready_of(shared: Shared, Part((name, version)): Part<(String, String)>) -> Response {
    match check_version(&shared, &name, &version).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(response) => response,
    }
}

/// A version is a digest, or its beginning.
async fn check_version(front: &Arc<Front>, name: &str, version: &str) -> Result<(), Response> {
    let held = front.model(name).await?;
    if !version.is_empty() && held.digest.starts_with(version) {
        return Ok(());
    }
    let message = format!("model `{name}` has version {}, not {version}", held.digest);
    Err(refuse(StatusCode::NOT_FOUND, &message))
}

async fn infer_of(
    shared: Shared,
    Part((name, version)): Part<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match check_version(&shared, &name, &version).await {
        Ok(()) => infer(shared, Part(name), headers, body).await,
        Err(response) => response,
    }
}

async fn infer(
    State(front): Shared,
    Part(name): Part<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let held = front.model(&name).await?;
        let body = receive(&front, body).await?;
        let bad = |message: String| refuse(StatusCode::BAD_REQUEST, &message);
        let length = headers.get(HEADER_LENGTH);
        let length = length.map(|value| value.to_str().unwrap_or_default());
        let (mut message, numbers) =
            wire::split(&body, length).map_err(|error| bad(error.to_string()))?;
        let entries = std::mem::take(&mut message.inputs);
        let named = wire::decode(entries, numbers).map_err(|error| bad(error.to_string()))?;
        let inputs = in_order(&held.inputs, named).map_err(bad)?;
        let outputs = held.ask(inputs).await.map_err(|error| of_ask(&error))?;
        respond(&name, &held, &message, &outputs).map_err(bad)
    };
    answer.await.unwrap_or_else(|response| response)
}

fn of_ask(error: &AskError) -> Response {
    let status = match error {
        AskError::Full(_) | AskError::Ended => StatusCode::SERVICE_UNAVAILABLE,
        AskError::Model(ModelError::Run { .. } | ModelError::Output { .. }) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        AskError::Model(_) => StatusCode::BAD_REQUEST,
    };
    ask_again(refuse(status, &error.to_string()))
}

/// The whole body, unless it is too large or too slow.
async fn receive(front: &Front, body: Body) -> Result<Bytes, Response> {
    let received = receive_within(&front.settings, body).await;
    received.map_err(|(status, message)| closing(refuse(status, &message)))
}

/// The whole body, or why not.
pub(super) async fn receive_within(
    settings: &Settings,
    body: Body,
) -> Result<Bytes, (StatusCode, String)> {
    let limit = settings.body_bytes;
    match tokio::time::timeout(settings.body_limit, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let message = format!("the body is cut short, or larger than {limit} bytes");
            Err((StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_) => {
            let message = "the body took too long to arrive".to_owned();
            Err((StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// What is left of the body would be taken for the next request.
fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// A tensor for each input of the model, whatever the order of the request.
pub(super) fn in_order(
    ports: &[Port],
    mut named: Vec<(String, Tensor)>,
) -> Result<Vec<Tensor>, String> {
    let mut inputs = Vec::new();
    for port in ports {
        let place = named.iter().position(|(name, _)| *name == port.name);
        let place = place.ok_or_else(|| format!("the model needs the input {port}"))?;
        inputs.push(named.swap_remove(place).1);
    }
    match named.first() {
        Some((name, _)) => Err(format!("the model has no input `{name}`")),
        None => Ok(inputs),
    }
}

/// The outputs that the request names, or all.
fn respond(
    name: &str,
    held: &Held,
    request: &Message,
    outputs: &[Tensor],
) -> Result<Response, String> {
    let known = held
        .outputs
        .iter()
        .map(|port| port.name.as_str())
        .zip(outputs);
    let known: Vec<(&str, &Tensor)> = known.collect();
    let mut chosen = Vec::new();
    for wanted in &request.outputs {
        let found = known.iter().find(|(name, _)| *name == wanted.name);
        let found = found.ok_or_else(|| format!("the model has no output `{}`", wanted.name))?;
        chosen.push(*found);
    }
    if chosen.is_empty() {
        chosen = known;
    }
    let by_default = request.parameters.binary_data_output.unwrap_or(false);
    let is_binary = |name: &str| {
        let wanted = request.outputs.iter().find(|wanted| wanted.name == name);
        let wanted = wanted.and_then(|wanted| wanted.parameters.binary_data);
        wanted.unwrap_or(by_default)
    };
    let (entries, numbers) = wire::encode(chosen.into_iter(), is_binary);
    let message = Message {
        model_name: Some(name.to_owned()),
        model_version: Some(held.digest.clone()),
        id: request.id.clone(),
        outputs: entries,
        ..Message::default()
    };
    let (body, length) = wire::join(&message, &numbers);
    let mut response = body.into_response();
    let kind = match length {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = length {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

async fn index(State(front): Shared) -> Response {
    let rows = front.store.index().into_iter();
    let rows = rows.map(|(name, digest, state)| {
        let (state, reason) = match state {
            Standing::Ready => ("READY", ""),
            Standing::Loading => ("LOADING", "it is being read"),
            Standing::Dropped => (
                "UNAVAILABLE",
                "dropped for others; it is read again when asked for",
            ),
        };
        json!({ "name": name, "version": digest, "state": state, "reason": reason })
    });
    Json(rows.collect::<Vec<Value>>()).into_response()
}

/// Which file a model is.
#[derive(Deserialize)]
struct LoadRequest {
    parameters: LoadParameters,
}

#[derive(Deserialize)]
struct LoadParameters {
    path: PathBuf,
}

async fn load(State(front): Shared, Part(name): Part<String>, body: Body) -> Response {
    if front.reach != Reach::Owner {
        return of_others();
    }
    let body = match receive(&front, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let path = match serde_json::from_slice::<LoadRequest>(&body) {
        Ok(request) if request.parameters.path.is_absolute() => request.parameters.path,
        _ => {
            let message = "say which file: {\"parameters\": {\"path\": \"/absolute/model.onnx\"}}";
            return refuse(StatusCode::BAD_REQUEST, message);
        }
    };
    match front.store.load(&name, &path).await {
        Ok(held) => Json(describe(&name, &held)).into_response(),
        Err(error) => of_store(&error),
    }
}

async fn unload(State(front): Shared, Part(name): Part<String>) -> Response {
    if front.reach != Reach::Owner {
        return of_others();
    }
    match front.store.unload(&name) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => of_store(&error),
    }
}

fn of_others() -> Response {
    let message = "over TCP the models are those that the server was started with: files are read \
                   for the owner alone, at a unix socket";
    refuse(StatusCode::FORBIDDEN, message)
}
