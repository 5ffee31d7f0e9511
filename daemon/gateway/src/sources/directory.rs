//! A folder whose files become events, each once.
//!
//! A file counts when it was closed after writing or renamed in, or when its size and times were
//! the same for `settle_ms`: on network file systems, where the kernel tells of nothing that other
//! hosts do, that is the only sign. Its identity is path, size, time of change and inode, so that
//! a file written anew is a new event and one that was only seen again is not. The folder is
//! listed at the start, each `rescan_s`, and when the kernel dropped names. With `recursive` so are
//! the folders in it, as they come and go ([`super::watch_folder`]); a file is called by its path
//! from the folder then.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::message::Message;
use super::seen::{Seen, item, look, own_name};
use super::watch_folder::{FolderWatch, Scope};
use super::{Hub, MAX_BATCH, SourceError, known};

/// Files that are looked at before the ledger is asked about them.
const PAGE: usize = 1_000;

/// Most files of a folder.
const MAX_FILES: usize = 1_000_000;

/// The table of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// Start of the file's name; names that begin with a dot need it.
    #[serde(default)]
    pub prefix: String,
    /// End of the file's name.
    #[serde(default)]
    pub suffix: String,
    /// Whether files of the folders in it count too.
    #[serde(default)]
    pub recursive: bool,
    /// Most folders then: the kernel keeps a watch for each.
    #[serde(default = "default_max_folders")]
    pub max_folders: usize,
    /// How long a file must be the same unless the kernel told that it is whole.
    #[serde(default = "default_settle_ms")]
    pub settle_ms: u64,
    /// How often the whole folder is listed.
    #[serde(default = "default_rescan_s")]
    pub rescan_s: u64,
}

fn default_max_folders() -> usize {
    10_000
}

fn default_settle_ms() -> u64 {
    5_000
}

fn default_rescan_s() -> u64 {
    60
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.path.to_str().is_none() {
            return Err("`path` must be UTF-8".to_owned());
        }
        if self.rescan_s == 0 || self.settle_ms == 0 {
            return Err("`rescan_s` and `settle_ms` must be at least 1".to_owned());
        }
        if self.max_folders == 0 {
            return Err("`max_folders` must be at least 1".to_owned());
        }
        Ok(())
    }

    /// Whether a file counts, by its own name.
    fn wants(&self, path: &OsStr) -> bool {
        let name = own_name(path).as_bytes();
        name.starts_with(self.prefix.as_bytes())
            && name.ends_with(self.suffix.as_bytes())
            && (!self.prefix.is_empty() || !name.starts_with(b"."))
    }
}

/// Watches until the folder goes away.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    let mut folder = Folder {
        settings,
        hub,
        waiting: HashMap::new(),
    };
    let watch = FolderWatch::new(scope(settings));
    let mut watch = watch.map_err(|source| folder.error(source))?;
    let found = watch.walk().await;
    let found = found.map_err(|source| folder.error(source))?;
    hub.connected();
    folder.list(found).await?;
    let mut listed = Instant::now();
    let rescan = Duration::from_secs(settings.rescan_s);
    let tick = Duration::from_millis((settings.settle_ms / 2).clamp(10, 1_000));
    loop {
        let pause = match folder.waiting.is_empty() {
            true => rescan.saturating_sub(listed.elapsed()),
            false => tick,
        };
        let mut is_due = false;
        if let Ok(changes) = tokio::time::timeout(pause, watch.changes()).await {
            let changes = changes.map_err(|source| folder.error(source))?;
            let begun = changes.begun.difference(&changes.finished);
            folder.wait_for(begun.cloned().collect()).await?;
            folder.finished(changes.finished).await?;
            for one in changes.folders {
                let found = watch.enter(one).await;
                let found = found.map_err(|source| folder.error(source))?;
                folder.came(found).await?;
            }
            is_due = changes.lost;
        }
        folder.settled().await?;
        if is_due || listed.elapsed() >= rescan {
            let found = watch.walk().await;
            let found = found.map_err(|source| folder.error(source))?;
            folder.list(found).await?;
            listed = Instant::now();
        }
    }
}

fn scope(settings: &Settings) -> Scope {
    let wanted = settings.clone();
    Scope {
        root: settings.path.clone(),
        is_recursive: settings.recursive,
        max_folders: settings.max_folders,
        max_files: MAX_FILES,
        wants: Arc::new(move |name| wanted.wants(name)),
    }
}

struct Folder<'a> {
    settings: &'a Settings,
    hub: &'a Hub,
    /// Files that may still be written, as they were seen last, and since when.
    waiting: HashMap<OsString, (Seen, Instant)>,
}

impl Folder<'_> {
    fn error(&self, source: std::io::Error) -> SourceError {
        SourceError::Folder {
            path: self.settings.path.clone(),
            source,
        }
    }

    fn settle(&self) -> Duration {
        Duration::from_millis(self.settings.settle_ms)
    }

    /// Looks at files, on a thread of its own: a network file system may hang. Files that are
    /// gone, or none of ours, are left out.
    async fn look(&self, names: Vec<OsString>) -> Result<Vec<(OsString, Seen)>, SourceError> {
        let settings = self.settings.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let wanted = names.into_iter().filter(|name| settings.wants(name));
            wanted
                .filter_map(|name| Some((look(&settings.path.join(&name))?, name)))
                .map(|(seen, name)| (name, seen))
                .collect()
        });
        looked.await.map_err(|_| SourceError::Panic)
    }

    async fn wait_for(&mut self, names: Vec<OsString>) -> Result<(), SourceError> {
        for (name, seen) in self.look(names).await? {
            if self.waiting.len() < MAX_FILES {
                self.waiting.insert(name, (seen, Instant::now()));
            }
        }
        Ok(())
    }

    /// Takes files that are whole, as they are now.
    async fn finished(
        &mut self,
        names: impl IntoIterator<Item = OsString>,
    ) -> Result<(), SourceError> {
        let looked = self.look(names.into_iter().collect()).await?;
        self.take(looked).await
    }

    /// Takes files of a folder that is new here if they are old enough, and waits for the others.
    async fn came(&mut self, names: Vec<OsString>) -> Result<(), SourceError> {
        let settle = self.settle();
        let looked = self.look(names).await?;
        let (old, young): (Vec<_>, Vec<_>) = looked
            .into_iter()
            .partition(|(_, seen)| seen.is_old(settle));
        for (name, seen) in young {
            if self.waiting.len() < MAX_FILES {
                self.waiting.entry(name).or_insert((seen, Instant::now()));
            }
        }
        self.take(old).await
    }

    /// Takes files as they were seen, unless they are known so.
    async fn take(&mut self, files: Vec<(OsString, Seen)>) -> Result<(), SourceError> {
        for files in files.chunks(MAX_BATCH) {
            let mut batch = Vec::new();
            for (name, seen) in files {
                self.waiting.remove(name);
                let (item, version) = (item(name), seen.version());
                if self.hub.item(&item).await?.as_ref() != Some(&version) {
                    batch.push((self.message(name, seen), vec![(item, Some(version))]));
                }
            }
            self.hub.take(batch).await?;
        }
        Ok(())
    }

    /// Takes files that have not changed for long enough.
    async fn settled(&mut self) -> Result<(), SourceError> {
        let settle = self.settle();
        let due = self
            .waiting
            .iter()
            .filter(|(_, (_, at))| at.elapsed() >= settle);
        let due: Vec<OsString> = due.map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut ready = Vec::new();
        let mut before: HashMap<_, _> = due
            .iter()
            .filter_map(|name| self.waiting.remove_entry(name))
            .collect();
        for (name, now) in self.look(due).await? {
            match before.remove(&name) {
                Some((seen, _)) if seen == now => ready.push((name, now)),
                _ => drop(self.waiting.insert(name, (now, Instant::now()))),
            }
        }
        self.take(ready).await
    }

    /// Compares all files with what is known, and takes what is new.
    async fn list(&mut self, found: Vec<OsString>) -> Result<(), SourceError> {
        let mut listed: Vec<(String, OsString)> =
            found.into_iter().map(|name| (item(&name), name)).collect();
        // In the order of the ledger.
        listed.sort();
        let pages = listed.len().div_ceil(PAGE).max(1);
        let mut after = String::new();
        let mut listed = listed.into_iter().peekable();
        for _ in 0..pages {
            let names: BTreeMap<String, OsString> = listed.by_ref().take(PAGE).collect();
            let until = listed.peek().and(names.keys().next_back().cloned());
            after = self.compare(&after, until, names).await?;
        }
        Ok(())
    }

    /// Compares a part of the listing with what is known, and takes what is new and old enough.
    async fn compare(
        &mut self,
        after: &str,
        until: Option<String>,
        names: BTreeMap<String, OsString>,
    ) -> Result<String, SourceError> {
        let looked = self.look(names.into_values().collect()).await?;
        let looked: BTreeMap<String, (OsString, Seen)> = looked
            .into_iter()
            .map(|(name, seen)| (item(&name), (name, seen)))
            .collect();
        let page = looked
            .iter()
            .map(|(item, (_, seen))| (item.clone(), seen.version()))
            .collect();
        let fresh = known::compare(self.hub, after, until.as_deref(), &page).await?;
        let (mut ready, mut young) = (Vec::new(), Vec::new());
        for item in fresh {
            let Some((name, seen)) = looked.get(&item) else {
                continue;
            };
            if seen.is_old(self.settle()) {
                ready.push((name.clone(), seen.clone()));
            } else if !self.waiting.contains_key(name) {
                young.push(name.clone());
            }
        }
        self.wait_for(young).await?;
        self.take(ready).await?;
        Ok(until.unwrap_or_default())
    }

    fn message(&self, name: &OsStr, seen: &Seen) -> Message {
        let path = self.settings.path.join(name).to_string_lossy().into_owned();
        let data = json!({"path": path, "name": own_name(name).to_string_lossy(), "size_bytes": seen.size,
            "modified_ns": seen.modified_ns.to_string(), "inode": seen.inode});
        Message {
            identity: vec![
                item(name),
                path.clone(),
                seen.size.to_string(),
                seen.modified_ns.to_string(),
                seen.inode.to_string(),
            ],
            kind: "mizar.directory.file".to_owned(),
            subject: Some(path),
            // A job could not open what the event would name.
            flaw: name
                .to_str()
                .is_none()
                .then(|| "the file's name is not UTF-8".to_owned()),
            body: data.to_string().into_bytes(),
            ..Message::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_need_a_prefix() {
        let settings = |prefix: &str| Settings {
            name: "d".to_owned(),
            path: "/x".into(),
            prefix: prefix.to_owned(),
            suffix: ".nc".to_owned(),
            recursive: true,
            max_folders: 1,
            settle_ms: 1,
            rescan_s: 1,
        };
        for (prefix, name, expected) in [
            ("", "a.nc", true),
            ("", ".a.nc", false),
            (".", ".a.nc", true),
            ("b", "a.nc", false),
            ("", "a.nc.part", false),
            ("", "sub/a.nc", true),
            ("", "a/.b.nc", false),
            ("sub", "sub/a.nc", false),
        ] {
            let wants = settings(prefix).wants(OsStr::new(name));
            assert_eq!(wants, expected, "{prefix} {name}");
        }
    }
}
