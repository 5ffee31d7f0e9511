//! A topic of Kafka, and of what speaks its protocol: every record, partition by partition, after
//! the last one that is in the ledger.
//!
//! The place in each partition is kept in the ledger, in the transaction that stores its records'
//! events, and not in a consumer group: so nothing comes twice after a kill. A CloudEvent or a
//! notification has its own identity; else a record's partition and offset, its time and its
//! content: a topic that was made anew counts from 0 again, and its records are new.
//!
//! A source begins with the oldest record unless told otherwise, and where the topic no longer has
//! what comes next, goes on with the oldest that it has and says so. Left out: shared partitions
//! (each gateway takes all of them), and the filtering of aborted transactions, which the client
//! library has not: their records are taken as others are.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::{Record, RecordAndOffset};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use super::message::{Message, attribute, digest};
use super::mqtt::Identity;
use super::settings::{address, check_clear, login};
use super::{Hub, MAX_BATCH, Marks, SourceError};
use mizar_core::chain;

/// Bytes that one answer aims at; a single larger batch comes whole.
const FETCH_BYTES: i32 = 4 << 20;

/// How long the broker waits for records.
const FETCH_WAIT_MS: i32 = 2_000;

/// Longest wait for an answer, that for records included.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// After so long the client library gives a step of a request up, and the source is started again:
/// its own pauses are told to people, those of the library are not.
const RETRY_LIMIT: Duration = Duration::from_secs(2);

/// How often new partitions are looked for.
const LOOK: Duration = Duration::from_secs(60);

/// The table of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// Hosts and ports; one is tried after the other.
    pub brokers: Vec<String>,
    /// The topic; it must exist.
    pub topic: String,
    /// Where a partition begins that the ledger does not know.
    #[serde(default)]
    pub from: From,
    /// Speak TLS.
    #[serde(default)]
    pub tls: bool,
    /// Certificates that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with `user:password`, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// How user and password are proved.
    #[serde(default)]
    pub sasl: Sasl,
    /// Send the password over the network in the clear.
    #[serde(default)]
    pub clear_password: bool,
    /// What tells plain records apart.
    #[serde(default)]
    pub identity: Identity,
}

/// Where a partition begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With the oldest record that it has.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
}

/// How user and password are proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sasl {
    /// By sending them.
    #[default]
    Plain,
    /// By a challenge.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By a challenge.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.brokers.is_empty() {
            return Err("`brokers` needs an address, as broker.site:9092".to_owned());
        }
        let is_clear = self.credentials_file.is_some() && !self.tls && self.sasl == Sasl::Plain;
        for broker in &self.brokers {
            let (host, _) = address(broker, 9092)?;
            check_clear(&host, is_clear, self.clear_password)
                .map_err(|problem| format!("{problem}; or set tls = true"))?;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let topic = &self.topic;
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(is_name) {
            return Err("`topic` is no name of a topic: a-z, A-Z, 0-9, ., _ and -".to_owned());
        }
        if self.ca_file.is_some() && !self.tls {
            return Err("`ca_file` is for tls = true".to_owned());
        }
        Ok(())
    }

    fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::server(&self.brokers.join(", "), problem)
    }

    async fn client(&self) -> Result<Client, SourceError> {
        let brokers: Result<Vec<String>, String> = self
            .brokers
            .iter()
            .map(|broker| {
                let (host, port) = address(broker, 9092)?;
                let is_six = host.contains(':');
                Ok(if is_six {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                })
            })
            .collect();
        let brokers = brokers.map_err(|problem| self.error(problem))?;
        let mut builder = ClientBuilder::new(brokers)
            .client_id(format!("mizar-gateway {}", self.name))
            .backoff_config(BackoffConfig {
                max_backoff: Duration::from_secs(1),
                deadline: Some(RETRY_LIMIT),
                ..BackoffConfig::default()
            });
        if self.tls {
            let trust = mizar_http::trust(self.ca_file.as_deref());
            let trust = trust.map_err(|error| self.error(chain(&error)))?;
            builder = builder.tls_config(Arc::new(trust));
        }
        if let Some(path) = &self.credentials_file {
            let login = login(path).map_err(|problem| SourceError::Secret { problem })?;
            let credentials = Credentials::new(login.user, login.password);
            builder = builder.sasl_config(match self.sasl {
                Sasl::Plain => SaslConfig::Plain(credentials),
                Sasl::ScramSha256 => SaslConfig::ScramSha256(credentials),
                Sasl::ScramSha512 => SaslConfig::ScramSha512(credentials),
            });
        }
        self.answer(builder.build()).await
    }

    /// Waits for an answer of the brokers, but not for ever.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SourceError> {
        match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(answer) => answer.map_err(|error| self.error(error)),
            Err(_) => Err(self.error("does not answer")),
        }
    }

    /// The topic's partitions.
    async fn partitions(&self, client: &Client) -> Result<Vec<i32>, SourceError> {
        let topics = self.answer(client.list_topics()).await?;
        let topic = topics.into_iter().find(|topic| topic.name == self.topic);
        match topic {
            Some(topic) if !topic.partitions.is_empty() => {
                Ok(topic.partitions.into_iter().collect())
            }
            _ => Err(self.error(format!("has no topic {} for us", self.topic))),
        }
    }
}

/// Reads the topic until a broker fails.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let client = settings.client().await?;
    let partitions = settings.partitions(&client).await?;
    let mut opened = Vec::new();
    for partition in &partitions {
        let topic = settings.topic.clone();
        let asked = client.partition_client(topic, *partition, UnknownTopicHandling::Error);
        opened.push(settings.answer(asked).await?);
    }
    hub.connected();
    let following = opened.iter().map(|one| follow(settings, hub, one));
    tokio::select! {
        ended = try_join_all(following) => match ended {
            Err(error) => Err(error),
            Ok(_) => Err(settings.error("has no partitions any more")),
        },
        ended = grown(settings, &client, &partitions) => Err(ended),
    }
}

/// Returns when the topic has other partitions.
async fn grown(settings: &Settings, client: &Client, known: &[i32]) -> SourceError {
    loop {
        tokio::time::sleep(LOOK).await;
        match settings.partitions(client).await {
            Ok(now) if now == known => {}
            Ok(_) => return settings.error("has other partitions now: begins again"),
            Err(error) => return error,
        }
    }
}

/// Reads a partition.
async fn follow(
    settings: &Settings,
    hub: &Hub,
    client: &PartitionClient,
) -> Result<Infallible, SourceError> {
    let item = format!("{}/{}", client.topic(), client.partition());
    let kept = hub.item(&item).await?.and_then(|text| text.parse().ok());
    let mut next: i64 = match kept {
        Some(next) => next,
        None => {
            let at = match settings.from {
                From::Earliest => OffsetAt::Earliest,
                From::Latest => OffsetAt::Latest,
            };
            let first = settings.answer(client.get_offset(at)).await?;
            // What is the latest now is not so after a restart.
            hub.remember(&item, first.to_string()).await?;
            first
        }
    };
    loop {
        let asked = client.fetch_records(next, 1..FETCH_BYTES, FETCH_WAIT_MS);
        let fetched = match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(fetched) => fetched,
            Err(_) => return Err(settings.error("does not answer")),
        };
        let records = match fetched {
            Ok((records, _)) => records,
            Err(Error::ServerError {
                protocol_error: ProtocolError::OffsetOutOfRange,
                ..
            }) => {
                let oldest = settings
                    .answer(client.get_offset(OffsetAt::Earliest))
                    .await?;
                warn!(
                    source = settings.name,
                    partition = client.partition(),
                    next,
                    oldest,
                    "the topic does not have the next record any more: it was deleted, or the \
                     topic made anew; goes on with the oldest"
                );
                next = oldest;
                continue;
            }
            Err(error) => return Err(settings.error(error)),
        };
        hub.connected();
        for batch in records.chunks(MAX_BATCH) {
            let mut messages: Vec<(Message, Marks)> = batch
                .iter()
                .map(|one| (message(settings, client.partition(), one), Marks::new()))
                .collect();
            if let (Some((_, marks)), Some(last)) = (messages.last_mut(), batch.last()) {
                next = last.offset + 1;
                marks.push((item.clone(), Some(next.to_string())));
            }
            hub.take(messages).await?;
        }
    }
}

fn message(settings: &Settings, partition: i32, found: &RecordAndOffset) -> Message {
    let record = &found.record;
    let body = record.value.clone().unwrap_or_default();
    let key = record.key.as_deref().unwrap_or_default();
    let subject = match std::str::from_utf8(key) {
        Ok(key) if !key.is_empty() => key.to_owned(),
        _ => settings.topic.clone(),
    };
    let moment = record.timestamp.timestamp_millis();
    let content = digest([key, &body]);
    let topic = settings.topic.clone();
    let identity = match settings.identity {
        Identity::Payload => vec!["payload".to_owned(), topic, content],
        Identity::Delivery => {
            let place = [i64::from(partition), found.offset, moment].map(|part| part.to_string());
            let start = ["place".to_owned(), topic];
            start.into_iter().chain(place).chain([content]).collect()
        }
    };
    let headers = headers(record);
    let content_type = headers.iter().find(|(name, _)| name == "content-type");
    Message {
        identity,
        kind: "mizar.kafka.message".to_owned(),
        subject: Some(subject),
        time: rfc3339(moment),
        content_type: content_type.map(|(_, value)| value.clone()),
        headers: headers
            .iter()
            .filter_map(|(name, value)| Some((attribute(name)?, value.clone())))
            .collect(),
        body,
        ..Message::default()
    }
}

/// Headers that are text.
fn headers(record: &Record) -> Vec<(String, String)> {
    let text = |(name, value): (&String, &Vec<u8>)| {
        let value = String::from_utf8(value.clone()).ok()?;
        Some((name.clone(), value))
    };
    record.headers.iter().filter_map(text).collect()
}

fn rfc3339(unix_ms: i64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    moment.ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rskafka::chrono::DateTime;

    fn settings(more: &str) -> Settings {
        let head = "name = \"s\"\nbrokers = [\"b.site:9092\"]\ntopic = \"t\"\n";
        toml::from_str(&format!("{head}{more}")).unwrap()
    }

    fn found(offset: i64, moment: i64, body: &str) -> RecordAndOffset {
        let record = Record {
            key: Some(b"bucket/key".to_vec()),
            value: Some(body.as_bytes().to_vec()),
            headers: [("ce_id".to_owned(), b"7".to_vec())].into(),
            timestamp: DateTime::from_timestamp_millis(moment).unwrap(),
        };
        RecordAndOffset { record, offset }
    }

    #[test]
    fn a_record_is_known_by_its_place_and_no_other_takes_it() {
        let one = settings("");
        let of = |partition, offset, moment, body| {
            message(&one, partition, &found(offset, moment, body)).identity
        };
        assert_eq!(of(0, 1, 5, "a"), of(0, 1, 5, "a"));
        // As after the topic was made anew: the same places, other records.
        for other in [
            of(1, 1, 5, "a"),
            of(0, 2, 5, "a"),
            of(0, 1, 6, "a"),
            of(0, 1, 5, "b"),
        ] {
            assert_ne!(of(0, 1, 5, "a"), other);
        }
        let message = message(&one, 0, &found(1, 1_767_348_000_000, "a"));
        assert_eq!(message.subject.as_deref(), Some("bucket/key"));
        assert_eq!(message.time.as_deref(), Some("2026-01-02T10:00:00Z"));
        assert_eq!(message.headers, [("ce-id".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn tables_are_checked() {
        assert_eq!(settings("").check(), Ok(()));
        assert_eq!(
            settings("tls = true\ncredentials_file = \"x\"\nsasl = \"scram-sha-512\"").check(),
            Ok(())
        );
        assert!(
            settings("credentials_file = \"x\"")
                .check()
                .unwrap_err()
                .contains("tls = true")
        );
        assert_eq!(
            settings("credentials_file = \"x\"\nsasl = \"scram-sha-256\"").check(),
            Ok(())
        );
        assert!(settings("ca_file = \"x\"").check().is_err());
        let bad = Settings {
            topic: "a b".to_owned(),
            ..settings("")
        };
        assert!(bad.check().unwrap_err().contains("topic"));
    }
}
