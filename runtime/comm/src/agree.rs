//! Ranks tell each other whether they are well.

use crate::{CommError, Communicator};

/// An error that can stand for one of another rank.
pub trait Shared: std::error::Error + Sized {
    /// That of another rank, with its message.
    fn of_peer(rank: usize, message: String) -> Self;

    /// Whether the others know of it, or cannot be told.
    fn is_known(&self) -> bool;
}

/// Exchanges whether this rank failed: all continue or none does. Collective.
///
/// # Errors
/// The rank's own error, or that of the first rank that failed.
pub fn agree<T, E>(comm: &dyn Communicator, own: Result<T, E>) -> Result<T, E>
where
    E: Shared + From<CommError>,
{
    if comm.size() == 1 || own.as_ref().err().is_some_and(Shared::is_known) {
        return own;
    }
    let message = own
        .as_ref()
        .err()
        .map(|error| mizar_core::chain(error))
        .unwrap_or_default();
    let messages = comm.all_gather(message.as_bytes())?;
    let failed = messages.iter().position(|message| !message.is_empty());
    match (own, failed) {
        (Err(error), _) => Err(error),
        (Ok(_), Some(rank)) => {
            let message = String::from_utf8_lossy(&messages[rank]).into_owned();
            Err(E::of_peer(rank, message))
        }
        (Ok(value), None) => Ok(value),
    }
}
