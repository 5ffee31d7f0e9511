//! Small files of sysfs: read whole, within a limit.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most of a file that is looked at.
const MAX_BYTES: u64 = 64 << 10;

/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 65_536;

/// All of a file.
pub(crate) fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_end(&mut all)
        .ok()?;
    Some(all)
}

/// A file's text without blanks around it.
pub(crate) fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8(bytes(path)?).ok()?;
    Some(text.trim().to_owned())
}

/// A file that holds one number; what is no number is unknown.
pub(crate) fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().take(MAX_ENTRIES);
    let mut names: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The first of these files in a folder that exists.
pub(crate) fn first_of(folder: &Path, files: &[&str]) -> Option<PathBuf> {
    let mut paths = files.iter().map(|file| folder.join(file));
    paths.find(|path| path.exists())
}
