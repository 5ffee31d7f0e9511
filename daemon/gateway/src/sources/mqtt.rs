//! Topics of an MQTT broker, 3.1.1 and 5: a session that the broker keeps, quality of service 1,
//! each message acknowledged once the ledger has it.
//!
//! A CloudEvent or a notification has its own identity. A plain payload has none in MQTT: it is
//! known again by the packet's number, which the broker repeats, marked as a repeat, until it is
//! acknowledged. `identity = "payload"` is for senders that never mean the same payload of one
//! topic twice. Retained messages are what a topic was like before, and are skipped unless asked
//! for. Left out: TLS, which a proxy beside the gateway has.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::message::{Message, digest};
use super::settings::{address, check_clear, login};
use super::{Hub, MAX_BATCH, Marks, SourceError, mqtt_wire};
use crate::ledger;

/// Start of the items that remember packets.
const PACKET: &str = "packet:";

/// The table of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// Host and port.
    pub broker: String,
    /// Topic filters.
    pub topics: Vec<String>,
    /// 4 for MQTT 3.1.1, 5 for MQTT 5.
    #[serde(default = "default_version")]
    pub version: u8,
    /// Names the session; the broker keeps one for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// File with `user:password`, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// Send the password over the network in the clear.
    #[serde(default)]
    pub clear_password: bool,
    /// What tells plain payloads apart.
    #[serde(default)]
    pub identity: Identity,
    /// Take retained messages too.
    #[serde(default)]
    pub retained: bool,
}

/// What tells messages without an identity of their own apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// The delivery, as far as the protocol names it.
    #[default]
    Delivery,
    /// The payload: the same one twice is one event.
    Payload,
}

fn default_version() -> u8 {
    5
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        let (host, _) = address(&self.broker, 1883)?;
        check_clear(&host, self.credentials_file.is_some(), self.clear_password)?;
        if !matches!(self.version, 4 | 5) {
            return Err("`version` is 4 (MQTT 3.1.1) or 5".to_owned());
        }
        if self.topics.is_empty() || self.topics.iter().any(|topic| !is_filter(topic)) {
            return Err("`topics` needs filters of topics, as `site/+/new`".to_owned());
        }
        if self.client_id.as_ref().is_some_and(|id| !is_text(id)) {
            return Err("`client_id` is empty, too long or holds a control character".to_owned());
        }
        Ok(())
    }

    pub(super) fn client_id(&self) -> String {
        let usual = || format!("mizar-{}", self.name);
        self.client_id.clone().unwrap_or_else(usual)
    }

    pub(super) fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::server(&self.broker, problem)
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() < 65_536 && !text.chars().any(char::is_control)
}

fn is_filter(topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    let is_level = |(index, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => index + 1 == levels.len(),
        other => !other.contains(['+', '#']),
    };
    is_text(topic) && levels.iter().enumerate().all(is_level)
}

/// A message of either version, and what acknowledges it.
pub(super) struct Received<A> {
    pub(super) packet: u16,
    pub(super) repeated: bool,
    pub(super) retained: bool,
    pub(super) topic: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content_type: Option<String>,
    pub(super) payload: Vec<u8>,
    pub(super) acknowledge: A,
}

/// What the connection tells.
pub(super) enum Told<A> {
    /// The broker has forgotten the session.
    NewSession,
    /// A message.
    Message(Received<A>),
}

/// Reads the broker's topics until the connection fails.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let login = settings.credentials_file.as_deref().map(login);
    let login = login
        .transpose()
        .map_err(|problem| SourceError::Secret { problem })?;
    let (host, port) = address(&settings.broker, 1883).map_err(|text| settings.error(text))?;
    match settings.version {
        4 => mqtt_wire::run_4(settings, hub, (host, port), login).await,
        _ => mqtt_wire::run_5(settings, hub, (host, port), login).await,
    }
}

pub(super) fn subscribed(settings: &Settings, hub: &Hub, all: bool) -> Result<(), SourceError> {
    if !all {
        return Err(settings.error("refuses the subscription to some of `topics`"));
    }
    hub.connected();
    Ok(())
}

/// Runs the connection beside what takes its messages; the first that fails ends both.
pub(super) async fn both(
    connection: impl Future<Output = Result<Infallible, SourceError>>,
    taking: impl Future<Output = Result<Infallible, SourceError>>,
) -> Result<Infallible, SourceError> {
    tokio::select! {
        ended = connection => ended,
        ended = taking => ended,
    }
}

/// Hands on; a full channel stops the reading, and so the broker.
pub(super) async fn send<A>(
    sender: &mpsc::Sender<Told<A>>,
    told: Told<A>,
) -> Result<(), SourceError> {
    sender.send(told).await.map_err(|_| SourceError::Panic)
}

/// Takes messages as they come and acknowledges what is on disk.
pub(super) async fn take<A>(
    settings: &Settings,
    hub: &Hub,
    mut receiver: mpsc::Receiver<Told<A>>,
    acknowledge: impl Fn(A) -> Result<(), SourceError>,
) -> Result<Infallible, SourceError> {
    let mut told = Vec::new();
    loop {
        if receiver.recv_many(&mut told, MAX_BATCH).await == 0 {
            return Err(SourceError::Panic);
        }
        let mut batch = Vec::new();
        let mut taken = Vec::new();
        for told in told.drain(..) {
            match told {
                Told::NewSession => forget_packets(hub).await?,
                Told::Message(received) => {
                    if let Some(message) = message(settings, hub, &received).await? {
                        batch.push(message);
                    }
                    taken.push(received.acknowledge);
                }
            }
        }
        hub.take(batch).await?;
        taken.into_iter().try_for_each(&acknowledge)?;
    }
}

/// The numbers of packets begin anew.
async fn forget_packets(hub: &Hub) -> Result<(), SourceError> {
    // Numbers are at most 65,535.
    let known = hub
        .read(|connection, name| {
            ledger::items(connection, name, PACKET, Some("packet:~"), u32::MAX)
        })
        .await?;
    if known.is_empty() {
        return Ok(());
    }
    hub.forget(known.into_iter().map(|(item, _)| item).collect())
        .await
}

/// The message and what is remembered of it; None if it is in the ledger already, or skipped.
async fn message<A>(
    settings: &Settings,
    hub: &Hub,
    received: &Received<A>,
) -> Result<Option<(Message, Marks)>, SourceError> {
    if received.retained && !settings.retained {
        return Ok(None);
    }
    let content = digest([received.topic.as_bytes(), &received.payload]);
    let packet = format!("{PACKET}{}", received.packet);
    let by_payload = settings.identity == Identity::Payload || received.retained;
    let mut marks = Marks::new();
    let identity = if by_payload {
        vec!["payload".to_owned(), content]
    } else {
        if received.repeated && hub.item(&packet).await?.as_ref() == Some(&content) {
            return Ok(None);
        }
        let moment = mizar_core::clock::unix_ns().to_string();
        let identity = vec![
            "delivery".to_owned(),
            moment,
            packet.clone(),
            content.clone(),
        ];
        // Without acknowledgement there is no repeat.
        if received.packet != 0 {
            marks.push((packet, Some(content)));
        }
        identity
    };
    let message = Message {
        identity,
        kind: "mizar.mqtt.message".to_owned(),
        subject: Some(received.topic.clone()),
        content_type: received.content_type.clone(),
        headers: received.headers.clone(),
        body: received.payload.clone(),
        ..Message::default()
    };
    Ok(Some((message, marks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_topics_are_checked() {
        for (topic, expected) in [
            ("a/b", true),
            ("a/+/b", true),
            ("#", true),
            ("a/#", true),
            ("a/#/b", false),
            ("a+/b", false),
            ("", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_filter(topic), expected, "{topic:?}");
        }
    }
}
