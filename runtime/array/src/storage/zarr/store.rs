//! Where a Zarr store lies, and reading whole values or parts of them by key.
//!
//! Keys are made here and by the metadata's readers from names that were checked, so that none
//! leads out of the store.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(super) use super::super::remote::Part;
use super::super::remote::Prefix;

/// What holds a Zarr hierarchy.
#[derive(Debug)]
pub(super) enum Store {
    Folder(PathBuf),
    Remote(Prefix),
}

impl Store {
    /// Reads a value or a part of it; `None` when there is none under the key.
    ///
    /// A value of more than `limit` bytes is an error, and nothing is allocated for it.
    pub(super) fn read(&self, key: &str, part: Part, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => read_file(&folder.join(key), part, limit),
            Self::Remote(prefix) => prefix.read(key, part, limit),
        }
    }

    /// Reads many values or parts of them.
    pub(super) fn read_many(
        &self,
        requests: &[(String, Part)],
        limit: usize,
    ) -> Vec<io::Result<Option<Vec<u8>>>> {
        match self {
            Self::Folder(_) => {
                let one = |(key, part): &(String, Part)| self.read(key, *part, limit);
                requests.iter().map(one).collect()
            }
            Self::Remote(prefix) => prefix.read_many(requests, limit),
        }
    }

    /// Whether asking takes so long that many are better asked at once.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// The names directly under the root that may be arrays or groups.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Remote(prefix) => return prefix.names(),
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir())
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

fn read_file(path: &Path, part: Part, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(None);
    }
    let size = metadata.len();
    let (start, length) = match part {
        Part::Whole => (0, usize::try_from(size).unwrap_or(usize::MAX)),
        Part::Range { start, length } => (start, length),
        Part::Last { length } => (size.saturating_sub(length as u64), length),
    };
    if length > limit {
        return Err(too_large(length, limit));
    }
    if start.saturating_add(length as u64) > size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; length];
    match part {
        Part::Whole => (&file).read_exact(&mut bytes)?,
        _ => file.read_exact_at(&mut bytes, start)?,
    }
    Ok(Some(bytes))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn too_large(length: usize, limit: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it has {length} bytes, more than the {limit} that it can have"),
    )
}

/// Whether a name can be one part of a key: it is not empty and leads nowhere else.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}
