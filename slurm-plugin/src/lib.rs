//! `spank_mizar.so`: the Slurm plugin behind `srun --mizar`.
//!
//! Slurm loads it into srun, sbatch, salloc, slurmd and slurmstepd. It checks the option where
//! it is given, gives every task the rendezvous of PyTorch, Horovod and JAX, and tells the
//! node's `mizard` in one bounded exchange which tasks to watch.
//!
//! Invariants: no threads, no async runtime, no MPI, HDF5 or CUDA; at most the budget (50 ms)
//! is spent on the daemon per step; hooks in the forked task take no locks; no panic reaches
//! Slurm; prolog and epilog always report success; a missing daemon changes nothing unless the
//! site or the user says `require`.
//!
//! Left out on purpose: whatever the daemon can do instead.

// Tests are linked without Slurm, whose symbols only the processes that load the plugin have.
#![cfg_attr(test, allow(dead_code, reason = "the hooks, its callers, need Slurm"))]

mod exchange;
#[cfg(not(test))]
mod ffi;
#[cfg(not(test))]
mod hooks;
mod settings;
mod step;
