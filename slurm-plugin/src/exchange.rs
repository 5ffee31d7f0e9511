//! The step's way to the daemon, bounded once for all of it: every exchange takes from one
//! budget, and the first failure ends them all.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mizar_api::{Client, ClientError, Request};

/// The part of the budget that is spent waiting. The rest is for the kernel: on a loaded node
/// a process that waits for 50 ms runs again some milliseconds later.
const WAITING_PERCENT: u32 = 80;

/// A daemon and what is left of the time for it.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: PathBuf,
    waiting: Duration,
    spent_ns: AtomicU64,
    given_up: AtomicBool,
}

impl Daemon {
    /// The daemon at `socket`, for which a step has `budget` in total.
    pub(crate) fn new(socket: PathBuf, budget: Duration) -> Self {
        Self {
            socket,
            waiting: budget * WAITING_PERCENT / 100,
            spent_ns: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
        }
    }

    /// Asks and waits; `None` without trying if an earlier exchange failed.
    pub(crate) fn ask(&self, request: Request) -> Option<Result<(), ClientError>> {
        self.bounded(|client| client.ask(request).map(drop))
    }

    /// Sends without waiting for the answer; `None` as in [`ask`](Self::ask).
    pub(crate) fn tell(&self, request: Request) -> Option<Result<(), ClientError>> {
        self.bounded(|client| client.tell(request))
    }

    /// Time spent on it so far.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    fn bounded(
        &self,
        exchange: impl FnOnce(&Client) -> Result<(), ClientError>,
    ) -> Option<Result<(), ClientError>> {
        if self.given_up.load(Ordering::Relaxed) {
            return None;
        }
        let start = Instant::now();
        let left = self.waiting.saturating_sub(self.spent());
        let result = exchange(&Client::new(&self.socket, left));
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.spent_ns.fetch_add(nanos, Ordering::Relaxed);
        self.given_up.store(result.is_err(), Ordering::Relaxed);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_budget_is_for_all_exchanges_and_a_failure_ends_them() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hung.sock");
        let _hung = UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::new(socket, Duration::from_millis(30));
        let start = Instant::now();
        assert!(matches!(
            daemon.ask(Request::Ping),
            Some(Err(ClientError::Late { .. }))
        ));
        for _ in 0..100 {
            assert!(daemon.ask(Request::Ping).is_none());
            assert!(daemon.tell(Request::Ping).is_none());
        }
        assert!(
            start.elapsed() < Duration::from_millis(30 + 100),
            "{:?}",
            start.elapsed()
        );
        // The client stops up to a millisecond early.
        assert!(daemon.spent() >= Duration::from_millis(22));
    }

    #[test]
    fn exchanges_that_succeed_also_use_up_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("deaf.sock");
        let _deaf = UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::new(socket, Duration::from_millis(30));
        assert!(matches!(daemon.tell(Request::Ping), Some(Ok(()))));
        daemon.spent_ns.store(24_000_000, Ordering::Relaxed);
        assert!(matches!(
            daemon.tell(Request::Ping),
            Some(Err(ClientError::Late { .. }))
        ));
        assert!(daemon.tell(Request::Ping).is_none());
    }
}
