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

/// From so many jobs on, an operation has a transaction of its own.
const MANY: usize = 16;

/// Most operations that wait for the writer; each holds at most one request's events.
const MAX_WAITING: usize = 1024;

/// Pages that the writer keeps: those of the indexes into which a batch of events goes.
const CACHE_KIB: i64 = 32 << 10;

/// How long another gateway's lock is waited for, and how often it is tried meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_STEP: Duration = Duration::from_millis(20);

type Reply = Box<dyn FnOnce(&Result<(), LedgerError>) + Send>;
/// Runs an operation, unless its transaction has failed already; tells whether it succeeded,
/// and replies once the commit is decided.
type Run =
    Box<dyn FnOnce(Result<&Connection, &LedgerError>) -> (Result<(), LedgerError>, Reply) + Send>;

/// An operation on its way.
struct Operation {
    run: Run,
    share: Share,
}

/// Whether an operation shares its transaction, and the sync of it, with others.
///
/// One that does is in a savepoint, so that it alone is undone if it fails. SQLite opens another for
/// each row that a trigger follows, and what closing that one costs grows with what the outer one
/// holds: many rows are better off in a transaction of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// With all that wait.
    Yes,
    /// It writes many rows.
    No,
}

impl Share {
    /// For an operation that writes so many jobs.
    #[must_use]
    pub fn of(jobs: usize) -> Self {
        match jobs < MANY {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

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
        // What a savepoint may undo goes to a temporary file otherwise, page by page: half of the
        // time that events took.
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
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
        self.submit_as(Share::Yes, operation)
    }

    /// The same for an operation that may write many rows.
    ///
    /// # Errors
    /// [`LedgerError::Overloaded`] or [`LedgerError::Closed`].
    pub fn submit_as<T: Send + 'static>(
        &self,
        share: Share,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Pending<T>, LedgerError> {
        let (operation, pending) = prepare(share, operation);
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
        self.write_as(Share::Yes, operation)
    }

    /// The same for an operation that may write many rows.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn write_as<T: Send + 'static>(
        &self,
        share: Share,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (operation, pending) = prepare(share, operation);
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
    share: Share,
    operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> (Operation, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    let run: Run = Box::new(move |connection| {
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
    (Operation { run, share }, Pending(receiver))
}

fn serve(connection: &Connection, waiting: &Receiver<Operation>) {
    // One that was taken from the queue and shares nothing with those before it.
    let mut next = None;
    while let Some(first) = next.take().or_else(|| waiting.recv().ok()) {
        let mut batch = vec![first];
        while batch[0].share == Share::Yes && batch.len() < MAX_BATCH && next.is_none() {
            match waiting.try_recv() {
                Ok(one) if one.share == Share::Yes => batch.push(one),
                Ok(one) => next = Some(one),
                Err(_) => break,
            }
        }
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
    let is_alone = batch.len() == 1;
    for operation in batch {
        if let Some(error) = &failure {
            replies.push((operation.run)(Err(error)).1);
            continue;
        }
        failure = match is_alone {
            true => run_alone(connection, operation.run, replies),
            false => run_shared(connection, operation.run, replies),
        };
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

/// Runs the only operation of a transaction, which fails with it.
fn run_alone(connection: &Connection, run: Run, replies: &mut Vec<Reply>) -> Option<LedgerError> {
    let (outcome, reply) = run(Ok(connection));
    replies.push(reply);
    outcome.err()
}

/// Runs one of several, in a savepoint; tells what makes the whole transaction fail.
fn run_shared(connection: &Connection, run: Run, replies: &mut Vec<Reply>) -> Option<LedgerError> {
    let savepoint = connection.execute_batch("SAVEPOINT operation");
    let (outcome, reply) = run(Ok(connection));
    replies.push(reply);
    let end = match (&savepoint, &outcome) {
        (Ok(()), Ok(())) => connection.execute_batch("RELEASE operation"),
        (Ok(()), Err(_)) => connection.execute_batch("ROLLBACK TO operation; RELEASE operation"),
        (Err(_), _) => savepoint,
    };
    // SQLite gives up the whole transaction by itself when the disk is full.
    match end {
        Err(error) => Some(outcome.err().unwrap_or_else(|| error.into())),
        Ok(()) if connection.is_autocommit() => Some(outcome.err().unwrap_or(LedgerError::Full)),
        Ok(()) => None,
    }
}
