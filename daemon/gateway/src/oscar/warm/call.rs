//! A synchronous call over HTTP that a warm worker makes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Warm;
use super::pool::{Call, Outcome};
use super::wire::Reply;
use crate::oscar::http::text;
use crate::oscar::intake::{job_name, named, random_hex};
use crate::oscar::store::Kept;
use crate::shared::Shared;

/// When a caller that was not served may come again, in seconds.
const RETRY_SECONDS: u64 = 2;

/// How long the parts of a call took, as browsers and scripts read it.
const TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Has a service called and answers with what the batch job would have been answered.
pub(in crate::oscar) async fn run(
    shared: &Shared,
    warm: &Arc<Warm>,
    kept: &Kept,
    payload: Bytes,
) -> Response {
    let service = kept.definition.name.as_str();
    let name = match random_hex(16) {
        Ok(hash) => job_name(service, &hash),
        Err(error) => {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("no random bytes: {error}"),
            );
        }
    };
    let since = Instant::now();
    let (reply, outcome) = oneshot::channel();
    let call = Call {
        number: warm.calls.fetch_add(1, Ordering::SeqCst),
        name: name.clone(),
        payload,
        since,
        reply,
    };
    let offered = {
        let mut pool = warm.pool();
        // Changes of it are told by whoever makes them.
        if !pool.knows(service) {
            pool.define(kept, since);
        }
        pool.offer(service, call)
    };
    let limit = Duration::from_millis(shared.config.oscar.as_ref().map_or(0, |oscar| oscar.run_ms));
    // Dropped with this future: a caller that hangs up, or whose time is over, ends its call.
    let mut hung_up = HungUp {
        shared,
        service,
        name: &name,
        is_over: false,
    };
    let outcome = match offered {
        Err(_) => Err(Refusal::Full),
        Ok(is_queued) => {
            if is_queued {
                warm.bell.notify_one();
            }
            match tokio::time::timeout(limit, outcome).await {
                Ok(Ok(outcome)) => Ok(outcome),
                Ok(Err(_)) => Ok(Outcome::Lost("the gateway forgot the call".to_owned())),
                Err(_) => Err(Refusal::Late),
            }
        }
    };
    hung_up.is_over = true;
    let response = answer(shared, service, &name, since, limit, outcome);
    named(response, std::slice::from_ref(&name))
}

/// Counts a call whose caller hung up, which nobody else hears of.
struct HungUp<'a> {
    shared: &'a Shared,
    service: &'a str,
    name: &'a str,
    is_over: bool,
}

impl Drop for HungUp<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.metrics.count_call("hung_up");
            info!(
                service = self.service,
                call = self.name,
                "a caller hung up: its call is ended"
            );
        }
    }
}

enum Refusal {
    Full,
    Late,
}

fn answer(
    shared: &Shared,
    service: &str,
    name: &str,
    since: Instant,
    limit: Duration,
    outcome: Result<Outcome, Refusal>,
) -> Response {
    let whole = since.elapsed();
    let (word, response) = match outcome {
        Ok(Outcome::Ended {
            reply,
            output,
            waited,
            worker,
        }) => {
            shared
                .metrics
                .observe_call(whole, waited, Duration::from_micros(reply.function_us));
            let word = if reply.code == 0 && reply.problem.is_none() {
                "succeeded"
            } else {
                "failed"
            };
            info!(
                service,
                call = name,
                worker,
                code = reply.code,
                result = word,
                function_us = reply.function_us,
                waited_us = micros(waited),
                whole_us = micros(whole),
                "a call ended"
            );
            shared.metrics.count_call(word);
            return ended(name, &reply, output, waited);
        }
        Ok(Outcome::Lost(reason)) => (
            "lost",
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "the worker of the call {name} was lost: {reason}; the function may have run, and is not run again"
                ),
            ),
        ),
        Ok(Outcome::Refused(reason)) => (
            "refused",
            again(format!("the call {name} was not made: {reason}")),
        ),
        Err(Refusal::Full) => (
            "full",
            again(format!(
                "all workers of {service} are busy, and enough calls wait"
            )),
        ),
        Err(Refusal::Late) => (
            "late",
            text(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "the call {name} has not ended within {} ms; it is ended",
                    limit.as_millis()
                ),
            ),
        ),
    };
    warn!(
        service,
        call = name,
        result = word,
        whole_us = micros(whole),
        "a call came to nothing"
    );
    shared.metrics.count_call(word);
    response
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn again(reason: String) -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

/// 200 with the output if the script ended with 0, else 500 with it.
fn ended(name: &str, reply: &Reply, output: Vec<u8>, waited: Duration) -> Response {
    let mut response = match &reply.problem {
        Some(problem) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the call {name} failed: {problem}"),
        ),
        None => {
            let status = if reply.code == 0 {
                StatusCode::OK
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (status, kind, output).into_response()
        }
    };
    let times = format!(
        "function;dur={:.3}, queue;dur={:.3}",
        Duration::from_micros(reply.function_us).as_secs_f64() * 1e3,
        waited.as_secs_f64() * 1e3
    );
    if let Ok(value) = HeaderValue::from_str(&times) {
        response.headers_mut().insert(TIMING, value);
    }
    response
}
