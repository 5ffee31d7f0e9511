//! What a GPU is, what a reading of it holds, and what can befall it: the same for all vendors.

use mizar_core::clock::{monotonic_ns, unix_ns};

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
}

impl Vendor {
    /// As records have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
        }
    }
}

/// A GPU, or a MIG instance of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Who made it.
    pub vendor: Vendor,
    /// Its model.
    pub name: String,
    /// What the vendor's library calls unique (`GPU-…`, `MIG-…`).
    pub uuid: String,
    /// Its PCI address (`0000:65:00.0`).
    pub pci: Option<String>,
    /// The minor number of its device node (`/dev/nvidia3`, `/dev/dri/renderD128`).
    pub minor: Option<u32>,
    /// Its place in the library's order; of an instance, the whole GPU's.
    pub index: u32,
    /// Of a MIG instance: the whole GPU, as its place in the back end's list.
    pub parent: Option<usize>,
    /// Of a MIG instance: the vendor's numbers of GPU instance and compute instance.
    pub instance: Option<(u32, u32)>,
    /// Compute slices of this instance and of the whole GPU.
    pub slices: Option<(u32, u32)>,
    /// Memory that programs can use.
    pub memory_total_bytes: Option<u64>,
    /// The power limit in force.
    pub power_limit_watts: Option<f64>,
    /// The library that tells, with its version.
    pub source: String,
    /// What a test double says it replays; `None` for hardware.
    pub replayed: Option<String>,
    /// How energy is obtained.
    pub energy: EnergySource,
    /// Others in the back end's list whose power is in this one's reading.
    pub reports_for: Vec<usize>,
}

/// How energy and power are obtained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergySource {
    /// In words for people.
    pub method: String,
    /// The longest time by which the counter lags; `None` without a counter.
    pub refresh_ms: Option<u32>,
}

/// The two clocks at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instant {
    /// Unix nanoseconds.
    pub unix_ns: i64,
    /// Of the monotonic clock.
    pub monotonic_ns: i64,
}

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            unix_ns: unix_ns(),
            monotonic_ns: monotonic_ns(),
        }
    }
}

/// One reading. Counters are the device's own, raw; shares lie between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Before the first call.
    pub before: Instant,
    /// After the last.
    pub after: Instant,
    /// Energy since the driver was loaded, microjoules.
    pub energy_uj: Option<u64>,
    /// Power.
    pub power_watts: Option<f64>,
    /// Share of the vendor's window in which a kernel ran.
    pub busy: Option<f64>,
    /// Share of it in which memory was read or written.
    pub memory_busy: Option<f64>,
    /// Share of the time since the last reading in which multiprocessors worked.
    pub sm_active: Option<f64>,
    /// Likewise of the tensor cores.
    pub tensor_active: Option<f64>,
    /// Likewise of the memory interface.
    pub dram_active: Option<f64>,
    /// Memory in use, what the driver keeps for itself apart.
    pub memory_used_bytes: Option<u64>,
    /// Received over PCIe so far.
    pub pcie_rx_bytes: Option<u64>,
    /// Sent over PCIe so far.
    pub pcie_tx_bytes: Option<u64>,
    /// Received over NVLink or xGMI so far.
    pub link_rx_bytes: Option<u64>,
    /// Sent over NVLink or xGMI so far.
    pub link_tx_bytes: Option<u64>,
    /// Memory errors corrected so far.
    pub ecc_corrected: Option<u64>,
    /// Memory errors not corrected so far.
    pub ecc_uncorrected: Option<u64>,
    /// Why clocks are held back.
    pub clock_limits: Option<ClockLimits>,
    /// Of the chip.
    pub temperature_c: Option<f64>,
    /// Of the memory.
    pub memory_temperature_c: Option<f64>,
    /// Compute clock.
    pub sm_clock_mhz: Option<f64>,
    /// Memory clock.
    pub memory_clock_mhz: Option<f64>,
}

/// Why clocks are held back now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockLimits {
    /// The power limit that software set.
    pub power_cap: bool,
    /// Heat, acted upon by the driver.
    pub thermal: bool,
    /// Heat, acted upon by the hardware.
    pub hardware_thermal: bool,
    /// An external power brake, or too much current.
    pub power_brake: bool,
    /// The hardware, for a reason not told.
    pub hardware: bool,
    /// Nothing to do.
    pub idle: bool,
}

/// What one process uses of a GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessUse {
    /// The process, as the host numbers it.
    pub pid: i32,
    /// Its memory on the GPU.
    pub memory_bytes: Option<u64>,
    /// Share of the time since the last reading in which its kernels ran, by the library's own
    /// samples.
    pub busy: Option<f64>,
    /// The GPU instance that it runs on, under MIG.
    pub instance: Option<u32>,
}

/// All that one look at a GPU gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The figures.
    pub reading: Reading,
    /// Who uses it; `None` if the library does not tell.
    pub processes: Option<Vec<ProcessUse>>,
}

/// Something that befell a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// What.
    pub kind: OccurrenceKind,
    /// The vendor's number, if it has one.
    pub code: Option<u64>,
    /// For people.
    pub text: String,
}

/// Kinds of occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OccurrenceKind {
    /// An XID error of NVIDIA's driver.
    Xid,
    /// The device no longer answers and is said to be lost.
    Vanished,
    /// A call does not return.
    Hung,
    /// It answers again.
    Back,
}

impl OccurrenceKind {
    /// As records have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Xid => "xid",
            Self::Vanished => "vanished",
            Self::Hung => "hung",
            Self::Back => "back",
        }
    }
}
