//! A test double of `libnvidia-ml.so.1`: NVML's C interface, played from a script
//! (`tests/gpu-trace`), for tests on machines without a GPU.
//!
//! It exports one symbol more than NVML, `mizar_replay_label`, by which `runtime/gpu` knows it
//! and labels all that comes through it as replayed. Only what `mizard` calls is here.

mod ffi;
mod play;
