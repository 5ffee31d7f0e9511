//! A folder of dCache, by its events (SSE, `inotify`): every file that is closed after writing, or
//! renamed into the folder, becomes an event.
//!
//! A channel of ours goes on after the last event that is in the ledger (`Last-Event-ID`). Where
//! dCache tells that events were lost, or the channel is a new one, the folder is listed and
//! compared with what is known. Both ways name a file by its path and its `pnfsId`, so that it is
//! one event whichever tells of it first; a file that is written anew has another `pnfsId`. The
//! folder is listed each `rescan_s` too, since a stream that is silent may be a lost one.
//!
//! Left out: subfolders, which dCache does not watch; removals; and files without a size in a
//! listing, which are still being written.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::dcache_event::Told;
use super::dcache_wire::{Channel, Entry, Found, Server, Streamed, authorization};
use super::message::Message;
use super::settings::{check_clear, secret};
use super::sse::Event;
use super::web::{check_url, server};
use super::{Hub, MAX_BATCH, Marks, SourceError, known};

/// Longest time that a client may be away, as dCache has it.
const MAX_ABSENCE_S: u32 = 86_400;

/// Where dCache answers a stream with its first event only, the folder is not listed before it had
/// this time to begin it.
const OPEN_WAIT: Duration = Duration::from_secs(3);

/// Events that wait in memory; then the stream is not read on.
const WAITING: usize = 1_000;

/// The item that remembers the channel.
const CHANNEL: &str = "channel";

/// The item that remembers the last event.
const LAST: &str = "last";

/// The item that remembers for which channel the folder was listed.
const LISTED: &str = "listed";

/// Start of the items that remember files, and what comes after the last of them.
const FILES: (&str, &str) = ("file/", "file0");

/// The table of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// `https://` and the frontend's host and port.
    pub endpoint: String,
    /// The folder.
    pub path: String,
    /// Start of the files' names.
    #[serde(default)]
    pub prefix: String,
    /// End of the files' names.
    #[serde(default)]
    pub suffix: String,
    /// File with `user:password`, or a token, readable by its owner only.
    pub credentials_file: PathBuf,
    /// Send it over the network in the clear.
    #[serde(default)]
    pub clear_password: bool,
    /// Certificates that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long dCache keeps events while nobody is there.
    #[serde(default = "default_absence_s")]
    pub absence_s: u32,
    /// How often the folder is listed, whatever the events say.
    #[serde(default = "default_rescan_s")]
    pub rescan_s: u64,
}

fn default_absence_s() -> u32 {
    3_600
}

fn default_rescan_s() -> u64 {
    3_600
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        check_url("endpoint", &self.endpoint)?;
        if let Some((_, host)) = self.endpoint.split_once("http://") {
            let host = host.split(['/', ':']).next().unwrap_or_default();
            check_clear(host, true, self.clear_password)?;
        }
        let is_bad = |part: &str| matches!(part, "" | "." | "..");
        let parts = self.path.strip_prefix('/').map(|rest| rest.split('/'));
        if parts.is_none_or(|mut parts| parts.any(is_bad)) {
            return Err("`path` is not absolute and plain, as /data/in".to_owned());
        }
        if self.path.chars().any(char::is_control) {
            return Err("`path` holds a control character".to_owned());
        }
        if !(1..=MAX_ABSENCE_S).contains(&self.absence_s) {
            return Err(format!("`absence_s` must be between 1 and {MAX_ABSENCE_S}"));
        }
        if self.rescan_s == 0 {
            return Err("`rescan_s` must be at least 1".to_owned());
        }
        Ok(())
    }

    pub(super) fn secret(&self) -> Result<String, String> {
        authorization(&secret(&self.credentials_file)?)
    }

    /// As with a folder: hidden names need a prefix that says so.
    fn wants(&self, name: &str) -> bool {
        let is_hidden = name.starts_with('.') && !self.prefix.starts_with('.');
        !is_hidden && name.starts_with(&self.prefix) && name.ends_with(&self.suffix)
    }

    fn error(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::server(server(&self.endpoint).0, problem)
    }
}

/// What the ledger keeps of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    endpoint: String,
    path: String,
    channel: Channel,
}

/// Follows the folder until the stream fails.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let server = Server::new(settings).map_err(|problem| settings.error(problem))?;
    let mut folder = Folder {
        settings,
        hub,
        server: &server,
        channel: Channel::default(),
        listed: Instant::now(),
    };
    let channel = folder.channel().await?;
    folder.channel = channel.clone();
    let last = hub.item(LAST).await?;
    let (sender, streamed) = mpsc::channel(WAITING);
    let reading = server.read(&channel, last.clone(), sender);
    // Whichever ends first: what was read and is not in the ledger is asked for again.
    let ended = tokio::select! {
        ended = reading => Err(ended),
        ended = folder.follow(streamed, last.is_some()) => ended,
    };
    match ended {
        Ok(never) => match never {},
        Err(Ended::Source(error)) => Err(error),
        Err(Ended::Problem(problem)) => Err(settings.error(problem)),
        Err(Ended::Gone(why)) => {
            // The next run begins with a new channel, and with a listing.
            server.remove(&channel).await;
            hub.forget(vec![CHANNEL.to_owned()]).await?;
            Err(settings.error(format!("{why}: begins anew")))
        }
    }
}

/// Why following ended.
pub(super) enum Ended {
    /// The ledger.
    Source(SourceError),
    /// dCache, or the way to it.
    Problem(String),
    /// The channel is of no use any more.
    Gone(String),
}

impl From<SourceError> for Ended {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

struct Folder<'a> {
    settings: &'a Settings,
    hub: &'a Hub,
    server: &'a Server<'a>,
    channel: Channel,
    listed: Instant,
}

impl Folder<'_> {
    /// The channel that the ledger knows, or a new one.
    async fn channel(&self) -> Result<Channel, SourceError> {
        let (settings, hub) = (self.settings, self.hub);
        let kept = hub.item(CHANNEL).await?;
        let kept: Option<Kept> = kept.and_then(|text| serde_json::from_str(&text).ok());
        let is_ours =
            |kept: &Kept| kept.endpoint == settings.endpoint && kept.path == settings.path;
        if let Some(kept) = kept.filter(is_ours) {
            return Ok(kept.channel);
        }
        let made = self.server.make().await;
        let channel = made.map_err(|problem| settings.error(problem))?;
        info!(source = settings.name, "new channel of dCache");
        // Numbers of events begin anew with it.
        hub.forget(vec![LAST.to_owned(), LISTED.to_owned()]).await?;
        let kept = Kept {
            endpoint: settings.endpoint.clone(),
            path: settings.path.clone(),
            channel: channel.clone(),
        };
        let text = serde_json::to_string(&kept).map_err(|error| settings.error(error))?;
        hub.remember(CHANNEL, text).await?;
        Ok(channel)
    }

    /// Takes what is streamed, and lists where that is not enough.
    async fn follow(
        &mut self,
        mut streamed: mpsc::Receiver<Streamed>,
        has_last: bool,
    ) -> Result<Infallible, Ended> {
        // Without the number of an event dCache repeats none: what came before the stream began is
        // found by a listing after it.
        let first = tokio::time::timeout(OPEN_WAIT, streamed.recv()).await;
        let mut waiting: Vec<Streamed> = first.ok().flatten().into_iter().collect();
        let known = self.hub.item(LISTED).await?;
        if !has_last || known.as_ref() != Some(&self.channel.path) {
            self.list().await?;
        }
        self.hub.connected();
        let rescan = Duration::from_secs(self.settings.rescan_s);
        loop {
            let events = waiting.drain(..).filter_map(|one| match one {
                Streamed::Opened => None,
                Streamed::Event(event) => Some(event),
            });
            self.take(events.collect()).await?;
            let pause = rescan.saturating_sub(self.listed.elapsed());
            let more = streamed.recv_many(&mut waiting, MAX_BATCH);
            match tokio::time::timeout(pause, more).await {
                // The reading says why.
                Ok(0) => std::future::pending().await,
                Ok(_) => {}
                Err(_) => self.list().await?,
            }
        }
    }

    /// Takes events, and remembers the last one with them.
    async fn take(&mut self, events: Vec<Event>) -> Result<(), Ended> {
        let mut names = BTreeSet::new();
        let mut dead = Vec::new();
        let (mut last, mut lost, mut gone) = (None, None, None);
        for event in events {
            let read = Told::read(&event, &self.channel.subscription);
            last = event.id.clone().or(last);
            match read {
                Told::File(name) if self.settings.wants(&name) => {
                    names.insert(name);
                }
                Told::File(_) | Told::Nothing => {}
                Told::Lost(why) => lost = Some(why),
                Told::Gone(why) => gone = Some(why),
                Told::Ends(why) => return Err(Ended::Problem(why)),
                Told::Unreadable => dead.push(self.unreadable(&event)),
            }
        }
        if let Some(why) = gone {
            return Err(Ended::Gone(why));
        }
        let mut messages: Vec<(Message, Marks)> = dead;
        for (name, found) in self.server.look(names).await.map_err(Ended::Problem)? {
            match found {
                Found::File(entry) => messages.push(self.message(&name, &entry)),
                Found::Refused(why) => messages.push((self.refused(&name, why), Marks::new())),
                Found::Nothing => {}
            }
        }
        if lost.is_some() {
            // Before its number is remembered: a kill in between must not lose the loss.
            self.hub.forget(vec![LISTED.to_owned()]).await?;
        }
        let mark = last.map(|id| (LAST.to_owned(), Some(id)));
        match (messages.last_mut(), mark) {
            (Some((_, marks)), Some(mark)) => marks.push(mark),
            (None, Some((item, Some(id)))) => self.hub.remember(&item, id).await?,
            _ => {}
        }
        self.hub.take(messages).await?;
        if let Some(why) = lost {
            warn!(
                source = self.settings.name,
                why, "events were lost: lists the folder"
            );
            self.list().await?;
        }
        Ok(())
    }

    /// Lists the folder and takes what is new.
    async fn list(&mut self) -> Result<(), Ended> {
        let entries = self.server.list().await.map_err(Ended::Problem)?;
        let mut files: BTreeMap<String, Entry> = entries
            .into_iter()
            .filter(|(name, entry)| self.settings.wants(name) && entry.is_whole())
            .collect();
        let page = files
            .iter()
            .map(|(name, entry)| (item(name), entry.pnfs_id.clone()))
            .collect();
        let fresh = known::compare(self.hub, FILES.0, Some(FILES.1), &page).await?;
        for batch in fresh.chunks(MAX_BATCH) {
            let messages = batch.iter().filter_map(|item| {
                let (name, entry) = files.remove_entry(item.strip_prefix(FILES.0)?)?;
                Some(self.message(&name, &entry))
            });
            self.hub.take(messages.collect()).await?;
        }
        self.hub.remember(LISTED, self.channel.path.clone()).await?;
        self.listed = Instant::now();
        Ok(())
    }

    fn message(&self, name: &str, entry: &Entry) -> (Message, Marks) {
        let path = self.path(name);
        let data = json!({"path": path, "name": name, "pnfs_id": entry.pnfs_id,
            "size_bytes": entry.size, "modified_ms": entry.mtime});
        let message = Message {
            identity: vec![path.clone(), entry.pnfs_id.clone()],
            kind: "mizar.dcache.file".to_owned(),
            subject: Some(path),
            body: data.to_string().into_bytes(),
            ..Message::default()
        };
        (message, vec![(item(name), Some(entry.pnfs_id.clone()))])
    }

    /// A file that may not be looked at: a person has to see to it.
    fn refused(&self, name: &str, why: String) -> Message {
        let path = self.path(name);
        Message {
            identity: vec![path.clone(), "refused".to_owned()],
            kind: "mizar.dcache.file".to_owned(),
            subject: Some(path),
            flaw: Some(format!("dCache tells nothing of the file: {why}")),
            ..Message::default()
        }
    }

    fn unreadable(&self, event: &Event) -> (Message, Marks) {
        let id = event.id.clone().unwrap_or_default();
        let message = Message {
            identity: vec![self.channel.path.clone(), id],
            kind: "mizar.dcache.event".to_owned(),
            subject: Some(self.settings.path.clone()),
            flaw: Some("it is no event of inotify with a name and a mask".to_owned()),
            body: event.data.clone().into_bytes(),
            ..Message::default()
        };
        (message, Marks::new())
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.settings.path)
    }
}

/// The item of a file.
fn item(name: &str) -> String {
    format!("{}{name}", FILES.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_checked() {
        let settings = |path: &str, endpoint: &str| {
            let text = format!(
                "name = \"d\"\nendpoint = \"{endpoint}\"\npath = \"{path}\"\ncredentials_file = \"c\"\n"
            );
            toml::from_str::<Settings>(&text).unwrap().check()
        };
        assert_eq!(settings("/d/in", "https://d.site:3880"), Ok(()));
        assert_eq!(settings("/d/in", "http://localhost:3880"), Ok(()));
        for path in ["d", "/d/", "/d/../e", "/", ""] {
            assert!(settings(path, "https://d.site").is_err(), "{path}");
        }
        assert!(
            settings("/d", "http://d.site:3880")
                .unwrap_err()
                .contains("in the clear")
        );
    }
}
