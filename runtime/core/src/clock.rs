//! The two clocks: wall time for stamps that people and other nodes compare, monotonic time
//! for intervals.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since 1970-01-01T00:00:00Z by this node's wall clock.
#[must_use]
pub fn unix_ns() -> i64 {
    read(ClockId::CLOCK_REALTIME)
}

/// Nanoseconds of the monotonic clock; only differences mean anything.
#[must_use]
pub fn monotonic_ns() -> i64 {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> i64 {
    let now = clock_gettime(clock).expect("Linux always has the realtime and monotonic clocks");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
