//! Events: XID errors that the script has in store.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t};

use super::{guard, handle, put};
use crate::play::{self, SUCCESS, Status, TIMEOUT};

/// `nvmlEventTypeXidCriticalError`.
const XID: c_ulonglong = 8;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) -> Status {
    guard(|| put(set, std::ptr::without_provenance_mut(8)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetFree(_set: nvmlEventSet_t) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    _types: c_ulonglong,
    _set: nvmlEventSet_t,
) -> Status {
    guard(|| play::call(device as usize, "nvmlDeviceRegisterEvents").map(|_| ()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(
    _set: nvmlEventSet_t,
    event: *mut nvmlEventData_t,
    _timeout_ms: c_uint,
) -> Status {
    let body = || {
        let (gpu, code) = play::trace()?.next_xid().ok_or(TIMEOUT)?;
        let data = nvmlEventData_t {
            device: handle(gpu, None),
            eventType: XID,
            eventData: code,
            gpuInstanceId: u32::MAX,
            computeInstanceId: u32::MAX,
        };
        put(event, data)
    };
    guard(std::panic::AssertUnwindSafe(body))
}
