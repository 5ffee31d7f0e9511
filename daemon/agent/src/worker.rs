//! What is done for a job beside sampling: the copy of its script, digests, the merge. Each in
//! a child process with the owner's rights, none of them in the job's way.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use mizar_core::clock::monotonic_ns;
use mizar_core::ids::{JobId, StepId};
use mizar_record::folder::SCRIPT;
use mizar_record::model::{Event, FileRecord, JobInfo};
use nix::libc;
use sha2::{Digest, Sha256};

use crate::digest::FileDigest;
use crate::registry::Phase;
use crate::shared::Shared;

/// Threads that wait for scripts and merges. They sleep most of the time, and one user's merge
/// may make its thread wait for long.
pub(crate) const WORKERS: usize = 8;

/// Threads that wait for digests, which may take long: they keep no record from being merged.
pub(crate) const DIGESTERS: usize = 2;

/// A larger batch script is not copied (Slurm's own limit is 4 MiB).
const MAX_SCRIPT_BYTES: u64 = 4 << 20;

/// A merge takes no longer.
const MERGE_LIMIT: Duration = Duration::from_secs(900);

/// Until a failed merge is tried again, each time twice as long: for some twenty minutes.
const FIRST_MERGE_PAUSE_NS: i64 = 5_000_000_000;
const MAX_FAILED_MERGES: u32 = 8;

/// What a child may print on its output.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// A child that does not end by itself gets this much more.
const GRACE: Duration = Duration::from_secs(10);

/// One piece of work.
#[derive(Debug)]
pub(crate) enum Work {
    /// Copy the batch script into the record.
    Script {
        job: JobInfo,
        source: PathBuf,
        folder: PathBuf,
    },
    /// Take the digests of these files.
    Digest {
        job: JobInfo,
        files: Vec<FileRecord>,
    },
    /// Merge the record if this was the last node.
    Merge { job: JobInfo, folder: PathBuf },
}

/// The ways to the workers.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Scripts and merges.
    pub(crate) work: SyncSender<Work>,
    /// Digests.
    pub(crate) digests: SyncSender<Work>,
}

/// Takes work until there will be no more.
pub(crate) fn run(shared: &Arc<Shared>, queue: &Mutex<Receiver<Work>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(work) => done(shared, work),
            Err(_) => return,
        }
    }
}

fn done(shared: &Arc<Shared>, work: Work) {
    match work {
        Work::Script {
            job,
            source,
            folder,
        } => {
            let record = copy_script(&job, &source, &folder);
            let mut registry = shared.registry();
            if let Ok(known) = registry.job_mut(JobId(job.id)) {
                known.script = Some(record.clone());
                known.post([Event::Script(record)]);
                shared.save(known);
            }
        }
        Work::Digest { job, files } => {
            let digests = take_digests(shared, &job, &files);
            let mut registry = shared.registry();
            if let Ok(known) = registry.job_mut(JobId(job.id)) {
                known.post(with_digests(files, &digests).map(Event::File));
                if known.phase == Phase::Digesting {
                    known.phase = Phase::Digested;
                }
            }
        }
        Work::Merge { job, folder } => {
            let outcome = merge(&job, &folder).inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::error!(job = job.id, error, "record not merged");
            });
            forget_or_retry(shared, JobId(job.id), outcome.is_err());
        }
    }
    shared.ring();
}

/// A job whose record is merged is done with. One whose is not is kept for a while, as long as
/// that leaves room for new jobs.
fn forget_or_retry(shared: &Shared, id: JobId, failed: bool) {
    let mut registry = shared.registry();
    let has_room = registry.jobs.len() <= shared.config.max_jobs / 2;
    let Some(job) = registry.jobs.get_mut(&id) else {
        return;
    };
    // A requeued job may be running here again under the same number.
    if job.phase != Phase::Merging {
        return;
    }
    if failed && has_room && job.failed_merges < MAX_FAILED_MERGES {
        job.merge_due_ns = Some(monotonic_ns() + (FIRST_MERGE_PAUSE_NS << job.failed_merges));
        job.failed_merges += 1;
    } else {
        registry.jobs.remove(&id);
        shared.state.remove(id);
    }
}

fn with_digests(
    files: Vec<FileRecord>,
    digests: &[FileDigest],
) -> impl Iterator<Item = FileRecord> {
    files.into_iter().map(|mut file| {
        match digests.iter().find(|digest| digest.path == file.path) {
            Some(digest) => {
                file.size_bytes = digest.size_bytes;
                file.sha256.clone_from(&digest.sha256);
                file.note.clone_from(&digest.note);
            }
            None => file.note = Some("no time was left to read it".to_owned()),
        }
        file
    })
}

fn take_digests(shared: &Shared, job: &JobInfo, files: &[FileRecord]) -> Vec<FileDigest> {
    let mut paths: Vec<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    paths.sort();
    paths.dedup();
    let limit = Duration::from_secs(u64::from(shared.config.digest_timeout_s));
    let more = [
        "--max-bytes".to_owned(),
        shared.config.digest_max_bytes.to_string(),
        "--timeout-s".to_owned(),
        shared.config.digest_timeout_s.to_string(),
    ];
    let input = serde_json::to_vec(&paths).unwrap_or_default();
    match child("digest", job, &more, input, limit + GRACE) {
        Ok(output) => output
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect(),
        Err(error) => {
            tracing::warn!(
                job = job.id,
                error = format!("{error:#}"),
                "no digests of its files"
            );
            Vec::new()
        }
    }
}

fn merge(job: &JobInfo, folder: &Path) -> anyhow::Result<()> {
    let folder = folder
        .to_str()
        .context("the record's folder is no text")?
        .to_owned();
    child(
        "finish",
        job,
        &["--folder".to_owned(), folder],
        Vec::new(),
        MERGE_LIMIT,
    )
    .map(drop)
}

/// Runs this program's hidden subcommand as the job's owner and returns what it printed.
fn child(
    subcommand: &str,
    job: &JobInfo,
    more: &[String],
    input: Vec<u8>,
    limit: Duration,
) -> anyhow::Result<Vec<u8>> {
    // Where a site keeps its libraries is all that a child needs of the environment.
    let libraries = std::env::var_os("LD_LIBRARY_PATH");
    let mut child = Command::new("/proc/self/exe")
        .arg(subcommand)
        .args(["--uid", &job.uid.to_string(), "--gid", &job.gid.to_string()])
        .args(["--user", &job.user])
        .args(more)
        .env_clear()
        .envs(libraries.map(|paths| ("LD_LIBRARY_PATH", paths)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a child")?;
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (sender, receiver) = channel();
    // A child stuck in a dead file system cannot be killed: it must not hold this thread.
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin.take() {
            // A child that does not want its input says why on its error output.
            let _ = stdin.write_all(&input);
        }
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            let _ = stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output);
        }
        let _ = sender.send(output);
    });
    match receiver.recv_timeout(limit) {
        Ok(output) => {
            let status = child.wait().context("cannot wait for a child")?;
            anyhow::ensure!(status.success(), "`mizard {subcommand}` failed: {status}");
            Ok(output)
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let _ = child.kill();
            // Stuck, it dies later or never; whenever it does, no zombie is left.
            std::thread::spawn(move || child.wait());
            anyhow::bail!(
                "`mizard {subcommand}` took longer than {} s",
                limit.as_secs()
            )
        }
    }
}

/// Copies the batch script while it exists. Slurm's copy belongs to the job's owner and only
/// such a regular file is read, so that a forged path shows nobody another user's file.
fn copy_script(job: &JobInfo, source: &Path, folder: &Path) -> FileRecord {
    let mut record = FileRecord {
        step: StepId::BATCH,
        rank: None,
        generated: false,
        path: source.to_owned(),
        size_bytes: None,
        sha256: None,
        note: None,
    };
    match read_script(job, source) {
        Ok(text) => {
            record.size_bytes = Some(text.len() as u64);
            record.sha256 = Some(mizar_core::hex(Sha256::digest(&text)));
            match write_script(job, folder, &text) {
                Ok(copy) => record.path = copy,
                Err(error) => record.note = Some(format!("not copied: {error:#}")),
            }
        }
        Err(error) => record.note = Some(format!("{error:#}")),
    }
    record
}

fn read_script(job: &JobInfo, source: &Path) -> anyhow::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(source)
        .context("the stored script cannot be opened")?;
    let status = file.metadata()?;
    anyhow::ensure!(status.is_file(), "the stored script is no regular file");
    anyhow::ensure!(
        status.uid() == job.uid,
        "the stored script is not the job owner's"
    );
    let mut text = Vec::new();
    file.take(MAX_SCRIPT_BYTES + 1).read_to_end(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_SCRIPT_BYTES,
        "the stored script is too long"
    );
    Ok(text)
}

fn write_script(job: &JobInfo, folder: &Path, text: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(SCRIPT);
    // Of an earlier run of a requeued job; O_EXCL below follows no link put here since.
    let _ = std::fs::remove_file(&path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&path)?;
    file.write_all(text)?;
    std::os::unix::fs::fchown(&file, Some(job.uid), Some(job.gid))?;
    file.sync_all()?;
    Ok(path)
}
