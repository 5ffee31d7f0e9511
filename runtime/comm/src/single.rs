//! The communicator of a process that is alone.

use std::time::Duration;

use crate::{CommError, Communicator, Result, Tag};

/// Rank 0 of 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn send(&self, to: usize, _tag: Tag, _bytes: &[u8]) -> Result<()> {
        Err(CommError::NoSuchRank {
            rank: to,
            action: "sent to",
            own: 0,
            size: 1,
        })
    }

    fn receive(&self, from: usize, _tag: Tag) -> Result<Vec<u8>> {
        Err(CommError::NoSuchRank {
            rank: from,
            action: "received from",
            own: 0,
            size: 1,
        })
    }

    fn receive_within(&self, from: usize, tag: Tag, _limit: Duration) -> Result<Option<Vec<u8>>> {
        self.receive(from, tag).map(Some)
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
