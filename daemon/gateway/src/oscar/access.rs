//! Who may use the OSCAR API, and what of it: administrators by password, as OSCAR has it; others by
//! a token of their OIDC issuer or a client certificate, for what is their own, public, or open to
//! them by name; and whoever holds a service's own token, to call that service.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::http::{find, text};
use super::store::Kept;
use super::users::same_text;
use crate::auth::{Given, given};
use crate::http::Front;
use crate::http::admit::{Proof, enter, status_of, strange};
use crate::identity::{Caller, Refusal};

/// Whether a service is somebody's own.
pub(super) fn owns(caller: &Caller, kept: &Kept) -> bool {
    caller.is_operator || caller.name == kept.owner
}

/// Whether somebody may see and call a service.
pub(super) fn sees(caller: &Caller, kept: &Kept) -> bool {
    let definition = &kept.definition;
    owns(caller, kept)
        || match definition.visibility.as_str() {
            "public" => true,
            "restricted" => {
                let allowed = definition.rest.get("allowed_users");
                let allowed = allowed.and_then(serde_json::Value::as_array);
                allowed
                    .into_iter()
                    .flatten()
                    .filter_map(serde_json::Value::as_str)
                    .any(|entry| caller.is_named(entry))
            }
            _ => false,
        }
}

/// Lets known users in, to /system.
pub(super) async fn admit(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Response {
    let proof = Proof::of(&request);
    if let Some(caller) = front.gate.basic(proof.authorization.as_deref()) {
        return enter(&front, caller, request, next).await;
    }
    let found = match given(proof.authorization.as_deref(), None) {
        Given::Token(token) => front.gate.bearer(&token).await,
        Given::Other => Err(Refusal::Missing),
        Given::Nothing => match proof.certificate.as_deref() {
            Some(claimed) => front.gate.certified(claimed),
            None => Err(Refusal::Missing),
        },
    };
    match found {
        Ok(caller) => enter(&front, caller, request, next).await,
        Err(refusal) => refused(&refusal, "Basic"),
    }
}

/// Lets those in who may call a service: /job and /run. The handlers find the service among the
/// request's extensions.
pub(super) async fn admit_call(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    mut request: Request,
    next: Next,
) -> Response {
    let proof = Proof::of(&request);
    match called(&front, &name, &proof).await {
        Ok((kept, caller)) => {
            request.extensions_mut().insert(kept);
            enter(&front, caller, request, next).await
        }
        Err(response) => response,
    }
}

/// The service, and who calls it; unknown services answer as those that are not to be seen.
async fn called(front: &Front, name: &str, proof: &Proof) -> Result<(Kept, Caller), Response> {
    let kept = match find(&front.shared, name) {
        Ok(kept) => Some(kept),
        Err(response) if response.status() == StatusCode::NOT_FOUND => None,
        Err(response) => return Err(response),
    };
    let caller = match given(proof.authorization.as_deref(), None) {
        Given::Token(token) => {
            let own = kept.as_ref().map_or("", |kept| kept.token.as_str());
            if same_text(own, &token) && !own.is_empty() {
                Ok(Caller::of_service(name))
            } else if let Some(operator) = front.gate.operator(&token) {
                Ok(operator)
            } else if token.contains('.') {
                front.gate.bearer(&token).await
            } else {
                // What is no token of an issuer is one of a service, and not of this one.
                Err(Refusal::Missing)
            }
        }
        Given::Other => Err(Refusal::Missing),
        Given::Nothing => match proof.certificate.as_deref() {
            Some(claimed) => front.gate.certified(claimed),
            None => Err(Refusal::Missing),
        },
    };
    let caller = caller.map_err(|refusal| refused(&refusal, "Bearer"))?;
    match kept {
        Some(kept) if caller == Caller::of_service(name) || sees(&caller, &kept) => {
            Ok((kept, caller))
        }
        _ => Err(crate::http::admit::named(
            StatusCode::NOT_FOUND.into_response(),
            caller,
        )),
    }
}

/// As OSCAR answers: without a body where nothing was given that could be wrong.
fn refused(refusal: &Refusal, scheme: &'static str) -> Response {
    let (status, asks) = status_of(refusal);
    let mut response = match refusal {
        Refusal::Missing => status.into_response(),
        _ => text(status, refusal.to_string()),
    };
    let scheme = match refusal {
        Refusal::Missing => Some(scheme),
        _ => asks,
    };
    if let Some(scheme) = scheme {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    strange(response, refusal)
}
