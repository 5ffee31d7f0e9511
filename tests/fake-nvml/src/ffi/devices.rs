//! Who a device is, and its levels: memory, power, temperature, clocks.

use std::ffi::{c_char, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    NVML_DEVICE_ARCH_HOPPER, nvmlDevice_t, nvmlDeviceAttributes_t, nvmlMemory_v2_t, nvmlPciInfo_t,
    nvmlUtilization_t,
};

use super::{answer, guard, handle, no_word, put, put_text};
use crate::play::{self, INVALID, NOT_FOUND, NOT_SUPPORTED, Status, supported};

const MIB: u64 = 1 << 20;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(
    device: nvmlDevice_t,
    text: *mut c_char,
    room: c_uint,
) -> Status {
    guard(|| {
        let call = play::call(device as usize, "nvmlDeviceGetName")?;
        let name = match call.instance {
            Some(instance) => format!(
                "{} MIG {}g.{}gb",
                call.gpu.name,
                instance.slices,
                instance.memory_total_mib.div_ceil(1024)
            ),
            None => call.gpu.name.clone(),
        };
        put_text(text, room, &name)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvmlDevice_t,
    text: *mut c_char,
    room: c_uint,
) -> Status {
    guard(|| {
        let call = play::call(device as usize, "nvmlDeviceGetUUID")?;
        let uuid = call
            .instance
            .map_or(&call.gpu.uuid, |instance| &instance.uuid);
        put_text(text, room, uuid)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(
    device: nvmlDevice_t,
    info: *mut nvmlPciInfo_t,
) -> Status {
    answer(device, "nvmlDeviceGetPciInfo_v3", info, |call| {
        let mut bus_id = [0; 32];
        for (place, byte) in bus_id.iter_mut().take(31).zip(call.gpu.pci.bytes()) {
            *place = byte as c_char;
        }
        Ok(nvmlPciInfo_t {
            busIdLegacy: [0; 16],
            domain: 0,
            bus: call.place.gpu as c_uint,
            device: 0,
            pciDeviceId: 0,
            pciSubSystemId: 0,
            busId: bus_id,
        })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMinorNumber(
    device: nvmlDevice_t,
    minor: *mut c_uint,
) -> Status {
    answer(device, "nvmlDeviceGetMinorNumber", minor, |call| {
        Ok(call.gpu.minor)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetArchitecture(
    device: nvmlDevice_t,
    architecture: *mut c_uint,
) -> Status {
    answer(device, "nvmlDeviceGetArchitecture", architecture, |_| {
        Ok(NVML_DEVICE_ARCH_HOPPER)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_v2_t,
) -> Status {
    answer(device, "nvmlDeviceGetMemoryInfo_v2", memory, |call| {
        let (total_mib, reserved_mib, used) = match call.instance {
            Some(instance) => (
                instance.memory_total_mib,
                0,
                instance.memory_used_mib.at(call.now_s),
            ),
            None => (
                call.gpu.memory_total_mib,
                call.gpu.memory_reserved_mib,
                call.gpu.memory_used_mib.at(call.now_s),
            ),
        };
        let used = (supported(used)? * MIB as f64) as u64;
        let (total, reserved) = (total_mib * MIB, reserved_mib * MIB);
        Ok(nvmlMemory_v2_t {
            version: 2,
            total,
            reserved,
            free: total.saturating_sub(reserved + used),
            used,
        })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    device: nvmlDevice_t,
    rates: *mut nvmlUtilization_t,
) -> Status {
    answer(device, "nvmlDeviceGetUtilizationRates", rates, |call| {
        let call = call.undivided()?;
        let percent = |share: f64| (share * 100.0).round() as c_uint;
        Ok(nvmlUtilization_t {
            gpu: percent(supported(call.gpu.busy.at(call.now_s))?),
            memory: percent(call.gpu.memory_busy.at(call.now_s).unwrap_or(0.0)),
        })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(
    device: nvmlDevice_t,
    milliwatts: *mut c_uint,
) -> Status {
    answer(device, "nvmlDeviceGetPowerUsage", milliwatts, |call| {
        let call = call.whole()?;
        Ok((supported(call.gpu.power_w.at(call.now_s))? * 1e3) as c_uint)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(
    device: nvmlDevice_t,
    milliwatts: *mut c_uint,
) -> Status {
    answer(
        device,
        "nvmlDeviceGetEnforcedPowerLimit",
        milliwatts,
        |call| Ok((call.whole()?.gpu.power_limit_w * 1e3) as c_uint),
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    clock: c_uint,
    megahertz: *mut c_uint,
) -> Status {
    const SM: c_uint = 1;
    const MEMORY: c_uint = 2;
    answer(device, "nvmlDeviceGetClockInfo", megahertz, |call| {
        let curve = match clock {
            SM => &call.gpu.sm_clock_mhz,
            MEMORY => &call.gpu.memory_clock_mhz,
            _ => return Err(INVALID),
        };
        Ok(supported(curve.at(call.now_s))? as c_uint)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    _sensor: c_uint,
    degrees: *mut c_uint,
) -> Status {
    answer(device, "nvmlDeviceGetTemperature", degrees, |call| {
        Ok(supported(call.gpu.temperature_c.at(call.now_s))? as c_uint)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    device: nvmlDevice_t,
    reasons: *mut c_ulonglong,
) -> Status {
    let name = "nvmlDeviceGetCurrentClocksThrottleReasons";
    answer(device, name, reasons, |call| {
        Ok(supported(call.gpu.limits.at(call.now_s))? as c_ulonglong)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> Status {
    let is_on = |call: play::Call| Ok(c_uint::from(!call.whole()?.gpu.mig.is_empty()));
    match answer(device, "nvmlDeviceGetMigMode", current, is_on) {
        play::SUCCESS => answer(device, "nvmlDeviceGetMigMode", pending, is_on),
        failed => failed,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvmlDevice_t,
    count: *mut c_uint,
) -> Status {
    // As on a real GPU: the most there can be, not how many there are.
    const MOST: c_uint = 7;
    answer(device, "nvmlDeviceGetMaxMigDeviceCount", count, |_| {
        Ok(MOST)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    instance: *mut nvmlDevice_t,
) -> Status {
    answer(
        device,
        "nvmlDeviceGetMigDeviceHandleByIndex",
        instance,
        |call| {
            let call = call.whole()?;
            let index = index as usize;
            call.gpu.mig.get(index).ok_or(NOT_FOUND)?;
            Ok(handle(call.place.gpu, Some(index)))
        },
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(
    device: nvmlDevice_t,
    id: *mut c_uint,
) -> Status {
    answer(device, "nvmlDeviceGetGpuInstanceId", id, |call| {
        Ok(call.instance.ok_or(NOT_SUPPORTED)?.instance)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeInstanceId(
    device: nvmlDevice_t,
    id: *mut c_uint,
) -> Status {
    answer(device, "nvmlDeviceGetComputeInstanceId", id, |call| {
        call.instance.map_or_else(no_word, |_| Ok(0))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetAttributes_v2(
    device: nvmlDevice_t,
    attributes: *mut nvmlDeviceAttributes_t,
) -> Status {
    let body = || {
        let call = play::call(device as usize, "nvmlDeviceGetAttributes_v2")?;
        let instance = call.instance.ok_or(NOT_SUPPORTED)?;
        let all = nvmlDeviceAttributes_t {
            multiprocessorCount: 0,
            sharedCopyEngineCount: 0,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: instance.slices,
            computeInstanceSliceCount: instance.slices,
            memorySizeMB: instance.memory_total_mib,
        };
        put(attributes, all)
    };
    guard(std::panic::AssertUnwindSafe(body))
}
