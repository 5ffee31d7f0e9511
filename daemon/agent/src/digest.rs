//! Sizes and SHA-256 digests of files, taken by a child process with the owner's rights.
//!
//! The child reads a JSON list of paths on its input and answers one JSON line a path. It
//! opens nothing but regular files and folders, follows links as the owner could, and never
//! blocks on a pipe or device. A folder (a Zarr store) has the digest of the list that
//! `find . -type f | LC_ALL=C sort | xargs sha256sum` prints in it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Files of one folder that are digested.
const MAX_FOLDER_FILES: usize = 100_000;

/// The longest list of paths that is taken.
const MAX_INPUT_BYTES: u64 = 128 << 20;

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileDigest {
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) sha256: Option<String>,
    pub(crate) note: Option<String>,
}

/// The child's whole work.
pub(crate) fn serve(max_bytes: u64, limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    let mut input = Vec::new();
    io::stdin().take(MAX_INPUT_BYTES).read_to_end(&mut input)?;
    let paths: Vec<PathBuf> = serde_json::from_slice(&input)?;
    let mut output = BufWriter::new(io::stdout());
    for path in paths {
        let digest = of_file(&path, max_bytes, deadline);
        serde_json::to_writer(&mut output, &digest)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

/// The digest of a file, or why there is none.
pub(crate) fn of_file(path: &Path, max_bytes: u64, deadline: Instant) -> FileDigest {
    let mut digest = FileDigest {
        path: path.to_owned(),
        size_bytes: None,
        sha256: None,
        note: None,
    };
    let taken = match std::fs::metadata(path) {
        Ok(status) if status.is_dir() => {
            take_folder(path, max_bytes, deadline, &mut digest.size_bytes)
        }
        _ => take(path, max_bytes, deadline, &mut digest.size_bytes),
    };
    match taken {
        Ok(sha256) => digest.sha256 = Some(sha256),
        Err(error) => digest.note = Some(error.to_string()),
    }
    digest
}

#[derive(Debug, thiserror::Error)]
enum DigestError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotRegular,
    #[error("a folder of more than {MAX_FOLDER_FILES} files")]
    TooMany,
    #[error("larger than the limit of {0} bytes")]
    TooLarge(u64),
    #[error("no time was left to read it")]
    Late,
}

fn take(
    path: &Path,
    max_bytes: u64,
    deadline: Instant,
    size_bytes: &mut Option<u64>,
) -> Result<String, DigestError> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(DigestError::NotRegular);
    }
    *size_bytes = Some(status.len());
    if status.len() > max_bytes {
        return Err(DigestError::TooLarge(max_bytes));
    }
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut total = 0;
    loop {
        if Instant::now() >= deadline {
            return Err(DigestError::Late);
        }
        match file.read(&mut block)? {
            0 => break,
            count => {
                hasher.update(&block[..count]);
                total += count as u64;
            }
        }
        // A file that grows while it is read must not be read for ever.
        if total > max_bytes {
            return Err(DigestError::TooLarge(max_bytes));
        }
    }
    *size_bytes = Some(total);
    Ok(mizar_core::hex(hasher.finalize()))
}

/// The digest of a folder: of the digests and names of its files, in the order of their names.
fn take_folder(
    folder: &Path,
    max_bytes: u64,
    deadline: Instant,
    size_bytes: &mut Option<u64>,
) -> Result<String, DigestError> {
    let mut hasher = Sha256::new();
    let mut total = 0;
    for (name, path) in files_of(folder, deadline)? {
        let mut file_bytes = None;
        let sha256 = take(&path, max_bytes - total, deadline, &mut file_bytes);
        total += file_bytes.unwrap_or(0);
        if total > max_bytes {
            return Err(DigestError::TooLarge(max_bytes));
        }
        hasher.update(sha256?.as_bytes());
        hasher.update(b"  ./");
        hasher.update(&name);
        hasher.update(b"\n");
    }
    *size_bytes = Some(total);
    Ok(mizar_core::hex(hasher.finalize()))
}

/// The regular files under a folder, by their path within it, in the order of its bytes. Links
/// are left out: they belong to another place.
fn files_of(folder: &Path, deadline: Instant) -> Result<BTreeMap<Vec<u8>, PathBuf>, DigestError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(folder).unwrap_or(&path).as_os_str();
                files.insert(name.as_encoded_bytes().to_vec(), path);
            }
            if files.len() + folders.len() > MAX_FOLDER_FILES {
                return Err(DigestError::TooMany);
            }
            if Instant::now() >= deadline {
                return Err(DigestError::Late);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum_and_odd_files_say_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let soon = Instant::now() + Duration::from_secs(60);
        let digest = of_file(&path, 3, soon);
        assert_eq!(digest.size_bytes, Some(3));
        assert_eq!(
            digest.sha256.as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, max_bytes, deadline, note) in [
            (path.as_path(), 2, soon, "limit"),
            (path.as_path(), 3, Instant::now(), "time"),
            (fifo.as_path(), 3, soon, "regular"),
            (Path::new("/dev/zero"), 3, soon, "regular"),
            (folder.path(), 2, soon, "limit"),
            (Path::new("/nonexistent"), 3, soon, "No such file"),
        ] {
            let digest = of_file(path, max_bytes, deadline);
            assert!(digest.sha256.is_none());
            assert!(digest.note.as_ref().unwrap().contains(note), "{digest:?}");
        }
    }

    #[test]
    fn a_folder_has_the_digest_of_what_sha256sum_says_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.zarr");
        for (name, text) in [("zarr.json", "{}"), ("t/c/0", "abc"), ("t/zarr.json", "[]")] {
            let path = store.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", store.join("link")).unwrap();
        let command = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum";
        let expected = std::process::Command::new("sh")
            .args(["-c", command])
            .current_dir(&store)
            .output()
            .unwrap();
        let expected = String::from_utf8(expected.stdout).unwrap();
        let soon = Instant::now() + Duration::from_secs(60);
        let digest = of_file(&store, 7, soon);
        assert_eq!(digest.sha256.as_deref(), expected.split(' ').next());
        assert_eq!(digest.size_bytes, Some(7));
        assert!(of_file(&store, 6, soon).note.unwrap().contains("limit"));
        let link = folder.path().join("other");
        std::os::unix::fs::symlink(&store, &link).unwrap();
        assert_eq!(of_file(&link, 7, soon).sha256, digest.sha256);
    }
}
