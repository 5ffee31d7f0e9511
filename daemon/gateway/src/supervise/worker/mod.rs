//! A warm worker: `mizar-gateway worker FOLDER` is all that the batch script of a worker's job
//! runs. It connects to the gateway, proves itself, and makes calls one after the other until it
//! is told to end; see [`crate::oscar::warm`] for the other side.
//!
//! Each call has fresh folders and starts the script anew, as a batch job of the service does;
//! what the script leaves behind, files and processes, is gone before the next ([`strays`]).
//! Without a gateway it ends its call at once, and itself a few seconds later.

mod call;
mod strays;

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::plan::{CONTAINERS, Plan, PlanError};
use super::{Run, STOPPED, start_name};
use crate::oscar::job::{SCRIPT_FILE, SCRIPT_FOLDER};
use crate::oscar::random_hex;
use crate::oscar::warm::proof::{Side, Words};
use crate::oscar::warm::wire::{
    self, Frame, FromGateway, FromWorker, Link, PROTOCOL, WireError, read_message,
};
use crate::oscar::warm::{SECRET_FILE, WORKER_FILE, WorkerFile};
use call::{Calls, End};

/// Time to connect and to be let in.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Between two tries to reach the gateway.
const AGAIN: Duration = Duration::from_millis(250);

/// Time of grace of a function whose caller has gone.
const GRACE: Duration = Duration::from_secs(2);

/// Bytes of a random word.
const WORD_BYTES: usize = 16;

/// Why a worker could not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is no usable plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A file or folder cannot be used.
    #[error("cannot use {}", .path.display())]
    File {
        /// It.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another release wrote the job's files.
    #[error("{} is not of this release of mizar-gateway", .path.display())]
    Release {
        /// The file.
        path: PathBuf,
    },
    /// The gateway was never reached.
    #[error(
        "cannot reach the gateway at {address}: is `oscar.warm.connect` its address on the nodes?"
    )]
    NoGateway {
        /// Where it should be.
        address: String,
        /// Why not.
        #[source]
        source: WireError,
    },
    /// Whoever answers is not the gateway.
    #[error("what answers at {address} is not this worker's gateway")]
    Stranger {
        /// Where.
        address: String,
    },
    /// The gateway does not want this worker.
    #[error("the gateway turned this worker away: {0}")]
    Unwanted(String),
}

/// Serves calls until there are no more, and returns the job's exit code.
///
/// # Errors
/// [`WorkerError`].
pub fn run(folder: &Path) -> Result<i32, WorkerError> {
    let failed = |path: &Path, source| WorkerError::File {
        path: path.to_owned(),
        source,
    };
    let plan = Plan::load(folder)?;
    let path = folder.join(WORKER_FILE);
    let text = std::fs::read(&path).map_err(|source| failed(&path, source))?;
    let told: WorkerFile = serde_json::from_slice(&text)
        .ok()
        .filter(|told: &WorkerFile| told.protocol == PROTOCOL)
        .ok_or(WorkerError::Release { path })?;
    let path = folder.join(SECRET_FILE);
    let secret = std::fs::read_to_string(&path).map_err(|source| failed(&path, source))?;
    strays::adopt().map_err(|source| failed(folder, source))?;
    let scratch =
        Scratch::make(&told.scratch, folder).map_err(|source| failed(&told.scratch, source))?;
    let variable = |name| std::env::var(name).unwrap_or_default();
    let run = Run {
        folder: scratch.0.clone(),
        start: start_name(&variable("SLURM_JOB_ID"), &variable("SLURM_RESTART_COUNT")),
        grace: GRACE,
    };
    let calls = Calls {
        run: Arc::new(run),
        plan: Arc::new(plan),
        prefixes: told.prefixes.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| failed(folder, source))?;
    let code = runtime.block_on(work(&told, secret.trim(), &calls));
    // A transfer that nobody waits for must not keep the job.
    runtime.shutdown_background();
    code
}

/// A folder of this worker alone, with the script; gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: &Path, folder: &Path) -> io::Result<Self> {
        let private = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
        match private(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // An earlier start of this job may have left it; anybody else's is not touched.
                let found = std::fs::symlink_metadata(path)?;
                if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
                    return Err(error);
                }
                std::fs::remove_dir_all(path)?;
                private(path)?;
            }
            other => other?,
        }
        let made = Self(path.to_owned());
        private(&path.join(CONTAINERS))?;
        private(&path.join(SCRIPT_FOLDER))?;
        std::fs::copy(folder.join(SCRIPT_FILE), path.join(SCRIPT_FILE))?;
        Ok(made)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn work(told: &WorkerFile, secret: &str, calls: &Calls) -> Result<i32, WorkerError> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| WorkerError::File {
        path: told.scratch.clone(),
        source,
    })?;
    tokio::spawn(async move {
        while terminate.recv().await.is_some() {
            let _ = stop.send(true);
        }
    });
    let born = Instant::now();
    let (mut lost, mut was_let_in) = (Instant::now(), false);
    let reconnect = Duration::from_millis(told.reconnect_ms);
    loop {
        let mut told_to_end = stopped.clone();
        let met = tokio::select! {
            met = meet(told, secret, born) => met,
            _ = told_to_end.wait_for(|is_stopped| *is_stopped) => return Ok(STOPPED),
        };
        match met {
            Ok(link) => {
                was_let_in = true;
                match call::serve(link, calls, &stopped).await {
                    End::Told => return Ok(0),
                    End::Stopped => return Ok(STOPPED),
                    End::Lost(error) => {
                        eprintln!(
                            "mizar-gateway: lost the gateway: {}",
                            mizar_core::chain(&error)
                        );
                    }
                }
                lost = Instant::now();
            }
            Err(MeetError::Final(error)) => return Err(error),
            Err(MeetError::Later(source)) if lost.elapsed() >= reconnect => {
                if was_let_in {
                    eprintln!(
                        "mizar-gateway: the gateway does not come back: {}",
                        mizar_core::chain(&source)
                    );
                    return Ok(0);
                }
                let address = told.connect.clone();
                return Err(WorkerError::NoGateway { address, source });
            }
            Err(MeetError::Later(_)) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Why there is no connection.
enum MeetError {
    /// It may come to one.
    Later(WireError),
    /// There will be none.
    Final(WorkerError),
}

impl From<WireError> for MeetError {
    fn from(error: WireError) -> Self {
        Self::Later(error)
    }
}

impl From<io::Error> for MeetError {
    fn from(error: io::Error) -> Self {
        Self::Later(error.into())
    }
}

/// Connects, and makes sure of each other.
async fn meet(told: &WorkerFile, secret: &str, born: Instant) -> Result<Link, MeetError> {
    let limit = tokio::time::timeout(HANDSHAKE, introduce(told, secret, born));
    limit.await.unwrap_or(Err(WireError::Silent.into()))
}

async fn introduce(told: &WorkerFile, secret: &str, born: Instant) -> Result<Link, MeetError> {
    let mut stream = TcpStream::connect(&told.connect).await?;
    stream.set_nodelay(true)?;
    let ours = random_hex(WORD_BYTES)?;
    let hello = FromWorker::Hello {
        protocol: PROTOCOL,
        marker: told.marker.clone(),
        node: std::env::var("SLURMD_NODENAME").unwrap_or_default(),
        word: ours.clone(),
        age_ms: u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    wire::write(&mut stream, &Frame::text(&hello)).await?;
    let (word, proof) = match read_message(&mut stream).await? {
        FromGateway::Welcome { word, proof } => (word, proof),
        FromGateway::Refused { reason, again } => return Err(refused(reason, again)),
        _ => return Err(WireError::Odd("no welcome").into()),
    };
    let words = Words {
        marker: &told.marker,
        worker: &ours,
        gateway: &word,
    };
    if !words.holds(Side::Gateway, secret, &proof) {
        let address = told.connect.clone();
        return Err(MeetError::Final(WorkerError::Stranger { address }));
    }
    let proof = words.sign(Side::Worker, secret);
    wire::write(&mut stream, &Frame::text(&FromWorker::Proof { proof })).await?;
    match read_message(&mut stream).await? {
        FromGateway::Beat => {}
        FromGateway::Refused { reason, again } => return Err(refused(reason, again)),
        _ => return Err(WireError::Odd("an order before it let us in").into()),
    }
    let (reader, writer) = stream.into_split();
    Ok(Link::new(reader, writer, Frame::text(&FromWorker::Beat)))
}

fn refused(reason: String, again: bool) -> MeetError {
    if again {
        return MeetError::Later(io::Error::other(reason).into());
    }
    MeetError::Final(WorkerError::Unwanted(reason))
}
