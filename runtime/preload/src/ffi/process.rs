//! Turns in the life of a process.

/// Calls `child` in the child of every fork.
pub(crate) fn at_fork(child: extern "C" fn()) {
    // SAFETY: the function stays loaded: a preloaded library is never unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(into_unsafe(child))) };
}

/// Calls `end` when the process exits by itself.
pub(crate) fn at_exit(end: extern "C" fn()) {
    // SAFETY: likewise.
    unsafe { libc::atexit(end) };
}

fn into_unsafe(function: extern "C" fn()) -> unsafe extern "C" fn() {
    function
}
