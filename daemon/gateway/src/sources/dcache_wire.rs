//! What is asked of dCache's frontend: channels, subscriptions, the stream, and the namespace.
//!
//! URLs that dCache answers with are never followed as they are: of them only the part after
//! `/events/channels/` is used, at the configured endpoint, so that no answer can lead the
//! credentials elsewhere.
//!
//! Source: dCache `dcache-frontend`, resources `EventResources` and `FileResources`.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use mizar_http::{escaped, is_unreserved_or_slash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::dcache::{Ended, Settings};
use super::sse::{Decoder, Event};
use super::web::{Answer, Ask, Web};
use crate::cloudevents::base64;

/// Longest wait for an answer; a listing may take a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Longest answer: a folder of some 200,000 files.
const ANSWER_BYTES: usize = 64 << 20;

/// Files that are looked at at once.
const LOOKS: usize = 8;

/// Where channels are, below the API.
const CHANNELS: &str = "/events/channels";

/// A channel of ours with its subscription, below the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    /// `/events/channels/ID`.
    pub(super) path: String,
    /// `/events/channels/ID/subscriptions/inotify/ID`.
    pub(super) subscription: String,
}

impl Channel {
    /// The part of a URL of dCache that names a channel, or something in it.
    pub(super) fn tail(url: &str) -> Option<String> {
        let tail = &url[url.find(CHANNELS)?..];
        let parts: Vec<&str> = tail.strip_prefix(CHANNELS)?.split('/').skip(1).collect();
        let is_id = |part: &&str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=~".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain)
        };
        (!parts.is_empty() && parts.iter().all(is_id)).then(|| tail.to_owned())
    }
}

/// A file as the namespace has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// What it is called, in a listing.
    #[serde(default)]
    file_name: Option<String>,
    #[serde(default)]
    file_type: String,
    /// Its own name for ever.
    #[serde(default)]
    pub(super) pnfs_id: String,
    /// Its size, once it is written.
    #[serde(default)]
    pub(super) size: Option<u64>,
    /// When it was modified, in milliseconds since 1970.
    #[serde(default)]
    pub(super) mtime: Option<i64>,
    #[serde(default)]
    children: Option<Vec<Entry>>,
}

impl Entry {
    fn is_file(&self) -> bool {
        self.file_type == "REGULAR" && !self.pnfs_id.is_empty()
    }

    /// Whether it is a file that nobody is writing any more.
    pub(super) fn is_whole(&self) -> bool {
        self.is_file() && self.size.is_some()
    }
}

/// What a look at a file found.
pub(super) enum Found {
    /// A file.
    File(Entry),
    /// No file, or none any more.
    Nothing,
    /// It may not be looked at.
    Refused(String),
}

/// What a stream brings.
#[derive(Debug)]
pub(super) enum Streamed {
    /// It has begun.
    Opened,
    /// An event.
    Event(Event),
}

/// The frontend.
pub(super) struct Server<'a> {
    settings: &'a Settings,
    web: Web,
    authorization: String,
}

impl<'a> Server<'a> {
    pub(super) fn new(settings: &'a Settings) -> Result<Self, String> {
        Ok(Self {
            settings,
            web: Web::new(settings.ca_file.as_deref())?,
            authorization: settings.secret()?,
        })
    }

    /// Makes a channel that is subscribed to the folder.
    pub(super) async fn make(&self) -> Result<Channel, String> {
        let client = json!({"client-id": format!("mizar-{}", self.settings.name)});
        let made = self.ask("POST", CHANNELS, Some(&client)).await?;
        let path = match made.status {
            201 => location(&made).ok_or("answers no channel")?,
            429 => return Err("this user has too many channels: they end by themselves".to_owned()),
            _ => return Err(format!("no channel: {}", made.refusal())),
        };
        let mut channel = Channel {
            path,
            subscription: String::new(),
        };
        let subscribed = self.subscribe(&channel.path).await;
        match subscribed {
            Ok(subscription) => channel.subscription = subscription,
            Err(problem) => {
                self.remove(&channel).await;
                return Err(problem);
            }
        }
        Ok(channel)
    }

    async fn subscribe(&self, channel: &str) -> Result<String, String> {
        let wanted = json!({"path": self.settings.path,
            "flags": ["IN_CLOSE_WRITE", "IN_MOVED_TO", "IN_ONLYDIR"]});
        let path = format!("{channel}/subscriptions/inotify");
        let answer = self.ask("POST", &path, Some(&wanted)).await?;
        let subscription = match answer.status {
            201 | 303 => location(&answer).ok_or("answers no subscription")?,
            _ => {
                let folder = &self.settings.path;
                return Err(format!("cannot watch {folder}: {}", answer.refusal()));
            }
        };
        let absence = json!({"timeout": self.settings.absence_s});
        let patched = self.ask("PATCH", channel, Some(&absence)).await?;
        match patched.status {
            200..300 => Ok(subscription),
            _ => Err(format!("refuses `absence_s`: {}", patched.refusal())),
        }
    }

    /// Gives a channel back; that it ends by itself is enough where this fails.
    pub(super) async fn remove(&self, channel: &Channel) {
        drop(self.ask("DELETE", &channel.path, None).await);
    }

    /// Reads the stream after the event `last` and hands its events on; returns why it ended.
    pub(super) async fn read(
        &self,
        channel: &Channel,
        last: Option<String>,
        sender: mpsc::Sender<Streamed>,
    ) -> Ended {
        match self.stream(channel, last, sender).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn stream(
        &self,
        channel: &Channel,
        last: Option<String>,
        sender: mpsc::Sender<Streamed>,
    ) -> Result<Infallible, Ended> {
        let mut ask = self.request("GET", &channel.path, None);
        ask.headers.retain(|(name, _)| *name != "accept");
        ask.headers.push(("accept", "text/event-stream".to_owned()));
        ask.headers.extend(last.map(|last| ("last-event-id", last)));
        let response = self.web.open(ask).await.map_err(Ended::Problem)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(Ended::Gone("the channel has ended".to_owned())),
            // As after a change of the user who asks.
            403 => return Err(Ended::Gone("the channel is another user's".to_owned())),
            status => return Err(Ended::Problem(format!("answered {status} for the stream"))),
        }
        let closed = || Ended::Problem("the stream ended".to_owned());
        sender.send(Streamed::Opened).await.map_err(|_| closed())?;
        let mut body = response.into_body();
        let mut decoder = Decoder::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Ended::Problem(mizar_core::chain(&error)))?;
            let bytes = frame.into_data().unwrap_or_default();
            let events = decoder.decode(&bytes);
            for event in events.map_err(|error| Ended::Problem(error.to_string()))? {
                let event = Streamed::Event(event);
                sender.send(event).await.map_err(|_| closed())?;
            }
        }
        Err(closed())
    }

    /// Looks at files of the folder.
    pub(super) async fn look(
        &self,
        names: BTreeSet<String>,
    ) -> Result<Vec<(String, Found)>, String> {
        let looks = names.into_iter().map(|name| async move {
            let found = self.look_at(&name).await?;
            Ok((name, found))
        });
        stream::iter(looks).buffered(LOOKS).try_collect().await
    }

    async fn look_at(&self, name: &str) -> Result<Found, String> {
        let path = format!("{}/{name}", self.settings.path);
        let answer = self.ask("GET", &namespace(&path), None).await?;
        match answer.status {
            200 => {
                let entry: Entry = parse(&answer)?;
                let is_file = entry.is_file();
                Ok(if is_file {
                    Found::File(entry)
                } else {
                    Found::Nothing
                })
            }
            404 => Ok(Found::Nothing),
            403 => Ok(Found::Refused(answer.refusal())),
            _ => Err(format!("{path}: {}", answer.refusal())),
        }
    }

    /// The folder's entries by their names.
    pub(super) async fn list(&self) -> Result<BTreeMap<String, Entry>, String> {
        let folder = &self.settings.path;
        let path = format!("{}?children=true", namespace(folder));
        let answer = self.ask("GET", &path, None).await?;
        if answer.status != 200 {
            return Err(format!("cannot list {folder}: {}", answer.refusal()));
        }
        let listed: Entry = parse(&answer)?;
        let children = listed.children;
        let children = children.ok_or_else(|| format!("{folder} is no folder"))?;
        let named = |entry: Entry| Some((entry.file_name.clone()?, entry));
        Ok(children.into_iter().filter_map(named).collect())
    }

    fn request(&self, method: &'static str, path: &str, body: Option<&Value>) -> Ask {
        let endpoint = self.settings.endpoint.trim_end_matches('/');
        let mut headers = vec![
            ("authorization", self.authorization.clone()),
            ("accept", "application/json".to_owned()),
        ];
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        Ask {
            method,
            url: format!("{endpoint}/api/v1{path}"),
            headers,
            body: body.map(Value::to_string).unwrap_or_default().into_bytes(),
        }
    }

    async fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let request = self.request(method, path, body);
        self.web.ask(request, ANSWER_LIMIT, ANSWER_BYTES).await
    }
}

/// `user:password` or a token, as a header has it.
pub(super) fn authorization(secret: &str) -> Result<String, String> {
    let line = secret.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err("`credentials_file` is not one line: user:password, or a token".to_owned());
    }
    Ok(match line.contains(':') {
        true => format!("Basic {}", base64(line.as_bytes())),
        false => format!("Bearer {line}"),
    })
}

fn namespace(path: &str) -> String {
    format!("/namespace{}", escaped(path, is_unreserved_or_slash))
}

fn location(answer: &Answer) -> Option<String> {
    Channel::tail(answer.headers.get("location")?.to_str().ok()?)
}

fn parse(answer: &Answer) -> Result<Entry, String> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("answers no entry of the namespace: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_what_names_a_channel_is_used() {
        for (url, expected) in [
            (
                "https://d:3880/api/v1/events/channels/C",
                Some("/events/channels/C"),
            ),
            (
                "http://other/x/events/channels/C/subscriptions/inotify/S-1",
                Some("/events/channels/C/subscriptions/inotify/S-1"),
            ),
            ("/api/v1/events/channels/C", Some("/events/channels/C")),
            ("https://d/api/v1/events/channels", None),
            ("https://d/api/v1/events/channels/", None),
            ("https://d/api/v1/events/channels/../../x", None),
            ("https://d/api/v1/events/channels/C?x=1", None),
            ("https://d/other", None),
        ] {
            assert_eq!(Channel::tail(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_login_or_a_token_proves_who_asks() {
        assert_eq!(authorization("ann:x\n").unwrap(), "Basic YW5uOng=");
        assert_eq!(authorization("tok.en\n").unwrap(), "Bearer tok.en");
        assert!(authorization("a\nb").is_err() && authorization("").is_err());
    }
}
