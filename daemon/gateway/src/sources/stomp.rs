//! A destination of a STOMP 1.2 broker, as Rucio's `hermes` sends to: each message is acknowledged
//! by itself once the ledger has it.
//!
//! A message of Rucio, a CloudEvent or a notification has its own identity; else the
//! `amqp-message-id` that its sender set, or a `message-id` that the broker keeps over redelivery
//! (ActiveMQ), together with the content. RabbitMQ numbers deliveries instead: a plain message
//! with nothing else cannot be known again and is taken at least once, or, with
//! `identity = "payload"`, once for each payload.
//!
//! Topics are subscribed to durably, in the words of RabbitMQ, ActiveMQ and Artemis at once; each
//! ignores those of the others. Left out: transactions, NACK (what is no event is a dead letter),
//! and client certificates.

use std::convert::Infallible;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::message::{Message, attribute, digest};
use super::mqtt::Identity;
use super::settings::{self, address, check_clear, login};
use super::stomp_frame::{self, Frame};
use super::stomp_wire::{self, Beats, Reader};
use super::transport::{self, Tls};
use super::{Hub, MAX_BATCH, Marks, SourceError};

/// The subscription's receipt.
const SUBSCRIBED: &str = "subscribed";

/// What RabbitMQ puts into a `message-id`, which numbers deliveries of one session.
const SESSION_MARK: &str = "@@session-";

/// Where a name means a topic, which keeps nothing for who is away.
const TOPICS: [&str; 2] = ["/topic/", "/exchange/"];

/// The table of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// Host and port.
    pub broker: String,
    /// The destination, as `/queue/events` or `/topic/rucio.events`.
    pub destination: String,
    /// The virtual host.
    #[serde(default = "settings::default_vhost")]
    pub vhost: String,
    /// Most messages that are on their way without acknowledgement.
    #[serde(default = "settings::default_prefetch")]
    pub prefetch: u16,
    /// Whether the broker keeps messages while nobody is there; yes for `/topic/` and
    /// `/exchange/` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// Names the client and its durable subscription; `mizar-NAME` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Pause between heart-beats, both ways; 0 for none.
    #[serde(default = "default_heartbeat_s")]
    pub heartbeat_s: u16,
    /// Speak TLS.
    #[serde(default)]
    pub tls: bool,
    /// Certificates that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with `user:password`, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// Send the password over the network in the clear.
    #[serde(default)]
    pub clear_password: bool,
    /// What tells plain messages without an id apart.
    #[serde(default)]
    pub identity: Identity,
}

fn default_heartbeat_s() -> u16 {
    10
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        let (host, _) = address(&self.broker, self.usual_port())?;
        let sends_password = self.credentials_file.is_some() && !self.tls;
        check_clear(&host, sends_password, self.clear_password)
            .map_err(|problem| format!("{problem}; or set tls = true"))?;
        for (key, text) in [
            ("destination", &self.destination),
            ("vhost", &self.vhost),
            ("client_id", &self.client_id()),
        ] {
            if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
                return Err(format!(
                    "`{key}` is empty, longer than 255 bytes or holds a control character"
                ));
            }
        }
        if self.prefetch == 0 {
            return Err("`prefetch` must be at least 1".to_owned());
        }
        if self.ca_file.is_some() && !self.tls {
            return Err("`ca_file` is for tls = true".to_owned());
        }
        Ok(())
    }

    fn usual_port(&self) -> u16 {
        if self.tls { 61614 } else { 61613 }
    }

    fn client_id(&self) -> String {
        let usual = || format!("mizar-{}", self.name);
        self.client_id.clone().unwrap_or_else(usual)
    }

    fn is_durable(&self) -> bool {
        let is_topic = || {
            TOPICS
                .iter()
                .any(|start| self.destination.starts_with(start))
        };
        self.durable.unwrap_or_else(is_topic)
    }

    fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::server(&self.broker, problem)
    }

    /// The frame that begins the session.
    fn connect_frame(&self) -> Result<Vec<u8>, SourceError> {
        let login = self.credentials_file.as_deref().map(login).transpose();
        let login = login.map_err(|problem| SourceError::Secret { problem })?;
        let (beat, client_id) = (Beats::wanted(self.heartbeat_s), self.client_id());
        let mut headers = vec![
            ("accept-version", "1.2"),
            ("host", self.vhost.as_str()),
            ("heart-beat", &beat),
            // ActiveMQ and Artemis know a durable subscriber by it; RabbitMQ passes it over.
            ("client-id", &client_id),
        ];
        if let Some(login) = &login {
            headers.push(("login", &login.user));
            headers.push(("passcode", &login.password));
        }
        Ok(stomp_frame::encode("CONNECT", &headers))
    }

    /// The frame that asks for the messages.
    fn subscribe_frame(&self) -> Vec<u8> {
        let (client_id, prefetch) = (self.client_id(), self.prefetch.to_string());
        let mut headers = vec![
            // RabbitMQ names the queue of a durable subscription after it.
            ("id", client_id.as_str()),
            ("destination", &self.destination),
            ("ack", "client-individual"),
            ("receipt", SUBSCRIBED),
            ("prefetch-count", &prefetch),
            ("activemq.prefetchSize", &prefetch),
        ];
        if self.is_durable() {
            headers.extend([
                ("durable", "true"),
                ("auto-delete", "false"),
                ("activemq.subscriptionName", client_id.as_str()),
                ("durable-subscription-name", client_id.as_str()),
            ]);
        }
        stomp_frame::encode("SUBSCRIBE", &headers)
    }
}

/// Reads the destination until the connection fails.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let fail = |problem: String| settings.error(problem);
    let (host, port) = address(&settings.broker, settings.usual_port()).map_err(fail)?;
    let tls = settings.tls.then_some(Tls {
        ca_file: settings.ca_file.as_deref(),
    });
    let hello = settings.connect_frame()?;
    let stream = transport::connect((&host, port), tls).await.map_err(fail)?;
    let limit = hub.shared.config.limits.body_bytes;
    let session = stomp_wire::open(stream, &hello, settings.heartbeat_s, limit);
    let (reader, mut writer, beats) = session.await.map_err(fail)?;
    let subscribe = settings.subscribe_frame();
    writer.write(&subscribe).await.map_err(fail)?;
    let (received, messages) = mpsc::channel(MAX_BATCH);
    let (acknowledge, acknowledged) = mpsc::channel(MAX_BATCH);
    // Reading goes on beside the storing, so that heart-beats come and go while the ledger is
    // busy. What is on its way is bounded by `prefetch`, and by the channel if the broker knows
    // no such bound.
    tokio::select! {
        ended = read(settings, hub, reader, received) => ended,
        ended = stomp_wire::keep_writing(writer, acknowledged, beats) => Err(fail(ended)),
        ended = take(settings, hub, messages, acknowledge) => ended,
    }
}

async fn read(
    settings: &Settings,
    hub: &Hub,
    mut reader: Reader,
    received: mpsc::Sender<Frame>,
) -> Result<Infallible, SourceError> {
    loop {
        let frame = reader.next().await.map_err(|text| settings.error(text))?;
        match frame.command.as_str() {
            "MESSAGE" => received.send(frame).await.map_err(|_| SourceError::Panic)?,
            "RECEIPT" if frame.header("receipt-id") == Some(SUBSCRIBED) => hub.connected(),
            "ERROR" => return Err(settings.error(stomp_wire::refusal(&frame))),
            // STOMP lets a broker send no other; one that does says nothing that we asked for.
            _ => {}
        }
    }
}

async fn take(
    settings: &Settings,
    hub: &Hub,
    mut messages: mpsc::Receiver<Frame>,
    acknowledge: mpsc::Sender<Vec<u8>>,
) -> Result<Infallible, SourceError> {
    let mut received = Vec::new();
    loop {
        if messages.recv_many(&mut received, MAX_BATCH).await == 0 {
            return Err(settings.error("the subscription ended"));
        }
        let mut acknowledgements = Vec::new();
        let mut batch = Vec::new();
        for frame in received.drain(..) {
            let Some(id) = frame.header("ack") else {
                return Err(settings.error("sends a message that cannot be acknowledged"));
            };
            acknowledgements.extend(stomp_frame::encode("ACK", &[("id", id)]));
            batch.push((message(settings, frame), Marks::new()));
        }
        hub.take(batch).await?;
        acknowledge
            .send(acknowledgements)
            .await
            .map_err(|_| SourceError::Panic)?;
    }
}

fn message(settings: &Settings, frame: Frame) -> Message {
    let subject = frame.header("destination").unwrap_or(&settings.destination);
    Message {
        identity: identity(settings, subject, &frame),
        kind: "mizar.stomp.message".to_owned(),
        subject: Some(subject.to_owned()),
        content_type: frame.header("content-type").map(str::to_owned),
        headers: frame
            .headers
            .iter()
            .filter_map(|(name, value)| Some((attribute(name)?, value.clone())))
            .collect(),
        flaw: frame.flaw,
        whole_bytes: Some(frame.size_bytes),
        body: frame.body,
        ..Message::default()
    }
}

fn identity(settings: &Settings, subject: &str, frame: &Frame) -> Vec<String> {
    let header = |name: &str| frame.header(name).filter(|value| !value.is_empty());
    let size = frame.size_bytes.to_le_bytes();
    let content = digest([subject.as_bytes(), &size, &frame.body]);
    let place = settings.destination.clone();
    if let Some(id) = header("amqp-message-id") {
        return vec!["id".to_owned(), place, id.to_owned()];
    }
    let id = header("message-id").unwrap_or_default();
    if !id.is_empty() && !id.contains(SESSION_MARK) {
        // Brokers that were set up anew may count from the start again: the content and its time
        // tell such messages apart.
        let sent = header("timestamp").unwrap_or_default();
        let parts = ["kept", &place, id, sent, &content];
        return parts.map(str::to_owned).into();
    }
    match settings.identity {
        Identity::Payload => vec!["payload".to_owned(), place, content],
        Identity::Delivery => {
            let moment = mizar_core::clock::unix_ns().to_string();
            vec!["delivery".to_owned(), moment, id.to_owned(), content]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        let head = "name = \"s\"\nbroker = \"localhost\"\ndestination = \"/queue/q\"\n";
        toml::from_str(&format!("{head}{more}")).unwrap()
    }

    fn frame(headers: &[(&str, &str)], body: &str) -> Frame {
        Frame {
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.as_bytes().to_vec(),
            size_bytes: body.len() as u64,
            ..Frame::default()
        }
    }

    #[test]
    fn a_redelivery_is_known_by_what_its_broker_keeps() {
        let one = settings("");
        let of = |headers: &[(&str, &str)], body| identity(&one, "/queue/q", &frame(headers, body));
        let named = [
            ("amqp-message-id", "7"),
            ("message-id", "T_s@@session-x@@1"),
        ];
        let again = [
            ("amqp-message-id", "7"),
            ("message-id", "T_s@@session-y@@9"),
        ];
        assert_eq!(of(&named, "a"), of(&again, "a"));
        let kept = [("message-id", "ID:host-1"), ("timestamp", "5")];
        assert_eq!(of(&kept, "a"), of(&kept, "a"));
        assert_ne!(of(&kept, "a"), of(&kept, "b"));
        assert_ne!(
            of(&kept, "a"),
            of(&[("message-id", "ID:host-1"), ("timestamp", "6")], "a")
        );
        // RabbitMQ's number of a delivery may mean another message in another session.
        let delivered = [("message-id", "T_s@@session-x@@1")];
        assert_ne!(of(&delivered, "a"), of(&delivered, "a"));
        let by_payload = settings("identity = \"payload\"");
        let of = |body| identity(&by_payload, "/queue/q", &frame(&delivered, body));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }

    #[test]
    fn topics_are_durable_unless_said() {
        let has = |more: &str, text: &str| {
            let frame = settings(more).subscribe_frame();
            String::from_utf8(frame).unwrap().contains(text)
        };
        assert!(!has("", "durable:true"));
        assert!(has("durable = true", "durable:true"));
        assert!(has("", "id:mizar-s\n") && has("", "ack:client-individual\n"));
        let topic = Settings {
            destination: "/topic/a".to_owned(),
            ..settings("")
        };
        let text = String::from_utf8(topic.subscribe_frame()).unwrap();
        for line in [
            "durable:true",
            "auto-delete:false",
            "activemq.subscriptionName:mizar-s",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{text}");
        }
    }
}
