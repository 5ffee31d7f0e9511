//! AMD SMI's functions: one socket that holds all devices. Handles are the devices' numbers and
//! one, in the clothes of addresses.

use std::ffi::{c_char, c_void};

use super::{
    ENERGY_UNIT_UJ, INVALID, MIB, NOT_STARTED, SUCCESS, Status, TRACE, answer, percent, put,
    rsmi_init,
};

fn device(handle: *mut c_void) -> u32 {
    (handle.addr() as u32).wrapping_sub(1)
}

#[unsafe(no_mangle)]
pub extern "C" fn amdsmi_init(flags: u64) -> Status {
    rsmi_init(flags)
}

/// Of version 25 and later: three numbers, then an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_lib_version(version: *mut [u32; 3]) -> Status {
    let Some(Ok(trace)) = TRACE.get() else {
        return NOT_STARTED;
    };
    let mut parts = trace
        .script()
        .library
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    put(version, std::array::from_fn(|_| parts.next().unwrap_or(0)))
}

fn list(all: &[usize], count: *mut u32, place: *mut *mut c_void) -> Status {
    if place.is_null() {
        return put(count, all.len() as u32);
    }
    if count.is_null() {
        return INVALID;
    }
    // SAFETY: not null, and the caller's own number.
    let room = unsafe { count.read() } as usize;
    for (index, number) in all.iter().take(room).enumerate() {
        let handle: *mut c_void = std::ptr::without_provenance_mut(*number);
        // SAFETY: the caller vouches for `room` places, and no more are written.
        unsafe { place.add(index).write(handle) };
    }
    put(count, all.len().min(room) as u32)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_socket_handles(
    count: *mut u32,
    sockets: *mut *mut c_void,
) -> Status {
    list(&[1000], count, sockets)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_processor_handles(
    _socket: *mut c_void,
    count: *mut u32,
    devices: *mut *mut c_void,
) -> Status {
    let Some(Ok(trace)) = TRACE.get() else {
        return NOT_STARTED;
    };
    let all: Vec<usize> = (1..=trace.script().gpu.len()).collect();
    list(&all, count, devices)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_gpu_bdf_id(handle: *mut c_void, packed: *mut u64) -> Status {
    // SAFETY: the same contract.
    unsafe { super::rsmi_dev_pci_id_get(device(handle), packed) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_gpu_device_uuid(
    handle: *mut c_void,
    room: *mut u32,
    text: *mut c_char,
) -> Status {
    let mut uuid = String::new();
    let name = "amdsmi_get_gpu_device_uuid";
    let status = answer(device(handle), name, &raw mut uuid, |gpu, _| {
        Some(gpu.uuid.clone())
    });
    if status != SUCCESS || room.is_null() || text.is_null() {
        return status.max(u32::from(room.is_null() || text.is_null()));
    }
    // SAFETY: not null, and the caller's own number.
    let room = unsafe { room.read() } as usize;
    let bytes = &uuid.as_bytes()[..uuid.len().min(room)];
    // SAFETY: the caller vouches for `room` bytes, and no more are written.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), text, bytes.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_energy_count(
    handle: *mut c_void,
    count: *mut u64,
    resolution_uj: *mut f32,
    time_ns: *mut u64,
) -> Status {
    match answer(
        device(handle),
        "amdsmi_get_energy_count",
        count,
        |gpu, now_s| gpu.counter(now_s, ENERGY_UNIT_UJ),
    ) {
        SUCCESS => put(time_ns, 0).max(put(resolution_uj, ENERGY_UNIT_UJ as f32)),
        failed => failed,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_gpu_activity(
    handle: *mut c_void,
    activity: *mut [u32; 16],
) -> Status {
    answer(
        device(handle),
        "amdsmi_get_gpu_activity",
        activity,
        |gpu, now_s| {
            let mut words = [0; 16];
            words[0] = percent(&gpu.busy, now_s)?;
            words[1] = percent(&gpu.memory_busy, now_s).unwrap_or(0);
            Some(words)
        },
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_gpu_memory_usage(
    handle: *mut c_void,
    _kind: u32,
    used: *mut u64,
) -> Status {
    answer(
        device(handle),
        "amdsmi_get_gpu_memory_usage",
        used,
        |gpu, now_s| gpu.memory_used_mib.at(now_s).map(|mib| (mib * MIB) as u64),
    )
}

/// Whole degrees.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_temp_metric(
    handle: *mut c_void,
    sensor: u32,
    _metric: u32,
    degrees: *mut i64,
) -> Status {
    const MEMORY: u32 = 2;
    answer(
        device(handle),
        "amdsmi_get_temp_metric",
        degrees,
        |gpu, now_s| {
            let curve = match sensor {
                MEMORY => &gpu.memory_temperature_c,
                _ => &gpu.temperature_c,
            };
            curve.at(now_s).map(|degrees| degrees as i64)
        },
    )
}
