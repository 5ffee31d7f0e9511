//! The gateway's side: gives orders to `mizar-submit-as`, and tells what was not sent from what
//! was not answered.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::{Folder, Order, Reply, Task, USERS_DIR, read_frame, write_frame};

/// Longest wait for a reply: the helper ends what it runs before that.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SubmitAsError {
    /// The helper cannot have the whole order.
    #[error("nothing was sent to mizar-submit-as at {}; is it running?", .socket.display())]
    NotSent {
        /// Its socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was sent; what became of it is not known.
    #[error("mizar-submit-as took an order and did not answer")]
    Lost(#[source] io::Error),
    /// The helper does not do this.
    #[error("mizar-submit-as: {0}")]
    Refused(String),
    /// The helper could not do this.
    #[error("mizar-submit-as: {0}")]
    Failed(String),
}

/// How a program of Slurm's ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// None if it was killed at the time limit.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A way to `mizar-submit-as`; a connection for each order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitAs {
    socket: PathBuf,
}

impl SubmitAs {
    /// The helper that listens at `socket`.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for the folder below which the helper makes those of jobs.
    ///
    /// # Errors
    /// [`SubmitAsError`].
    pub fn work_dir(&self) -> Result<PathBuf, SubmitAsError> {
        match self.give("-", Task::Hello)? {
            Reply::Hello { work_dir } => Ok(work_dir.into()),
            other => Err(unexpected(other)),
        }
    }

    /// The folder of a user's jobs, below the gateway's `work_dir`.
    #[must_use]
    pub fn user_dir(work_dir: &Path, user: &str) -> PathBuf {
        work_dir.join(USERS_DIR).join(user)
    }

    /// Makes a job's folder, as `user`; what an earlier try left is replaced.
    ///
    /// # Errors
    /// [`SubmitAsError`].
    pub fn prepare(&self, user: &str, folder: Folder) -> Result<(), SubmitAsError> {
        match self.give(user, Task::Prepare(folder))? {
            Reply::Prepared => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Runs sbatch as `user`.
    pub(crate) fn submit(
        &self,
        user: &str,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Ran, SubmitAsError> {
        let task = Task::Submit {
            arguments,
            environment,
        };
        ran(self.give(user, task)?)
    }

    /// Runs scancel as `user`.
    pub(crate) fn cancel(&self, user: &str, job: u32) -> Result<Ran, SubmitAsError> {
        ran(self.give(user, Task::Cancel { job })?)
    }

    fn give(&self, user: &str, task: Task) -> Result<Reply, SubmitAsError> {
        let not_sent = |source| SubmitAsError::NotSent {
            socket: self.socket.clone(),
            source,
        };
        let mut stream = self.connect().map_err(not_sent)?;
        let order = Order {
            user: user.to_owned(),
            task,
        };
        // Half an order is none: the helper waits for the announced length.
        write_frame(&mut stream, &order).map_err(not_sent)?;
        read_frame(&mut stream).map_err(SubmitAsError::Lost)
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        // Anybody else there would read events and pretend to submit.
        if getsockopt(&stream, sockopt::PeerCredentials)?.uid() != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "its server is not root's",
            ));
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

fn ran(reply: Reply) -> Result<Ran, SubmitAsError> {
    match reply {
        Reply::Ran {
            code,
            stdout,
            stderr,
            is_complete,
        } => Ok(Ran {
            code,
            stdout: if is_complete { stdout } else { String::new() },
            stderr,
        }),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> SubmitAsError {
    match reply {
        Reply::Refused(why) => SubmitAsError::Refused(why),
        Reply::Failed(why) => SubmitAsError::Failed(why),
        Reply::Hello { .. } | Reply::Prepared | Reply::Ran { .. } => {
            SubmitAsError::Failed("it answered another order; restart it".to_owned())
        }
    }
}
