//! A run that is stopped, by Ctrl-C, `scancel` or its time limit, leaves no half-made file, and
//! no terminal in disorder.
//!
//! A thread waits for the signals that stop a program, which all other threads block; they
//! inherit that, so it must be set up before any other thread starts. SIGKILL cannot be waited
//! for: after it a hidden `.part` file stays.

use mizar_core::durable;
use nix::sys::signal::{SigSet, Signal, raise};

const STOPS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// From now on a signal that ends the process first removes what it has not finished.
pub(crate) fn leave_nothing_half_made() -> anyhow::Result<()> {
    before_a_stop(durable::abandon_all)
}

/// From now on `last` is done before a signal ends the process.
pub(crate) fn before_a_stop(last: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let ignored = ignored_signals();
    let mut stops = SigSet::empty();
    // What the caller ignores (`nohup`, a background job of a script) stays ignored.
    for signal in STOPS {
        if ignored & (1 << (signal as u32 - 1)) == 0 {
            stops.add(signal);
        }
    }
    stops.thread_block()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Ok(signal) = stops.wait() {
                last();
                // The default action ends the process, and the caller sees which signal did.
                let _ = stops.thread_unblock();
                let _ = raise(signal);
            }
        })?;
    Ok(())
}

/// The mask of ignored signals; none if the kernel does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or(0)
}
