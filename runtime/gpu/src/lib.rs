//! GPUs of a node, of both vendors, behind one trait.
//!
//! [`open()`] looks for the vendors' libraries at run time: NVML through `nvml-wrapper`, ROCm
//! SMI or AMD SMI through loaders of our own, and without them the kernel's own files. A machine
//! without any is a value (no back ends, and a note why), not a failure. [`reader::Reader`]
//! reads on a thread of its own with a deadline, because drivers hang. Called by `mizard`;
//! knows nothing of jobs, records or Slurm.
//!
//! Invariants: "not supported" is `None`, never 0; counters are raw; each reading has the
//! clocks before and after it; what a test double of a library tells is labelled as replayed.

pub mod amd_smi;
pub mod amdgpu;
pub mod backend;
mod kernel_file;
pub mod kfd;
pub mod model;
pub mod nvml;
pub mod reader;
mod replay;
pub mod rocm_smi;

pub use backend::{Backend, Found, Libraries, open};
pub use model::{Device, EnergySource, Occurrence, OccurrenceKind, ProcessUse, Reading, Snapshot};
