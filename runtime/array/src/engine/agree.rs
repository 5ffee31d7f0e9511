//! Ranks tell each other whether they are well.

use mizar_comm::Communicator;

use crate::error::CubeError;

/// Exchanges whether this rank failed: all continue or none does. Collective.
///
/// # Errors
/// The rank's own error, or [`CubeError::Peer`] with that of the first rank that failed.
pub fn agree<T>(comm: &dyn Communicator, own: Result<T, CubeError>) -> Result<T, CubeError> {
    if comm.size() == 1 {
        return own;
    }
    // A rank that learnt of a failure from its peers has none of its own to tell; its peers
    // know, and wait no more.
    if matches!(
        own,
        Err(CubeError::Peer { .. } | CubeError::Communication(_))
    ) {
        return own;
    }
    let message = own.as_ref().err().map(CubeError::chain).unwrap_or_default();
    let messages = comm.all_gather(message.as_bytes())?;
    let failed = messages.iter().position(|message| !message.is_empty());
    match (own, failed) {
        (Err(error), _) => Err(error),
        (Ok(_), Some(rank)) => {
            let message = String::from_utf8_lossy(&messages[rank]).into_owned();
            Err(CubeError::Peer { rank, message })
        }
        (Ok(value), None) => Ok(value),
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
