//! Everything that C sees or that C must be asked for: the functions that stand before the real
//! ones, the search for those, clocks, memory. All of the crate's `unsafe` is below here.
//!
//! Handles of MPI pass through as words: pointers in Open MPI, integers in MPICH, whose callee
//! looks at the lower half alone. Both are passed in one register or one slot of the stack by
//! the calling conventions of x86-64 and aarch64 Linux, so one build serves both families.

#![allow(
    unsafe_code,
    reason = "C calls this library, and hands over addresses that only C's rules vouch for"
)]

pub(crate) mod arguments;
pub(crate) mod clock;
mod collective;
mod exports;
mod file;
pub(crate) mod memory;
mod nccl;
mod one_sided;
mod point_to_point;
mod posix;
pub(crate) mod process;
pub(crate) mod queries;
pub(crate) mod symbols;
mod wrap;
