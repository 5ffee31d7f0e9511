//! NATS: a durable pull consumer of JetStream, or a subject of core NATS.
//!
//! JetStream repeats what was not acknowledged; a message is known again by its `Nats-Msg-Id`, or
//! by its place in its stream. Core NATS has no acknowledgement: a message that is sent while the
//! gateway is away, or faster than it can store, is lost. That is at most once, and said so here,
//! in the help and in the example, since nothing on this side can mend it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::message::Message;
use super::settings::{address, check_clear, secret};
use super::{Hub, MAX_BATCH, Marks, SourceError};

/// How long a pull waits for messages, and so how often a lost connection is noticed at least.
const PULL_WAIT: Duration = Duration::from_secs(5);

/// Longest connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Messages of core NATS that wait in memory; more are lost.
const CORE_WAITING: usize = 1_024;

/// The header that names a message.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The table of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// `nats://` or `tls://`, host and port; one is tried after the other.
    pub servers: Vec<String>,
    /// The stream of JetStream; without it, core NATS: at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The durable consumer, made if it is not there; `mizar-NAME` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<String>,
    /// The subject; with JetStream only these of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The queue group of core NATS; `mizar-NAME` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// After so long without an acknowledgement JetStream sends a message again; it counts when
    /// the consumer is made.
    #[serde(default = "default_ack_wait_s")]
    pub ack_wait_s: u64,
    /// File with `user:password`, a token, or what `nsc` makes (`.creds`), for its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// Send a password or token over the network in the clear.
    #[serde(default)]
    pub clear_password: bool,
    /// Certificates that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

fn default_ack_wait_s() -> u64 {
    30
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.servers.is_empty() {
            return Err("`servers` needs an address, as nats://host:4222".to_owned());
        }
        for server in &self.servers {
            let (scheme, rest) = server.split_once("://").unwrap_or_default();
            if !matches!(scheme, "nats" | "tls") {
                return Err("`servers` begin with nats:// or tls://".to_owned());
            }
            let (host, _) = address(rest, 4222)?;
            let is_clear = scheme == "nats" && self.credentials_file.is_some();
            check_clear(&host, is_clear, self.clear_password)?;
        }
        if self.ack_wait_s == 0 {
            return Err("`ack_wait_s` must be at least 1".to_owned());
        }
        let names = [&self.stream, &self.durable, &self.queue];
        let is_name = |name: &String| {
            !name.is_empty()
                && name.len() < 256
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if names.into_iter().flatten().any(|name| !is_name(name)) {
            return Err("`stream`, `durable` and `queue` are names: a-z, A-Z, 0-9, - and _".into());
        }
        let is_subject = |subject: &String| {
            let plain = |c: char| !c.is_control() && !c.is_whitespace();
            subject.split('.').all(|part| !part.is_empty()) && subject.chars().all(plain)
        };
        if self
            .subject
            .as_ref()
            .is_some_and(|subject| !is_subject(subject))
        {
            return Err("`subject` is no subject of NATS".to_owned());
        }
        match (&self.stream, &self.subject) {
            (None, None) => Err("needs a `stream` (JetStream) or a `subject` (core)".to_owned()),
            (Some(_), _) if self.queue.is_some() => {
                Err("`queue` is for core NATS: JetStream has `durable`".to_owned())
            }
            (None, _) if self.durable.is_some() => {
                Err("`durable` is for JetStream: it needs a `stream`".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn usual(&self, name: &Option<String>) -> String {
        let usual = || format!("mizar-{}", self.name);
        name.clone().unwrap_or_else(usual)
    }

    fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::server(&self.servers.join(", "), problem)
    }
}

/// Reads until the connection fails.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let (gone, mut lost) = mpsc::channel(1);
    let client = connect(settings, gone).await?;
    let reading = async {
        match &settings.stream {
            Some(stream) => read_stream(settings, hub, &client, stream).await,
            None => read_subject(settings, hub, &client).await,
        }
    };
    tokio::select! {
        ended = reading => ended,
        why = lost.recv() => {
            let why = why.unwrap_or_else(|| "the connection ended".to_owned());
            Err(settings.error(why))
        }
    }
}

/// Connects once: trying again is the task of [`super::keep`], which also tells of it.
async fn connect(settings: &Settings, gone: mpsc::Sender<String>) -> Result<Client, SourceError> {
    let mut options = ConnectOptions::new()
        .name(format!("mizar-gateway {}", settings.name))
        .connection_timeout(CONNECT_LIMIT)
        .subscription_capacity(CORE_WAITING)
        .event_callback(move |event| {
            let gone = gone.clone();
            async move {
                match event {
                    Event::Connected => {}
                    Event::SlowConsumer(_) => {
                        tracing::warn!("messages of core NATS came too fast and are lost");
                    }
                    // Whether this one is told or the one before does not matter.
                    other => drop(gone.try_send(other.to_string())),
                }
            }
        });
    if let Some(path) = &settings.credentials_file {
        let refuse = |problem| SourceError::Secret { problem };
        let text = secret(path).map_err(refuse)?;
        let line = text.trim_end().to_owned();
        options = if text.contains("BEGIN NATS USER JWT") {
            let unusable = |_| refuse(format!("{} is no .creds file", path.display()));
            options.credentials(&text).map_err(unusable)?
        } else if let Some((user, password)) = line.split_once(':') {
            options.user_and_password(user.to_owned(), password.to_owned())
        } else {
            options.token(line)
        };
    }
    if let Some(path) = &settings.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    options
        .connect(settings.servers.clone())
        .await
        .map_err(|error| settings.error(error))
}

async fn read_stream(
    settings: &Settings,
    hub: &Hub,
    client: &Client,
    name: &str,
) -> Result<Infallible, SourceError> {
    let context = jetstream::new(client.clone());
    let stream = context
        .get_stream(name)
        .await
        .map_err(|error| settings.error(error))?;
    // A stream of the same name that was made later counts from 1 again.
    let made = stream
        .cached_info()
        .created
        .unix_timestamp_nanos()
        .to_string();
    let consumer = consumer(settings, &stream).await?;
    hub.connected();
    loop {
        let mut messages = consumer
            .batch()
            .max_messages(MAX_BATCH)
            .expires(PULL_WAIT)
            .messages()
            .await
            .map_err(|error| settings.error(error))?;
        // What is there is stored at once: a batch is not waited for.
        while let Some(first) = messages.next().await {
            let mut taken = vec![first.map_err(|error| settings.error(error))?];
            while let Ok(Some(more)) =
                tokio::time::timeout(Duration::from_millis(5), messages.next()).await
            {
                taken.push(more.map_err(|error| settings.error(error))?);
            }
            let mut batch = Vec::new();
            for message in &taken {
                let place = message.info().map_err(|error| settings.error(error))?;
                let own = vec![
                    "place".to_owned(),
                    name.to_owned(),
                    made.clone(),
                    place.stream_sequence.to_string(),
                ];
                let headers = message.headers.as_ref();
                let given =
                    message_id(headers).map(|id| vec!["id".to_owned(), name.to_owned(), id]);
                let identity = given.unwrap_or(own);
                let subject = message.subject.to_string();
                batch.push(event(identity, subject, headers, &message.payload));
            }
            hub.take(batch).await?;
            for message in taken {
                message.ack().await.map_err(|error| settings.error(error))?;
            }
            client
                .flush()
                .await
                .map_err(|error| settings.error(error))?;
        }
    }
}

async fn consumer(settings: &Settings, stream: &Stream) -> Result<PullConsumer, SourceError> {
    let name = settings.usual(&settings.durable);
    let wanted = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(settings.ack_wait_s),
        max_ack_pending: i64::try_from(MAX_BATCH * 2).unwrap_or(i64::MAX),
        filter_subject: settings.subject.clone().unwrap_or_default(),
        ..pull::Config::default()
    };
    // One that a site made has the site's limits.
    stream
        .get_or_create_consumer(&name, wanted)
        .await
        .map_err(|error| settings.error(error))
}

async fn read_subject(
    settings: &Settings,
    hub: &Hub,
    client: &Client,
) -> Result<Infallible, SourceError> {
    let subject = settings.subject.clone().unwrap_or_default();
    let queue = settings.usual(&settings.queue);
    let messages = client
        .queue_subscribe(subject, queue)
        .await
        .map_err(|error| settings.error(error))?;
    client
        .flush()
        .await
        .map_err(|error| settings.error(error))?;
    hub.connected();
    let mut messages = messages.ready_chunks(MAX_BATCH);
    while let Some(taken) = messages.next().await {
        let batch = taken.into_iter().map(|message| {
            let moment = mizar_core::clock::unix_ns().to_string();
            let subject = message.subject.to_string();
            let headers = message.headers.as_ref();
            let given = message_id(headers).map(|id| vec!["id".to_owned(), subject.clone(), id]);
            let identity = given.unwrap_or_else(|| {
                let content = super::message::digest([subject.as_bytes(), &message.payload]);
                vec!["moment".to_owned(), moment, content]
            });
            event(identity, subject, headers, &message.payload)
        });
        hub.take(batch.collect()).await?;
    }
    Err(settings.error("the subscription ended"))
}

fn message_id(headers: Option<&HeaderMap>) -> Option<String> {
    let id = headers?.get(MESSAGE_ID)?.as_str();
    (!id.is_empty()).then(|| id.to_owned())
}

fn event(
    identity: Vec<String>,
    subject: String,
    headers: Option<&HeaderMap>,
    body: &[u8],
) -> (Message, Marks) {
    let all = headers.into_iter().flat_map(HeaderMap::iter);
    let headers: Vec<(String, String)> = all
        .filter_map(|(name, values)| {
            let name = name.to_string().to_ascii_lowercase();
            Some((name, values.first()?.as_str().to_owned()))
        })
        .collect();
    let content_type = headers.iter().find(|(name, _)| name == "content-type");
    let content_type = content_type.map(|(_, value)| value.clone());
    let message = Message {
        identity,
        kind: "mizar.nats.message".to_owned(),
        subject: Some(subject),
        content_type,
        headers: headers
            .into_iter()
            .filter(|(name, _)| name.starts_with("ce-"))
            .collect(),
        body: body.to_vec(),
        ..Message::default()
    };
    (message, Marks::new())
}
