//! A test double of `librocm_smi64.so`: ROCm SMI's C interface, played from a script
//! (`tests/gpu-trace`), for tests on machines without a GPU.
//!
//! The same file plays `libamd_smi.so` too: the names of the two do not meet.
//!
//! It exports one symbol more than ROCm SMI, `mizar_replay_label`, by which `runtime/gpu` knows
//! it and labels all that comes through it as replayed. Only what `mizard` calls is here.

mod ffi;
