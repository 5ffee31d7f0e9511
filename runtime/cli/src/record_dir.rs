//! Where records are: flag, environment, the local `mizard`, or the usual place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use mizar_api::{Client, DEFAULT_SOCKET, Request, Response, SOCKET_VARIABLE};
use mizar_core::ids::JobId;

/// Where `mizard` keeps records unless the site says otherwise.
pub(crate) const DEFAULT_RECORD_DIR: &str = "/var/lib/mizar/records";
/// Names the record folder.
pub(crate) const RECORD_DIR_VARIABLE: &str = "MIZAR_RECORD_DIR";
/// A local daemon that takes longer is of no use to somebody who waits.
const DAEMON_LIMIT: Duration = Duration::from_millis(500);

/// The flag that commands on records share.
#[derive(clap::Args)]
pub(crate) struct RecordDir {
    /// The folder that holds one folder a job
    #[arg(long, value_name = "DIR", env = RECORD_DIR_VARIABLE)]
    record_dir: Option<PathBuf>,
}

/// The client of this machine's `mizard`.
pub(crate) fn daemon() -> Client {
    let socket = std::env::var_os(SOCKET_VARIABLE).unwrap_or_else(|| DEFAULT_SOCKET.into());
    Client::new(PathBuf::from(socket), DAEMON_LIMIT)
}

/// Is a daemon expected: does the environment say where?
pub(crate) fn daemon_is_named() -> bool {
    std::env::var_os(SOCKET_VARIABLE).is_some()
}

/// The record folder: the flag or variable, else what the daemon says, else the usual one.
pub(crate) fn resolve(args: &RecordDir) -> PathBuf {
    if let Some(given) = &args.record_dir {
        return given.clone();
    }
    match daemon().ask(Request::Ping) {
        Ok(Response::Pong { record_dir, .. }) => record_dir,
        _ => DEFAULT_RECORD_DIR.into(),
    }
}

/// The folder of one job, named by its number or by a path.
pub(crate) fn folder_of(job: &str, args: &RecordDir) -> anyhow::Result<PathBuf> {
    let path = Path::new(job);
    if let Ok(id) = job.parse::<JobId>() {
        let record_dir = resolve(args);
        let folder = mizar_record::folder::of_job(&record_dir, id);
        match std::fs::metadata(&folder) {
            Ok(status) if status.is_dir() => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => bail!(
                "you may not read {}: a record belongs to the job's owner",
                folder.display()
            ),
            _ => bail!(
                "no record of job {id} in {}\n\
                 If the site keeps its records elsewhere, name the folder with --record-dir or \
                 {RECORD_DIR_VARIABLE}.\n\
                 Only jobs submitted with --mizar (or where the site makes it the default) \
                 leave a record.",
                record_dir.display()
            ),
        }
    }
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    bail!("`{job}` is neither a job's number nor the folder of a record")
}
