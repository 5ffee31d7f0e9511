//! What a record holds of network devices and network file systems: all that the node did, other
//! jobs included.

use serde::{Deserialize, Serialize};

/// What a number in [`CounterSample::counter`] stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterInfo {
    /// The number: made of the names, so the same in all segments.
    pub id: u32,
    /// `ethernet`, `infiniband`, `roce`, `slingshot`, `lustre` or `nfs`.
    pub class: String,
    /// The device (`eth0`, `mlx5_0:1`) or file system (`scratch`, `server:/home`).
    pub device: String,
    /// What is counted: `received`, `sent`, `read`, `written`, …
    pub quantity: String,
    /// `bytes`, `packets`, `ticks` or `times`.
    pub unit: String,
}

/// One reading of a counter of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, hdf5::H5Type)]
#[repr(C)]
pub struct CounterSample {
    /// When the reading ended, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, as measured; 0 for the first.
    pub interval_ns: i64,
    /// Cumulative since the device or the mount began.
    pub value: u64,
    /// [`CounterInfo::id`].
    pub counter: u32,
    /// Zero; keeps the row aligned.
    pub reserved: u32,
}
