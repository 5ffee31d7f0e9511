//! What a report says of GPUs.

use serde::Serialize;

use crate::series::Series;

/// The GPUs of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpus {
    /// What the job has: instances count by themselves, their whole GPUs do not.
    pub count: usize,
    /// The mean over them of the share of time in which kernels ran.
    pub mean_busy: Option<f64>,
    /// Their energy; `null` if that of some is not known.
    pub joules: Option<f64>,
    /// The true value lies within this of it, by the counters' refresh or the sensors' error.
    pub bound_joules: Option<f64>,
    /// How energy was obtained.
    pub method: String,
    /// Hours that they were held, all together.
    pub reserved_h: f64,
    /// Hours that kernels ran, all together.
    pub busy_h: Option<f64>,
    /// What stands for the hardware, if a recording does.
    pub replayed: Option<String>,
    /// Each GPU, by node.
    pub devices: Vec<Gpu>,
    /// What each rank used.
    pub ranks: Vec<RankUse>,
    /// What befell them.
    pub events: Vec<Event>,
}

/// A GPU, or an instance of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpu {
    /// Its node.
    pub node: String,
    /// Its number there, as the record has it.
    pub gpu: u32,
    /// Of an instance, the whole GPU's number.
    pub parent: Option<u32>,
    /// Is it the whole GPU of an instance, shown for what only the whole has?
    pub is_context: bool,
    /// `nvidia` or `amd`.
    pub vendor: String,
    /// Its model.
    pub name: String,
    /// What the vendor calls unique.
    pub uuid: String,
    /// Its PCI address.
    pub pci: Option<String>,
    /// Compute slices of the instance and of the whole.
    pub slices: Option<(u32, u32)>,
    /// The library that told.
    pub source: String,
    /// Does a recording stand for the hardware?
    pub replayed: bool,
    /// Readings.
    pub reading_count: usize,
    /// The share of the job's time that lies between readings.
    pub observed_share: Option<f64>,
    /// Mean share of time in which a kernel ran, by the vendor's window.
    pub mean_busy: Option<f64>,
    /// The largest.
    pub max_busy: Option<f64>,
    /// Mean share of the multiprocessors at work, where counters tell.
    pub mean_sm_active: Option<f64>,
    /// Likewise of the tensor cores.
    pub mean_tensor_active: Option<f64>,
    /// Likewise of the memory interface.
    pub mean_dram_active: Option<f64>,
    /// Mean memory in use.
    pub mean_memory_bytes: Option<f64>,
    /// The most.
    pub peak_memory_bytes: Option<u64>,
    /// Memory that programs can use.
    pub memory_total_bytes: Option<u64>,
    /// Peak / total.
    pub peak_memory_share: Option<f64>,
    /// Mean power.
    pub mean_watts: Option<f64>,
    /// The largest.
    pub max_watts: Option<f64>,
    /// The limit in force.
    pub power_limit_watts: Option<f64>,
    /// Mean temperature of the chip.
    pub mean_temperature_c: Option<f64>,
    /// The highest.
    pub max_temperature_c: Option<f64>,
    /// Energy.
    pub energy: GpuEnergy,
    /// Share of the observed time in which something held clocks back, idleness apart.
    pub throttled_share: Option<f64>,
    /// What did, with the share of each.
    pub throttled_by: Vec<Throttle>,
    /// Memory errors corrected meanwhile.
    pub ecc_corrected: Option<u64>,
    /// Memory errors not corrected meanwhile.
    pub ecc_uncorrected: Option<u64>,
    /// Bytes received over PCIe meanwhile.
    pub pcie_rx_bytes: Option<u64>,
    /// Bytes sent over PCIe.
    pub pcie_tx_bytes: Option<u64>,
    /// Bytes received over NVLink or xGMI.
    pub link_rx_bytes: Option<u64>,
    /// Bytes sent over them.
    pub link_tx_bytes: Option<u64>,
    /// Share of time in which kernels ran.
    pub busy: Series,
    /// Memory in use, bytes.
    pub memory: Series,
    /// Watts.
    pub power: Series,
}

impl Gpu {
    /// How much of it was used: by its counters where they tell of instances too, else by the
    /// vendor's window.
    #[must_use]
    pub fn used(&self) -> Option<f64> {
        self.mean_busy.or(self.mean_sm_active)
    }
}

/// The energy of a GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuEnergy {
    /// Joules.
    pub joules: Option<f64>,
    /// The true value lies within this of it.
    pub bound_joules: Option<f64>,
    /// How it was obtained.
    pub method: String,
    /// Is it a share of a whole that was not measured by itself?
    pub estimated: bool,
    /// Seconds that nothing covers.
    pub unobserved_s: f64,
}

/// Something that held clocks back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throttle {
    /// `power_cap`, `thermal`, `hardware_thermal`, `power_brake`, `hardware`.
    pub reason: &'static str,
    /// Share of the observed time.
    pub share: f64,
}

/// What a rank used of a GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankUse {
    /// Its step.
    pub step: String,
    /// The rank.
    pub rank: u32,
    /// Its node.
    pub node: String,
    /// The GPU's number there.
    pub gpu: u32,
    /// Mean share of time in which its kernels ran, by the library's own samples.
    pub mean_busy: Option<f64>,
    /// The most memory that it held.
    pub peak_memory_bytes: Option<u64>,
}

/// Something that befell a GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Seconds after the job's start.
    pub time_s: f64,
    /// The node.
    pub node: String,
    /// The GPU's number there.
    pub gpu: u32,
    /// `xid`, `ras`, `vanished`, `hung`, `back`, `counter_frozen`, `counter_backwards`.
    pub kind: String,
    /// The vendor's number.
    pub code: Option<u64>,
    /// For people.
    pub text: String,
}
