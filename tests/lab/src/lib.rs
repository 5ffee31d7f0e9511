//! A private real Slurm on one machine, for tests, demos and trying things out.
//!
//! A lab is a munged, a slurmctld and N slurmds, with slurmdbd and slurmrestd where asked, below one
//! directory and on loopback ports of its own, so several labs run side by side. As root each
//! node has its own hostname, processes, `/dev/shm` and `/etc/hosts`, and fake GPUs if asked;
//! without root, nodes share those with the machine, jobs run as the owner only, and there are
//! no GPUs. A lab ends with the process that started it, however that ends: the kernel kills
//! its daemons, and a small guard process removes its directory.
//!
//! ```no_run
//! # fn main() -> Result<(), mizar_lab::LabError> {
//! let lab = mizar_lab::Lab::builder().nodes(2).start()?;
//! let job = lab.sbatch("#!/bin/sh\nsrun hostname\n", &["-N2"])?;
//! assert_eq!(lab.wait_job(job, std::time::Duration::from_secs(30))?, "COMPLETED");
//! println!("{}", lab.job_output(job)?);
//! # Ok(())
//! # }
//! ```
//!
//! Beside it stands what other suites share: ranks ([`mpirun`]), a [`browser`], and the Python
//! environment with its samples ([`venv`]).
//!
//! Nothing here simulates Slurm, and nothing reaches beyond 127.0.0.1.

mod binaries;
pub mod browser;
mod builder;
mod config;
mod database;
mod error;
mod ffi;
mod guard;
mod jobs;
mod lab;
mod mizar;
mod mpirun;
mod node;
mod packages;
mod plan;
mod ports;
mod process;
mod rest;
mod submit_as;
mod users;
pub mod venv;

pub use binaries::{binary, plugin_path};
pub use builder::LabBuilder;
pub use database::accounting_available;
pub use error::LabError;
pub use jobs::JobId;
pub use lab::{Lab, namespaces_available};
pub use mizar::MizarOptions;
pub use mpirun::{has_mpirun, mpirun, mpirun_command};
pub use nix::sys::signal::Signal;
pub use node::NodeProcess;
pub use submit_as::SubmitAsHelper;
pub use users::Users;

/// The names in a folder, sorted: what a test finds there, and nothing else.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("its entries can be read").file_name();
        name.to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
