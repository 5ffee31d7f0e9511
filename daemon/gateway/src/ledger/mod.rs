//! The ledger: what was accepted, and what became of it, in one SQLite file.
//!
//! One writer thread owns the only writing connection and gathers whatever waits into one
//! transaction (group commit); callers hear of success only after it is on disk. Readers have
//! a connection of their own, and so have the commands of an operator, while serving goes on.
//!
//! Invariants:
//! - **Nobody is told before the disk is.** A reply is sent after COMMIT with
//!   `synchronous=FULL` in WAL mode, which syncs the log.
//! - **A failed write changes nothing.** Each operation runs in a savepoint, or has its transaction
//!   for itself; if the file system is full the whole transaction goes, and every operation in it
//!   is told.
//! - **A change names the state it starts from**, so that an operator's command and the
//!   gateway's threads cannot overwrite each other's decisions.

mod accept;
mod arrays;
mod changes;
mod deletion;
mod drain;
mod flow;
mod forget;
mod gather;
mod jobs;
mod join;
mod overview;
mod query;
mod rules;
mod schema;
mod sources;
mod state;
mod webhooks;
mod workers;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use accept::*;
pub use arrays::{Arrays, Claimed, Place, forget_array, is_left, old_arrays};
pub use changes::*;
pub use deletion::*;
pub use drain::*;
pub use flow::*;
pub use forget::*;
pub use gather::{Member, is_due, settle};
pub use jobs::*;
pub use overview::*;
pub use query::*;
pub use rules::{Rule, configure_conditions};
pub use schema::SCHEMA_VERSION;
pub use sources::*;
pub use state::*;
pub use webhooks::*;
pub use workers::*;
pub use writer::{Pending, Share, Writer};

/// How long a connection waits for another's lock.
const BUSY: Duration = Duration::from_secs(10);

/// Why the ledger did not take or give something.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LedgerError {
    /// The file system is full.
    #[error("the disk of the ledger is full")]
    Full,
    /// More operations wait than the writer takes.
    #[error("the ledger has more to write than it can take")]
    Overloaded,
    /// An operator has it take no events.
    #[error("the gateway takes no new events: it is being drained")]
    Draining,
    /// The writer has stopped.
    #[error("the ledger is closed")]
    Closed,
    /// Written by a newer release.
    #[error("the ledger has schema version {found}, this release knows up to {known}")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest known version.
        known: i64,
    },
    /// The file is not there.
    #[error(
        "there is no ledger at {}: `mizar-gateway serve` makes it; is this its host and its \
         configuration?",
        .path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another gateway has it.
    #[error("another gateway serves the ledger {}", .path.display())]
    InUse {
        /// The ledger.
        path: PathBuf,
    },
    /// SQLite or the system refused.
    #[error("the ledger failed: {message}")]
    Failed {
        /// What it said.
        message: String,
    },
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed {
                message: error.to_string(),
            },
        }
    }
}

impl From<std::io::Error> for LedgerError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Full,
            _ => Self::Failed {
                message: error.to_string(),
            },
        }
    }
}

/// Reads the ledger; never writes.
#[derive(Debug)]
pub struct Reader(Mutex<Connection>);

impl Reader {
    /// Opens an existing ledger.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = open_existing(path)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Runs a query.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let connection = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(query(&connection)?)
    }
}

/// Opens a ledger that must exist, for an operator's command.
///
/// # Errors
/// [`LedgerError`].
pub fn open_existing(path: &Path) -> Result<Connection, LedgerError> {
    if !path.is_file() {
        return Err(LedgerError::Missing {
            path: path.to_owned(),
        });
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    schema::check(&connection)?;
    Ok(connection)
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    mizar_core::clock::unix_ns() / 1_000_000
}
