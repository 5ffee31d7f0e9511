//! What the kernel tells of one folder (inotify): names, or that names were lost.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Names that changed since the last look.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Closed after writing, or renamed into the folder.
    pub(super) finished: BTreeSet<OsString>,
    /// Made; perhaps still being written.
    pub(super) begun: BTreeSet<OsString>,
    /// The kernel dropped some: only a look at the whole folder tells.
    pub(super) lost: bool,
}

/// A watched folder.
pub(super) struct FolderWatch(AsyncFd<Descriptor>);

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl FolderWatch {
    /// Watches a folder; on a network file system that may take long.
    pub(super) async fn new(folder: PathBuf) -> io::Result<Self> {
        let watching = tokio::task::spawn_blocking(move || begin(&folder)).await;
        let inotify = watching.unwrap_or_else(|_| Err(io::Error::other("a panic")))?;
        #[allow(
            deprecated,
            reason = "its successor is unsafe; the descriptor is owned here and never replaced"
        )]
        let watched = AsyncFd::new(Descriptor(inotify))?;
        Ok(Self(watched))
    }

    /// Waits for changes.
    ///
    /// # Errors
    /// Also if the folder itself went away.
    pub(super) async fn changes(&self) -> io::Result<Changes> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|inner| Ok(inner.get_ref().0.read_events()?));
            match read {
                Ok(events) => return sort(events?),
                Err(_would_block) => {}
            }
        }
    }
}

fn begin(folder: &Path) -> io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let wanted = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(folder, wanted)?;
    Ok(inotify)
}

fn sort(events: Vec<nix::sys::inotify::InotifyEvent>) -> io::Result<Changes> {
    let mut changes = Changes::default();
    let gone = AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_IGNORED
        | AddWatchFlags::IN_UNMOUNT;
    for event in events {
        if event.mask.intersects(gone) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the folder was moved or removed",
            ));
        }
        changes.lost |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        let Some(name) = event.name else { continue };
        if event.mask.contains(AddWatchFlags::IN_CREATE) {
            changes.begun.insert(name);
        } else {
            changes.finished.insert(name);
        }
    }
    Ok(changes)
}
