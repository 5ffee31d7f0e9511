//! A queue of an AMQP 0.9.1 broker, as RabbitMQ: each message is acknowledged once the ledger has
//! it, and so many are on their way at most as `prefetch` says.
//!
//! The queue is the site's: what is bound to it is set up there. A CloudEvent, a notification or a
//! message of Rucio has its own identity; else the `message-id` that the sender set. A plain message with neither
//! cannot be known again: it is taken at least once, or, with `identity = "payload"`, once for
//! each payload. Left out: TLS, which a proxy beside the gateway has; and headers that are no
//! UTF-8, at which the client library gives the connection up: the source says so in its state,
//! and the message waits in the queue until somebody takes it out.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use amqprs::callbacks::ChannelCallback;
use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicQosArguments, Channel, ConsumerMessage,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Nack, Return};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::message::{Message, attribute, digest};
use super::mqtt::Identity;
use super::settings::{self, address, check_clear, login};
use super::{Hub, MAX_BATCH, Marks, SourceError};

/// Longest connecting, and longest wait for the answer to a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How often a connection or channel that ended without a word is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// The table of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// Host and port.
    pub broker: String,
    /// The queue; it must exist.
    pub queue: String,
    /// The virtual host.
    #[serde(default = "settings::default_vhost")]
    pub vhost: String,
    /// Most messages that are on their way without acknowledgement.
    #[serde(default = "settings::default_prefetch")]
    pub prefetch: u16,
    /// File with `user:password`, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// Send the password over the network in the clear.
    #[serde(default)]
    pub clear_password: bool,
    /// What tells plain messages without a `message-id` apart.
    #[serde(default)]
    pub identity: Identity,
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        let (host, _) = address(&self.broker, 5672)?;
        check_clear(&host, self.credentials_file.is_some(), self.clear_password)?;
        // Longer ones are no short strings of AMQP.
        for (key, text) in [("queue", &self.queue), ("vhost", &self.vhost)] {
            if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
                return Err(format!(
                    "`{key}` is empty, longer than 255 bytes or holds a control character"
                ));
            }
        }
        if self.prefetch == 0 {
            return Err("`prefetch` must be at least 1".to_owned());
        }
        Ok(())
    }

    fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::server(&self.broker, problem)
    }

    /// Waits for an answer of the broker, but not for ever.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, amqprs::error::Error>>,
    ) -> Result<T, SourceError> {
        match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(answer) => answer.map_err(|error| self.error(error)),
            Err(_) => Err(self.error("does not answer")),
        }
    }
}

/// Reads the queue until the connection fails.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let (host, port) = address(&settings.broker, 5672).map_err(|text| settings.error(text))?;
    let (user, password) = match &settings.credentials_file {
        None => ("guest".to_owned(), "guest".to_owned()),
        Some(path) => {
            let login = login(path).map_err(|problem| SourceError::Secret { problem })?;
            (login.user, login.password)
        }
    };
    let arguments = OpenConnectionArguments::new(&host, port, &user, &password)
        .virtual_host(&settings.vhost)
        .finish();
    let connection = settings.answer(Connection::open(&arguments)).await?;
    let channel = settings.answer(connection.open_channel(None)).await?;
    let (gone, mut lost) = mpsc::channel(1);
    settings
        .answer(channel.register_callback(Watcher(gone)))
        .await?;
    let bound = BasicQosArguments::new(0, settings.prefetch, false);
    settings.answer(channel.basic_qos(bound)).await?;
    // The broker names the consumer.
    let consume = BasicConsumeArguments::new(&settings.queue, &format!("mizar-{}", settings.name));
    let (_, messages) = settings.answer(channel.basic_consume_rx(consume)).await?;
    hub.connected();
    let ended = tokio::select! {
        // What the broker said tells more than that there are no more messages.
        biased;
        why = lost.recv() => {
            let why = why.unwrap_or_else(|| "the channel ended".to_owned());
            Err(settings.error(why))
        }
        ended = take(settings, hub, &channel, messages) => ended,
        () = closed(&connection, &channel) => Err(settings.error("the connection ended")),
    };
    // What the broker had sent goes back into its queue with the connection.
    drop(channel);
    let _ = tokio::time::timeout(LOOK, connection.close()).await;
    ended
}

/// Hears from the broker that the channel or its consumer ends; nothing else is of interest to who
/// only reads.
struct Watcher(mpsc::Sender<String>);

#[async_trait::async_trait]
impl ChannelCallback for Watcher {
    async fn close(
        &mut self,
        _: &Channel,
        close: CloseChannel,
    ) -> Result<(), amqprs::error::Error> {
        let _ = self.0.try_send(close.to_string());
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), amqprs::error::Error> {
        let _ = self.0.try_send("the queue was deleted".to_owned());
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, _: bool) -> Result<bool, amqprs::error::Error> {
        Ok(true)
    }

    async fn publish_ack(&mut self, _: &Channel, _: Ack) {}

    async fn publish_nack(&mut self, _: &Channel, _: Nack) {}

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {}
}

/// Returns when the connection or the channel is no longer open.
async fn closed(connection: &Connection, channel: &Channel) {
    while connection.is_open() && channel.is_open() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn take(
    settings: &Settings,
    hub: &Hub,
    channel: &Channel,
    mut messages: UnboundedReceiver<ConsumerMessage>,
) -> Result<Infallible, SourceError> {
    let mut received = Vec::new();
    loop {
        if messages.recv_many(&mut received, MAX_BATCH).await == 0 {
            return Err(settings.error("the consumer ended"));
        }
        let mut batch = Vec::new();
        let mut last = None;
        for message in received.drain(..) {
            let Some(deliver) = &message.deliver else {
                continue;
            };
            last = Some(deliver.delivery_tag());
            batch.push(event(settings, &message, deliver.routing_key()));
        }
        hub.take(batch).await?;
        // They come in order, and all before this one are taken too.
        if let Some(last) = last {
            let acknowledged = channel.basic_ack(BasicAckArguments::new(last, true));
            settings.answer(acknowledged).await?;
        }
    }
}

fn event(settings: &Settings, message: &ConsumerMessage, routing_key: &str) -> (Message, Marks) {
    let body = message.content.clone().unwrap_or_default();
    let none = BasicProperties::default();
    let properties = message.basic_properties.as_ref().unwrap_or(&none);
    let id = properties.message_id().filter(|id| !id.is_empty());
    let content = digest([routing_key.as_bytes(), &body]);
    let identity = match (id, settings.identity) {
        (Some(id), _) => vec!["id".to_owned(), settings.queue.clone(), id.clone()],
        (None, Identity::Payload) => vec!["payload".to_owned(), settings.queue.clone(), content],
        (None, Identity::Delivery) => {
            let moment = mizar_core::clock::unix_ns().to_string();
            let tag = message
                .deliver
                .as_ref()
                .map(|deliver| deliver.delivery_tag());
            let tag = tag.unwrap_or_default().to_string();
            vec!["delivery".to_owned(), moment, tag, content]
        }
    };
    let message = Message {
        identity,
        kind: "mizar.amqp.message".to_owned(),
        subject: Some(routing_key.to_owned()),
        content_type: properties.content_type().cloned(),
        headers: attributes(properties),
        body,
        ..Message::default()
    };
    (message, Marks::new())
}

/// Attributes of CloudEvents among the headers.
fn attributes(properties: &BasicProperties) -> Vec<(String, String)> {
    let Some(table) = properties.headers() else {
        return Vec::new();
    };
    table
        .as_ref()
        .iter()
        .filter_map(|(name, value)| match value {
            amqprs::FieldValue::S(text) => Some((attribute(name.as_ref())?, text.as_ref().clone())),
            _ => None,
        })
        .collect()
}
