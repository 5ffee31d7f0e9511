//! How ranks of the array engine tell each other whether they are well.

use mizar_comm::{Communicator, Shared};

use crate::error::CubeError;

/// [`mizar_comm::agree`] with the engine's errors.
///
/// # Errors
/// The rank's own error, or [`CubeError::Peer`] with that of the first rank that failed.
pub fn agree<T>(comm: &dyn Communicator, own: Result<T, CubeError>) -> Result<T, CubeError> {
    mizar_comm::agree(comm, own)
}

impl Shared for CubeError {
    fn of_peer(rank: usize, message: String) -> Self {
        Self::Peer { rank, message }
    }

    // A rank that learnt of a failure from its peers has none of its own to tell; its peers
    // know, and wait no more.
    fn is_known(&self) -> bool {
        matches!(self, Self::Peer { .. } | Self::Communication(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_everybodys() {
        let results = mizar_comm::run_threads(3, |comm| {
            let own = match mizar_comm::Communicator::rank(comm) {
                1 => Err(CubeError::Protocol { rank: 7 }),
                rank => Ok(rank),
            };
            agree(comm, own).map_err(|error| error.chain())
        });
        let own = "rank 7 sent a message that makes no sense here";
        assert_eq!(results[0], Err(format!("rank 1: {own}")));
        assert_eq!(results[1], Err(own.to_owned()));
        assert_eq!(results[2], Err(format!("rank 1: {own}")));
    }
}
