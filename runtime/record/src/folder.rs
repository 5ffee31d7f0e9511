//! The folder of one job: its name, its safe creation, the segments in it.
//!
//! The folder belongs to the job's owner, who may do anything inside; so the daemon only ever
//! creates files there with `O_EXCL`, which follows no link, and reads them back as that user.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mizar_core::ids::JobId;
use nix::libc;

use crate::RecordError;
use crate::model::Event;

/// The merged file.
pub const MERGED: &str = "job.h5";
/// The provenance document.
pub const PROVENANCE: &str = "prov.json";
/// The copy of the batch script.
pub const SCRIPT: &str = "script.sh";

/// Permissions of a job's folder.
const FOLDER_MODE: u32 = 0o750;

/// The folder of a job under the site's record folder.
#[must_use]
pub fn of_job(record_dir: &Path, job: JobId) -> PathBuf {
    record_dir.join(job.to_string())
}

/// May this be a node's name in a file name?
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    const MAX_NAME_BYTES: usize = 200;
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Makes the folder of a job, or checks that the one there is its owner's.
///
/// A folder left by another user's job of the same number (Slurm counts from 1 again when a
/// site loses its state) is moved aside.
///
/// # Errors
/// [`RecordError::Io`], or [`RecordError::ForeignFolder`] if moving aside fails.
pub fn create(record_dir: &Path, job: JobId, uid: u32, gid: u32) -> Result<PathBuf, RecordError> {
    let folder = of_job(record_dir, job);
    for _ in 0..2 {
        let made = fs::DirBuilder::new().mode(FOLDER_MODE).create(&folder);
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(RecordError::io("create", &folder)(error)),
        }
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&folder)
            .map_err(RecordError::io("open", &folder))?;
        if adopt(&handle, &folder, uid, gid)? {
            return Ok(folder);
        }
        let aside = record_dir.join(format!("{job}.{}", mizar_core::clock::unix_ns()));
        fs::rename(&folder, &aside).map_err(RecordError::io("move aside", &folder))?;
    }
    let found_uid = fs::symlink_metadata(&folder).map_or(u32::MAX, |status| status.uid());
    Err(RecordError::ForeignFolder {
        folder,
        found_uid,
        uid,
    })
}

/// Gives the open folder to the job's owner if it is ours to give; false if it is a third's.
fn adopt(handle: &File, folder: &Path, uid: u32, gid: u32) -> Result<bool, RecordError> {
    // Looked at before the owner: another node gives the folder away before it puts anything
    // in, so one that is found filled and then still ours is really nobody's.
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let status = handle
        .metadata()
        .map_err(RecordError::io("inspect", folder))?;
    if status.uid() == uid {
        return Ok(true);
    }
    // Ours and empty: just made, here or by another node that has not given it away yet.
    if status.uid() != nix::unistd::geteuid().as_raw() || !is_empty {
        return Ok(false);
    }
    std::os::unix::fs::fchown(handle, Some(uid), Some(gid))
        .map_err(RecordError::io("give to its owner", folder))?;
    handle
        .set_permissions(fs::Permissions::from_mode(FOLDER_MODE))
        .map_err(RecordError::io("set the mode of", folder))?;
    Ok(true)
}

/// One segment of one node: the two files that share a stem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The node.
    pub node: String,
    /// 0 for the first.
    pub number: u32,
    /// The job's folder.
    pub folder: PathBuf,
}

impl Segment {
    /// The tables.
    #[must_use]
    pub fn tables(&self) -> PathBuf {
        self.folder
            .join(format!("{}.{}.h5", self.node, self.number))
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.folder
            .join(format!("{}.{}.jsonl", self.node, self.number))
    }
}

/// The segments in a folder, by node and number. A segment counts once its events exist.
///
/// # Errors
/// [`RecordError::Missing`] if there is no such folder, [`RecordError::Io`].
pub fn segments(folder: &Path) -> Result<Vec<Segment>, RecordError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(RecordError::Missing {
                folder: folder.to_owned(),
            });
        }
        other => other.map_err(RecordError::io("list", folder))?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let name = entry.map_err(RecordError::io("list", folder))?.file_name();
        if let Some((node, number)) = parse_name(&name) {
            segments.push(Segment {
                node,
                number,
                folder: folder.to_owned(),
            });
        }
    }
    segments.sort();
    Ok(segments)
}

/// Like [`segments`], without those of earlier runs of a requeued job: the tables of a run
/// begin with rank 0 again and must not be mixed.
///
/// # Errors
/// As [`segments`], and [`RecordError::Damaged`] or [`RecordError::Newer`].
pub fn current_segments(folder: &Path) -> Result<Vec<Segment>, RecordError> {
    let mut found: Vec<(u32, Segment)> = Vec::new();
    for segment in segments(folder)? {
        // Killed before its first line was whole, a segment holds nothing.
        if let Some(Event::Begin { job, .. }) = crate::events::first_event(&segment.events())? {
            found.push((job.restart_count, segment));
        }
    }
    let latest = found.iter().map(|(count, _)| *count).max();
    found.retain(|(count, _)| Some(*count) == latest);
    Ok(found.into_iter().map(|(_, segment)| segment).collect())
}

fn parse_name(name: &OsStr) -> Option<(String, u32)> {
    let stem = name.to_str()?.strip_suffix(".jsonl")?;
    let (node, number) = stem.rsplit_once('.')?;
    (is_node_name(node) && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| Some((node.to_owned(), number.parse().ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_among_other_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "n1.0.jsonl",
            "n1.10.jsonl",
            "n1.2.jsonl",
            "a.b.c.0.jsonl",
            "n1.0.h5",
            "job.h5",
            "n1.x.jsonl",
            ".n2.0.jsonl",
            "n1.-1.jsonl",
            "n1..jsonl",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found: Vec<_> = segments(folder.path())
            .unwrap()
            .into_iter()
            .map(|segment| (segment.node, segment.number))
            .collect();
        let expected = [("a.b.c", 0), ("n1", 0), ("n1", 2), ("n1", 10)];
        assert_eq!(
            found,
            expected.map(|(node, number)| (node.to_owned(), number))
        );
    }

    #[test]
    fn a_job_folder_is_its_owners_alone_and_never_a_link() {
        let records = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        let folder = create(records.path(), JobId(7), uid, gid).unwrap();
        assert_eq!(create(records.path(), JobId(7), uid, gid).unwrap(), folder);
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o7777,
            FOLDER_MODE
        );
        std::os::unix::fs::symlink("/etc", records.path().join("8")).unwrap();
        assert!(matches!(
            create(records.path(), JobId(8), uid, gid),
            Err(RecordError::Io { .. })
        ));
    }

    #[test]
    fn nodes_that_begin_at_once_share_one_folder() {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP: giving folders away needs root");
            return;
        }
        let records = tempfile::tempdir().unwrap();
        let begin = |job: u32, node: &str| {
            let folder = create(records.path(), JobId(job), 65534, 65534).unwrap();
            fs::write(folder.join(node), "").unwrap();
        };
        const JOBS: u32 = 1000;
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for node in ["n1", "n2"] {
                let (barrier, begin) = (&barrier, &begin);
                scope.spawn(move || {
                    for job in 0..JOBS {
                        barrier.wait();
                        begin(job, node);
                    }
                });
            }
        });
        for job in 0..JOBS {
            let folder = of_job(records.path(), JobId(job));
            assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "job {job}");
        }
        assert_eq!(fs::read_dir(records.path()).unwrap().count(), JOBS as usize);
    }

    #[test]
    fn names_that_would_leave_the_folder_are_no_node_names() {
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "n\0"] {
            assert!(!is_node_name(name), "{name}");
        }
        for name in ["n1", "lumi-c001.site", "jwb0001_2"] {
            assert!(is_node_name(name), "{name}");
        }
    }
}
