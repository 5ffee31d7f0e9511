//! Messages of Rucio, as its daemon `hermes` sends them through a broker. Pure.
//!
//! A message is `{"event_type", "payload": {"scope", "name", …}, "created_at"}`, sent at least
//! once. Called by the pulled sources; what else has these keys is no message of Rucio.
//!
//! Source: Rucio `daemons/hermes` and the places in its core that add messages.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Start of the CloudEvents type.
const TYPE_PREFIX: &str = "mizar.rucio.";

/// What a message of Rucio says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// CloudEvents type.
    pub(crate) kind: String,
    /// `scope:name`.
    pub(crate) subject: String,
    /// When it happened, in RFC 3339.
    pub(crate) time: Option<String>,
    /// What makes its repeat recognisable, in order.
    pub(crate) identity: Vec<String>,
}

/// Reads what a message of Rucio says; None if it is none, or nothing tells its repeat.
pub(crate) fn read(message: &Value) -> Option<Told> {
    let event_type = message.get("event_type")?.as_str()?;
    let payload = message.get("payload")?;
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let (scope, name) = (text("scope")?, text("name")?);
    let created = message.get("created_at").and_then(Value::as_str);
    let moment = text("rule_id").or(text("request-id")).or(created)?;
    let part = |name: &str| text(name).unwrap_or_default().to_owned();
    let mut identity: Vec<String> = [event_type, scope, name, moment].map(str::to_owned).into();
    // One rule locks a dataset at several places, and goes on by steps: each is news.
    identity.extend(["vo", "rse", "url"].map(part));
    identity.push(
        payload
            .get("progress")
            .map(Value::to_string)
            .unwrap_or_default(),
    );
    Some(Told {
        kind: format!("{TYPE_PREFIX}{event_type}"),
        subject: format!("{scope}:{name}"),
        time: created.and_then(rfc3339),
        identity,
    })
}

/// `2026-01-02 10:00:00`, which is UTC, as RFC 3339.
fn rfc3339(created: &str) -> Option<String> {
    let text = format!("{}Z", created.replacen(' ', "T", 1));
    OffsetDateTime::parse(&text, &Rfc3339).ok().map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(event_type: &str, payload: Value) -> Value {
        json!({"event_type": event_type, "payload": payload, "created_at": "2026-01-02 10:00:00"})
    }

    #[test]
    fn repeats_are_known_and_news_is_news() {
        let dataset = json!({"scope": "user.a", "name": "ds1", "bytes": 10, "events": null});
        let close = read(&message("close", dataset.clone())).unwrap();
        assert_eq!(
            (close.kind.as_str(), close.subject.as_str()),
            ("mizar.rucio.close", "user.a:ds1")
        );
        assert_eq!(close.time.as_deref(), Some("2026-01-02T10:00:00Z"));
        assert_eq!(read(&message("close", dataset)).unwrap(), close);
        let lock = |rse: &str| json!({"scope": "s", "name": "d", "rse": rse, "rule_id": "r"});
        let step = |to: u32| json!({"scope": "s", "name": "d", "progress": to, "rule_id": "r"});
        let other_vo = json!({"scope": "s", "name": "d", "rse": "X", "rule_id": "r", "vo": "b"});
        let transfer = |id: &str| json!({"scope": "s", "name": "d", "request-id": id});
        let mut seen = std::collections::BTreeSet::new();
        for told in [
            message("datasetlock_ok", lock("X")),
            message("datasetlock_ok", lock("Y")),
            message("datasetlock_ok", other_vo),
            message("rule_progress", step(25)),
            message("rule_progress", step(50)),
            message("rule_ok", step(50)),
            message("transfer-done", transfer("1")),
            message("transfer-done", transfer("2")),
        ] {
            assert!(seen.insert(read(&told).unwrap().identity), "{told}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_left_alone() {
        for other in [
            json!({"event_type": "ping"}),
            json!({"event_type": "email", "payload": {"to": "x"}, "created_at": "now"}),
            json!({"event_type": 7, "payload": {"scope": "s", "name": "n"}, "created_at": "now"}),
            json!({"event_type": "close", "payload": {"scope": "s", "name": "n"}}),
            json!([1]),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
        let odd = json!({"event_type": "close", "payload": {"scope": "s", "name": "n"},
            "created_at": "some day"});
        assert_eq!(read(&odd).unwrap().time, None);
    }
}
