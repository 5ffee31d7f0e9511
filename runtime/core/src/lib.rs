//! What every part of Mizar shares: ids, units, clocks, digits, causes of errors, node lists, energy, the distributed
//! environment of a task, and files that are either whole or absent.
//!
//! Called by all crates; knows no I/O beyond [`durable`] and [`context`], no MPI, no HDF5 and
//! no network. Everything here must be cheap enough to link into the SPANK plugin.

mod chain;
pub mod clock;
pub mod context;
pub mod durable;
pub mod energy;
mod hex;
pub mod ids;
pub mod marks;
pub mod nodelist;
pub mod rendezvous;
pub mod units;

pub use chain::chain;
pub use hex::hex;

/// The release of Mizar that this program was built from.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
