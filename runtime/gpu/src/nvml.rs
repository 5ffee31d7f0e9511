//! NVIDIA GPUs through NVML, opened at run time by `nvml-wrapper`.
//!
//! The library is opened once and never closed: a call of it that hangs would otherwise keep
//! code alive that is gone. What it answers with "not supported" is not asked again.

mod ffi;
mod look;
mod utilisation;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::device::DeviceArchitecture;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{EventSet, Nvml};

use self::look::State;
use crate::backend::{Backend, OpenError, ReadError};
use crate::model::{Device, EnergySource, Occurrence, OccurrenceKind, Snapshot, Vendor};

/// A handle of a device.
type Handle = nvml_wrapper::Device<'static>;

/// NVML refreshes its energy counter about so often.
const ENERGY_REFRESH_MS: u32 = 100;

/// Compute slices of a whole GPU that MIG divides: 7, and 4 on the A30.
const SLICES: u32 = 7;
const SLICES_A30: u32 = 4;

/// Occurrences taken at one time; the rest waits for the next.
const MAX_OCCURRENCES: usize = 64;

/// The XID of a GPU that has fallen off the bus.
const XID_OFF_THE_BUS: u64 = 79;

/// NVML and its devices.
pub struct Nvidia {
    nvml: &'static Nvml,
    source: String,
    devices: Vec<Device>,
    handles: Vec<Handle>,
    states: Vec<Mutex<State>>,
    events: Mutex<Option<EventSet<'static>>>,
}

impl Nvidia {
    /// Opens the library and finds its devices.
    ///
    /// # Errors
    /// [`OpenError`] if there is no such library, or no driver.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let nvml =
            Nvml::builder()
                .lib_path(path.as_os_str())
                .init()
                .map_err(|error| match error {
                    NvmlError::LibloadingError(source) => OpenError::Absent(source.to_string()),
                    other => OpenError::Start(other.to_string()),
                })?;
        let nvml: &'static Nvml = Box::leak(Box::new(nvml));
        let version = nvml.sys_nvml_version().unwrap_or_default();
        let source = format!("NVML {version}").trim_end().to_owned();
        let replayed = crate::replay::label(ffi::library(nvml));
        let mut found = Self {
            nvml,
            source,
            devices: Vec::new(),
            handles: Vec::new(),
            states: Vec::new(),
            events: Mutex::new(None),
        };
        let count = nvml
            .device_count()
            .map_err(|error| OpenError::Start(error.to_string()))?;
        for index in 0..count {
            // One that cannot be opened (lost, no permission) leaves the others.
            let Ok(handle) = nvml.device_by_index(index) else {
                continue;
            };
            found.add(index, handle, replayed.as_ref());
        }
        found.events = Mutex::new(found.register());
        Ok(found)
    }

    fn add(&mut self, index: u32, handle: Handle, replayed: Option<&String>) {
        let parent = self.devices.len();
        let mut device = whole(index, &handle, &self.source);
        device.replayed = replayed.cloned();
        let instances = instances(&handle);
        let whole_slices = if device.name.contains("A30") {
            SLICES_A30
        } else {
            SLICES
        };
        if !instances.is_empty() {
            device.slices = Some((whole_slices, whole_slices));
        }
        let mut parts = Vec::new();
        for instance in instances {
            let mut part = Device {
                name: instance.name().unwrap_or_else(|_| device.name.clone()),
                uuid: instance.uuid().unwrap_or_default(),
                parent: Some(parent),
                instance: ffi::instance(self.nvml, &instance),
                slices: instance
                    .attributes()
                    .ok()
                    .map(|all| (all.gpu_instance_slice_count, whole_slices)),
                memory_total_bytes: instance.memory_info().ok().map(|memory| memory.total),
                power_limit_watts: None,
                energy: EnergySource {
                    method: "the whole GPU's, by slices (estimated)".to_owned(),
                    refresh_ms: None,
                },
                ..device.clone()
            };
            part.index = index;
            parts.push((part, instance));
        }
        self.push(device, handle);
        for (part, instance) in parts {
            self.push(part, instance);
        }
    }

    fn push(&mut self, device: Device, handle: Handle) {
        self.devices.push(device);
        self.handles.push(handle);
        self.states.push(Mutex::new(State::default()));
    }

    /// Asks to be told of XID errors of all devices that tell.
    fn register(&self) -> Option<EventSet<'static>> {
        let mut refusing: Vec<usize> = Vec::new();
        // A refusal takes the set with it: each costs one more round, and there are few.
        'rounds: for _ in 0..=self.handles.len() {
            let mut set = self.nvml.create_event_set().ok()?;
            let mut registered = false;
            for (index, handle) in self.handles.iter().enumerate() {
                if self.devices[index].parent.is_some() || refusing.contains(&index) {
                    continue;
                }
                match handle.register_events(EventTypes::CRITICAL_XID_ERROR, set) {
                    Ok(kept) => {
                        set = kept;
                        registered = true;
                    }
                    Err(_) => {
                        refusing.push(index);
                        continue 'rounds;
                    }
                }
            }
            return registered.then_some(set);
        }
        None
    }
}

/// A whole GPU, as its handle tells.
fn whole(index: u32, handle: &Handle, source: &str) -> Device {
    let name = handle.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned());
    Device {
        vendor: Vendor::Nvidia,
        uuid: handle
            .uuid()
            .unwrap_or_else(|_| format!("nvidia-index-{index}")),
        pci: handle.pci_info().ok().map(|pci| plain_pci(&pci.bus_id)),
        minor: handle.minor_number().ok(),
        index,
        parent: None,
        instance: None,
        slices: None,
        memory_total_bytes: handle.memory_info().ok().map(|memory| memory.total),
        power_limit_watts: handle
            .enforced_power_limit()
            .ok()
            .map(|milliwatts| f64::from(milliwatts) * 1e-3),
        source: source.to_owned(),
        replayed: None,
        energy: energy_source(&name, handle),
        reports_for: Vec::new(),
        name,
    }
}

/// Its MIG instances.
fn instances(handle: &Handle) -> Vec<Handle> {
    let enabled = handle.mig_mode().is_ok_and(|mode| mode.current == 1);
    if !enabled {
        return Vec::new();
    }
    let count = handle.mig_device_count().unwrap_or(0);
    (0..count)
        .filter_map(|index| handle.mig_device_by_index(index).ok())
        .collect()
}

fn energy_source(name: &str, handle: &Handle) -> EnergySource {
    let scope = if name.contains("GH200") || name.contains("GB200") {
        "; the GPU alone, not the module's CPU"
    } else {
        ""
    };
    if handle.total_energy_consumption().is_ok() {
        return EnergySource {
            method: format!(
                "NVML energy counter, refreshed about every {ENERGY_REFRESH_MS} ms{scope}"
            ),
            refresh_ms: Some(ENERGY_REFRESH_MS),
        };
    }
    let is_sampled = ["A100", "H100", "H200", "A800", "H800"]
        .iter()
        .any(|model| name.contains(model));
    let window = match handle.architecture() {
        Ok(
            DeviceArchitecture::Kepler
            | DeviceArchitecture::Maxwell
            | DeviceArchitecture::Pascal
            | DeviceArchitecture::Volta
            | DeviceArchitecture::Turing,
        ) => "NVML power of the moment",
        Ok(_) if name.contains("A100") || name.contains("A30") || name.contains("A800") => {
            "NVML power of the moment"
        }
        Ok(_) => "NVML power, a mean of 1 s",
        Err(_) => "NVML power",
    };
    let caveat = if is_sampled {
        "; its sensor looks only a quarter of the time, so short peaks may be missed"
    } else {
        ""
    };
    EnergySource {
        method: format!("no energy counter: {window}, integrated{caveat}{scope}"),
        refresh_ms: None,
    }
}

/// `00000000:65:00.0` as the kernel writes it: `0000:65:00.0`.
fn plain_pci(bus_id: &str) -> String {
    let plain = bus_id
        .strip_prefix("0000")
        .filter(|rest| rest.len() == "0000:65:00.0".len())
        .unwrap_or(bus_id);
    plain.to_ascii_lowercase()
}

/// Is the device gone, as far as this error tells?
fn lost(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired)
}

impl Backend for Nvidia {
    fn source(&self) -> String {
        self.source.clone()
    }

    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&self, device: usize) -> Result<Snapshot, ReadError> {
        let (Some(handle), Some(state), Some(known)) = (
            self.handles.get(device),
            self.states.get(device),
            self.devices.get(device),
        ) else {
            return Err(ReadError::Failed(format!("there is no device {device}")));
        };
        let parent = known.parent.and_then(|parent| self.handles.get(parent));
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        look::at(self.nvml, known, handle, parent, &mut state)
    }

    fn occurrences(&self) -> Vec<(usize, Occurrence)> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(set) = events.as_ref() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        while let Ok(event) = set.wait(0) {
            let code = match event.event_data {
                Some(XidError::Value(code)) => Some(code),
                _ => None,
            };
            let place = self
                .handles
                .iter()
                .position(|handle| ffi::is_same(handle, &event.device));
            if let Some(place) = place {
                found.push((place, xid(code)));
            }
            if found.len() >= MAX_OCCURRENCES {
                break;
            }
        }
        found
    }
}

fn xid(code: Option<u64>) -> Occurrence {
    let text = match code {
        Some(XID_OFF_THE_BUS) => "XID 79: the GPU has fallen off the bus".to_owned(),
        Some(code) => format!("XID {code}"),
        None => "an XID error of unknown number".to_owned(),
    };
    Occurrence {
        kind: OccurrenceKind::Xid,
        code,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_kernel_does() {
        assert_eq!(plain_pci("00000000:65:00.0"), "0000:65:00.0");
        assert_eq!(plain_pci("00010000:C1:00.0"), "00010000:c1:00.0");
        assert_eq!(plain_pci("0000:65:00.0"), "0000:65:00.0");
    }

    #[test]
    fn a_machine_without_the_library_is_no_failure() {
        let error = Nvidia::open(Path::new("/nonexistent/libnvidia-ml.so.1"));
        assert!(matches!(error, Err(OpenError::Absent(_))));
    }
}
