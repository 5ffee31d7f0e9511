//! The files that a job finds in its folder, written before sbatch runs.
//!
//! All are for the owner's eyes only: they hold events, pods and secrets.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::supervise::plan::{PLAN_FILE, Plan};

/// Name of the batch script of a planned job.
pub const BATCH_FILE: &str = "job.sh";

/// A file, or a folder where it has no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFile {
    /// Relative to the job's folder, without `..`.
    pub path: String,
    /// What it holds; none makes it a folder.
    pub data: Option<Vec<u8>>,
    /// Whether it can be run.
    pub is_executable: bool,
}

impl JobFile {
    /// A folder.
    #[must_use]
    pub fn folder(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            data: None,
            is_executable: false,
        }
    }
}

/// What a planned job's batch script runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// The supervisor: the plan, once.
    #[default]
    Supervise,
    /// A warm worker: the plan, for each call that the gateway gives it.
    Worker,
}

/// A job that the supervisor carries out.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Options of sbatch.
    pub options: Vec<(String, String)>,
    /// What its batch script runs.
    pub verb: Verb,
    /// What the supervisor does.
    pub plan: Plan,
    /// What it needs.
    pub files: Vec<JobFile>,
    /// Links from a path in the job's folder to a path of the node.
    pub links: Vec<(String, String)>,
}

/// The batch script of every planned job: it holds two words, both the site's.
#[must_use]
pub fn batch_script(supervisor: &Path, verb: Verb, folder: &Path) -> String {
    let verb = match verb {
        Verb::Supervise => "supervise",
        Verb::Worker => "worker",
    };
    format!(
        "#!/bin/sh\nexec {} {verb} {}\n",
        quoted(&supervisor.display().to_string()),
        quoted(&folder.display().to_string())
    )
}

/// One word for a shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// All files of a planned job that runs in `folder`: what it needs, its plan, its batch script.
#[must_use]
pub fn planned_files(planned: &Planned, folder: &Path, supervisor: &Path) -> Vec<JobFile> {
    let mut all = planned.files.clone();
    let file = |path: &str, data: Vec<u8>, is_executable| JobFile {
        path: path.to_owned(),
        data: Some(data),
        is_executable,
    };
    // Texts, numbers and lists of them: there is nothing that could not be written.
    let plan = serde_json::to_vec(&planned.plan).unwrap_or_default();
    all.push(file(PLAN_FILE, plan, false));
    let script = batch_script(supervisor, planned.verb, folder).into_bytes();
    all.push(file(BATCH_FILE, script, true));
    all
}

/// Writes all that a planned job needs; whatever an earlier try left is replaced.
///
/// # Errors
/// If the disk refuses.
pub fn write_planned(folder: &Path, planned: &Planned, supervisor: &Path) -> io::Result<PathBuf> {
    make_folder(folder)?;
    for file in &planned_files(planned, folder, supervisor) {
        let path = folder.join(&file.path);
        match &file.data {
            None => make_folder(&path)?,
            Some(data) => {
                if let Some(parent) = path.parent() {
                    make_folder(parent)?;
                }
                write(&path, data, if file.is_executable { 0o700 } else { 0o600 })?;
            }
        }
    }
    for (from, to) in &planned.links {
        let path = folder.join(from);
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        if path.symlink_metadata().is_err() {
            symlink(to, &path)?;
        }
    }
    Ok(folder.join(BATCH_FILE))
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file aside and renames it.
///
/// # Errors
/// If the disk refuses.
pub fn write(path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.part"));
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(data)?;
    // Slurm keeps the job over a power cut, which would leave it empty files.
    file.sync_all()?;
    drop(file);
    std::fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn a_quoted_word_is_that_word_for_a_shell(word in "[^\0]{0,40}") {
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", quoted(&word))])
                .output()
                .unwrap();
            prop_assert_eq!(output.stdout, word.into_bytes());
        }
    }
}
