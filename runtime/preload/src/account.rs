//! How a process spends its time, worked out while it runs: the union of intervals, kept as
//! windows that do not overlap, so nothing is counted twice. Pure: clocks come in.
//!
//! The main thread (the one that initialised MPI) decides. While it is inside a call the window
//! is *exposed* communication or *I/O*. While it is outside, the window is *compute* for as much
//! CPU time as the whole process used in it, at most its length, and *idle* for the rest;
//! windows shorter than [`SHORT_NS`], or
//! three milliseconds among frequent calls, are compute. What of a window outside lies under
//! communication in flight (operations begun and not yet completed, calls of other threads) is
//! *hidden* as far as it is compute, and *exposed* as far as it is not.

use mizar_api::ring::{STATE_COMMUNICATING, STATE_IO, STATE_OUTSIDE, Split};

/// Below this the CPU time of a window is not asked for: that takes a system call.
pub(crate) const SHORT_NS: u64 = 1_000_000;

/// A reading of the CPU time that is younger than this is taken for the start of a window: a
/// thread that polls inside MPI uses CPU time as fast as the clock runs.
const FRESH_NS: u64 = 2_000_000;

/// The account of one process.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) split: Split,
    /// When the CPU time was last read, and what it was.
    cpu_read: (u64, u64),
    /// How old that was when the running window began: a shorter window could not be told.
    stale_ns: u64,
}

impl Account {
    /// An account from `start_ns` on, when the process had used `cpu_ns`.
    pub(crate) fn new(start_ns: u64, cpu_ns: u64) -> Self {
        let split = Split {
            start_ns,
            window_ns: start_ns,
            state: STATE_OUTSIDE,
            cpu_ns,
            ..Split::default()
        };
        Self {
            split,
            cpu_read: (start_ns, cpu_ns),
            stale_ns: 0,
        }
    }

    /// The main thread enters a call.
    pub(crate) fn enter(&mut self, state: u64, now_ns: u64, cpu_ns: impl FnOnce() -> u64) {
        self.close(now_ns, cpu_ns);
        self.split.state = state;
    }

    /// The main thread is outside again.
    pub(crate) fn leave(&mut self, now_ns: u64, cpu_ns: impl FnOnce() -> u64) {
        self.close(now_ns, || 0);
        self.split.state = STATE_OUTSIDE;
        self.split.cpu_ns = self.cpu_at(now_ns, cpu_ns);
        self.stale_ns = now_ns.saturating_sub(self.cpu_read.0);
    }

    /// The CPU time at `now_ns`, read or taken from a fresh reading.
    pub(crate) fn cpu_at(&mut self, now_ns: u64, cpu_ns: impl FnOnce() -> u64) -> u64 {
        if now_ns.saturating_sub(self.cpu_read.0) >= FRESH_NS {
            self.cpu_read = (now_ns, cpu_ns());
        }
        self.cpu_read.1 + now_ns.saturating_sub(self.cpu_read.0)
    }

    /// Communication is in flight, or no longer is.
    pub(crate) fn cover(&mut self, in_flight: bool, now_ns: u64) {
        let split = &mut self.split;
        match (split.covered_since_ns, in_flight) {
            (0, true) => split.covered_since_ns = now_ns.max(1),
            (since_ns, false) if since_ns > 0 => {
                split.covered_ns += now_ns.saturating_sub(since_ns.max(split.window_ns));
                split.covered_since_ns = 0;
            }
            _ => {}
        }
    }

    /// Ends the running window.
    fn close(&mut self, now_ns: u64, cpu_ns: impl FnOnce() -> u64) {
        let length_ns = now_ns.saturating_sub(self.split.window_ns);
        match self.split.state {
            STATE_COMMUNICATING => self.split.exposed_ns += length_ns,
            STATE_IO => self.split.io_ns += length_ns,
            _ => self.close_outside(length_ns, now_ns, cpu_ns),
        }
        self.split.window_ns = self.split.window_ns.max(now_ns);
        self.split.covered_ns = 0;
    }

    fn close_outside(&mut self, length_ns: u64, now_ns: u64, cpu_ns: impl FnOnce() -> u64) {
        let mut used_ns = length_ns;
        if length_ns >= SHORT_NS + self.stale_ns {
            self.cpu_read = (now_ns, cpu_ns());
            used_ns = self.cpu_read.1.saturating_sub(self.split.cpu_ns);
        }
        let parts = self.split.outside(length_ns, now_ns, used_ns);
        let split = &mut self.split;
        split.compute_ns += parts.compute_ns;
        split.hidden_ns += parts.hidden_ns;
        split.exposed_ns += parts.exposed_ns;
        split.idle_ns += parts.idle_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// compute, exposed, hidden, I/O, idle in milliseconds.
    fn parts(account: &Account) -> [u64; 5] {
        let split = &account.split;
        [
            split.compute_ns,
            split.exposed_ns,
            split.hidden_ns,
            split.io_ns,
            split.idle_ns,
        ]
        .map(|ns| ns / MS)
    }

    fn sum(account: &Account) -> u64 {
        let split = &account.split;
        split.compute_ns + split.exposed_ns + split.io_ns + split.idle_ns
    }

    #[test]
    fn compute_communicate_and_wait_for_files() {
        let mut account = Account::new(0, 0);
        // 100 ms of which 60 on the CPU, 50 in MPI, 30 of compute, 20 of I/O.
        account.enter(STATE_COMMUNICATING, 100 * MS, || 60 * MS);
        account.leave(150 * MS, || 110 * MS);
        account.enter(STATE_IO, 180 * MS, || 140 * MS);
        account.leave(200 * MS, || 140 * MS);
        assert_eq!(parts(&account), [90, 50, 0, 20, 40]);
        assert_eq!(sum(&account), account.split.window_ns);
    }

    #[test]
    fn many_threads_compute_no_longer_than_the_clock_runs() {
        let mut account = Account::new(0, 0);
        account.enter(STATE_COMMUNICATING, 10 * MS, || 80 * MS);
        assert_eq!(parts(&account), [10, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_in_flight_is_hidden_by_compute_alone() {
        let mut account = Account::new(0, 0);
        account.enter(STATE_COMMUNICATING, 10 * MS, || 10 * MS);
        account.cover(true, 10 * MS);
        account.leave(10 * MS, || 10 * MS);
        // 40 ms in flight, half of them busy; then 10 in the wait.
        account.enter(STATE_COMMUNICATING, 50 * MS, || 30 * MS);
        account.cover(false, 60 * MS);
        account.leave(60 * MS, || 40 * MS);
        assert_eq!(parts(&account), [30, 30, 20, 0, 0]);
        assert_eq!(sum(&account), 60 * MS);
    }

    #[test]
    fn a_part_of_a_window_can_be_covered() {
        let mut account = Account::new(0, 0);
        // Another thread communicates from 10 to 30 of 100 ms.
        account.cover(true, 10 * MS);
        account.cover(true, 20 * MS);
        account.cover(false, 30 * MS);
        account.cover(false, 40 * MS);
        account.enter(STATE_COMMUNICATING, 100 * MS, || 50 * MS);
        assert_eq!(parts(&account), [50, 10, 10, 0, 40]);
        assert_eq!(sum(&account), 100 * MS);
    }

    #[test]
    fn short_windows_ask_no_clock_and_time_never_runs_back() {
        let mut account = Account::new(5, 0);
        account.enter(STATE_COMMUNICATING, 105, || unreachable!());
        account.leave(100, || 0);
        account.enter(STATE_COMMUNICATING, 205, || unreachable!());
        assert_eq!(account.split.compute_ns, 200);
        assert_eq!(sum(&account), account.split.window_ns - 5);
    }
}
