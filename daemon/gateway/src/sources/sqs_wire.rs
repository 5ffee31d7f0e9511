//! What is asked of SQS, in its JSON protocol, signed.
//!
//! Source: the API reference of Amazon SQS, `AmazonSQS.*` with `application/x-amz-json-1.0`.

use std::time::Duration;

use mizar_core::hex;
use mizar_http::s3;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::sqs::Settings;
use super::web::{Ask, Web, check_url, server};

/// Most messages of one answer, and entries of one request.
const MAX_MESSAGES: usize = 10;

/// Longest answer: ten messages of a mebibyte each, escaped.
const ANSWER_BYTES: usize = 64 << 20;

/// Longest wait for an answer, besides that of a long poll.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The same over redelivery.
    pub(super) id: String,
    /// What deletes it; another one at each delivery.
    pub(super) receipt: String,
    /// What it holds.
    pub(super) body: String,
    /// When it was sent, in milliseconds since 1970.
    pub(super) sent_ms: Option<i64>,
    /// Attributes that are texts.
    pub(super) attributes: Vec<(String, String)>,
}

/// A queue.
pub(super) struct Queue<'a> {
    settings: &'a Settings,
    url: String,
    web: Web,
}

impl<'a> Queue<'a> {
    /// The queue of these settings; SQS is asked for its URL where they have its name.
    pub(super) async fn find(settings: &'a Settings) -> Result<Self, String> {
        let mut queue = Self {
            settings,
            url: settings.queue_url.clone(),
            web: Web::new(None)?,
        };
        if queue.url.is_empty() {
            queue.url = settings.server();
            let body = json!({ "QueueName": settings.queue() });
            let answer = queue.ask("GetQueueUrl", &body, ANSWER_LIMIT).await?;
            let url = answer.get("QueueUrl").and_then(Value::as_str);
            let url = url.ok_or("answers no URL of the queue")?;
            check_url("QueueUrl", url)?;
            // What we send there is signed, and must not go in the clear where we did not.
            if queue.url.starts_with("https://") && !url.starts_with("https://") {
                return Err("answers a URL that is not https".to_owned());
            }
            url.clone_into(&mut queue.url);
        }
        Ok(queue)
    }

    /// Waits for messages; none may come.
    pub(super) async fn receive(&self) -> Result<Vec<Received>, String> {
        let settings = self.settings;
        let body = json!({
            "QueueUrl": self.url,
            "MaxNumberOfMessages": MAX_MESSAGES,
            "WaitTimeSeconds": settings.wait_s,
            "VisibilityTimeout": settings.visibility_s,
            "MessageSystemAttributeNames": ["SentTimestamp"],
            "MessageAttributeNames": ["All"],
        });
        let wait = Duration::from_secs(u64::from(settings.wait_s));
        let answer = self
            .ask("ReceiveMessage", &body, wait + ANSWER_LIMIT)
            .await?;
        messages(answer).ok_or_else(|| "answers no messages of SQS".to_owned())
    }

    /// Keeps messages to us for longer; where that fails they come again.
    pub(super) async fn extend(&self, received: &[Received]) {
        let seconds = self.settings.visibility_s;
        let extra = json!({ "VisibilityTimeout": seconds });
        if let Err(error) = self
            .each("ChangeMessageVisibilityBatch", received, &extra)
            .await
        {
            let queue = &self.url;
            warn!(queue, error, "messages may come again: cannot keep them");
        }
    }

    /// Deletes messages. Those whose receipt has expired come again and are deleted then.
    pub(super) async fn delete(&self, received: &[Received]) -> Result<(), String> {
        self.each("DeleteMessageBatch", received, &json!({})).await
    }

    async fn each(&self, what: &str, received: &[Received], extra: &Value) -> Result<(), String> {
        for part in received.chunks(MAX_MESSAGES) {
            let entries = part.iter().enumerate().map(|(index, one)| {
                let mut entry = json!({"Id": index.to_string(), "ReceiptHandle": one.receipt});
                if let (Some(entry), Some(extra)) = (entry.as_object_mut(), extra.as_object()) {
                    entry.extend(extra.clone());
                }
                entry
            });
            let entries: Vec<Value> = entries.collect();
            let body = json!({"QueueUrl": self.url, "Entries": entries});
            let answer = self.ask(what, &body, ANSWER_LIMIT).await?;
            let failed = answer.get("Failed").and_then(Value::as_array);
            for one in failed.into_iter().flatten() {
                let code = one.get("Code").and_then(Value::as_str).unwrap_or_default();
                debug!(what, code, "a message comes again");
            }
        }
        Ok(())
    }

    async fn ask(&self, what: &str, body: &Value, limit: Duration) -> Result<Value, String> {
        // Read each time: keys change.
        let keys = self.settings.keys()?;
        let body = body.to_string().into_bytes();
        let (base, host) = server(&self.url);
        let extra = [
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target", format!("AmazonSQS.{what}")),
        ];
        let request = s3::Unsigned {
            method: "POST",
            host,
            path: "/",
            query: &[],
            region: &self.settings.region,
            time: &s3::time_now(),
            body: Some(&hex(digest(&SHA256, &body))),
        };
        let mut headers = s3::headers_for("sqs", request, &extra, &keys);
        headers.push(("host", host.to_owned()));
        let ask = Ask {
            method: "POST",
            url: format!("{base}/"),
            headers,
            body,
        };
        let answer = self.web.ask(ask, limit, ANSWER_BYTES).await?;
        let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, value) {
            (200, Some(value)) => Ok(value),
            // `DeleteMessage` and its like may answer with nothing.
            (200, None) if answer.body.is_empty() => Ok(Value::Null),
            (_, value) => Err(refusal(value.as_ref()).unwrap_or_else(|| answer.refusal())),
        }
    }
}

/// `QueueDoesNotExist: …` of an answer that refuses.
fn refusal(value: Option<&Value>) -> Option<String> {
    let kind = value?.get("__type")?.as_str()?;
    let kind = kind.rsplit('#').next().unwrap_or(kind);
    let why = value?.get("message").or(value?.get("Message"));
    Some(format!("{kind}: {}", why?.as_str()?))
}

fn messages(answer: Value) -> Option<Vec<Received>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        message_id: String,
        receipt_handle: String,
        body: String,
        #[serde(default)]
        attributes: serde_json::Map<String, Value>,
        #[serde(default)]
        message_attributes: serde_json::Map<String, Value>,
    }
    if answer.is_null() {
        return Some(Vec::new());
    }
    let listed = match answer {
        Value::Object(mut answer) => answer.remove("Messages").unwrap_or(Value::Null),
        _ => return None,
    };
    let listed: Option<Vec<Listed>> = serde_json::from_value(listed).ok()?;
    let received = listed.unwrap_or_default().into_iter().map(|one| Received {
        sent_ms: one
            .attributes
            .get("SentTimestamp")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok()),
        attributes: one
            .message_attributes
            .iter()
            .filter_map(|(name, value)| {
                let text = value.get("StringValue")?.as_str()?;
                Some((name.clone(), text.to_owned()))
            })
            .collect(),
        id: one.message_id,
        receipt: one.receipt_handle,
        body: one.body,
    });
    Some(received.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_refused() {
        let one = json!({"MessageId": "m", "ReceiptHandle": "r", "Body": "b", "MD5OfBody": "x",
            "Attributes": {"SentTimestamp": "5"},
            "MessageAttributes": {"ce-id": {"StringValue": "7", "DataType": "String"},
                                  "raw": {"BinaryValue": "AA==", "DataType": "Binary"}}});
        let found = messages(json!({ "Messages": [one] })).unwrap();
        assert_eq!((found[0].id.as_str(), found[0].sent_ms), ("m", Some(5)));
        assert_eq!(found[0].attributes, [("ce-id".to_owned(), "7".to_owned())]);
        for empty in [
            json!({}),
            json!({"Messages": []}),
            json!({"Messages": null}),
            Value::Null,
        ] {
            assert_eq!(messages(empty), Some(Vec::new()));
        }
        for bad in [
            json!([]),
            json!({"Messages": [{"Body": "b"}]}),
            json!({"Messages": 1}),
        ] {
            assert_eq!(messages(bad), None);
        }
        let refused = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "No."});
        assert_eq!(refusal(Some(&refused)).unwrap(), "QueueDoesNotExist: No.");
        assert_eq!(refusal(Some(&json!({"a": 1}))), None);
    }
}
