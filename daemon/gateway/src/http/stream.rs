//! GET /v1/events/stream: the states that jobs come into, as Server-Sent Events.
//!
//! A listener goes on after the number that it saw last (`Last-Event-ID`), from the ledger: nothing
//! is kept for it in memory, whether it is slow or away. Each event bears the number of its change;
//! a number alone says that all before it was looked at and nothing of it was wanted. What the
//! ledger has forgotten meanwhile is told as an event `loss`. A listener that takes nothing for
//! `limits.stall_ms` is hung up on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::jobs::{answer, ask};
use super::{Front, refuse, refuse_for};
use crate::ledger::{self, LedgerError, Moved, Stretch};

/// Most changes that are read for a listener at once.
const PAGE: u32 = 200;

/// How often the ledger is asked whether anything changed, while anybody listens; commands of an
/// operator change it without us.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Most services that one listener may name.
const MAX_SERVICES: usize = 100;

/// When a listener whose connection was lost should come again, and one that found no place.
const RETRY_MS: u32 = 2_000;
const RETRY_SECONDS: u64 = 5;

/// Ends the connection that a request came by.
#[derive(Clone, Debug, Default)]
pub(super) struct HangUp(pub(super) Arc<Notify>);

/// What the listeners share.
#[derive(Debug)]
pub struct Feed {
    newest: watch::Sender<i64>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Feed {
    /// A feed for `listeners`, which end when `stopped` says so.
    #[must_use]
    pub fn new(listeners: usize, stopped: watch::Receiver<bool>) -> Self {
        Self {
            newest: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(listeners)),
            stopped,
        }
    }
}

/// Looks for changes while anybody listens, until the gateway stops.
pub(super) async fn watch_ledger(front: Arc<Front>) {
    let mut stopped = front.feed.stopped.clone();
    let mut is_well = true;
    while !*stopped.borrow() {
        if front.feed.newest.receiver_count() > 0 {
            match ask(&front, ledger::newest_change).await {
                Ok(newest) => {
                    is_well = true;
                    front.feed.newest.send_if_modified(|known| {
                        let is_news = *known != newest;
                        *known = newest;
                        is_news
                    });
                }
                Err(error) if is_well => {
                    is_well = false;
                    tracing::warn!(%error, "cannot look for changes of jobs");
                }
                Err(_) => {}
            }
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stopped.changed()).await;
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    service: Option<String>,
    after: Option<i64>,
    /// The token; checked before, unused here.
    #[serde(rename = "access_token")]
    _access_token: Option<String>,
}

/// GET /v1/events/stream.
pub(super) async fn stream(
    State(front): State<Arc<Front>>,
    Extension(hang_up): Extension<HangUp>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "known are service, with commas between several, and after, the number of a change",
        );
    };
    let services: Vec<String> = query
        .service
        .iter()
        .flat_map(|all| all.split(','))
        .map(str::to_owned)
        .collect();
    if services.len() > MAX_SERVICES {
        let message = format!("a listener may name {MAX_SERVICES} services");
        return refuse(StatusCode::BAD_REQUEST, message);
    }
    let after = match headers.get("last-event-id").map(|value| value.to_str()) {
        None => query.after,
        Some(Ok(id)) if id.trim().is_empty() => query.after,
        Some(id) => match id.ok().and_then(|id| id.trim().parse().ok()) {
            Some(id) => Some(id),
            None => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "Last-Event-ID is no number of ours",
                );
            }
        },
    };
    let Ok(place) = Arc::clone(&front.feed.places).try_acquire_owned() else {
        let message = "as many listen as limits.listeners allows";
        return refuse_for(StatusCode::SERVICE_UNAVAILABLE, message, RETRY_SECONDS);
    };
    let begin = ask(&front, move |connection| begin(connection, after)).await;
    let (position, head) = match begin {
        Ok(begin) => begin,
        Err(error) => return answer(Err(error)),
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let listener = Listener {
        front,
        services,
        position,
        sender,
        hang_up,
        _place: place,
    };
    tokio::spawn(listener.run(head));
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    // Some proxies keep small pieces back until told otherwise.
    (
        head,
        [("x-accel-buffering", "no")],
        Body::from_stream(pieces),
    )
        .into_response()
}

/// Where a listener begins, and what it is told first.
fn begin(connection: &rusqlite::Connection, after: Option<i64>) -> rusqlite::Result<(i64, String)> {
    let newest = ledger::newest_change(connection)?;
    let Some(after) = after else {
        return Ok((newest, format!("retry: {RETRY_MS}\nid: {newest}\n\n")));
    };
    let known = ledger::changes_known_after(connection)?;
    if after >= known && after <= newest {
        return Ok((after, format!("retry: {RETRY_MS}\nid: {after}\n\n")));
    }
    // Forgotten, or of another ledger: all that there is, and a word about it.
    let loss = json!({"after": after, "known_after": known});
    Ok((
        known,
        format!("retry: {RETRY_MS}\nid: {known}\nevent: loss\ndata: {loss}\n\n"),
    ))
}

struct Listener {
    front: Arc<Front>,
    services: Vec<String>,
    position: i64,
    sender: mpsc::Sender<Bytes>,
    hang_up: HangUp,
    _place: OwnedSemaphorePermit,
}

/// Why a listener's stream ends.
enum End {
    /// It went away, or we do.
    Gone,
    /// It takes nothing.
    Slow,
    /// The ledger does not answer: it may come again.
    Ledger(LedgerError),
}

impl Listener {
    async fn run(mut self, head: String) {
        let metrics = &self.front.shared.metrics;
        metrics.listeners.inc();
        let end = self.serve(head).await;
        let metrics = &self.front.shared.metrics;
        metrics.listeners.dec();
        match end {
            End::Gone => {}
            End::Slow => {
                metrics.listeners_dropped.inc();
                tracing::info!(
                    change = self.position,
                    "hung up on a listener that takes nothing"
                );
                self.hang_up.0.notify_one();
            }
            End::Ledger(error) => tracing::warn!(%error, "a stream of changes ended"),
        }
    }

    async fn serve(&mut self, head: String) -> End {
        let limits = self.front.shared.config.limits;
        let (pulse, stall) = (
            Duration::from_millis(limits.heartbeat_ms),
            Duration::from_millis(limits.stall_ms),
        );
        let mut news = self.front.feed.newest.subscribe();
        let mut stopped = self.front.feed.stopped.clone();
        let mut text = head;
        loop {
            if !text.is_empty() {
                match tokio::time::timeout(stall, self.sender.send(text.into())).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return End::Gone,
                    Err(_) => return End::Slow,
                }
            }
            text = match self.next(&mut news, &mut stopped, pulse).await {
                Ok(text) => text,
                Err(end) => return end,
            };
        }
    }

    /// What to say next: changes as soon as there are some, else a heart-beat.
    async fn next(
        &mut self,
        news: &mut watch::Receiver<i64>,
        stopped: &mut watch::Receiver<bool>,
        pulse: Duration,
    ) -> Result<String, End> {
        if *stopped.borrow() {
            return Err(End::Gone);
        }
        let (position, services) = (self.position, self.services.clone());
        news.borrow_and_update();
        let read = ask(&self.front, move |connection| {
            ledger::changes_after(connection, position, &services, PAGE)
        });
        let Stretch { changes, until } = read.await.map_err(End::Ledger)?;
        let has_moved = until > self.position;
        self.position = until;
        if has_moved {
            return Ok(told(&changes, until));
        }
        tokio::select! {
            changed = news.changed() => changed.map(|()| String::new()).map_err(|_| End::Gone),
            () = tokio::time::sleep(pulse) => Ok(": alive\n\n".to_owned()),
            () = self.sender.closed() => Err(End::Gone),
            _ = stopped.changed() => Err(End::Gone),
        }
    }
}

/// Changes as events, and the number up to which nothing else was wanted.
fn told(changes: &[Moved], until: i64) -> String {
    let mut text = String::new();
    for change in changes {
        // JSON has no line break of its own, so that one line of data is enough.
        let data = serde_json::to_string(change).unwrap_or_default();
        text += &format!("id: {}\nevent: state\ndata: {data}\n\n", change.id);
    }
    if changes.last().is_none_or(|last| last.id < until) {
        text += &format!("id: {until}\n\n");
    }
    text
}
