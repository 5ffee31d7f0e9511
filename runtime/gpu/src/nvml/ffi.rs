//! The calls that `nvml-wrapper` has no safe form of.
#![allow(unsafe_code, reason = "functions of NVML are called through pointers")]

use std::mem::zeroed;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::{
    nvmlFieldValue_t, nvmlReturn_enum_NVML_SUCCESS, nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG,
};

use super::Handle;

/// The opened library.
pub(super) fn library(nvml: &Nvml) -> &libloading::Library {
    &nvml.lib().__library
}

/// Do both name the same device?
pub(super) fn is_same(one: &Handle, other: &Handle) -> bool {
    // SAFETY: the pointers are compared, neither kept nor followed.
    unsafe { one.handle() == other.handle() }
}

/// Fields with their scopes in one call; `None` for each that is not supported.
pub(super) fn fields<const N: usize>(
    nvml: &Nvml,
    device: &Handle,
    asked: [(u32, u32); N],
) -> Result<[Option<u64>; N], NvmlError> {
    let function = nvml_sym(nvml.lib().nvmlDeviceGetFieldValues.as_ref())?;
    let mut values: [nvmlFieldValue_t; N] = asked.map(|(field, scope)| {
        // SAFETY: a structure of numbers and a union of numbers: all zeros is a value of it.
        let mut value: nvmlFieldValue_t = unsafe { zeroed() };
        value.fieldId = field;
        value.scopeId = scope;
        value
    });
    // SAFETY: the handle comes from this library, which is never closed; it writes N entries.
    let status = unsafe { function(device.handle(), N as i32, values.as_mut_ptr()) };
    nvml_try(status)?;
    Ok(values.map(|value| number(&value)))
}

#[allow(
    non_upper_case_globals,
    reason = "names of constants of NVML's header in patterns"
)]
fn number(field: &nvmlFieldValue_t) -> Option<u64> {
    if field.nvmlReturn != nvmlReturn_enum_NVML_SUCCESS {
        return None;
    }
    // SAFETY: the field that the library says it wrote is read; all are plain numbers.
    unsafe {
        match field.valueType {
            nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE => {
                (field.value.dVal >= 0.0).then_some(field.value.dVal as u64)
            }
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT => Some(field.value.uiVal.into()),
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG => Some(field.value.ulVal),
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG => Some(field.value.ullVal),
            nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG => {
                u64::try_from(field.value.sllVal).ok()
            }
            nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT => u64::try_from(field.value.siVal).ok(),
            _ => None,
        }
    }
}

/// The numbers of a MIG device's GPU instance and compute instance.
pub(super) fn instance(nvml: &Nvml, device: &Handle) -> Option<(u32, u32)> {
    let lib = nvml.lib();
    let (mut gpu, mut compute) = (0, 0);
    let function = lib.nvmlDeviceGetGpuInstanceId.as_ref().ok()?;
    // SAFETY: the handle comes from this library; it writes one number.
    nvml_try(unsafe { function(device.handle(), &raw mut gpu) }).ok()?;
    let function = lib.nvmlDeviceGetComputeInstanceId.as_ref().ok()?;
    // SAFETY: likewise.
    nvml_try(unsafe { function(device.handle(), &raw mut compute) }).ok()?;
    Some((gpu, compute))
}
