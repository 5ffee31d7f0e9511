//! AMD GPUs through AMD SMI (`libamd_smi.so`), where there is no ROCm SMI.
//!
//! Only calls with plain arguments are made, and two whose structures begin the same in all
//! known versions; power, clocks and processes come from the kernel's files
//! ([`crate::amdgpu`]). A version that is not known is refused.

mod ffi;

use std::path::Path;

use self::ffi::{Api, Handle};
use crate::amdgpu::{Card, cards, energy_source, hush_silent_die, pair_dies};
use crate::backend::{Backend, OpenError, ReadError};
use crate::model::{Device, Instant, Reading, Snapshot, Vendor};
use crate::rocm_smi::{address, plain};

/// Releases of ROCm 5.6 to 7: the first number of their version.
const KNOWN: std::ops::RangeInclusive<u32> = 23..=26;

/// AMD SMI and its devices.
pub struct AmdSmi {
    api: Api,
    source: String,
    handles: Vec<Handle>,
    devices: Vec<Device>,
    cards: Vec<Option<Card>>,
}

impl AmdSmi {
    /// Opens the library and finds its devices.
    ///
    /// # Errors
    /// [`OpenError`] if there is no such library, or one of another version, or no driver.
    pub fn open(path: &Path, sys: &Path) -> Result<Self, OpenError> {
        let api = Api::open(path)?;
        let (first, second, third) = api.version()?;
        if !KNOWN.contains(&first) {
            return Err(OpenError::Version {
                found: format!("{first}.{second}.{third}"),
                known: "23 to 26",
            });
        }
        let source = format!("AMD SMI {first}.{second}.{third}");
        let replayed = api.label();
        let known_cards = cards(sys);
        let (handles, mut devices, mut of_devices) = (api.handles()?, Vec::new(), Vec::new());
        for (index, handle) in (0..).zip(&handles) {
            let pci = api.address(*handle).map(address);
            let card = known_cards.iter().find(|card| card.pci == pci).cloned();
            let told = card.as_ref().map(|card| card.device(index));
            let uuid = api.uuid(*handle);
            devices.push(Device {
                vendor: Vendor::Amd,
                name: told
                    .as_ref()
                    .map_or_else(|| "AMD GPU".to_owned(), |told| told.name.clone()),
                // ROCm's own names of devices are those of the kernel.
                uuid: told
                    .as_ref()
                    .map(|told| told.uuid.clone())
                    .or(uuid)
                    .unwrap_or_else(|| format!("amd-{index}")),
                pci,
                minor: card.as_ref().and_then(|card| card.render_minor),
                index,
                parent: None,
                instance: None,
                slices: None,
                memory_total_bytes: api.memory(*handle, ffi::Memory::Total),
                power_limit_watts: told.as_ref().and_then(|told| told.power_limit_watts),
                source: source.clone(),
                replayed: replayed.clone(),
                energy: energy_source(api.energy(*handle).is_some(), "AMD SMI energy counter"),
                reports_for: Vec::new(),
            });
            of_devices.push(card);
        }
        pair_dies(&mut devices, |place| {
            of_devices[place].as_ref().is_some_and(Card::is_silent)
        });
        Ok(Self {
            api,
            source,
            handles,
            devices,
            cards: of_devices,
        })
    }
}

impl Backend for AmdSmi {
    fn source(&self) -> String {
        self.source.clone()
    }

    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&self, device: usize) -> Result<Snapshot, ReadError> {
        let (Some(handle), Some(card)) = (self.handles.get(device), self.cards.get(device)) else {
            return Err(ReadError::Failed(format!("there is no device {device}")));
        };
        let (api, handle) = (&self.api, *handle);
        let before = Instant::now();
        let kernel = card.as_ref().map(Card::read).unwrap_or_default();
        let activity = api.activity(handle);
        let percent = |percent: u32| (percent <= 100).then_some(f64::from(percent) / 100.0);
        let memory = api.memory(handle, ffi::Memory::Used);
        let errors = api.errors(handle);
        let energy = api.energy(handle);
        if card.is_none() && activity.is_none() && memory.is_none() && energy.is_none() {
            return Err(ReadError::Vanished(
                "AMD SMI knows nothing of it".to_owned(),
            ));
        }
        let degrees = |sensor| {
            api.temperature(handle, sensor)
                .map(|degrees| degrees as f64)
        };
        let energy =
            energy.map(|(count, resolution_uj)| (count as f64 * plain(resolution_uj)) as u64);
        let mut reading = Reading {
            before,
            energy_uj: energy.or(kernel.energy_uj),
            busy: activity.and_then(|all| percent(all.0)).or(kernel.busy),
            memory_busy: activity
                .and_then(|all| percent(all.1))
                .or(kernel.memory_busy),
            memory_used_bytes: memory.or(kernel.memory_used_bytes),
            temperature_c: degrees(ffi::EDGE)
                .or_else(|| degrees(ffi::HOTSPOT))
                .or(kernel.temperature_c),
            memory_temperature_c: degrees(ffi::VRAM).or(kernel.memory_temperature_c),
            ecc_corrected: errors.map(|both| both.0).or(kernel.ecc_corrected),
            ecc_uncorrected: errors.map(|both| both.1).or(kernel.ecc_uncorrected),
            ..kernel
        };
        hush_silent_die(&self.devices, device, &mut reading);
        reading.after = Instant::now();
        Ok(Snapshot {
            reading,
            processes: card.as_ref().and_then(Card::processes),
        })
    }
}
