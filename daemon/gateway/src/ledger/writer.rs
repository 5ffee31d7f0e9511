//! The one writing connection, its thread, and group commit.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{BUSY, LedgerError, schema};

/// Most operations in one transaction; bounds what one failed commit takes with it.
const MAX_BATCH: usize = 256;

/// Most operations that wait for the writer; each holds at most one request's events.
const MAX_WAITING: usize = 1024;

/// How long another gateway's lock is waited for, and how often it is tried meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_STEP: Duration = Duration::from_millis(20);

type Reply = Box<dyn FnOnce(&Result<(), LedgerError>) + Send>;
/// Runs an operation, unless its transaction has failed already; tells whether it succeeded,
/// and replies once the commit is decided.
type Operation =
    Box<dyn FnOnce(Result<&Connection, &LedgerError>) -> (Result<(), LedgerError>, Reply) + Send>;

/// Sends operations to the writer thread. Clones share it; the last one to go ends it.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: SyncSender<Operation>,
}

/// The result of an operation that is on its way.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, LedgerError>>);

impl<T> Pending<T> {
    /// Waits, on a thread of its own.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn wait(self) -> Result<T, LedgerError> {
        self.0.blocking_recv().unwrap_or(Err(LedgerError::Closed))
    }

    /// Waits, in a task.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn done(self) -> Result<T, LedgerError> {
        self.0.await.unwrap_or(Err(LedgerError::Closed))
    }
}

impl Writer {
    /// Opens or creates the ledger, brings its schema up to date, and starts the thread.
    ///
    /// # Errors
    /// [`LedgerError`], also if another gateway serves this ledger.
    pub fn open(path: &Path) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = lock(path)?;
        // Events may hold what others should not read; SQLite gives its other files this mode.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut connection)?;
        let (queue, waiting) = sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                serve(&connection, &waiting);
                drop(lock);
            })?;
        Ok((Self { queue }, thread))
    }

    /// Hands an operation to the writer without waiting for it.
    ///
    /// # Errors
    /// [`LedgerError::Overloaded`] or [`LedgerError::Closed`].
    pub fn submit<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Pending<T>, LedgerError> {
        let (operation, pending) = prepare(operation);
        self.queue
            .try_send(operation)
            .map_err(|error| match error {
                TrySendError::Full(_) => LedgerError::Overloaded,
                TrySendError::Disconnected(_) => LedgerError::Closed,
            })?;
        Ok(pending)
    }

    /// Runs an operation and waits until it is on disk. Blocks.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (operation, pending) = prepare(operation);
        self.queue
            .send(operation)
            .map_err(|_| LedgerError::Closed)?;
        pending.wait()
    }
}

/// Keeps a second gateway from the same ledger; the lock goes with the process.
fn lock(path: &Path) -> Result<Flock<File>, LedgerError> {
    let name = path.with_extension("lock");
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&name)?;
    let started = Instant::now();
    let mut file = file;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, _)) => file,
        };
        // A gateway that was killed while it started a command leaves its lock to that child for
        // the moment until the command runs.
        if started.elapsed() > LOCK_PATIENCE {
            return Err(LedgerError::InUse {
                path: path.to_owned(),
            });
        }
        std::thread::sleep(LOCK_STEP);
    }
}

fn prepare<T: Send + 'static>(
    operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> (Operation, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    let boxed: Operation = Box::new(move |connection| {
        let result = match connection {
            Ok(connection) => operation(connection).map_err(LedgerError::from),
            Err(error) => Err(error.clone()),
        };
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        let reply: Reply = Box::new(move |commit| {
            let answer = commit.clone().and(result);
            // Whoever asked may have gone; the work is done all the same.
            let _ = sender.send(answer);
        });
        (outcome, reply)
    });
    (boxed, Pending(receiver))
}

fn serve(connection: &Connection, waiting: &Receiver<Operation>) {
    while let Ok(first) = waiting.recv() {
        let rest = std::iter::from_fn(|| waiting.try_recv().ok());
        let batch: Vec<_> = std::iter::once(first)
            .chain(rest.take(MAX_BATCH - 1))
            .collect();
        let mut replies = Vec::with_capacity(batch.len());
        let commit = transact(connection, batch, &mut replies);
        if let Err(error) = &commit {
            tracing::error!(%error, operations = replies.len(), "a ledger transaction failed");
        }
        for reply in replies {
            reply(&commit);
        }
    }
}

/// Runs a batch in one transaction; an operation that fails leaves the others alone.
fn transact(
    connection: &Connection,
    batch: Vec<Operation>,
    replies: &mut Vec<Reply>,
) -> Result<(), LedgerError> {
    let mut failure = connection
        .execute_batch("BEGIN IMMEDIATE")
        .err()
        .map(LedgerError::from);
    for operation in batch {
        if let Some(error) = &failure {
            replies.push(operation(Err(error)).1);
            continue;
        }
        let savepoint = connection.execute_batch("SAVEPOINT operation");
        let (outcome, reply) = operation(Ok(connection));
        replies.push(reply);
        let end = match (&savepoint, &outcome) {
            (Ok(()), Ok(())) => connection.execute_batch("RELEASE operation"),
            (Ok(()), Err(_)) => {
                connection.execute_batch("ROLLBACK TO operation; RELEASE operation")
            }
            (Err(_), _) => savepoint,
        };
        // SQLite gives up the whole transaction by itself when the disk is full.
        if let Err(error) = end {
            failure = Some(outcome.err().unwrap_or_else(|| error.into()));
        } else if connection.is_autocommit() {
            failure = Some(outcome.err().unwrap_or(LedgerError::Full));
        }
    }
    if failure.is_none() {
        failure = connection
            .execute_batch("COMMIT")
            .err()
            .map(LedgerError::from);
    }
    match failure {
        None => Ok(()),
        Some(error) => {
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
            Err(error)
        }
    }
}
