//! What a record holds of GPUs: who they are, their counters, who used them, what befell them.
//!
//! Only the GPUs of the job are here. Of a GPU that jobs share the rows tell the whole device;
//! [`GpuProcessSample`] tells the job's part where the vendor's library does.

use serde::{Deserialize, Serialize};

/// A GPU, or a MIG instance of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// Its number in this node's record, which samples refer to.
    pub gpu: u32,
    /// Of a MIG instance: the number of the whole GPU.
    #[serde(default)]
    pub parent: Option<u32>,
    /// `nvidia` or `amd`.
    pub vendor: String,
    /// Its model ("NVIDIA H100 80GB HBM3").
    pub name: String,
    /// `GPU-…`, `MIG-…`, or what else the vendor's library calls unique.
    pub uuid: String,
    /// Its PCI address (`0000:65:00.0`), if known.
    #[serde(default)]
    pub pci: Option<String>,
    /// The minor number of its device node, if known.
    #[serde(default)]
    pub minor: Option<u32>,
    /// Memory that programs can use.
    #[serde(default)]
    pub memory_total_bytes: Option<u64>,
    /// The power limit in force when it was first seen.
    #[serde(default)]
    pub power_limit_watts: Option<f64>,
    /// Compute slices of this instance and of the whole GPU ("2 of 7"), for MIG.
    #[serde(default)]
    pub slices: Option<(u32, u32)>,
    /// The library that told, with its version ("NVML 12.575.57").
    pub source: String,
    /// Does a recording stand for the hardware (a test double of the library)?
    #[serde(default)]
    pub replayed: bool,
    /// How energy was obtained, in words for people.
    pub energy_method: String,
    /// The longest time by which the energy counter lags, for the error bound.
    #[serde(default)]
    pub energy_refresh_ms: Option<u32>,
    /// The dies that report their power here ([`GpuInfo::gpu`] of others), which must not be
    /// counted again.
    #[serde(default)]
    pub reports_for: Vec<u32>,
}

/// One reading of a GPU. Counters are the device's own, raw; NaN and
/// [`UNKNOWN`](super::UNKNOWN) mean "not supported" or "could not be read".
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct GpuSample {
    /// When the reading ended, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, by the monotonic clock, as measured; 0 for the first.
    pub interval_ns: i64,
    /// How long the reading took.
    pub reading_ns: u64,
    /// Energy since the driver was loaded, microjoules.
    pub energy_uj: u64,
    /// Memory in use, what the driver keeps for itself apart.
    pub memory_used_bytes: u64,
    /// Bytes received over PCIe so far.
    pub pcie_rx_bytes: u64,
    /// Bytes sent over PCIe so far.
    pub pcie_tx_bytes: u64,
    /// Bytes received over NVLink or xGMI so far.
    pub link_rx_bytes: u64,
    /// Bytes sent over NVLink or xGMI so far.
    pub link_tx_bytes: u64,
    /// Memory errors corrected so far.
    pub ecc_corrected: u64,
    /// Memory errors not corrected so far.
    pub ecc_uncorrected: u64,
    /// Why clocks are held back now: the bits of [`limits`].
    pub clock_limits: u64,
    /// [`GpuInfo::gpu`].
    pub gpu: u32,
    /// Zero; keeps the row aligned.
    pub reserved: u32,
    /// Share of the vendor's own window in which any kernel ran, 0 to 1.
    pub busy: f32,
    /// Share of that window in which memory was read or written.
    pub memory_busy: f32,
    /// Share of the interval in which the multiprocessors worked, where counters tell.
    pub sm_active: f32,
    /// Likewise of the tensor or matrix cores.
    pub tensor_active: f32,
    /// Likewise of the memory interface.
    pub dram_active: f32,
    /// Power as the library gives it: see [`GpuInfo::energy_method`].
    pub power_watts: f32,
    /// Of the chip.
    pub temperature_c: f32,
    /// Of the memory.
    pub memory_temperature_c: f32,
    /// Compute clock.
    pub sm_clock_mhz: f32,
    /// Memory clock.
    pub memory_clock_mhz: f32,
}

impl GpuSample {
    /// A reading that knows nothing yet.
    #[must_use]
    pub fn unknown(gpu: u32) -> Self {
        use super::UNKNOWN;
        Self {
            time_ns: 0,
            interval_ns: 0,
            reading_ns: 0,
            energy_uj: UNKNOWN,
            memory_used_bytes: UNKNOWN,
            pcie_rx_bytes: UNKNOWN,
            pcie_tx_bytes: UNKNOWN,
            link_rx_bytes: UNKNOWN,
            link_tx_bytes: UNKNOWN,
            ecc_corrected: UNKNOWN,
            ecc_uncorrected: UNKNOWN,
            clock_limits: UNKNOWN,
            gpu,
            reserved: 0,
            busy: f32::NAN,
            memory_busy: f32::NAN,
            sm_active: f32::NAN,
            tensor_active: f32::NAN,
            dram_active: f32::NAN,
            power_watts: f32::NAN,
            temperature_c: f32::NAN,
            memory_temperature_c: f32::NAN,
            sm_clock_mhz: f32::NAN,
            memory_clock_mhz: f32::NAN,
        }
    }
}

/// Why clocks are held back, the same for both vendors.
pub mod limits {
    /// The power limit that software set.
    pub const POWER_CAP: u64 = 1;
    /// Heat, acted upon by the driver.
    pub const THERMAL: u64 = 2;
    /// Heat, acted upon by the hardware.
    pub const HARDWARE_THERMAL: u64 = 4;
    /// An external power brake, or too much current.
    pub const POWER_BRAKE: u64 = 8;
    /// The hardware, for a reason not told.
    pub const HARDWARE: u64 = 16;
    /// Nothing to do: no fault.
    pub const IDLE: u64 = 32;
}

/// What one rank used of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct GpuProcessSample {
    /// When the reading ended, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading of this GPU, as measured.
    pub interval_ns: i64,
    /// Memory of its processes on the GPU.
    pub memory_bytes: u64,
    /// Step number.
    pub step: u32,
    /// Rank.
    pub rank: u32,
    /// [`GpuInfo::gpu`].
    pub gpu: u32,
    /// Share of the interval in which its kernels ran, by the library's samples; NaN unknown.
    pub busy: f32,
}

/// Something that befell a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuEvent {
    /// When it was noticed.
    pub time_ns: i64,
    /// [`GpuInfo::gpu`].
    pub gpu: u32,
    /// `xid`, `ras`, `vanished`, `hung`, `back`, `counter_frozen`, `counter_backwards`.
    pub kind: String,
    /// The vendor's number, if it has one.
    #[serde(default)]
    pub code: Option<u64>,
    /// For people.
    pub text: String,
}
