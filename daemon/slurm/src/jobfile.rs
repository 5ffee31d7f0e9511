//! What a job finds in its folder: files, folders and links, each written aside, made durable and
//! renamed, so that it is whole or absent, and an earlier try's is replaced.
//!
//! Used by the gateway for its own jobs, and by `mizar-submit-as` for those of other users.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest path below a job's folder.
const MAX_PATH_BYTES: usize = 1024;

/// A file, or a folder where it has no data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFile {
    /// Relative to the job's folder, without `..`.
    pub path: String,
    /// What it holds; none makes it a folder.
    #[serde(with = "in_base64")]
    pub data: Option<Vec<u8>>,
    /// Whether it can be run.
    pub is_executable: bool,
}

impl JobFile {
    /// A file that is read.
    #[must_use]
    pub fn new(path: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            data: Some(data.into()),
            is_executable: false,
        }
    }

    /// A file that is run.
    #[must_use]
    pub fn program(path: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            is_executable: true,
            ..Self::new(path, data)
        }
    }

    /// A folder.
    #[must_use]
    pub fn folder(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            data: None,
            is_executable: false,
        }
    }
}

/// The modes of what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    folder: u32,
    file: u32,
    program: u32,
}

impl Modes {
    /// For the owner's eyes only.
    pub const OWNER: Self = Self {
        folder: 0o700,
        file: 0o600,
        program: 0o700,
    };
    /// The folder's group may read.
    pub const GROUP: Self = Self {
        folder: 0o750,
        file: 0o640,
        program: 0o750,
    };
}

/// A folder to be made.
#[derive(Clone, Debug)]
pub struct JobFolder {
    /// Where it is.
    pub base: PathBuf,
    /// What is in it.
    pub files: Vec<JobFile>,
    /// Links from a path in it to a path of the node.
    pub links: Vec<(String, String)>,
}

/// Makes the folder `base` with these files, and links from a path in it to a path of the node.
///
/// # Errors
/// If a path leads out of the folder, or the disk refuses.
pub fn make(
    base: &Path,
    files: &[JobFile],
    links: &[(String, String)],
    modes: Modes,
) -> io::Result<()> {
    fill(base, files, links, modes, Durable::Each)
}

/// Makes many folders of one file system, which is made durable once and not file by file.
///
/// # Errors
/// As [`make`]; some of the folders may be there then.
pub fn make_all(folders: &[JobFolder], modes: Modes) -> io::Result<()> {
    for folder in folders {
        fill(
            &folder.base,
            &folder.files,
            &folder.links,
            modes,
            Durable::Once,
        )?;
    }
    match folders.first() {
        Some(folder) => Ok(nix::unistd::syncfs(fs::File::open(&folder.base)?)?),
        None => Ok(()),
    }
}

/// When what is written becomes durable.
#[derive(Clone, Copy, PartialEq)]
enum Durable {
    /// Before it has its name.
    Each,
    /// With all others, at the end.
    Once,
}

fn fill(
    base: &Path,
    files: &[JobFile],
    links: &[(String, String)],
    modes: Modes,
    durable: Durable,
) -> io::Result<()> {
    make_folder(base, modes.folder)?;
    for file in files {
        let path = inside(base, &file.path)?;
        match &file.data {
            None => make_folder(&path, modes.folder)?,
            Some(data) => {
                make_parent(base, &path, modes.folder)?;
                let mode = match file.is_executable {
                    true => modes.program,
                    false => modes.file,
                };
                write_aside(&path, data, mode, durable)?;
            }
        }
    }
    for (from, to) in links {
        let path = inside(base, from)?;
        make_parent(base, &path, modes.folder)?;
        match symlink(to, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The path in a folder, if it leads downwards and nowhere else.
///
/// # Errors
/// Which one does not.
pub fn inside(base: &Path, path: &str) -> io::Result<PathBuf> {
    let is_inner = !path.is_empty()
        && path.len() <= MAX_PATH_BYTES
        && !path.contains('\0')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    match is_inner {
        true => Ok(base.join(path)),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` leads out of the folder", path.escape_debug()),
        )),
    }
}

/// Makes the folder of a path below `base`, which is there.
fn make_parent(base: &Path, path: &Path, mode: u32) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != base => make_folder(parent, mode),
        _ => Ok(()),
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Writes a file aside and renames it.
///
/// # Errors
/// If the disk refuses.
pub fn write(path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
    write_aside(path, data, mode, Durable::Each)
}

fn write_aside(path: &Path, data: &[u8], mode: u32, durable: Durable) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.part"));
    let create = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode).open(&part)
    };
    let mut file = match create() {
        // An earlier try's.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&part)?;
            create()?
        }
        other => other?,
    };
    file.write_all(data)?;
    // Slurm keeps the job over a power cut, which would leave it empty files.
    if durable == Durable::Each {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(part, path)
}

/// Bytes as text, for JSON.
mod in_base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        data: &Option<Vec<u8>>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        data.as_ref()
            .map(|bytes| STANDARD.encode(bytes))
            .serialize(out)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        input: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        let bytes = text.map(|text| STANDARD.decode(text)).transpose();
        bytes.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_made_as_told_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            JobFile::new("event.json", "{}"),
            JobFile::program("in/job.sh", "#!/bin/sh\n"),
            JobFile::folder("out"),
        ];
        let links = [("in/node".to_owned(), "/scratch".to_owned())];
        for (modes, expected) in [
            (Modes::OWNER, [0o700, 0o600, 0o700]),
            (Modes::GROUP, [0o750, 0o640, 0o750]),
        ] {
            let base = folder.path().join(format!("svc/{}", modes.file));
            for _ in 0..2 {
                make(&base, &files, &links, modes).unwrap();
                assert_eq!(fs::read_to_string(base.join("event.json")).unwrap(), "{}");
                assert!(base.join("out").is_dir());
                let link = fs::read_link(base.join("in/node")).unwrap();
                assert_eq!(link, Path::new("/scratch"));
            }
            let mode = |name: &str| base.join(name).metadata().unwrap().permissions().mode();
            let found = ["out", "event.json", "in/job.sh"].map(|name| mode(name) & 0o777);
            assert_eq!(found, expected);
        }
        for path in ["../../x", "/tmp/x", ""] {
            let out = [JobFile::new(path, "")];
            let base = folder.path().join("svc/out");
            assert!(make(&base, &out, &[], Modes::OWNER).is_err(), "{path}");
            let out = [(path.to_owned(), "/".to_owned())];
            assert!(make(&base, &[], &out, Modes::OWNER).is_err(), "{path}");
        }
    }

    #[test]
    fn many_folders_are_made_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..3)
            .map(|n| JobFolder {
                base: folder.path().join(n.to_string()),
                files: vec![JobFile::new("event.json", n.to_string())],
                links: vec![("up".to_owned(), "..".to_owned())],
            })
            .collect();
        for _ in 0..2 {
            make_all(&folders, Modes::OWNER).unwrap();
        }
        for n in 0..3 {
            let text = fs::read_to_string(folder.path().join(format!("0/up/{n}/event.json")));
            assert_eq!(text.unwrap(), n.to_string());
        }
        make_all(&[], Modes::OWNER).unwrap();
        let mut bad = folders;
        bad[1].files = vec![JobFile::new("../x", "")];
        assert!(make_all(&bad, Modes::OWNER).is_err());
    }

    #[test]
    fn paths_lead_downwards() {
        let base = Path::new("/b");
        for path in ["a", "a/b.c", "svc/0a/0abc.1", ".x"] {
            assert_eq!(inside(base, path).unwrap(), base.join(path));
        }
        for path in ["", "/a", "a/", "a//b", "..", "a/../b", "a/.", "a\0b"] {
            assert!(inside(base, path).is_err(), "{path}");
        }
    }

    #[test]
    fn bytes_travel_as_text() {
        let file = JobFile::program("a", vec![0, 255, 7]);
        let text = serde_json::to_string(&file).unwrap();
        assert!(text.contains("\"AP8H\""), "{text}");
        assert_eq!(serde_json::from_str::<JobFile>(&text).unwrap(), file);
        let folder = JobFile::folder("b");
        let text = serde_json::to_string(&folder).unwrap();
        assert_eq!(serde_json::from_str::<JobFile>(&text).unwrap(), folder);
        assert!(serde_json::from_str::<JobFile>(&text.replace("null", "\"!\"")).is_err());
    }
}
