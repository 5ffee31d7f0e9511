//! The calls of a webhook: the handshake, and one delivery; what an answer means.
//!
//! No redirection is followed: what is signed and, with a token, proves who we are goes to the
//! address of the configuration and to none that an answer names.

use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response, header};

use super::message::{Message, authorization};
use super::settings::{Secrets, Webhook};

/// Longest answer that is read; nothing in it matters.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It may go better later.
    #[error("{reason}")]
    Later {
        reason: String,
        /// When the receiver wants to be asked again.
        after: Option<Duration>,
    },
    /// The receiver will not have this change.
    #[error("{0}")]
    Refused(String),
    /// The receiver wants nothing any more.
    #[error("the receiver answered 410: it wants nothing any more")]
    Gone,
}

impl CallError {
    pub(super) fn later(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Later {
            reason,
            after: None,
        }
    }
}

/// The client of a webhook. Answers of any status are answers.
pub(super) fn agent(webhook: &Webhook) -> Agent {
    mizar_http::agent()
        .max_redirects(0)
        .max_idle_connections_per_host(webhook.parallel)
        .timeout_global(Some(Duration::from_millis(webhook.timeout_ms)))
        .build()
        .into()
}

/// Asks the receiver whether it wants to be called, and returns the least time between two calls.
pub(super) fn handshake(
    agent: &Agent,
    webhook: &Webhook,
    secrets: &Secrets,
) -> Result<Duration, CallError> {
    let mut request =
        Request::options(&webhook.url).header("webhook-request-origin", &webhook.origin);
    if let Some((name, value)) = authorization(secrets) {
        request = request.header(name, value);
    }
    let request = request
        .body(())
        .map_err(|error| CallError::later(error.to_string()))?;
    let answer = agent
        .run(request)
        .map_err(|error| CallError::later(error.to_string()))?;
    weigh(&answer)?;
    let headers = answer.headers();
    let allowed = word(headers, "webhook-allowed-origin").unwrap_or_default();
    if allowed != "*" && !allowed.eq_ignore_ascii_case(&webhook.origin) {
        let asked = &webhook.origin;
        return Err(CallError::later(format!(
            "the receiver did not answer the handshake with WebHook-Allowed-Origin: {asked}; set \
             handshake = false if it does not know it"
        )));
    }
    // Calls per minute; `*` and none are any number.
    let rate = word(headers, "webhook-allowed-rate").and_then(|rate| rate.parse::<u32>().ok());
    Ok(rate.map_or(Duration::ZERO, |rate| Duration::from_secs(60) / rate.max(1)))
}

/// Delivers a message.
pub(super) fn deliver(agent: &Agent, webhook: &Webhook, message: Message) -> Result<(), CallError> {
    let mut request = agent.post(&webhook.url);
    for (name, value) in message.headers {
        request = request.header(name, value);
    }
    let mut answer = request
        .send(message.body)
        .map_err(|error| CallError::later(error.to_string()))?;
    // Read to its end, so that the connection can be used again.
    let _ = answer
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec();
    weigh(&answer)
}

/// What an answer's status means, by the webhook specification of CloudEvents.
fn weigh<T>(answer: &Response<T>) -> Result<(), CallError> {
    let status = answer.status();
    let told = format!("the receiver answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(()),
        410 => Err(CallError::Gone),
        300..=399 => Err(CallError::later(format!(
            "{told}: redirections are not followed; set `url` to where it leads"
        ))),
        400 | 413 | 415 | 422 => Err(CallError::Refused(told)),
        _ => Err(CallError::Later {
            reason: told,
            after: word(answer.headers(), header::RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
        }),
    }
}

fn word<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}
