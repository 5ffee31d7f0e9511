//! Counters: energy, errors, traffic, processes, and the performance counters (GPM).

use std::ffi::{c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::field_id::{
    NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES,
    NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES, NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
    NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlFieldValue_t, nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t,
    nvmlProcessInfo_t, nvmlProcessUtilizationSample_t, nvmlValue_t,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG,
};

use super::{answer, guard, put, put_all};
use crate::play::{
    self, Call, INVALID, NOT_FOUND, NOT_SUPPORTED, Place, SUCCESS, Status, supported,
};

const MIB: u64 = 1 << 20;

/// NVML counts energy in millijoules.
const ENERGY_UNIT_UJ: f64 = 1000.0;

/// The driver takes a sample of processes about so often.
const PROCESS_SAMPLE_US: u64 = 166_667;

/// "No such instance" in a process's entry.
const NO_INSTANCE: c_uint = u32::MAX;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
    device: nvmlDevice_t,
    millijoules: *mut c_ulonglong,
) -> Status {
    answer(
        device,
        "nvmlDeviceGetTotalEnergyConsumption",
        millijoules,
        |call| {
            let call = call.whole()?;
            call.gpu
                .counter(call.now_s, ENERGY_UNIT_UJ)
                .ok_or(NOT_SUPPORTED)
        },
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    kind: c_uint,
    _counter: c_uint,
    count: *mut c_ulonglong,
) -> Status {
    const CORRECTED: c_uint = 0;
    answer(device, "nvmlDeviceGetTotalEccErrors", count, |call| {
        let curve = if kind == CORRECTED {
            &call.gpu.ecc_corrected
        } else {
            &call.gpu.ecc_uncorrected
        };
        Ok(supported(curve.at(call.now_s))? as c_ulonglong)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> Status {
    let body = || {
        let call = play::call(device as usize, "nvmlDeviceGetFieldValues")?;
        let count = usize::try_from(count).map_err(|_| INVALID)?;
        if values.is_null() {
            return Err(INVALID);
        }
        // SAFETY: not null; the caller vouches for `count` entries.
        let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
        for value in values {
            match field(&call, value.fieldId) {
                Some(number) => {
                    value.nvmlReturn = SUCCESS;
                    value.valueType = nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
                    value.value = nvmlValue_t { ullVal: number };
                }
                None => value.nvmlReturn = NOT_SUPPORTED,
            }
        }
        Ok(())
    };
    guard(std::panic::AssertUnwindSafe(body))
}

fn field(call: &Call, id: c_uint) -> Option<u64> {
    let flown = |curve: &mizar_gpu_trace::Curve| {
        (!curve.0.is_empty()).then(|| curve.integral(call.now_s) as u64)
    };
    match id {
        NVML_FI_DEV_MEMORY_TEMP => call
            .gpu
            .memory_temperature_c
            .at(call.now_s)
            .map(|c| c as u64),
        NVML_FI_DEV_PCIE_COUNT_RX_BYTES | NVML_FI_DEV_PCIE_COUNT_TX_BYTES => {
            flown(&call.gpu.pcie_bytes_s)
        }
        NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES | NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES => {
            flown(&call.gpu.link_bytes_s)
        }
        _ => None,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> Status {
    let body = || {
        let call = play::call(device as usize, "nvmlDeviceGetComputeRunningProcesses_v3")?;
        let is_here = |process: &&mizar_gpu_trace::Process| {
            call.instance
                .is_none_or(|instance| process.instance == Some(instance.instance))
        };
        let entry = |process: &mizar_gpu_trace::Process| nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.memory_mib * MIB,
            gpuInstanceId: process.instance.unwrap_or(NO_INSTANCE),
            computeInstanceId: process.instance.map_or(NO_INSTANCE, |_| 0),
        };
        let all: Vec<_> = call
            .gpu
            .processes(call.now_s)
            .filter(is_here)
            .map(entry)
            .collect();
        put_all(infos, count, &all)
    };
    guard(std::panic::AssertUnwindSafe(body))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetProcessUtilization(
    device: nvmlDevice_t,
    samples: *mut nvmlProcessUtilizationSample_t,
    count: *mut c_uint,
    last_seen_us: c_ulonglong,
) -> Status {
    let body = || {
        let call = play::call(device as usize, "nvmlDeviceGetProcessUtilization")?.undivided()?;
        let now_us = (call.now_s.max(0.0) * 1e6) as u64;
        let latest_us = now_us - now_us % PROCESS_SAMPLE_US;
        if latest_us <= last_seen_us {
            return Err(NOT_FOUND);
        }
        let entry = |process: &mizar_gpu_trace::Process| nvmlProcessUtilizationSample_t {
            pid: process.pid,
            timeStamp: latest_us,
            smUtil: (process.busy * 100.0).round() as c_uint,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        };
        let working = call
            .gpu
            .processes(call.now_s)
            .filter(|process| process.busy > 0.0);
        let all: Vec<_> = working.map(entry).collect();
        put_all(samples, count, &all)
    };
    guard(std::panic::AssertUnwindSafe(body))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmQueryDeviceSupport(
    device: nvmlDevice_t,
    support: *mut nvmlGpmSupport_t,
) -> Status {
    answer(device, "nvmlGpmQueryDeviceSupport", support, |call| {
        Ok(nvmlGpmSupport_t {
            version: 1,
            isSupportedDevice: c_uint::from(!call.gpu.sm_active.0.is_empty()),
        })
    })
}

/// What a sample holds: whose, and when.
struct Sample {
    place: Place,
    at_s: f64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleAlloc(sample: *mut nvmlGpmSample_t) -> Status {
    let place = Place {
        gpu: 0,
        instance: None,
    };
    let made = Box::into_raw(Box::new(Sample { place, at_s: 0.0 }));
    guard(|| put(sample, made.cast()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleFree(sample: nvmlGpmSample_t) -> Status {
    if !sample.is_null() {
        // SAFETY: made by `nvmlGpmSampleAlloc`, and freed once by the contract.
        drop(unsafe { Box::from_raw(sample.cast::<Sample>()) });
    }
    SUCCESS
}

fn fill(sample: nvmlGpmSample_t, place: Place, at_s: f64) -> Result<(), Status> {
    put(sample.cast::<Sample>(), Sample { place, at_s })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleGet(device: nvmlDevice_t, sample: nvmlGpmSample_t) -> Status {
    let body = || {
        let call = play::call(device as usize, "nvmlGpmSampleGet")?;
        fill(sample, call.place, call.now_s)
    };
    guard(std::panic::AssertUnwindSafe(body))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmMigSampleGet(
    device: nvmlDevice_t,
    instance: c_uint,
    sample: nvmlGpmSample_t,
) -> Status {
    let body = || {
        let call = play::call(device as usize, "nvmlGpmMigSampleGet")?;
        let mut all = call.gpu.mig.iter();
        let index = all
            .position(|one| one.instance == instance)
            .ok_or(INVALID)?;
        let place = Place {
            instance: Some(index),
            ..call.place
        };
        fill(sample, place, call.now_s)
    };
    guard(std::panic::AssertUnwindSafe(body))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmMetricsGet(request: *mut nvmlGpmMetricsGet_t) -> Status {
    const SM: c_uint = 2;
    const TENSOR: c_uint = 5;
    const DRAM: c_uint = 10;
    let body = || {
        if request.is_null() {
            return Err(INVALID);
        }
        // SAFETY: not null; the caller's own structure.
        let request = unsafe { &mut *request };
        let (from, to) = (
            request.sample1.cast::<Sample>(),
            request.sample2.cast::<Sample>(),
        );
        if from.is_null() || to.is_null() {
            return Err(INVALID);
        }
        // SAFETY: not null; both were made by `nvmlGpmSampleAlloc` and not freed yet.
        let (from, to) = unsafe { (&*from, &*to) };
        let gpu = play::trace()?.gpu(to.place.gpu).ok_or(INVALID)?;
        let instance = to.place.instance.and_then(|index| gpu.mig.get(index));
        let count = request.numMetrics as usize;
        for metric in request.metrics.iter_mut().take(count) {
            let curve = match metric.metricId {
                SM => instance.map_or(&gpu.sm_active, |instance| &instance.sm_active),
                TENSOR => &gpu.tensor_active,
                DRAM => &gpu.dram_active,
                _ => return Err(INVALID),
            };
            let length_s = to.at_s - from.at_s;
            let mean = (curve.integral(to.at_s) - curve.integral(from.at_s)) / length_s;
            let is_known = !curve.0.is_empty() && length_s > 0.0;
            metric.nvmlReturn = if is_known { SUCCESS } else { NOT_SUPPORTED };
            metric.value = mean * 100.0;
        }
        Ok(())
    };
    guard(std::panic::AssertUnwindSafe(body))
}
