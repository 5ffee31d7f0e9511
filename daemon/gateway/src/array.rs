//! A burst of events as one job array: its folder, and the script that Slurm runs for each task.
//!
//! The array's folder holds the service's script as it was at submission, links to the folders of
//! the events, through which each task's output goes where that of a plain job would, and a script
//! that says which event a task is. That one begins with the comments of the service's script, and
//! with them its `#SBATCH` lines, which sbatch reads; the service's script runs unchanged, in the
//! folder of its event and with its arguments, as it would alone.

use std::path::{Path, PathBuf};

use mizar_slurm::{JobFile, JobFolder, Marker, script};

use crate::jobfiles::quoted;
use crate::submit::EVENT_FILE;

/// The script that Slurm gets, in the array's folder.
pub const BATCH: &str = "batch";

/// The service's script, in the array's folder.
const SCRIPT: &str = "script";

/// An event as a task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its index.
    pub index: u32,
    /// The event's own marker.
    pub marker: Marker,
    /// The event's folder.
    pub folder: PathBuf,
    /// The event in structured JSON.
    pub document: String,
    /// The arguments of the script.
    pub arguments: Vec<String>,
}

/// All folders of an array: its own at `base`, and those of its events.
///
/// # Errors
/// Why the events have to be submitted one by one.
pub fn folders(base: &Path, program: &Path, tasks: &[Task]) -> Result<Vec<JobFolder>, String> {
    let program = read(program)?;
    let batch = batch(&program, &base.join(SCRIPT), tasks)?;
    let links = tasks.iter().map(|task| {
        let to = task.folder.display().to_string();
        (task.index.to_string(), to)
    });
    let own = JobFolder {
        base: base.to_owned(),
        files: vec![
            JobFile::program(SCRIPT, program),
            JobFile::program(BATCH, batch),
        ],
        links: links.collect(),
    };
    let of_events = tasks.iter().map(|task| JobFolder {
        base: task.folder.clone(),
        files: vec![JobFile::new(EVENT_FILE, task.document.as_str())],
        links: Vec::new(),
    });
    Ok(std::iter::once(own).chain(of_events).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    script::read(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?
        .ok_or_else(|| "the script is larger than 1 MiB".to_owned())
}

/// The script that Slurm gets.
fn batch(program: &[u8], copy: &Path, tasks: &[Task]) -> Result<Vec<u8>, String> {
    let mut text = b"#!/bin/sh\n".to_vec();
    text.extend_from_slice(head(program)?);
    let mut lines = String::from(
        "# A task for each event: its folder, its variables, its arguments.\n\
         case $SLURM_ARRAY_TASK_ID in\n",
    );
    for task in tasks {
        lines.push_str(&format!(
            "{}) MIZAR_MARKER={} SLURM_SUBMIT_DIR={}\n",
            task.index,
            quoted(&task.marker.to_string()),
            quoted(&task.folder.display().to_string()),
        ));
        let arguments = task.arguments.iter().map(|argument| quoted(argument));
        let arguments: Vec<String> = arguments.collect();
        lines.push_str(&format!("set -- {};;\n", arguments.join(" ")));
    }
    lines.push_str(&format!(
        "*) echo \"mizar-gateway: the array has no task $SLURM_ARRAY_TASK_ID\" >&2; exit 1;;\n\
         esac\n\
         MIZAR_EVENT_FILE=$SLURM_SUBMIT_DIR/{EVENT_FILE}\n\
         export MIZAR_MARKER MIZAR_EVENT_FILE SLURM_SUBMIT_DIR\n\
         cd -- \"$SLURM_SUBMIT_DIR\" || exit 1\n\
         exec {} \"$@\"\n",
        quoted(&copy.display().to_string())
    ));
    text.extend_from_slice(lines.as_bytes());
    match text.len() as u64 > script::MAX_BYTES {
        true => Err("its arguments are larger than 1 MiB".to_owned()),
        false => Ok(text),
    }
}

/// What sbatch reads of a script, if that makes one job of it.
fn head(program: &[u8]) -> Result<&[u8], String> {
    let head = script::head(program).ok_or("the script has no `#!`")?;
    if head.last().is_some_and(|last| *last != b'\n') {
        return Err("the script has no commands".to_owned());
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    match lines.any(|line| line.starts_with(b"#SBATCH") && makes_array(line)) {
        true => Err("the script asks for an array of its own".to_owned()),
        false => Ok(head),
    }
}

/// Whether a `#SBATCH` line makes several jobs of one.
fn makes_array(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(|c: char| c.is_whitespace() || c == '=');
    // The short option may have its value behind it.
    words.any(|word| {
        let is_short = word.starts_with("-a") && !word.starts_with("--");
        is_short || matches!(word, "--array" | "hetjob" | "packjob")
    })
}

#[cfg(test)]
#[path = "array_tests.rs"]
mod tests;
