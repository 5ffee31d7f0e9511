//! Sends to brokers from a test, each message on disk or acknowledged when the call returns.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::Duration;

use amqprs::BasicProperties;
use amqprs::channel::{
    BasicPublishArguments, Channel, ConfirmSelectArguments, QueueDeclareArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use tokio::runtime::Runtime;

/// A runtime for the clients of a test.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Publishes payloads to MQTT topics with quality of service 1 and waits for the broker.
pub(crate) async fn mqtt(port: u16, messages: &[(&str, Vec<u8>)]) {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let mut options = MqttOptions::new(format!("sender-{number}"), "127.0.0.1", port);
    options
        .set_credentials("ann", "correct horse")
        .set_max_packet_size(1 << 24, 1 << 24)
        .set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, messages.len() + 2);
    for (topic, payload) in messages {
        client
            .publish(*topic, QoS::AtLeastOnce, false, payload.clone())
            .await
            .unwrap();
    }
    let mut waiting = messages.len();
    while waiting > 0 {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
            waiting -= 1;
        }
    }
    client.disconnect().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(1), events.poll()).await;
}

/// A channel that confirms, with a durable queue.
pub(crate) async fn amqp(port: u16, queue: &str) -> (Connection, Channel) {
    let arguments = OpenConnectionArguments::new("127.0.0.1", port, "guest", "guest");
    let mut tries = 0;
    let connection = loop {
        // The port is open before the broker has made its users.
        match Connection::open(&arguments).await {
            Ok(connection) => break connection,
            Err(error) => assert!(tries < 100, "{error}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let channel = connection.open_channel(None).await.unwrap();
    let declare = QueueDeclareArguments::durable_client_named(queue);
    channel.queue_declare(declare).await.unwrap();
    channel
        .confirm_select(ConfirmSelectArguments::default())
        .await
        .unwrap();
    (connection, channel)
}

/// Publishes to a queue; the broker keeps it over a restart.
pub(crate) async fn amqp_send(channel: &Channel, queue: &str, id: Option<&str>, body: &[u8]) {
    let mut properties = BasicProperties::default();
    properties.with_persistence(true);
    if let Some(id) = id {
        properties.with_message_id(id);
    }
    let to = BasicPublishArguments::new("", queue);
    channel
        .basic_publish(properties, body.to_vec(), to)
        .await
        .unwrap();
}
