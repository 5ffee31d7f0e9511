//! AMD GPUs through ROCm SMI (`librocm_smi64.so`), by a loader of our own.
//!
//! Layouts of its structures change with its major version, so only calls with plain arguments
//! are made; what they do not tell comes from the kernel's files ([`crate::amdgpu`]). A major
//! version that is not known is refused.

mod ffi;

use std::path::Path;

use self::ffi::{Api, Failure};
use crate::amdgpu::{Card, cards, energy_source, hush_silent_die, micro, pair_dies};
use crate::backend::{Backend, OpenError, ReadError};
use crate::kfd::Kfd;
use crate::model::{Device, Instant, Reading, Snapshot, Vendor};

/// Major versions of ROCm 5 to 7.
const KNOWN_MAJORS: std::ops::RangeInclusive<u32> = 5..=7;

/// Blocks of the chip that count errors, by their bits.
const BLOCKS: u32 = 14;

/// Video memory, among the kinds of memory.
const VRAM: u32 = 0;

/// Places of temperature sensors.
const EDGE: u32 = 0;
const JUNCTION: u32 = 1;
const MEMORY: u32 = 2;

/// ROCm SMI and its devices.
pub struct RocmSmi {
    api: Api,
    source: String,
    devices: Vec<Device>,
    cards: Vec<Option<Card>>,
    kfd: Kfd,
}

impl RocmSmi {
    /// Opens the library and finds its devices.
    ///
    /// # Errors
    /// [`OpenError`] if there is no such library, or one of another version, or no driver.
    pub fn open(path: &Path, sys: &Path) -> Result<Self, OpenError> {
        let api = Api::open(path)?;
        let (major, minor, patch) = api.version()?;
        if !KNOWN_MAJORS.contains(&major) {
            return Err(OpenError::Version {
                found: format!("{major}.{minor}.{patch}"),
                known: "5 to 7",
            });
        }
        let source = format!("ROCm SMI {major}.{minor}.{patch}");
        let replayed = api.label();
        let known_cards = cards(sys);
        let mut found = Self {
            source,
            devices: Vec::new(),
            cards: Vec::new(),
            kfd: Kfd::new(sys),
            api,
        };
        for index in 0..found.api.count()? {
            let mut device = found.device(index);
            device.replayed.clone_from(&replayed);
            let card = known_cards.iter().find(|card| card.pci == device.pci);
            found.cards.push(card.cloned());
            found.devices.push(device);
        }
        let silent: Vec<bool> = (0..)
            .zip(&found.devices)
            .map(|(index, _)| found.is_silent(index))
            .collect();
        pair_dies(&mut found.devices, |place| silent[place]);
        Ok(found)
    }

    fn device(&self, index: u32) -> Device {
        let api = &self.api;
        let unique = api.number::<u64>(b"rsmi_dev_unique_id_get\0", index).ok();
        let pci = api.number::<u64>(b"rsmi_dev_pci_id_get\0", index).ok();
        let counter = self.energy_uj(index).is_ok();
        Device {
            vendor: Vendor::Amd,
            name: api.name(index).unwrap_or_else(|_| "AMD GPU".to_owned()),
            uuid: match unique {
                Some(id) => format!("GPU-{id:016x}"),
                None => format!("amd-{index}"),
            },
            pci: pci.map(address),
            minor: api.number(b"rsmi_dev_drm_render_minor_get\0", index).ok(),
            index,
            parent: None,
            instance: None,
            slices: None,
            memory_total_bytes: api
                .number_of(b"rsmi_dev_memory_total_get\0", index, VRAM)
                .ok(),
            power_limit_watts: api
                .number_of(b"rsmi_dev_power_cap_get\0", index, 0)
                .ok()
                .map(micro),
            source: self.source.clone(),
            replayed: None,
            energy: energy_source(counter, "ROCm SMI energy counter"),
            reports_for: Vec::new(),
        }
    }

    /// The count times its resolution; cut to a whole number the resolution would lose 2 %.
    fn energy_uj(&self, index: u32) -> Result<u64, Failure> {
        let (count, resolution_uj) = self.api.energy(index)?;
        Ok((count as f64 * plain(resolution_uj)) as u64)
    }

    fn watts(&self, index: u32) -> Result<f64, Failure> {
        let power = self.api.power(index);
        let power = match power {
            Ok(microwatts) => Ok(microwatts),
            Err(_) => self.api.number_of(b"rsmi_dev_power_ave_get\0", index, 0),
        };
        power.map(micro)
    }

    fn is_silent(&self, index: u32) -> bool {
        self.watts(index).unwrap_or(0.0) == 0.0
    }

    fn temperature(&self, index: u32, sensor: u32) -> Result<f64, Failure> {
        let millidegrees = self.api.temperature(index, sensor)?;
        Ok(millidegrees as f64 * 1e-3)
    }

    /// Errors of all blocks that count some.
    fn errors(&self, index: u32) -> (Option<u64>, Option<u64>) {
        let blocks = (0..BLOCKS).filter_map(|block| self.api.errors(index, 1 << block).ok());
        blocks.fold((None, None), |(corrected, uncorrected), (more, worse)| {
            (
                Some(corrected.unwrap_or(0_u64).saturating_add(more)),
                Some(uncorrected.unwrap_or(0_u64).saturating_add(worse)),
            )
        })
    }
}

/// Counts what is answered, so that a device of which nothing is known any more is noticed.
#[derive(Default)]
struct Tally {
    answered: bool,
    failed: Option<u32>,
}

impl Tally {
    fn take<T>(&mut self, answer: Result<T, Failure>) -> Option<T> {
        match answer {
            Ok(value) => {
                self.answered = true;
                Some(value)
            }
            Err(Failure::Unsupported) => None,
            Err(Failure::Status(status)) => {
                self.failed = Some(status);
                None
            }
        }
    }
}

impl Backend for RocmSmi {
    fn source(&self) -> String {
        self.source.clone()
    }

    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&self, device: usize) -> Result<Snapshot, ReadError> {
        let (Some(known), Some(card)) = (self.devices.get(device), self.cards.get(device)) else {
            return Err(ReadError::Failed(format!("there is no device {device}")));
        };
        let (index, api) = (known.index, &self.api);
        let before = Instant::now();
        let mut tally = Tally::default();
        let percent = |percent: u32| f64::from(percent.min(100)) / 100.0;
        // What the kernel tells comes first, and what the library tells over it.
        let kernel = card.as_ref().map(Card::read).unwrap_or_default();
        let errors = self.errors(index);
        let mut reading = Reading {
            before,
            energy_uj: tally.take(self.energy_uj(index)).or(kernel.energy_uj),
            power_watts: tally.take(self.watts(index)).or(kernel.power_watts),
            busy: tally
                .take(api.number(b"rsmi_dev_busy_percent_get\0", index))
                .map(percent)
                .or(kernel.busy),
            memory_busy: tally
                .take(api.number(b"rsmi_dev_memory_busy_percent_get\0", index))
                .map(percent)
                .or(kernel.memory_busy),
            memory_used_bytes: tally
                .take(api.number_of(b"rsmi_dev_memory_usage_get\0", index, VRAM))
                .or(kernel.memory_used_bytes),
            temperature_c: tally
                .take(self.temperature(index, EDGE))
                .or_else(|| tally.take(self.temperature(index, JUNCTION)))
                .or(kernel.temperature_c),
            memory_temperature_c: tally
                .take(self.temperature(index, MEMORY))
                .or(kernel.memory_temperature_c),
            ecc_corrected: errors.0.or(kernel.ecc_corrected),
            ecc_uncorrected: errors.1.or(kernel.ecc_uncorrected),
            ..kernel
        };
        hush_silent_die(&self.devices, device, &mut reading);
        reading.after = Instant::now();
        if let (false, Some(status)) = (tally.answered, tally.failed) {
            return Err(ReadError::Vanished(format!("ROCm SMI says {status}")));
        }
        let gpu_id = known.minor.and_then(|minor| self.kfd.gpu_id(minor));
        Ok(Snapshot {
            reading,
            processes: gpu_id.and_then(|gpu_id| self.kfd.processes(gpu_id)),
        })
    }
}

/// `0000:c1:00.0` of the library's packed number.
pub(crate) fn address(packed: u64) -> String {
    let (domain, bus) = (packed >> 32, packed >> 8 & 0xff);
    let (device, function) = (packed >> 3 & 0x1f, packed & 7);
    format!("{domain:04x}:{bus:02x}:{device:02x}.{function}")
}

/// The decimal number that a single-precision one was written as: 15.3 and not 15.30000019.
pub(crate) fn plain(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_library_are_unpacked() {
        assert_eq!(address(0xc100), "0000:c1:00.0");
        assert_eq!(address(1 << 32 | 0x5 << 8 | 3 << 3 | 1), "0001:05:03.1");
        assert_eq!(plain(15.3), 15.3);
    }
}
