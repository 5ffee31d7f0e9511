//! The calls of AMD SMI: each takes a handle and places for plain numbers.
#![allow(
    unsafe_code,
    reason = "functions of a library opened at run time are called"
)]

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

use libloading::{Library, Symbol};

use crate::backend::OpenError;

const SUCCESS: u32 = 0;

/// Only GPUs are looked for.
const INIT_GPUS: u64 = 2;

/// Sockets or devices of a node that are believed.
const MAX_HANDLES: u32 = 256;

/// Places of temperature sensors.
pub(super) const EDGE: u32 = 0;
pub(super) const HOTSPOT: u32 = 1;
pub(super) const VRAM: u32 = 2;

/// Which figure of video memory.
#[derive(Clone, Copy)]
pub(super) enum Memory {
    Total,
    Used,
}

/// A device: an address that only the library follows, kept as a number so that it may be
/// handed between threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle(usize);

impl Handle {
    fn pointer(self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.0)
    }
}

/// The library, started. It is never closed: a call that hangs would lose its code.
pub(super) struct Api {
    library: &'static Library,
}

type Start = unsafe extern "C" fn(u64) -> u32;
type Sockets = unsafe extern "C" fn(*mut u32, *mut *mut c_void) -> u32;
type Devices = unsafe extern "C" fn(*mut c_void, *mut u32, *mut *mut c_void) -> u32;
type One<T> = unsafe extern "C" fn(*mut c_void, *mut T) -> u32;
type OneOf = unsafe extern "C" fn(*mut c_void, u32, *mut u64) -> u32;
type Temperature = unsafe extern "C" fn(*mut c_void, u32, u32, *mut i64) -> u32;
type Energy = unsafe extern "C" fn(*mut c_void, *mut u64, *mut f32, *mut u64) -> u32;
type Uuid = unsafe extern "C" fn(*mut c_void, *mut u32, *mut c_char) -> u32;

impl Api {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        // SAFETY: the site names the library; its constructors are AMD's.
        let library =
            unsafe { Library::new(path) }.map_err(|error| OpenError::Absent(error.to_string()))?;
        let api = Self {
            library: Box::leak(Box::new(library)),
        };
        let start: Symbol<'_, Start> = api
            .find(b"amdsmi_init\0")
            .ok_or(OpenError::Function("amdsmi_init"))?;
        // SAFETY: flags only; called before all others, once.
        match unsafe { start(INIT_GPUS) } {
            SUCCESS => Ok(api),
            status => Err(OpenError::Start(format!("status {status}"))),
        }
    }

    fn find<T>(&self, name: &[u8]) -> Option<Symbol<'_, T>> {
        // SAFETY: callers give each name the type that the header of versions 23 to 26 gives it.
        unsafe { self.library.get::<T>(name) }.ok()
    }

    pub(super) fn label(&self) -> Option<String> {
        crate::replay::label(self.library)
    }

    /// The first three numbers: of some versions the year is the first, of others the major
    /// version; both have been the same since.
    pub(super) fn version(&self) -> Result<(u32, u32, u32), OpenError> {
        type Ask = unsafe extern "C" fn(*mut [u64; 16]) -> u32;
        let missing = OpenError::Function("amdsmi_get_lib_version");
        let ask: Symbol<'_, Ask> = self.find(b"amdsmi_get_lib_version\0").ok_or(missing)?;
        let mut room = [0_u64; 16];
        // SAFETY: it writes four numbers of 32 bits and an address at most; there is more room.
        let status = unsafe { ask(&raw mut room) };
        if status != SUCCESS {
            return Err(OpenError::Start(format!("status {status}")));
        }
        let word = |index: usize| (room[index / 2] >> (32 * (index % 2))) as u32;
        Ok((word(0), word(1), word(2)))
    }

    /// The GPUs of all sockets.
    pub(super) fn handles(&self) -> Result<Vec<Handle>, OpenError> {
        let missing = |name| OpenError::Function(name);
        let sockets: Symbol<'_, Sockets> = self
            .find(b"amdsmi_get_socket_handles\0")
            .ok_or(missing("amdsmi_get_socket_handles"))?;
        let devices: Symbol<'_, Devices> = self
            .find(b"amdsmi_get_processor_handles\0")
            .ok_or(missing("amdsmi_get_processor_handles"))?;
        let mut found = Vec::new();
        // SAFETY: it writes the count, and then as many handles as it is told there is room for.
        let all = listed(|count, place| unsafe { sockets(count, place) });
        for socket in all {
            // SAFETY: likewise; the socket is the library's own.
            let here = listed(|count, place| unsafe { devices(socket, count, place) });
            found.extend(
                here.into_iter()
                    .map(|device| Handle(device.expose_provenance())),
            );
        }
        Ok(found)
    }

    fn number<T: Default>(&self, name: &[u8], device: Handle) -> Option<T> {
        let ask: Symbol<'_, One<T>> = self.find(name)?;
        let mut value = T::default();
        // SAFETY: it writes one value of this type; the handle is the library's own.
        (unsafe { ask(device.pointer(), &raw mut value) } == SUCCESS).then_some(value)
    }

    /// The packed PCI address; the call was renamed.
    pub(super) fn address(&self, device: Handle) -> Option<u64> {
        self.number(b"amdsmi_get_gpu_bdf_id\0", device)
            .or_else(|| self.number(b"amdsmi_get_gpu_pci_id\0", device))
    }

    pub(super) fn uuid(&self, device: Handle) -> Option<String> {
        let ask: Symbol<'_, Uuid> = self.find(b"amdsmi_get_gpu_device_uuid\0")?;
        let mut text = [0; 64];
        let mut room = text.len() as u32 - 1;
        // SAFETY: it writes at most the bytes that it is told of.
        let status = unsafe { ask(device.pointer(), &raw mut room, text.as_mut_ptr()) };
        (status == SUCCESS).then_some(())?;
        // SAFETY: the last byte was not offered, and is zero.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        Some(text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn memory(&self, device: Handle, which: Memory) -> Option<u64> {
        const VIDEO: u32 = 0;
        let name: &[u8] = match which {
            Memory::Total => b"amdsmi_get_gpu_memory_total\0",
            Memory::Used => b"amdsmi_get_gpu_memory_usage\0",
        };
        let ask: Symbol<'_, OneOf> = self.find(name)?;
        let mut value = 0;
        // SAFETY: it writes one number of 64 bits.
        (unsafe { ask(device.pointer(), VIDEO, &raw mut value) } == SUCCESS).then_some(value)
    }

    /// Whole degrees.
    pub(super) fn temperature(&self, device: Handle, sensor: u32) -> Option<i64> {
        const CURRENT: u32 = 0;
        let ask: Symbol<'_, Temperature> = self.find(b"amdsmi_get_temp_metric\0")?;
        let mut value = 0;
        // SAFETY: it writes one number of 64 bits.
        let status = unsafe { ask(device.pointer(), sensor, CURRENT, &raw mut value) };
        (status == SUCCESS && value > 0).then_some(value)
    }

    /// The accumulated count, and how many microjoules one is.
    pub(super) fn energy(&self, device: Handle) -> Option<(u64, f32)> {
        let ask: Symbol<'_, Energy> = self.find(b"amdsmi_get_energy_count\0")?;
        let (mut count, mut resolution_uj, mut time_ns) = (0, 0.0, 0);
        // SAFETY: it writes three numbers.
        let status = unsafe {
            ask(
                device.pointer(),
                &raw mut count,
                &raw mut resolution_uj,
                &raw mut time_ns,
            )
        };
        (status == SUCCESS).then_some((count, resolution_uj))
    }

    /// Percent that the engines and the memory were busy: the first words of a structure of
    /// sixteen.
    pub(super) fn activity(&self, device: Handle) -> Option<(u32, u32)> {
        let words: [u32; 32] = self.number(b"amdsmi_get_gpu_activity\0", device)?;
        Some((words[0], words[1]))
    }

    /// Corrected and uncorrected errors: the first numbers of a structure of eight at most.
    pub(super) fn errors(&self, device: Handle) -> Option<(u64, u64)> {
        let counts: [u64; 16] = self.number(b"amdsmi_get_gpu_total_ecc_count\0", device)?;
        Some((counts[0], counts[1]))
    }
}

/// Handles of a list that is asked for its length first.
fn listed(ask: impl Fn(*mut u32, *mut *mut c_void) -> u32) -> Vec<*mut c_void> {
    let mut count = 0;
    if ask(&raw mut count, std::ptr::null_mut()) != SUCCESS {
        return Vec::new();
    }
    count = count.min(MAX_HANDLES);
    let mut all = vec![std::ptr::null_mut(); count as usize];
    if ask(&raw mut count, all.as_mut_ptr()) != SUCCESS {
        return Vec::new();
    }
    all.truncate(count as usize);
    all
}
