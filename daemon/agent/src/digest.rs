//! Sizes and SHA-256 digests of files, taken by a child process with the owner's rights.
//!
//! The child reads a JSON list of paths on its input and answers one JSON line a path. It
//! opens nothing but regular files, follows links as the owner could, and never blocks on a
//! pipe or device.

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
    match take(path, max_bytes, deadline, &mut digest.size_bytes) {
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
    Ok(hexadecimal(&hasher.finalize()))
}

/// Digits of a digest.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
            (folder.path(), 3, soon, "regular"),
            (Path::new("/nonexistent"), 3, soon, "No such file"),
        ] {
            let digest = of_file(path, max_bytes, deadline);
            assert!(digest.sha256.is_none());
            assert!(digest.note.as_ref().unwrap().contains(note), "{digest:?}");
        }
    }
}
