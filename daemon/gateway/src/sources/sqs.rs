//! A queue of SQS, as S3 and SNS send their notifications to: messages are deleted once the ledger
//! has them.
//!
//! A CloudEvent or a notification has its own identity, within the envelope of SNS or without;
//! else the `MessageId` of SNS or SQS, which both keep over redelivery. While the ledger is busy
//! the messages' visibility is extended; where that came too late they are delivered again, known
//! again, and deleted then. Left out: making the queue, and what is bound to it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use mizar_http::s3::Keys;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::message::{Message, attribute, digest};
use super::mqtt::Identity;
use super::settings::keys;
use super::sqs_wire::{Queue, Received};
use super::web::check_url;
use super::{Hub, Marks, SourceError};

/// Longest long poll of SQS.
const MAX_WAIT_S: u16 = 20;

/// Longest visibility timeout of SQS: 12 hours.
const MAX_VISIBILITY_S: u32 = 43_200;

/// Longest name of a queue.
const MAX_QUEUE_BYTES: usize = 80;

/// Pause after a poll that waited for nothing and found nothing.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);

/// The table of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// The queue's URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue_url: String,
    /// The queue's name instead, of which SQS is asked the URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue_name: String,
    /// Whom to ask for it, where that is not SQS of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// File of two lines, access key and secret key, readable by its owner only.
    pub key_file: PathBuf,
    /// How long a poll waits for messages.
    #[serde(default = "default_wait_s")]
    pub wait_s: u16,
    /// How long a message that is on its way is shown to nobody else; extended while it is.
    #[serde(default = "default_visibility_s")]
    pub visibility_s: u32,
    /// What tells plain messages apart.
    #[serde(default)]
    pub identity: Identity,
}

/// What names of queues are made of; `.fifo` ends some.
fn is_queue_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_wait_s() -> u16 {
    MAX_WAIT_S
}

fn default_visibility_s() -> u32 {
    60
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        match (self.queue_url.as_str(), self.queue_name.as_str()) {
            ("", "") => return Err("needs `queue_url` or `queue_name`".to_owned()),
            ("", name) if !name.bytes().all(is_queue_byte) || name.len() > MAX_QUEUE_BYTES => {
                return Err("`queue_name` is no name of a queue".to_owned());
            }
            ("", _) => check_url("endpoint", &self.server())?,
            (url, "") => check_url("queue_url", url)?,
            _ => return Err("give `queue_url` or `queue_name`, not both".to_owned()),
        }
        if !self
            .region
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err("`region` is no name of one".to_owned());
        }
        if self.queue().is_empty() {
            return Err("`queue_url` does not end with the name of a queue".to_owned());
        }
        if self.wait_s > MAX_WAIT_S {
            return Err(format!("`wait_s` must be at most {MAX_WAIT_S}"));
        }
        if !(2..=MAX_VISIBILITY_S).contains(&self.visibility_s) {
            return Err(format!(
                "`visibility_s` must be between 2 and {MAX_VISIBILITY_S}"
            ));
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> Result<Keys, String> {
        keys(&self.key_file)
    }

    /// Whom to ask for the queue's URL.
    pub(super) fn server(&self) -> String {
        let usual = || format!("https://sqs.{}.amazonaws.com", self.region);
        self.endpoint.clone().unwrap_or_else(usual)
    }

    /// The queue's name.
    pub(super) fn queue(&self) -> &str {
        if !self.queue_name.is_empty() {
            return &self.queue_name;
        }
        let path = self.queue_url.splitn(4, '/').nth(3).unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        let server = self.server();
        let asked = match self.queue_url.as_str() {
            "" => &server,
            url => url,
        };
        SourceError::server(asked, problem)
    }

    /// A third of the visibility: one extension may fail.
    fn extend_after(&self) -> Duration {
        Duration::from_secs(u64::from(self.visibility_s)) / 3
    }
}

/// Polls for ever.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let queue = Queue::find(settings)
        .await
        .map_err(|text| settings.error(text))?;
    let mut taken: Vec<Received> = Vec::new();
    loop {
        // The next messages are on their way while the last ones are deleted.
        let (deleted, received) = tokio::join!(queue.delete(&taken), queue.receive());
        deleted.map_err(|text| settings.error(text))?;
        let received = received.map_err(|text| settings.error(text))?;
        hub.connected();
        if received.is_empty() && settings.wait_s == 0 {
            tokio::time::sleep(EMPTY_PAUSE).await;
        }
        let batch = received
            .iter()
            .map(|one| (message(settings, one), Marks::new()));
        let mut storing = pin!(hub.take(batch.collect()));
        loop {
            tokio::select! {
                stored = &mut storing => {
                    stored?;
                    break;
                }
                () = tokio::time::sleep(settings.extend_after()) => queue.extend(&received).await,
            }
        }
        taken = received;
    }
}

fn message(settings: &Settings, received: &Received) -> Message {
    let queue = settings.queue();
    let envelope = envelope(&received.body);
    let (identity, subject, body) = match envelope {
        Some((topic, id, text)) => {
            let identity = ["sns", &topic, &id].map(str::to_owned).into();
            (identity, topic, text)
        }
        None => {
            let identity = ["id", queue, &received.id].map(str::to_owned).into();
            (identity, queue.to_owned(), received.body.clone())
        }
    };
    let identity = match settings.identity {
        Identity::Delivery => identity,
        Identity::Payload => {
            let content = digest([body.as_bytes()]);
            vec!["payload".to_owned(), queue.to_owned(), content]
        }
    };
    let attributes = &received.attributes;
    let content_type = attributes
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    Message {
        identity,
        kind: "mizar.sqs.message".to_owned(),
        subject: Some(subject),
        time: received.sent_ms.and_then(rfc3339),
        content_type: content_type.map(|(_, value)| value.clone()),
        headers: attributes
            .iter()
            .filter_map(|(name, value)| Some((attribute(name)?, value.clone())))
            .collect(),
        body: body.into_bytes(),
        ..Message::default()
    }
}

/// Topic, id and message of an envelope of SNS.
fn envelope(body: &str) -> Option<(String, String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope {
        r#type: String,
        message_id: String,
        topic_arn: String,
        message: String,
    }
    // Almost all that comes is no envelope; it is not parsed to find that out.
    if !body.contains("\"TopicArn\"") {
        return None;
    }
    let value: Value = crate::event::parse_json(body.as_bytes(), 8).ok()?;
    let found: Envelope = serde_json::from_value(value).ok()?;
    (found.r#type == "Notification").then_some((found.topic_arn, found.message_id, found.message))
}

fn rfc3339(unix_ms: i64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    moment.ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        let head = "name = \"s\"\nqueue_url = \"https://sqs.site/1/queue\"\nkey_file = \"k\"\n";
        toml::from_str(&format!("{head}{more}")).unwrap()
    }

    fn received(id: &str, body: &str) -> Received {
        Received {
            id: id.to_owned(),
            receipt: "r".to_owned(),
            body: body.to_owned(),
            sent_ms: Some(1_767_348_000_000),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn envelopes_of_sns_are_opened_and_others_left() {
        let one = settings("");
        let envelope = serde_json::json!({"Type": "Notification", "MessageId": "m",
            "TopicArn": "arn:t", "Message": "{\"n\":1}", "Timestamp": "x"});
        let opened = message(&one, &received("7", &envelope.to_string()));
        assert_eq!(opened.identity, ["sns", "arn:t", "m"]);
        assert_eq!(
            (opened.subject.as_deref(), &opened.body[..]),
            (Some("arn:t"), &b"{\"n\":1}"[..])
        );
        assert_eq!(opened.time.as_deref(), Some("2026-01-02T10:00:00Z"));
        for other in [
            r#"{"TopicArn":"a"}"#,
            r#"{"Type":"SubscriptionConfirmation","MessageId":"m","TopicArn":"a","Message":"x"}"#,
            r#"not json "TopicArn""#,
        ] {
            let left = message(&one, &received("7", other));
            assert_eq!(left.identity, ["id", "queue", "7"]);
            assert_eq!(left.body, other.as_bytes());
        }
    }

    #[test]
    fn a_payload_may_be_the_identity() {
        let of = |id: &str, body: &str| {
            message(&settings("identity = \"payload\""), &received(id, body)).identity
        };
        assert_eq!(of("1", "a"), of("2", "a"));
        assert_ne!(of("1", "a"), of("1", "b"));
    }

    #[test]
    fn tables_are_checked() {
        assert_eq!(settings("").check(), Ok(()));
        for more in ["wait_s = 21", "visibility_s = 1", "visibility_s = 43201"] {
            assert!(settings(more).check().is_err(), "{more}");
        }
        for url in ["https://sqs.site", "https://sqs.site/1/", "sqs.site/1/q"] {
            let one = Settings {
                queue_url: url.to_owned(),
                ..settings("")
            };
            assert!(one.check().is_err(), "{url}");
        }
    }
}
