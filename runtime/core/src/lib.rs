//! What every part of Mizar shares: ids, units, clocks, node lists, energy, the distributed
//! environment of a task, and files that are either whole or absent.
//!
//! Called by all crates; knows no I/O beyond [`durable`] and [`context`], no MPI, no HDF5 and
//! no network. Everything here must be cheap enough to link into the SPANK plugin.

pub mod clock;
pub mod context;
pub mod durable;
pub mod energy;
pub mod ids;
pub mod marks;
pub mod nodelist;
pub mod rendezvous;
pub mod units;

/// The release of Mizar that this program was built from.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
