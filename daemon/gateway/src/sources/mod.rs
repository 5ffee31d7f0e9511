//! Pulled sources of events: folders, the clock, buckets, brokers.
//!
//! A source yields [`Message`]s and what it wants to remember of each. [`Hub::take`] turns them
//! into events by the formats of the HTTP doors, stores them, and returns once they are on disk;
//! only then does the source acknowledge. [`start`] runs each source in a task of its own and
//! starts it again, ever more slowly, when it fails.
//!
//! Invariants:
//! - **Nothing is acknowledged before the ledger has it**, whatever the source.
//! - **What is no event is kept with its reason**, then acknowledged: it blocks nobody.
//! - **A full queue or disk stops the source**, not the gateway: [`Hub::take`] does not return.
//! - **No secret is an argument, a log line or an error**: they come from files and stay in the
//!   clients.

mod amqp;
mod cron;
mod cron_time;
mod dcache;
mod dcache_event;
mod dcache_wire;
mod directory;
mod kafka;
mod known;
mod message;
mod mqtt;
mod mqtt_wire;
mod nats;
mod s3_poll;
mod seen;
mod settings;
mod sqs;
mod sqs_wire;
mod sse;
mod stomp;
mod stomp_frame;
mod stomp_wire;
mod transport;
mod watch_folder;
mod web;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use message::Message;
pub(crate) use settings::check;
pub use settings::{MAX_SOURCES, Source};

use crate::config::Limits;
use crate::http::intake;
use crate::ledger::{self, Content, Delivery, LedgerError, Sender, Share, Tally, now_ms};
use crate::service::Service;
use crate::shared::Shared;
use mizar_core::chain;

/// Wait after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest such wait.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// A run that lasted so long ends the doubling.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// Why a source fetches nothing.
const DRAINED: &str = "the gateway is being drained";

/// Wait before a full queue or disk is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// Most messages in one transaction.
pub(crate) const MAX_BATCH: usize = 100;

/// Why a source stopped; it is started again.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The ledger is closed.
    #[error("cannot use the ledger")]
    Ledger(#[from] LedgerError),
    /// The folder.
    #[error("cannot watch {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file with what proves who asks.
    #[error("cannot log in: {problem}")]
    Secret {
        /// What is wrong with it.
        problem: String,
    },
    /// The server.
    #[error("{address}: {problem}")]
    Server {
        /// Its address.
        address: String,
        /// What it or its client said.
        problem: String,
    },
    /// The source ended by a panic.
    #[error("the source ended by a panic")]
    Panic,
}

impl SourceError {
    fn server(address: &str, problem: impl std::fmt::Display) -> Self {
        let clean = |text: String| -> String {
            let plain = text.chars().filter(|c| !c.is_control());
            plain.take(500).collect()
        };
        Self::Server {
            address: clean(address.to_owned()),
            problem: clean(problem.to_string()),
        }
    }
}

/// What a source remembers with a message: items, with a version or None to forget.
pub(crate) type Marks = Vec<(String, Option<String>)>;

/// The way of a source to the ledger.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    name: String,
    state: Mutex<&'static str>,
}

impl Hub {
    /// Turns messages into events and stores them with their marks; returns once they are on
    /// disk, however long that takes.
    pub(crate) async fn take(&self, messages: Vec<(Message, Marks)>) -> Result<Tally, SourceError> {
        if messages.is_empty() {
            return Ok(Tally::default());
        }
        let shared = &self.shared;
        while shared.backlog.load(Ordering::SeqCst) >= shared.config.limits.queue_events {
            self.note("paused", Some("too many events wait for submission"));
            tokio::time::sleep(FULL_PAUSE).await;
        }
        let deliveries: Vec<Delivery> = messages
            .into_iter()
            .map(|(message, marks)| Delivery {
                content: content(
                    &message,
                    &self.name,
                    &shared.services,
                    &shared.config.limits,
                ),
                marks,
            })
            .collect();
        for delivery in &deliveries {
            if let Content::Dead(dead) = &delivery.content {
                warn!(source = self.name, reason = %dead.reason.escape_debug(), "a message is no event");
            }
        }
        let tally = self.store(deliveries).await?;
        shared.metrics.count_events("accepted", tally.accepted);
        shared.metrics.count_events("duplicate", tally.duplicates);
        shared.metrics.count_events("unmatched", tally.unmatched);
        shared.metrics.count_source(&self.name, &tally);
        intake::announce(shared, tally.accepted);
        self.connected();
        Ok(tally)
    }

    /// Forgets items.
    pub(crate) async fn forget(&self, items: Vec<String>) -> Result<(), SourceError> {
        let forget = Delivery {
            content: Content::Events(Vec::new()),
            marks: items.into_iter().map(|item| (item, None)).collect(),
        };
        self.store(vec![forget]).await.map(drop)
    }

    /// Remembers an item.
    pub(crate) async fn remember(&self, item: &str, version: String) -> Result<(), SourceError> {
        let remember = Delivery {
            content: Content::Events(Vec::new()),
            marks: vec![(item.to_owned(), Some(version))],
        };
        self.store(vec![remember]).await.map(drop)
    }

    async fn store(&self, deliveries: Vec<Delivery>) -> Result<Tally, SourceError> {
        let deliveries = Arc::new(deliveries);
        let limit = self.shared.config.limits.unmatched_events;
        let share = Share::of(deliveries.len());
        loop {
            let (batch, name) = (Arc::clone(&deliveries), self.name.clone());
            let asked =
                self.shared.writer.submit_as(share, move |ledger| {
                    match ledger::is_draining(ledger)? {
                        true => Ok(None),
                        false => ledger::take(ledger, now_ms(), &name, &batch, limit).map(Some),
                    }
                });
            let done = match asked {
                Ok(pending) => pending.done().await,
                Err(error) => Err(error),
            };
            let done = done.and_then(|tally| tally.ok_or(LedgerError::Draining));
            match done {
                Ok(tally) => return Ok(tally),
                Err(LedgerError::Closed) => return Err(LedgerError::Closed.into()),
                Err(error) => {
                    if error == LedgerError::Full {
                        self.shared.metrics.disk_full.inc();
                    }
                    self.note("paused", Some(&error.to_string()));
                    tokio::time::sleep(FULL_PAUSE).await;
                }
            }
        }
    }

    /// Reads the ledger.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&rusqlite::Connection, &str) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
        tokio::task::spawn_blocking(move || shared.reader.read(|ledger| query(ledger, &name)))
            .await
            .unwrap_or(Err(LedgerError::Closed))
            .map_err(SourceError::from)
    }

    /// What the source remembers of an item.
    pub(crate) async fn item(&self, item: &str) -> Result<Option<String>, SourceError> {
        let item = item.to_owned();
        self.read(move |ledger, name| ledger::item(ledger, name, &item))
            .await
    }

    /// Notes that the source has what it reads from.
    pub(crate) fn connected(&self) {
        self.note("connected", None);
    }

    /// Notes a state when it changes; a ledger that takes nothing now is not waited for.
    fn note(&self, state: &'static str, error: Option<&str>) {
        let before = std::mem::replace(
            &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            state,
        );
        if before == state && state != "failed" {
            return;
        }
        self.shared
            .metrics
            .set_source_up(&self.name, state == "connected");
        match (state, error) {
            ("connected", _) => info!(source = self.name, "source connected"),
            (_, Some(error)) => warn!(source = self.name, state, error, "source"),
            _ => {}
        }
        let (name, error) = (self.name.clone(), error.map(str::to_owned));
        let noted = self.shared.writer.submit(move |ledger| {
            ledger::set_source_state(ledger, now_ms(), &name, state, error.as_deref())
        });
        drop(noted);
    }
}

/// What a message holds, for the ledger.
fn content(message: &Message, source: &str, services: &[Service], limits: &Limits) -> Content {
    match message.events(source, limits) {
        Ok(events) => Content::Events(
            events
                .into_iter()
                .map(|event| intake::matched(services, Some(source), event, &Sender::default()))
                .collect(),
        ),
        Err(reason) => Content::Dead(message.bury(reason, limits)),
    }
}

/// Runs all configured sources until `stop` says so.
///
/// # Errors
/// [`LedgerError`] if the ledger does not take their names.
pub async fn start(
    shared: &Arc<Shared>,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, LedgerError> {
    let sources = shared.config.sources.clone();
    let names: Vec<_> = sources
        .iter()
        .map(|source| (source.name().to_owned(), source.kind()))
        .collect();
    let configured = shared
        .writer
        .submit(move |ledger| ledger::configure_sources(ledger, now_ms(), &names))?;
    configured.done().await?;
    Ok(sources
        .into_iter()
        .map(|source| {
            let hub = Arc::new(Hub {
                shared: Arc::clone(shared),
                name: source.name().to_owned(),
                state: Mutex::new("starting"),
            });
            tokio::spawn(keep(hub, Arc::new(source), stop.clone()))
        })
        .collect())
}

/// Runs a source again and again.
async fn keep(hub: Arc<Hub>, source: Arc<Source>, mut stop: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    let mut drain = hub.shared.draining();
    loop {
        if *drain.borrow_and_update() {
            hub.note("paused", Some(DRAINED));
            tokio::select! {
                _ = drain.changed() => {}
                () = told(&mut stop) => break,
            }
            continue;
        }
        let started = Instant::now();
        let mut running = {
            let (hub, source) = (Arc::clone(&hub), Arc::clone(&source));
            tokio::spawn(async move { run(&source, &hub).await })
        };
        let ended = tokio::select! {
            ended = &mut running => ended,
            // What it had not acknowledged comes again after the drain.
            () = told(&mut drain) => {
                running.abort();
                let _ = running.await;
                continue;
            }
            () = told(&mut stop) => {
                running.abort();
                let _ = running.await;
                break;
            }
        };
        let error = match ended {
            Ok(Err(error)) => error,
            Ok(Ok(never)) => match never {},
            Err(_) => SourceError::Panic,
        };
        if started.elapsed() > GOOD_RUN {
            pause = FIRST_PAUSE;
        }
        hub.note("failed", Some(&chain(&error)));
        if tokio::time::timeout(pause, told(&mut stop)).await.is_ok() {
            break;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
    hub.note("stopped", None);
}

/// Returns when the gateway is told to stop, or to drain.
async fn told(wish: &mut watch::Receiver<bool>) {
    drop(wish.wait_for(|wish| *wish).await);
}

async fn run(source: &Source, hub: &Hub) -> Result<Infallible, SourceError> {
    match source {
        Source::Directory(settings) => directory::run(settings, hub).await,
        Source::Cron(settings) => cron::run(settings, hub).await,
        Source::S3Poll(settings) => s3_poll::run(settings, hub).await,
        Source::Mqtt(settings) => mqtt::run(settings, hub).await,
        Source::Nats(settings) => nats::run(settings, hub).await,
        Source::Amqp(settings) => amqp::run(settings, hub).await,
        Source::Stomp(settings) => stomp::run(settings, hub).await,
        Source::Sqs(settings) => sqs::run(settings, hub).await,
        Source::Dcache(settings) => dcache::run(settings, hub).await,
        Source::Kafka(settings) => kafka::run(settings, hub).await,
    }
}

/// What became of a dead letter that was to be replayed.
#[derive(Debug)]
pub enum Replayed {
    /// It is in the ledger, and no dead letter any more.
    Taken(Tally),
    /// There is no such dead letter.
    Missing,
    /// It cannot be one, or is still none.
    Refused(String),
}

/// Takes a dead letter as if it came now: with other limits or services it may be an event.
///
/// # Errors
/// If SQLite refuses.
pub fn replay(
    connection: &rusqlite::Connection,
    services: &[Service],
    limits: &Limits,
    id: i64,
) -> rusqlite::Result<Replayed> {
    let Some((source, envelope, body)) = ledger::dead_message(connection, id)? else {
        return Ok(Replayed::Missing);
    };
    let Some(body) = body else {
        return Ok(Replayed::Refused(
            "its body was longer than limits.body_bytes and was not kept".to_owned(),
        ));
    };
    let Ok(message) = serde_json::from_str::<Message>(&envelope) else {
        return Ok(Replayed::Refused("its envelope cannot be read".to_owned()));
    };
    let message = Message { body, ..message };
    match content(&message, &source, services, limits) {
        Content::Dead(dead) => Ok(Replayed::Refused(dead.reason)),
        events => {
            let delivery = Delivery {
                content: events,
                marks: Vec::new(),
            };
            let unmatched = limits.unmatched_events;
            let tally = ledger::take(connection, now_ms(), &source, &[delivery], unmatched)?;
            ledger::discard_dead_message(connection, id)?;
            Ok(Replayed::Taken(tally))
        }
    }
}
