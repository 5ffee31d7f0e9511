//! The two versions of MQTT as the one source sees them: a kept session, its messages, their
//! acknowledgements. Called by [`super::mqtt`], which knows what they mean.
//!
//! A client lives as long as its connection: an acknowledgement never goes out on a later one,
//! where the number of its packet may be another message's.

use std::convert::Infallible;
use std::time::Duration;

use rumqttc::v5;
use tokio::sync::mpsc;

use super::mqtt::{Received, Settings, Told, both, send, subscribed, take};
use super::settings::Login;
use super::{Hub, MAX_BATCH, SourceError};

/// The largest packet of MQTT: what is too large for intake goes to the dead letters, not back.
const PACKET_BYTES: u32 = 268_435_460;

/// Requests of ours that wait for the connection; more means that it hangs.
const MAX_REQUESTS: usize = 4_096;

/// Sent to the broker when there is nothing else to say.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Reads with MQTT 3.1.1.
pub(super) async fn run_4(
    settings: &Settings,
    hub: &Hub,
    (host, port): (String, u16),
    login: Option<Login>,
) -> Result<Infallible, SourceError> {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, SubscribeFilter};
    let mut options = MqttOptions::new(settings.client_id(), host, port);
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_max_packet_size(PACKET_BYTES as usize, PACKET_BYTES as usize);
    if let Some(login) = login {
        options.set_credentials(login.user, login.password);
    }
    let (client, mut events) = AsyncClient::new(options, MAX_REQUESTS);
    let (sender, receiver) = mpsc::channel(MAX_BATCH);
    let asked = client.clone();
    let connection = async {
        loop {
            match events.poll().await.map_err(|error| settings.error(error))? {
                Event::Incoming(Packet::ConnAck(answer)) if !answer.session_present => {
                    send(&sender, Told::NewSession).await?;
                    let filter =
                        |topic: &String| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce);
                    asked
                        .try_subscribe_many(settings.topics.iter().map(filter))
                        .map_err(|error| settings.error(error))?;
                }
                Event::Incoming(Packet::ConnAck(_)) => hub.connected(),
                Event::Incoming(Packet::SubAck(answer)) => {
                    let is_good = |code| matches!(code, &rumqttc::SubscribeReasonCode::Success(_));
                    subscribed(settings, hub, answer.return_codes.iter().all(is_good))?;
                }
                Event::Incoming(Packet::Publish(message)) => {
                    let told = Received {
                        packet: message.pkid,
                        repeated: message.dup,
                        retained: message.retain,
                        topic: message.topic.clone(),
                        headers: Vec::new(),
                        content_type: None,
                        payload: message.payload.to_vec(),
                        acknowledge: message,
                    };
                    send(&sender, Told::Message(told)).await?;
                }
                _ => {}
            }
        }
    };
    let acknowledge = |message| {
        client
            .try_ack(&message)
            .map_err(|error| settings.error(error))
    };
    both(connection, take(settings, hub, receiver, acknowledge)).await
}

/// Reads with MQTT 5.
pub(super) async fn run_5(
    settings: &Settings,
    hub: &Hub,
    (host, port): (String, u16),
    login: Option<Login>,
) -> Result<Infallible, SourceError> {
    use v5::mqttbytes::QoS;
    use v5::mqttbytes::v5::{Filter, Packet, SubscribeReasonCode};
    let mut options = v5::MqttOptions::new(settings.client_id(), host, port);
    options
        .set_clean_start(false)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        // The session outlives any downtime.
        .set_session_expiry_interval(Some(u32::MAX))
        .set_receive_maximum(u16::try_from(MAX_BATCH).ok())
        .set_max_packet_size(Some(PACKET_BYTES));
    if let Some(login) = login {
        options.set_credentials(login.user, login.password);
    }
    let (client, mut events) = v5::AsyncClient::new(options, MAX_REQUESTS);
    let (sender, receiver) = mpsc::channel(MAX_BATCH);
    let asked = client.clone();
    let connection = async {
        loop {
            match events.poll().await.map_err(|error| settings.error(error))? {
                v5::Event::Incoming(Packet::ConnAck(answer)) if !answer.session_present => {
                    send(&sender, Told::NewSession).await?;
                    let filter = |topic: &String| Filter::new(topic.clone(), QoS::AtLeastOnce);
                    asked
                        .try_subscribe_many(settings.topics.iter().map(filter))
                        .map_err(|error| settings.error(error))?;
                }
                v5::Event::Incoming(Packet::ConnAck(_)) => hub.connected(),
                v5::Event::Incoming(Packet::SubAck(answer)) => {
                    let is_good = |code| matches!(code, &SubscribeReasonCode::Success(_));
                    subscribed(settings, hub, answer.return_codes.iter().all(is_good))?;
                }
                v5::Event::Incoming(Packet::Publish(message)) => {
                    let properties = message.properties.clone().unwrap_or_default();
                    let told = Received {
                        packet: message.pkid,
                        repeated: message.dup,
                        retained: message.retain,
                        topic: String::from_utf8_lossy(&message.topic).into_owned(),
                        headers: attributes(properties.user_properties),
                        content_type: properties.content_type,
                        payload: message.payload.to_vec(),
                        acknowledge: message,
                    };
                    send(&sender, Told::Message(told)).await?;
                }
                _ => {}
            }
        }
    };
    let acknowledge = |message| {
        client
            .try_ack(&message)
            .map_err(|error| settings.error(error))
    };
    both(connection, take(settings, hub, receiver, acknowledge)).await
}

/// Attributes of CloudEvents, which MQTT 5 carries as user properties under their bare names.
fn attributes(properties: Vec<(String, String)>) -> Vec<(String, String)> {
    if !properties.iter().any(|(name, _)| name == "specversion") {
        return Vec::new();
    }
    properties
        .into_iter()
        .map(|(name, value)| (format!("ce-{name}"), value))
        .collect()
}
