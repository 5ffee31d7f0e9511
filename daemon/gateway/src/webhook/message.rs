//! One change of a job as a CloudEvent in binary HTTP mode, and its signature. Pure.
//!
//! The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` are those of the Standard
//! Webhooks, version 1: HMAC-SHA256 over `ID.TIMESTAMP.BODY`. The body says all that the
//! attributes say, so that nothing that matters is unsigned.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mizar_http::{escaped, is_unreserved_or_slash};
use ring::hmac;

use super::settings::{Secrets, Webhook};
use crate::interlink::status::stamp;
use crate::ledger::Moved;

/// Headers and body of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// The message of a change, as sent at `now_s`, seconds since 1970.
pub(super) fn message(change: &Moved, webhook: &Webhook, secrets: &Secrets, now_s: i64) -> Message {
    // The number alone would come again if somebody removed the ledger.
    let id = format!("{}-{}", change.id, change.at_ms);
    let subject = format!("{}/{}", change.service, change.job);
    let body = serde_json::to_string(change).unwrap_or_default();
    let signature = signature(&secrets.key, &id, now_s, &body);
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", id.clone()),
        ("ce-source", webhook.source.clone()),
        ("ce-type", format!("mizar.job.{}", change.state.word())),
        ("ce-subject", escaped(&subject, is_unreserved_or_slash)),
        ("ce-time", stamp(change.at_ms)),
        ("webhook-id", id),
        ("webhook-timestamp", now_s.to_string()),
        ("webhook-signature", signature),
    ];
    headers.extend(authorization(secrets));
    Message { headers, body }
}

/// The token of the receiver, as a header.
pub(super) fn authorization(secrets: &Secrets) -> Option<(&'static str, String)> {
    let token = secrets.token.as_ref()?;
    Some(("authorization", format!("Bearer {token}")))
}

fn signature(key: &[u8], id: &str, now_s: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{id}.{now_s}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python: base64.b64encode(hmac.new(key, text, 'sha256').digest()).
    #[test]
    fn signatures_are_those_of_another_program() {
        assert_eq!(
            signature(b"0123456789abcdef", "7-5", 1_700_000_000, "{\"id\":7}"),
            "v1,8kBaFsN9mVzK5GoZRC56PnWDXp8ZCIx96FTY7NgMda4="
        );
    }
}
