//! The calls of ROCm SMI: each takes a device's number and places for plain numbers.
#![allow(
    unsafe_code,
    reason = "functions of a library opened at run time are called"
)]

use std::ffi::{CStr, c_char};
use std::path::Path;

use libloading::{Library, Symbol};

use crate::backend::OpenError;

const SUCCESS: u32 = 0;
const NOT_SUPPORTED: u32 = 2;

/// Room for a name.
const NAME_BYTES: usize = 128;

/// Why a call told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The device, or the library, has no such figure.
    Unsupported,
    /// The library's own number.
    Status(u32),
}

/// The library, started. It is never closed: a call that hangs would lose its code.
pub(super) struct Api {
    library: &'static Library,
}

type Start = unsafe extern "C" fn(u64) -> u32;
type One<T> = unsafe extern "C" fn(u32, *mut T) -> u32;
type OneOf = unsafe extern "C" fn(u32, u32, *mut u64) -> u32;
type Temperature = unsafe extern "C" fn(u32, u32, u32, *mut i64) -> u32;
type Energy = unsafe extern "C" fn(u32, *mut u64, *mut f32, *mut u64) -> u32;
type Power = unsafe extern "C" fn(u32, *mut u64, *mut u32) -> u32;
type Errors = unsafe extern "C" fn(u32, u64, *mut [u64; 8]) -> u32;
type Name = unsafe extern "C" fn(u32, *mut c_char, usize) -> u32;

/// `rsmi_version_t`, the same in all versions.
#[repr(C)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    build: *const c_char,
}

fn checked(status: u32) -> Result<(), Failure> {
    match status {
        SUCCESS => Ok(()),
        NOT_SUPPORTED => Err(Failure::Unsupported),
        status => Err(Failure::Status(status)),
    }
}

impl Api {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        // SAFETY: the site names the library; its constructors are AMD's.
        let library =
            unsafe { Library::new(path) }.map_err(|error| OpenError::Absent(error.to_string()))?;
        let api = Self {
            library: Box::leak(Box::new(library)),
        };
        let start: Symbol<'_, Start> = api
            .find(b"rsmi_init\0")
            .map_err(|_| OpenError::Function("rsmi_init"))?;
        // SAFETY: flags only; called before all others, once.
        checked(unsafe { start(0) }).map_err(|failure| OpenError::Start(format!("{failure:?}")))?;
        Ok(api)
    }

    fn find<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>, Failure> {
        // SAFETY: callers give each name the type that the header of versions 5 to 7 gives it.
        unsafe { self.library.get::<T>(name) }.map_err(|_| Failure::Unsupported)
    }

    pub(super) fn label(&self) -> Option<String> {
        crate::replay::label(self.library)
    }

    pub(super) fn version(&self) -> Result<(u32, u32, u32), OpenError> {
        type Ask = unsafe extern "C" fn(*mut Version) -> u32;
        let missing = OpenError::Function("rsmi_version_get");
        let ask: Symbol<'_, Ask> = self.find(b"rsmi_version_get\0").map_err(|_| missing)?;
        let mut version = Version {
            major: 0,
            minor: 0,
            patch: 0,
            build: std::ptr::null(),
        };
        // SAFETY: it writes the structure, whose layout no version has changed.
        checked(unsafe { ask(&raw mut version) })
            .map_err(|failure| OpenError::Start(format!("{failure:?}")))?;
        Ok((version.major, version.minor, version.patch))
    }

    pub(super) fn count(&self) -> Result<u32, OpenError> {
        type Ask = unsafe extern "C" fn(*mut u32) -> u32;
        let missing = OpenError::Function("rsmi_num_monitor_devices");
        let ask: Symbol<'_, Ask> = self
            .find(b"rsmi_num_monitor_devices\0")
            .map_err(|_| missing)?;
        let mut count = 0;
        // SAFETY: it writes one number.
        checked(unsafe { ask(&raw mut count) })
            .map_err(|failure| OpenError::Start(format!("{failure:?}")))?;
        Ok(count)
    }

    /// A number of a device.
    pub(super) fn number<T: Default>(&self, name: &[u8], device: u32) -> Result<T, Failure> {
        let ask: Symbol<'_, One<T>> = self.find(name)?;
        let mut value = T::default();
        // SAFETY: it writes one number of this type.
        checked(unsafe { ask(device, &raw mut value) })?;
        Ok(value)
    }

    /// A number of a part of a device.
    pub(super) fn number_of(&self, name: &[u8], device: u32, part: u32) -> Result<u64, Failure> {
        let ask: Symbol<'_, OneOf> = self.find(name)?;
        let mut value = 0;
        // SAFETY: it writes one number of 64 bits.
        checked(unsafe { ask(device, part, &raw mut value) })?;
        Ok(value)
    }

    /// Thousandths of a degree.
    pub(super) fn temperature(&self, device: u32, sensor: u32) -> Result<i64, Failure> {
        const CURRENT: u32 = 0;
        let ask: Symbol<'_, Temperature> = self.find(b"rsmi_dev_temp_metric_get\0")?;
        let mut value = 0;
        // SAFETY: it writes one number of 64 bits.
        checked(unsafe { ask(device, sensor, CURRENT, &raw mut value) })?;
        Ok(value)
    }

    /// The accumulated count, and how many microjoules one is.
    pub(super) fn energy(&self, device: u32) -> Result<(u64, f32), Failure> {
        let ask: Symbol<'_, Energy> = self.find(b"rsmi_dev_energy_count_get\0")?;
        let (mut count, mut resolution_uj, mut time_ns) = (0, 0.0, 0);
        // SAFETY: it writes three numbers.
        let status = unsafe {
            ask(
                device,
                &raw mut count,
                &raw mut resolution_uj,
                &raw mut time_ns,
            )
        };
        checked(status)?;
        Ok((count, resolution_uj))
    }

    /// Microwatts of the socket, whichever kind the device has (from ROCm 6 on).
    pub(super) fn power(&self, device: u32) -> Result<u64, Failure> {
        let ask: Symbol<'_, Power> = self.find(b"rsmi_dev_power_get\0")?;
        let (mut power, mut kind) = (0, 0);
        // SAFETY: it writes a number of 64 bits and an enumeration of 32.
        checked(unsafe { ask(device, &raw mut power, &raw mut kind) })?;
        Ok(power)
    }

    /// Corrected and uncorrected errors of a block. The structure begins with these in all
    /// versions; later ones add to it, for which there is room.
    pub(super) fn errors(&self, device: u32, block: u64) -> Result<(u64, u64), Failure> {
        let ask: Symbol<'_, Errors> = self.find(b"rsmi_dev_ecc_count_get\0")?;
        let mut counts = [0; 8];
        // SAFETY: it writes at most three numbers of 64 bits, and there is room for eight.
        checked(unsafe { ask(device, block, &raw mut counts) })?;
        Ok((counts[0], counts[1]))
    }

    /// A device's model.
    pub(super) fn name(&self, device: u32) -> Result<String, Failure> {
        let ask: Symbol<'_, Name> = self.find(b"rsmi_dev_name_get\0")?;
        let mut text = [0; NAME_BYTES];
        // SAFETY: it writes at most the bytes that it is told of.
        checked(unsafe { ask(device, text.as_mut_ptr(), text.len()) })?;
        text[NAME_BYTES - 1] = 0;
        // SAFETY: the last byte is a zero.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        Ok(text.to_string_lossy().into_owned())
    }
}
