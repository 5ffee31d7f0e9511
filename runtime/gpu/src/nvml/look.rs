//! One look at one device: every figure that it has, each allowed to be missing.

use mizar_core::clock::monotonic_ns;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{GpmSample, Nvml};
use nvml_wrapper_sys::bindings::field_id::{
    NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES,
    NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES, NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX,
    NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
    NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
};

use super::{Handle, ffi, lost, utilisation};
use crate::backend::ReadError;
use crate::model::{ClockLimits, Device, Instant, Reading, Snapshot};

/// Error counters are slow to ask and seldom move: asked no more often.
const ECC_PERIOD_NS: i64 = 1_000_000_000;

/// The scope that means "all links together".
const ALL_LINKS: u32 = u32::MAX;

const KIB: u64 = 1024;

/// What is remembered of a device between looks.
#[derive(Default)]
pub(super) struct State {
    /// Bits of [`Call`]s that the device does not support.
    unsupported: u32,
    ecc_ns: Option<i64>,
    ecc: (Option<u64>, Option<u64>),
    pub(super) gpm: Option<(i64, GpmSample<'static>)>,
    pub(super) last_seen_us: u64,
    pub(super) mps_due_ns: i64,
}

/// Calls that a device may not support.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Energy,
    Power,
    Busy,
    Memory,
    SmClock,
    MemoryClock,
    Temperature,
    Limits,
    Corrected,
    Uncorrected,
    Fields,
    Processes,
    Mps,
    Samples,
    Gpm,
}

/// A look in progress.
pub(super) struct Look<'s> {
    pub(super) state: &'s mut State,
    answered: bool,
    lost: Option<NvmlError>,
    failed: Option<NvmlError>,
}

impl Look<'_> {
    /// Asks for one figure; after the device is lost nothing more is asked.
    pub(super) fn ask<T>(
        &mut self,
        call: Call,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        let bit = 1_u32 << call as u32;
        if self.lost.is_some() || self.state.unsupported & bit != 0 {
            return None;
        }
        match ask() {
            Ok(value) => {
                self.answered = true;
                Some(value)
            }
            Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => {
                self.state.unsupported |= bit;
                None
            }
            // Nothing is there, which is an answer too.
            Err(NvmlError::NotFound) => {
                self.answered = true;
                None
            }
            Err(error) if lost(&error) => {
                self.lost = Some(error);
                None
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

/// Looks at a device; `parent` is the whole GPU if it is a MIG instance.
pub(super) fn at(
    nvml: &'static Nvml,
    known: &Device,
    device: &Handle,
    parent: Option<&Handle>,
    state: &mut State,
) -> Result<Snapshot, ReadError> {
    let before = Instant::now();
    let mut look = Look {
        state,
        answered: false,
        lost: None,
        failed: None,
    };
    let mut reading = Reading {
        before,
        ..Reading::default()
    };
    if parent.is_none() {
        whole(&mut look, nvml, device, &mut reading);
    }
    let memory = look.ask(Call::Memory, || device.memory_info());
    reading.memory_used_bytes = memory.map(|memory| memory.used);
    let active = utilisation::active(&mut look, nvml, known, device, parent);
    (
        reading.sm_active,
        reading.tensor_active,
        reading.dram_active,
    ) = active;
    let processes = utilisation::processes(&mut look, device, parent.is_some());
    reading.after = Instant::now();
    match look {
        Look {
            lost: Some(error), ..
        } => Err(ReadError::Vanished(error.to_string())),
        Look {
            answered: false,
            failed: Some(error),
            ..
        } => Err(ReadError::Failed(error.to_string())),
        _ => Ok(Snapshot { reading, processes }),
    }
}

/// Figures that only the whole GPU has.
fn whole(look: &mut Look<'_>, nvml: &Nvml, device: &Handle, reading: &mut Reading) {
    // The counter and its clock first, so that they belong together.
    let energy = look.ask(Call::Energy, || device.total_energy_consumption());
    reading.energy_uj = energy.map(|millijoules| millijoules.saturating_mul(1000));
    let power = look.ask(Call::Power, || device.power_usage());
    reading.power_watts = power.map(|milliwatts| f64::from(milliwatts) * 1e-3);
    if let Some(busy) = look.ask(Call::Busy, || device.utilization_rates()) {
        reading.busy = Some(f64::from(busy.gpu) / 100.0);
        reading.memory_busy = Some(f64::from(busy.memory) / 100.0);
    }
    reading.sm_clock_mhz = look
        .ask(Call::SmClock, || device.clock_info(Clock::SM))
        .map(f64::from);
    reading.memory_clock_mhz = look
        .ask(Call::MemoryClock, || device.clock_info(Clock::Memory))
        .map(f64::from);
    reading.temperature_c = look
        .ask(Call::Temperature, || {
            device.temperature(TemperatureSensor::Gpu)
        })
        .map(f64::from);
    reading.clock_limits = look
        .ask(Call::Limits, || device.current_throttle_reasons())
        .map(limits);
    errors(look, device);
    (reading.ecc_corrected, reading.ecc_uncorrected) = look.state.ecc;
    fields(look, nvml, device, reading);
}

fn errors(look: &mut Look<'_>, device: &Handle) {
    let now_ns = monotonic_ns();
    if look
        .state
        .ecc_ns
        .is_some_and(|asked_ns| now_ns - asked_ns < ECC_PERIOD_NS)
    {
        return;
    }
    look.state.ecc_ns = Some(now_ns);
    let corrected = look.ask(Call::Corrected, || {
        device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile)
    });
    let uncorrected = look.ask(Call::Uncorrected, || {
        device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
    });
    look.state.ecc = (corrected, uncorrected);
}

fn fields(look: &mut Look<'_>, nvml: &Nvml, device: &Handle, reading: &mut Reading) {
    let asked = [
        (NVML_FI_DEV_MEMORY_TEMP, 0),
        (NVML_FI_DEV_PCIE_COUNT_RX_BYTES, 0),
        (NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 0),
        (NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES, ALL_LINKS),
        (NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES, ALL_LINKS),
        (NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ALL_LINKS),
        (NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ALL_LINKS),
    ];
    let Some([temperature, pcie_rx, pcie_tx, rx, tx, rx_kib, tx_kib]) =
        look.ask(Call::Fields, || ffi::fields(nvml, device, asked))
    else {
        return;
    };
    // 0 degrees is how some boards say that they have no sensor.
    reading.memory_temperature_c = temperature
        .filter(|&degrees| degrees > 0)
        .map(|degrees| degrees as f64);
    reading.pcie_rx_bytes = pcie_rx;
    reading.pcie_tx_bytes = pcie_tx;
    let bytes = |kib: u64| kib.saturating_mul(KIB);
    reading.link_rx_bytes = rx.or(rx_kib.map(bytes));
    reading.link_tx_bytes = tx.or(tx_kib.map(bytes));
}

fn limits(reasons: ThrottleReasons) -> ClockLimits {
    let specific = ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
    ClockLimits {
        power_cap: reasons.contains(ThrottleReasons::SW_POWER_CAP),
        thermal: reasons.contains(ThrottleReasons::SW_THERMAL_SLOWDOWN),
        hardware_thermal: reasons.contains(ThrottleReasons::HW_THERMAL_SLOWDOWN),
        power_brake: reasons.contains(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
        // The general bit goes with each particular one.
        hardware: reasons.contains(ThrottleReasons::HW_SLOWDOWN) && !reasons.intersects(specific),
        idle: reasons.contains(ThrottleReasons::GPU_IDLE),
    }
}
