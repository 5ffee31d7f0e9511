//! The step's way to the daemon, bounded once for all of it: every exchange takes from one
//! budget, and after the first failure nothing is waited for any more. A daemon that was late
//! has got the message all the same and is told the rest as far as that needs no waiting.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mizar_api::{Client, ClientError, Request};

/// The part of the budget that is spent waiting. The rest is for the kernel: on a loaded node
/// a process that waits for 50 ms runs again some milliseconds later.
const WAITING_PERCENT: u32 = 80;

/// Messages sent without any waiting once the time is used up; each takes some 50 µs.
const MAX_UNAWAITED: u32 = 64;

/// What such a message may wait: nothing.
const NO_WAIT: Duration = Duration::from_nanos(1);

/// A daemon and what is left of the time for it.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: PathBuf,
    waiting: Duration,
    spent_ns: AtomicU64,
    given_up: AtomicBool,
    /// How many more messages may be sent without waiting.
    unawaited: AtomicU32,
}

impl Daemon {
    /// The daemon at `socket`, for which a step has `budget` in total.
    pub(crate) fn new(socket: PathBuf, budget: Duration) -> Self {
        Self {
            socket,
            waiting: budget * WAITING_PERCENT / 100,
            spent_ns: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            unawaited: AtomicU32::new(MAX_UNAWAITED),
        }
    }

    /// Asks and waits; `None` without trying if an earlier exchange failed.
    pub(crate) fn ask(&self, request: Request) -> Option<Result<(), ClientError>> {
        self.bounded(|client| client.ask(request).map(drop))
    }

    /// Sends without waiting for the answer; `None` if the daemon cannot take it at once after
    /// an earlier exchange failed.
    pub(crate) fn tell(&self, request: Request) -> Option<Result<(), ClientError>> {
        if !self.given_up.load(Ordering::Relaxed) && self.spent() < self.waiting {
            return self.bounded(|client| client.tell(request));
        }
        let one_less = |left: u32| left.checked_sub(1);
        self.unawaited
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .ok()?;
        let told = Client::new(&self.socket, NO_WAIT).tell(request);
        if told.is_err() {
            self.unawaited.store(0, Ordering::Relaxed);
        }
        told.ok().map(Ok)
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
        if !matches!(result, Ok(()) | Err(ClientError::Late { .. })) {
            self.unawaited.store(0, Ordering::Relaxed);
        }
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
        let mut told = 0;
        for _ in 0..100 {
            assert!(daemon.ask(Request::Ping).is_none());
            told += u32::from(daemon.tell(Request::Ping).is_some());
        }
        // As many as it takes without waiting, but not any number.
        assert_eq!(told, MAX_UNAWAITED);
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
            daemon.ask(Request::Ping),
            Some(Err(ClientError::Late { .. }))
        ));
        assert!(daemon.ask(Request::Ping).is_none());
    }

    #[test]
    fn a_late_daemon_hears_the_rest_and_a_gone_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("late.sock");
        let late = UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::new(socket.clone(), Duration::from_millis(10));
        assert!(matches!(daemon.ask(Request::Ping), Some(Err(_))));
        assert!(matches!(daemon.tell(Request::Ping), Some(Ok(()))));
        let mut text = String::new();
        for _ in 0..2 {
            let (mut stream, _) = late.accept().unwrap();
            std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        }
        assert_eq!(text.matches("ping").count(), 2, "{text}");
        drop(late);
        assert!(daemon.tell(Request::Ping).is_none());
        let _back = std::fs::remove_file(&socket).map(|()| UnixListener::bind(&socket));
        assert!(daemon.tell(Request::Ping).is_none(), "given up for good");
    }
}
