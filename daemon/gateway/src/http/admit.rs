//! Who is let in, and what of this may be done by whom.
//!
//! Operators (tokens of `token_file`, rules with `operator`) may do everything; other known callers
//! may bring events and pods and ask about their own jobs. OSCAR's routes prove and allow by its own
//! rules (`oscar/access.rs`).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::{Front, drain, intake, record, refuse, refuse_for};
use crate::identity::{Caller, Claimed, Refusal};

/// When somebody may come again whose token could not be checked.
const RETRY_SECONDS: u64 = 10;

/// Routes of callers that are no operators.
const FOR_ALL: [&str; 9] = [
    "/events",
    "/events/s3",
    "/create",
    "/delete",
    "/status",
    "/getLogs",
    "/pinglink",
    "/openapi.json",
    "/v1/services",
];

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its certificate, verified.
    pub(crate) certificate: Option<Arc<Claimed>>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            certificate: None,
        }
    }
}

/// What a request brings to prove who sends it.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) authorization: Option<String>,
    query: Option<String>,
    pub(crate) certificate: Option<Arc<Claimed>>,
}

impl Proof {
    pub(crate) fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>();
        Self {
            authorization: authorization(request.headers()),
            query: request.uri().query().map(str::to_owned),
            certificate: peer.and_then(|peer| peer.certificate.clone()),
        }
    }
}

/// The header that proves something; an empty text, which proves nothing, if it is no text or there
/// are several.
fn authorization(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let first = all.next()?;
    let alone = all.next().is_none();
    let text = first.to_str().ok().filter(|_| alone);
    Some(text.unwrap_or_default().to_owned())
}

/// Lets a request in, or not.
pub(super) async fn admit(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    // OSCAR's routes have their own ways of proving who asks.
    let elsewhere = front.shared.config.oscar.is_some() && crate::oscar::is_route(path);
    // The page itself knows nothing: what it shows it asks with the token that it is given.
    let is_plain = matches!(path, "/" | "/health");
    let open = elsewhere || is_plain || request.method() == Method::OPTIONS;
    let limit = front.shared.config.request_limit(path);
    if !elsewhere && front.gate.is_open() && is_of_another_site(&request) {
        let message = "a page of another site may not ask for this";
        refuse(StatusCode::FORBIDDEN, message)
    } else if front.shared.is_draining() && drain::brings_work(&request) {
        intake::draining()
    } else {
        let answered = async {
            if open {
                next.run(request).await
            } else {
                known(&front, request, next).await
            }
        };
        match tokio::time::timeout(limit, answered).await {
            Ok(response) => response,
            Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
        }
    }
}

/// Lets in the caller whom the kernel named, who is among the request's extensions.
pub(super) async fn named_by_kernel(
    State(front): State<Arc<Front>>,
    mut request: Request,
    next: Next,
) -> Response {
    let limit = front.shared.config.request_limit(request.uri().path());
    let Some(caller) = request.extensions_mut().remove::<Caller>() else {
        return refuse(StatusCode::FORBIDDEN, "nobody knows who asks");
    };
    if front.shared.is_draining() && drain::brings_work(&request) {
        return named(intake::draining(), caller);
    }
    match tokio::time::timeout(limit, enter(&front, caller, request, next)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
    }
}

/// Lets those in who prove who they are, where they may.
async fn known(front: &Front, request: Request, next: Next) -> Response {
    let proof = Proof::of(&request);
    let peer = request.extensions().get::<Peer>().cloned();
    let certificate = proof.certificate.as_deref();
    let (authorization, query) = (proof.authorization.as_deref(), proof.query.as_deref());
    match front.gate.identify(authorization, query, certificate).await {
        Ok(caller) if caller.is_operator || is_for_all(&request) => {
            enter(front, caller, request, next).await
        }
        Ok(caller) => {
            let message = "this is for operators of the gateway";
            named(refuse(StatusCode::FORBIDDEN, message), caller)
        }
        Err(refusal) => {
            let peer = peer.map(|peer| peer.address.to_string());
            tracing::info!(peer = peer.as_deref(), %refusal, "a request was refused");
            refused(&refusal)
        }
    }
}

fn is_for_all(request: &Request) -> bool {
    let path = request.uri().path();
    // Handlers give nobody another's job.
    let asks_jobs = path == "/v1/jobs" || path.starts_with("/v1/jobs/");
    FOR_ALL.contains(&path) || (asks_jobs && *request.method() == Method::GET)
}

/// Lets a caller in, if it does not call too often: handlers find it among the request's extensions.
pub(crate) async fn enter(
    front: &Front,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>();
    if let Err(wait) = front.record.take(&caller, peer) {
        return named(record::limited(wait), caller);
    }
    request.extensions_mut().insert(caller.clone());
    named(next.run(request).await, caller)
}

/// An answer that bears who asked.
pub(crate) fn named(mut response: Response, caller: Caller) -> Response {
    response.extensions_mut().insert(caller);
    response
}

/// The status of a refusal, and what it asks for.
pub(crate) fn status_of(refusal: &Refusal) -> (StatusCode, Option<&'static str>) {
    match refusal {
        Refusal::Missing => (StatusCode::UNAUTHORIZED, Some("Bearer")),
        Refusal::Invalid(_) => (
            StatusCode::UNAUTHORIZED,
            Some("Bearer error=\"invalid_token\""),
        ),
        Refusal::Unmapped(_) => (StatusCode::FORBIDDEN, None),
        Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
    }
}

/// An answer to somebody who is known and nobody's, with the name for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Stranger(pub(crate) String);

/// An answer that bears who was refused, if that is known.
pub(crate) fn strange(mut response: Response, refusal: &Refusal) -> Response {
    if let Refusal::Unmapped(name) = refusal {
        response.extensions_mut().insert(Stranger(name.clone()));
    }
    response
}

/// The answer to somebody who is not let in.
fn refused(refusal: &Refusal) -> Response {
    let (status, asks) = status_of(refusal);
    let mut response = match refusal {
        Refusal::Unavailable(_) => refuse_for(status, &refusal.to_string(), RETRY_SECONDS),
        _ => refuse(status, refusal.to_string()),
    };
    if let Some(scheme) = asks {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    strange(response, refusal)
}

/// Whether a browser sends this for a page of another site: without tokens, being on this machine
/// is all the proof that is asked, and a browser of this machine opens any page.
fn is_of_another_site(request: &Request) -> bool {
    let site = request.headers().get("sec-fetch-site");
    let is_reading = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    !is_reading && site.is_some_and(|site| site != "same-origin" && site != "none")
}
