//! The exported functions: ROCm SMI's, and the label.
#![allow(
    unsafe_code,
    reason = "a C interface is exported, and writes where its callers point"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::missing_safety_doc,
    reason = "names and contracts are those of ROCm SMI's header"
)]

mod amd_smi;

use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use mizar_gpu_trace::{Answer, Curve, Gpu, Trace};

type Status = u32;
const SUCCESS: Status = 0;
const INVALID: Status = 1;
const NOT_SUPPORTED: Status = 2;
const FILE_ERROR: Status = 3;
const NOT_STARTED: Status = 8;
const UNKNOWN: Status = 0xffff_ffff;

/// What the library's counter counts.
const ENERGY_UNIT_UJ: f64 = 15.3;

const MIB: f64 = 1_048_576.0;

/// The script, from `rsmi_init` on.
static TRACE: OnceLock<Result<Trace, String>> = OnceLock::new();

fn find() -> Result<Trace, String> {
    Trace::find(mizar_gpu_trace::library_of(rsmi_init as *const ()).as_deref())
}

/// Plays a call on a device whose answer is one value.
fn answer<T>(
    device: u32,
    name: &str,
    place: *mut T,
    value: impl FnOnce(&Gpu, f64) -> Option<T>,
) -> Status {
    let body = || {
        let Some(Ok(trace)) = TRACE.get() else {
            return NOT_STARTED;
        };
        let index = device as usize;
        let Some(gpu) = trace.gpu(index) else {
            return INVALID;
        };
        match trace.call(index, name) {
            Answer::At(now_s) => value(gpu, now_s).map_or(NOT_SUPPORTED, |value| put(place, value)),
            Answer::Unsupported => NOT_SUPPORTED,
            // The files of a card that is gone are gone.
            Answer::Lost => FILE_ERROR,
            Answer::Failed(code) => code,
        }
    };
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(UNKNOWN)
}

fn put<T>(place: *mut T, value: T) -> Status {
    if place.is_null() {
        return INVALID;
    }
    // SAFETY: not null; the caller vouches for room for one value, by the library's contract.
    unsafe { place.write(value) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn mizar_replay_label() -> *const c_char {
    static LABEL: OnceLock<CString> = OnceLock::new();
    let label = LABEL.get_or_init(|| match TRACE.get_or_init(find) {
        Ok(trace) => CString::new(trace.script().label.clone()).unwrap_or_default(),
        Err(_) => CString::default(),
    });
    label.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn rsmi_init(_flags: u64) -> Status {
    match TRACE.get_or_init(find) {
        Ok(_) => SUCCESS,
        Err(why) => {
            eprintln!("fake ROCm SMI: {why}");
            NOT_STARTED
        }
    }
}

/// `rsmi_version_t`.
#[repr(C)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    build: *const c_char,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_version_get(version: *mut Version) -> Status {
    let Some(Ok(trace)) = TRACE.get() else {
        return NOT_STARTED;
    };
    let mut parts = trace
        .script()
        .library
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let told = Version {
        major: next(),
        minor: next(),
        patch: next(),
        build: c"".as_ptr(),
    };
    put(version, told)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_num_monitor_devices(count: *mut u32) -> Status {
    let Some(Ok(trace)) = TRACE.get() else {
        return NOT_STARTED;
    };
    put(count, trace.script().gpu.len() as u32)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_name_get(device: u32, text: *mut c_char, room: usize) -> Status {
    let mut name = CString::default();
    let status = answer(device, "rsmi_dev_name_get", &raw mut name, |gpu, _| {
        CString::new(gpu.name.clone()).ok()
    });
    let bytes = name.as_bytes_with_nul();
    if status != SUCCESS || text.is_null() || bytes.len() > room {
        return if status == SUCCESS { INVALID } else { status };
    }
    // SAFETY: not null; the caller vouches for `room` bytes, and no more are written.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), text, bytes.len()) };
    SUCCESS
}

/// The script's `uuid` is the number in hexadecimal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_unique_id_get(device: u32, id: *mut u64) -> Status {
    answer(device, "rsmi_dev_unique_id_get", id, |gpu, _| {
        u64::from_str_radix(&gpu.uuid, 16).ok()
    })
}

/// `0000:c1:00.0`, packed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_pci_id_get(device: u32, packed: *mut u64) -> Status {
    answer(device, "rsmi_dev_pci_id_get", packed, |gpu, _| {
        let parts = gpu.pci.split([':', '.']);
        let parts: Option<Vec<u64>> = parts
            .map(|part| u64::from_str_radix(part, 16).ok())
            .collect();
        match parts?[..] {
            [domain, bus, device, function] => {
                Some(domain << 32 | bus << 8 | device << 3 | function)
            }
            _ => None,
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_drm_render_minor_get(device: u32, minor: *mut u32) -> Status {
    answer(device, "rsmi_dev_drm_render_minor_get", minor, |gpu, _| {
        Some(gpu.minor)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_energy_count_get(
    device: u32,
    count: *mut u64,
    resolution_uj: *mut f32,
    time_ns: *mut u64,
) -> Status {
    match answer(device, "rsmi_dev_energy_count_get", count, |gpu, now_s| {
        gpu.counter(now_s, ENERGY_UNIT_UJ)
    }) {
        SUCCESS => put(time_ns, 0).max(put(resolution_uj, ENERGY_UNIT_UJ as f32)),
        failed => failed,
    }
}

/// Microwatts, and which kind of power: 1 is that of the moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_power_get(
    device: u32,
    power: *mut u64,
    kind: *mut u32,
) -> Status {
    match answer(device, "rsmi_dev_power_get", power, microwatts) {
        SUCCESS => put(kind, 1),
        failed => failed,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_power_ave_get(
    device: u32,
    _sensor: u32,
    power: *mut u64,
) -> Status {
    answer(device, "rsmi_dev_power_ave_get", power, microwatts)
}

fn microwatts(gpu: &Gpu, now_s: f64) -> Option<u64> {
    gpu.power_w.at(now_s).map(|watts| (watts * 1e6) as u64)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_power_cap_get(
    device: u32,
    _sensor: u32,
    cap: *mut u64,
) -> Status {
    answer(device, "rsmi_dev_power_cap_get", cap, |gpu, _| {
        Some((gpu.power_limit_w * 1e6) as u64)
    })
}

fn percent(curve: &Curve, now_s: f64) -> Option<u32> {
    curve.at(now_s).map(|share| (share * 100.0).round() as u32)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_busy_percent_get(device: u32, busy: *mut u32) -> Status {
    answer(device, "rsmi_dev_busy_percent_get", busy, |gpu, now_s| {
        percent(&gpu.busy, now_s)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_memory_busy_percent_get(device: u32, busy: *mut u32) -> Status {
    answer(
        device,
        "rsmi_dev_memory_busy_percent_get",
        busy,
        |gpu, now_s| percent(&gpu.memory_busy, now_s),
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_memory_usage_get(
    device: u32,
    _kind: u32,
    used: *mut u64,
) -> Status {
    answer(device, "rsmi_dev_memory_usage_get", used, |gpu, now_s| {
        gpu.memory_used_mib.at(now_s).map(|mib| (mib * MIB) as u64)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_memory_total_get(
    device: u32,
    _kind: u32,
    total: *mut u64,
) -> Status {
    answer(device, "rsmi_dev_memory_total_get", total, |gpu, _| {
        Some(gpu.memory_total_mib << 20)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_temp_metric_get(
    device: u32,
    sensor: u32,
    _metric: u32,
    millidegrees: *mut i64,
) -> Status {
    const MEMORY: u32 = 2;
    answer(
        device,
        "rsmi_dev_temp_metric_get",
        millidegrees,
        |gpu, now_s| {
            let curve = match sensor {
                MEMORY => &gpu.memory_temperature_c,
                _ => &gpu.temperature_c,
            };
            curve.at(now_s).map(|degrees| (degrees * 1e3) as i64)
        },
    )
}

/// All errors are in the memory's block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rsmi_dev_ecc_count_get(
    device: u32,
    block: u64,
    counts: *mut [u64; 2],
) -> Status {
    const MEMORY_BLOCK: u64 = 1;
    answer(device, "rsmi_dev_ecc_count_get", counts, |gpu, now_s| {
        let corrected = gpu
            .ecc_corrected
            .at(now_s)
            .filter(|_| block == MEMORY_BLOCK)?;
        Some([
            corrected as u64,
            gpu.ecc_uncorrected.at(now_s).unwrap_or(0.0) as u64,
        ])
    })
}
