//! What the kernel tells of a folder and of those below it (inotify): names, or that names were
//! lost; and the walk that sets the watches and lists at once.
//!
//! A folder is watched before it is listed, so that what comes meanwhile is told. One that is made
//! or moved in is told to the caller, who has it entered; what came into it before its watch is in
//! the list that [`FolderWatch::enter`] returns. A walk through the whole tree mends what was lost.
//! Links are not followed, and hidden folders are left alone.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tracing::warn;

/// Names that changed since the last look, relative to the folder.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Closed after writing, or renamed into a folder.
    pub(super) finished: BTreeSet<OsString>,
    /// Made; perhaps still being written.
    pub(super) begun: BTreeSet<OsString>,
    /// Folders that are new here, to be entered.
    pub(super) folders: BTreeSet<OsString>,
    /// The kernel dropped some: only a walk through everything tells.
    pub(super) lost: bool,
}

/// Which names are looked for, and how far.
#[derive(Clone)]
pub(super) struct Scope {
    /// The folder.
    pub(super) root: PathBuf,
    /// Whether those below it belong to it.
    pub(super) is_recursive: bool,
    /// Most folders, each of which has a watch.
    pub(super) max_folders: usize,
    /// Most files.
    pub(super) max_files: usize,
    /// Whether a file of this name is wanted.
    pub(super) wants: Arc<dyn Fn(&OsStr) -> bool + Send + Sync>,
}

/// A watched folder.
pub(super) struct FolderWatch {
    inotify: AsyncFd<Descriptor>,
    scope: Scope,
    /// The folders by their watches; the folder itself is the empty name.
    folders: HashMap<WatchDescriptor, OsString>,
}

struct Descriptor(Arc<Inotify>);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What a walk found.
#[derive(Default)]
struct Walked {
    folders: Vec<(WatchDescriptor, OsString)>,
    files: Vec<OsString>,
}

impl FolderWatch {
    /// Prepares; nothing is watched before [`FolderWatch::walk`].
    pub(super) fn new(scope: Scope) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        #[allow(
            deprecated,
            reason = "its successor is unsafe; the descriptor is owned here and never replaced"
        )]
        let inotify = AsyncFd::new(Descriptor(Arc::new(inotify)))?;
        Ok(Self {
            inotify,
            scope,
            folders: HashMap::new(),
        })
    }

    /// Watches everything and lists the wanted files; on a network file system that may take long.
    pub(super) async fn walk(&mut self) -> io::Result<Vec<OsString>> {
        let walked = self.begin(OsString::new(), self.scope.max_folders).await?;
        let now: HashMap<_, _> = walked.folders.into_iter().collect();
        // What was moved away without a word is not watched any more.
        for watch in self.folders.keys().filter(|one| !now.contains_key(one)) {
            let _ = self.inotify.get_ref().0.rm_watch(*watch);
        }
        self.folders = now;
        Ok(walked.files)
    }

    /// Watches a folder that is new here, with those below it, and lists the wanted files.
    pub(super) async fn enter(&mut self, folder: OsString) -> io::Result<Vec<OsString>> {
        let room = self.scope.max_folders.saturating_sub(self.folders.len());
        let walked = self.begin(folder, room).await?;
        self.folders.extend(walked.folders);
        Ok(walked.files)
    }

    async fn begin(&self, from: OsString, room: usize) -> io::Result<Walked> {
        let (inotify, scope) = (Arc::clone(&self.inotify.get_ref().0), self.scope.clone());
        let walking = tokio::task::spawn_blocking(move || walk(&inotify, &scope, from, room)).await;
        walking.unwrap_or_else(|_| Err(io::Error::other("the walk ended by a panic")))
    }

    /// Waits for changes.
    ///
    /// # Errors
    /// Also if the folder itself went away.
    pub(super) async fn changes(&mut self) -> io::Result<Changes> {
        loop {
            let events = {
                let mut ready = self.inotify.readable().await?;
                let read = ready.try_io(|inner| Ok(inner.get_ref().0.read_events()?));
                match read {
                    Ok(events) => events?,
                    Err(_would_block) => continue,
                }
            };
            return self.sort(events);
        }
    }

    fn sort(&mut self, events: Vec<InotifyEvent>) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let gone =
            AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT;
        for event in events {
            changes.lost |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            // Of a watch that was taken away, some may still come.
            let Some(folder) = self.folders.get(&event.wd).cloned() else {
                continue;
            };
            let is_gone = event.mask.intersects(gone);
            if folder.is_empty() && (is_gone || event.mask.contains(AddWatchFlags::IN_MOVE_SELF)) {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the folder was moved or removed",
                ));
            }
            if is_gone {
                self.folders.remove(&event.wd);
                continue;
            }
            let Some(name) = event.name else { continue };
            let path = below(&folder, &name);
            let came = event
                .mask
                .intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
            if event.mask.contains(AddWatchFlags::IN_ISDIR) {
                changes.folders.remove(&path);
                self.leave(&path);
                if came && self.scope.is_recursive && !is_hidden(&name) {
                    changes.folders.insert(path);
                }
            } else if event.mask.contains(AddWatchFlags::IN_CREATE) {
                changes.begun.insert(path);
            } else if !event.mask.contains(AddWatchFlags::IN_MOVED_FROM) {
                changes.finished.insert(path);
            }
        }
        Ok(changes)
    }

    /// Forgets a folder that is another one now, or elsewhere, and those below it.
    fn leave(&mut self, path: &OsStr) {
        let inotify = &self.inotify.get_ref().0;
        self.folders.retain(|watch, folder| {
            let is_below = is_at_or_below(folder, path);
            if is_below {
                let _ = inotify.rm_watch(*watch);
            }
            !is_below
        });
    }
}

/// A name in a folder; that of the folder itself is empty.
fn below(folder: &OsStr, name: &OsStr) -> OsString {
    let mut path = folder.to_os_string();
    if !path.is_empty() {
        path.push("/");
    }
    path.push(name);
    path
}

fn is_at_or_below(path: &OsStr, folder: &OsStr) -> bool {
    let rest = path.as_bytes().strip_prefix(folder.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn walk(inotify: &Inotify, scope: &Scope, from: OsString, room: usize) -> io::Result<Walked> {
    let mut walked = Walked::default();
    let mut ahead = vec![from];
    while let Some(folder) = ahead.pop() {
        if walked.folders.len() == room {
            return Err(io::Error::other(format!(
                "it has more than max_folders = {} folders: raise that, or give its parts sources \
                 of their own",
                scope.max_folders
            )));
        }
        match one(inotify, scope, &folder, &mut walked, &mut ahead) {
            // It went away again, or is a link by now.
            Err(error) if !folder.is_empty() && is_past(&error) => {}
            Err(error) if !folder.is_empty() && error.kind() == io::ErrorKind::PermissionDenied => {
                warn!(folder = %folder.display(), "a folder may not be read and is left out");
            }
            done => done?,
        }
        if walked.files.len() > scope.max_files {
            return Err(io::Error::other(format!(
                "it has more than {} files",
                scope.max_files
            )));
        }
    }
    Ok(walked)
}

fn is_past(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
    )
}

/// Watches one folder, then lists it.
fn one(
    inotify: &Inotify,
    scope: &Scope,
    folder: &OsStr,
    walked: &mut Walked,
    ahead: &mut Vec<OsString>,
) -> io::Result<()> {
    let path = match folder.is_empty() {
        true => scope.root.clone(),
        false => scope.root.join(folder),
    };
    walked
        .folders
        .push((watch(inotify, &path, folder)?, folder.to_os_string()));
    for entry in std::fs::read_dir(&path)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if scope.is_recursive && !is_hidden(&name) {
                ahead.push(below(folder, &name));
            }
        } else if (scope.wants)(&name) {
            walked.files.push(below(folder, &name));
        }
    }
    Ok(())
}

fn watch(inotify: &Inotify, path: &Path, folder: &OsStr) -> io::Result<WatchDescriptor> {
    let mut wanted = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    // The folder of the configuration may be a link; what lies in it may not lead elsewhere.
    if !folder.is_empty() {
        wanted |= AddWatchFlags::IN_DONT_FOLLOW;
    }
    inotify.add_watch(path, wanted).map_err(|error| match error {
        Errno::ENOSPC => io::Error::other(
            "the kernel gives this user no more watches: raise fs.inotify.max_user_watches (sysctl)",
        ),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_from_those_whose_name_they_begin_with() {
        for (path, folder, expected) in [
            ("a", "a", true),
            ("a/b", "a", true),
            ("ab", "a", false),
            ("b/a", "a", false),
            ("a", "a/b", false),
        ] {
            let found = is_at_or_below(OsStr::new(path), OsStr::new(folder));
            assert_eq!(found, expected, "{path} {folder}");
        }
    }
}
