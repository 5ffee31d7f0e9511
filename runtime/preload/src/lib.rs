//! `libmizar_comm.so`: preloaded by `--mizar=comm`, it counts what a program communicates.
//!
//! A dynamic program's calls of MPI, NCCL and RCCL come here first ([`ffi`]); each is timed and
//! handed to the real function, found behind this library. The figures lie in memory that
//! `mizard` maps read-only ([`session`]); nothing is sent while the program runs.
//!
//! Invariants: the program behaves as without it. No thread, no signal handler, no lock that
//! is waited for without bound; a panic ends the bookkeeping of one call; without a daemon the
//! library goes quiet after at most 50 ms, and then costs one load a call. Programs that never
//! call what is counted never open a socket.
//!
//! What it does not see: functions that a program looks up itself with `dlsym`, or that are
//! linked statically into it or into one of its libraries.

mod account;
mod ffi;
mod hook;
mod marks;
mod offer;
mod operations;
mod session;
