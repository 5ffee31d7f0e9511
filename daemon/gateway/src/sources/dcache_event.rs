//! What an event of dCache says. Pure.

use serde_json::Value;

use super::dcache_wire::Channel;
use super::sse::Event;

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A file is whole.
    File(String),
    /// Events were lost.
    Lost(String),
    /// The subscription is over.
    Gone(String),
    /// The stream is over.
    Ends(String),
    /// Nothing of interest.
    Nothing,
    /// It breaks its format.
    Unreadable,
}

impl Told {
    /// Reads an event of the subscription `ours`.
    pub(super) fn read(event: &Event, ours: &str) -> Self {
        let value: Option<Value> = serde_json::from_str(&event.data).ok();
        match event.kind.as_str() {
            "SYSTEM" => Self::system(value.as_ref()),
            "inotify" => Self::inotify(value.as_ref(), ours).unwrap_or(Self::Unreadable),
            // A type of event that we did not ask for.
            _ => Self::Nothing,
        }
    }

    fn system(value: Option<&Value>) -> Self {
        let kind = value.and_then(|value| value.get("type")?.as_str());
        match kind.unwrap_or_default() {
            "EVENT_LOSS" => Self::Lost("EVENT_LOSS".to_owned()),
            "SUBSCRIPTION_CLOSED" => Self::Gone("dCache closed the subscription".to_owned()),
            "COMPETING_CLIENT" => Self::Ends("another client reads the channel".to_owned()),
            "SHUTDOWN" => Self::Ends("shuts down".to_owned()),
            _ => Self::Nothing,
        }
    }

    fn inotify(value: Option<&Value>, ours: &str) -> Option<Self> {
        let value = value?;
        let subscription = value.get("subscription")?.as_str()?;
        if Channel::tail(subscription).as_deref() != Some(ours) {
            return Some(Self::Nothing);
        }
        let event = value.get("event")?;
        let mask: Vec<&str> = event
            .get("mask")?
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let has = |flag: &str| mask.contains(&flag);
        Some(match () {
            () if has("IN_Q_OVERFLOW") => Self::Lost("IN_Q_OVERFLOW".to_owned()),
            () if has("IN_IGNORED") => Self::Gone("the folder is watched no more".to_owned()),
            () if has("IN_ISDIR") => Self::Nothing,
            () if has("IN_CLOSE_WRITE") || has("IN_MOVED_TO") => {
                Self::File(event.get("name")?.as_str()?.to_owned())
            }
            () => Self::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, data: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            id: Some("7".to_owned()),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_are_read_as_dcache_sends_them() {
        let ours = "/events/channels/C/subscriptions/inotify/S";
        let inotify = |event: Value| {
            let url = format!("https://d:3880/api/v1{ours}");
            json!({"event": event, "subscription": url}).to_string()
        };
        let file = |mask: &[&str]| inotify(json!({"name": "f.nc", "mask": mask}));
        let named = Told::File("f.nc".to_owned());
        for (kind, data, expected) in [
            ("inotify", file(&["IN_CLOSE_WRITE"]), named),
            (
                "inotify",
                file(&["IN_MOVED_TO"]),
                Told::File("f.nc".to_owned()),
            ),
            ("inotify", file(&["IN_MOVED_TO", "IN_ISDIR"]), Told::Nothing),
            ("inotify", file(&["IN_CREATE"]), Told::Nothing),
            (
                "inotify",
                inotify(json!({"mask": ["IN_CLOSE_WRITE"]})),
                Told::Unreadable,
            ),
            ("inotify", "no json".to_owned(), Told::Unreadable),
            (
                "inotify",
                file(&["IN_CLOSE_WRITE"]).replace("inotify/S", "inotify/T"),
                Told::Nothing,
            ),
            (
                "SYSTEM",
                r#"{"type":"NEW_SUBSCRIPTION"}"#.to_owned(),
                Told::Nothing,
            ),
            ("metronome", "{}".to_owned(), Told::Nothing),
        ] {
            assert_eq!(Told::read(&event(kind, &data), ours), expected, "{data}");
        }
        let overflow = inotify(json!({"mask": ["IN_Q_OVERFLOW"]}));
        assert!(matches!(
            Told::read(&event("inotify", &overflow), ours),
            Told::Lost(_)
        ));
        let ignored = inotify(json!({"mask": ["IN_IGNORED"]}));
        assert!(matches!(
            Told::read(&event("inotify", &ignored), ours),
            Told::Gone(_)
        ));
        let system =
            |kind: &str| Told::read(&event("SYSTEM", &json!({ "type": kind }).to_string()), ours);
        assert!(matches!(system("EVENT_LOSS"), Told::Lost(_)));
        assert!(matches!(system("SUBSCRIPTION_CLOSED"), Told::Gone(_)));
        assert!(matches!(system("COMPETING_CLIENT"), Told::Ends(_)));
        assert!(matches!(system("SHUTDOWN"), Told::Ends(_)));
    }
}
