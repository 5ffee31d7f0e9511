//! A double of a vendor's library with a script of the test's own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A copy of a double beside its script: a copy is a library of its own, so tests of one
/// process do not share a script.
pub(crate) struct Double {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Double {
    pub(crate) fn new(name: &str, script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = mizar_gpu_trace::place(folder.path(), name, script).unwrap();
        Self { folder, library }
    }

    pub(crate) fn library(&self) -> &Path {
        &self.library
    }

    #[allow(dead_code, reason = "not every suite keeps a journal")]
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Asks again and again until there is an answer.
#[allow(dead_code, reason = "not every suite waits")]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
