//! A run that is asked to stop does so between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal, raise};

/// The flag that SIGTERM and SIGUSR1 set. Ctrl-C sets it too, and ends the process the second
/// time. A thread waits for them, which all threads that are started later block.
pub(super) fn when_asked() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let flag = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while let Ok(signal) = signals.wait() {
                let was_asked = flag.swap(true, Ordering::SeqCst);
                if was_asked && signal == Signal::SIGINT {
                    mizar_core::durable::abandon_all();
                    let _ = signals.thread_unblock();
                    let _ = raise(signal);
                }
            }
        })?;
    Ok(stop)
}
