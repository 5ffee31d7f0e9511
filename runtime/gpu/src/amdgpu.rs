//! AMD GPUs through the files of the kernel's driver `amdgpu`, where there is no library of
//! AMD's; with one, for what the library does not tell.

mod metrics;

use std::path::{Path, PathBuf};

use crate::backend::{Backend, OpenError, ReadError};
use crate::kernel_file::{bytes, first_of, names, number, text};
use crate::kfd::Kfd;
use crate::model::{Device, EnergySource, Instant, Reading, Snapshot, Vendor};

/// AMD's number of PCI vendors.
const AMD: &str = "0x1002";

/// Unit of the accumulated energy, by the kernel's documentation: 2⁻¹⁶ J.
const ENERGY_UNIT_UJ: f64 = 1e6 / 65_536.0;

/// The driver gathers its metrics about every millisecond, and hands out what is up to so old.
const ENERGY_REFRESH_MS: u32 = 10;

/// All cards.
pub struct Amdgpu {
    cards: Vec<Card>,
    devices: Vec<Device>,
}

/// The files of one card.
#[derive(Clone, Debug)]
pub struct Card {
    folder: PathBuf,
    hwmon: Option<PathBuf>,
    power: Option<PathBuf>,
    temperature: Option<PathBuf>,
    memory_temperature: Option<PathBuf>,
    kfd: Kfd,
    gpu_id: Option<u64>,
    /// Its PCI address.
    pub pci: Option<String>,
    /// Its render node.
    pub render_minor: Option<u32>,
}

impl Amdgpu {
    /// Finds the cards under a root of sysfs.
    ///
    /// # Errors
    /// [`OpenError::Absent`] if there is none.
    pub fn open(sys: &Path) -> Result<Self, OpenError> {
        let cards = cards(sys);
        if cards.is_empty() {
            return Err(OpenError::Absent("no card of amdgpu".to_owned()));
        }
        let devices = cards.iter().enumerate().map(|(index, card)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            card.device(index)
        });
        let mut devices: Vec<Device> = devices.collect();
        pair_dies(&mut devices, |place| cards[place].is_silent());
        Ok(Self { cards, devices })
    }
}

impl Backend for Amdgpu {
    fn source(&self) -> String {
        "amdgpu sysfs".to_owned()
    }

    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&self, device: usize) -> Result<Snapshot, ReadError> {
        let Some(card) = self.cards.get(device) else {
            return Err(ReadError::Failed(format!("there is no device {device}")));
        };
        if !card.folder.exists() {
            return Err(ReadError::Vanished(format!(
                "{} is gone",
                card.folder.display()
            )));
        }
        let mut reading = card.read();
        hush_silent_die(&self.devices, device, &mut reading);
        reading.after = Instant::now();
        Ok(Snapshot {
            reading,
            processes: card.processes(),
        })
    }
}

/// The cards of AMD in the order of their PCI addresses, which is that of AMD's libraries.
#[must_use]
pub fn cards(sys: &Path) -> Vec<Card> {
    let drm = sys.join("class/drm");
    let is_card = |name: &String| {
        let number = name.strip_prefix("card");
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let folders = names(&drm).into_iter().filter(is_card);
    let folders = folders.map(|name| drm.join(name).join("device"));
    let mut cards: Vec<Card> = folders
        .filter(|folder| text(&folder.join("vendor")).as_deref() == Some(AMD))
        .map(|folder| Card::new(folder, sys))
        .collect();
    cards.sort_by(|a, b| a.pci.cmp(&b.pci));
    cards
}

impl Card {
    fn new(folder: PathBuf, sys: &Path) -> Self {
        let hwmon = names(&folder.join("hwmon")).into_iter().next();
        let hwmon = hwmon.map(|name| folder.join("hwmon").join(name));
        let power = hwmon
            .as_ref()
            .and_then(|hwmon| first_of(hwmon, &["power1_average", "power1_input"]));
        let labelled = |label: &str| {
            let hwmon = hwmon.as_ref()?;
            let sensors = (1..=3).map(|sensor| format!("temp{sensor}"));
            let mut sensors = sensors.filter(|sensor| {
                text(&hwmon.join(format!("{sensor}_label"))).as_deref() == Some(label)
            });
            Some(hwmon.join(format!("{}_input", sensors.next()?)))
        };
        let uevent = text(&folder.join("uevent")).unwrap_or_default();
        let pci = uevent
            .lines()
            .find_map(|line| line.strip_prefix("PCI_SLOT_NAME="))
            .map(str::to_owned);
        let render_minor = names(&folder.join("drm"))
            .iter()
            .find_map(|name| name.strip_prefix("renderD")?.parse().ok());
        let kfd = Kfd::new(sys);
        Self {
            temperature: labelled("edge").or_else(|| labelled("junction")),
            memory_temperature: labelled("mem"),
            gpu_id: render_minor.and_then(|minor| kfd.gpu_id(minor)),
            kfd,
            folder,
            power,
            hwmon,
            pci,
            render_minor,
        }
    }

    pub(crate) fn device(&self, index: u32) -> Device {
        let counter = self.metrics().is_some_and(|all| all.energy_count.is_some());
        let uuid = text(&self.folder.join("unique_id")).filter(|id| !id.is_empty());
        Device {
            vendor: Vendor::Amd,
            name: text(&self.folder.join("product_name"))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "AMD GPU".to_owned()),
            uuid: match uuid {
                Some(id) => format!("GPU-{id}"),
                None => self.pci.clone().unwrap_or_else(|| format!("amd-{index}")),
            },
            pci: self.pci.clone(),
            minor: self.render_minor,
            index,
            parent: None,
            instance: None,
            slices: None,
            memory_total_bytes: number(&self.folder.join("mem_info_vram_total")),
            power_limit_watts: self.hwmon("power1_cap").map(micro),
            source: "amdgpu sysfs".to_owned(),
            replayed: None,
            energy: energy_source(counter, "amdgpu's accumulated energy"),
            reports_for: Vec::new(),
        }
    }

    fn hwmon(&self, file: &str) -> Option<u64> {
        number(&self.hwmon.as_ref()?.join(file))
    }

    fn metrics(&self) -> Option<metrics::Metrics> {
        metrics::parse(&bytes(&self.folder.join("gpu_metrics"))?)
    }

    /// Does it draw no power of its own, as far as its sensors say?
    pub(crate) fn is_silent(&self) -> bool {
        let watts = self.power.as_ref().and_then(|path| number(path));
        watts.unwrap_or(0) == 0
    }

    /// Who is on it.
    #[must_use]
    pub fn processes(&self) -> Option<Vec<crate::model::ProcessUse>> {
        self.kfd.processes(self.gpu_id?)
    }

    /// One reading.
    #[must_use]
    pub fn read(&self) -> Reading {
        let before = Instant::now();
        let metrics = self.metrics().unwrap_or_default();
        let percent = |file: &str| {
            let percent = number(&self.folder.join(file)).filter(|&percent| percent <= 100);
            percent.map(|percent| percent as f64 / 100.0)
        };
        let of = |path: &Option<PathBuf>| path.as_ref().and_then(|path| number(path));
        let (corrected, uncorrected) = self.errors();
        Reading {
            before,
            after: Instant::now(),
            energy_uj: metrics
                .energy_count
                .map(|count| (count as f64 * ENERGY_UNIT_UJ) as u64),
            power_watts: of(&self.power).map(micro),
            busy: percent("gpu_busy_percent"),
            memory_busy: percent("mem_busy_percent"),
            memory_used_bytes: number(&self.folder.join("mem_info_vram_used")),
            pcie_rx_bytes: None,
            pcie_tx_bytes: None,
            link_rx_bytes: metrics.link_read_bytes,
            link_tx_bytes: metrics.link_written_bytes,
            ecc_corrected: corrected,
            ecc_uncorrected: uncorrected,
            clock_limits: metrics.limits,
            temperature_c: of(&self.temperature).map(milli),
            memory_temperature_c: of(&self.memory_temperature).map(milli),
            sm_clock_mhz: self.hwmon("freq1_input").map(micro),
            memory_clock_mhz: self.hwmon("freq2_input").map(micro),
            sm_active: None,
            tensor_active: None,
            dram_active: None,
        }
    }

    /// Corrected and uncorrected errors over all blocks (RAS).
    fn errors(&self) -> (Option<u64>, Option<u64>) {
        let ras = self.folder.join("ras");
        let files = names(&ras)
            .into_iter()
            .filter(|name| name.ends_with("_err_count"));
        let (mut corrected, mut uncorrected) = (None::<u64>, None::<u64>);
        for file in files {
            let text = text(&ras.join(file)).unwrap_or_default();
            for line in text.lines() {
                let Some((kind, count)) = line.split_once(':') else {
                    continue;
                };
                let count: u64 = count.trim().parse().unwrap_or(0);
                match kind.trim() {
                    "ce" => corrected = Some(corrected.unwrap_or(0).saturating_add(count)),
                    "ue" => uncorrected = Some(uncorrected.unwrap_or(0).saturating_add(count)),
                    _ => {}
                }
            }
        }
        (corrected, uncorrected)
    }
}

/// Millionths.
pub(crate) fn micro(value: u64) -> f64 {
    value as f64 * 1e-6
}

fn milli(value: u64) -> f64 {
    value as f64 * 1e-3
}

/// What is said of energy.
pub(crate) fn energy_source(counter: bool, name: &str) -> EnergySource {
    if counter {
        EnergySource {
            method: name.to_owned(),
            refresh_ms: Some(ENERGY_REFRESH_MS),
        }
    } else {
        EnergySource {
            method: "no energy counter: power of the driver's sensor, integrated".to_owned(),
            refresh_ms: None,
        }
    }
}

/// On MI250 and MI250X the even die of a package reports the power of both, the odd one none:
/// said of both, so that nobody adds or misses it.
pub(crate) fn pair_dies(devices: &mut [Device], is_silent: impl Fn(usize) -> bool) {
    for even in (0..devices.len().saturating_sub(1)).step_by(2) {
        let odd = even + 1;
        let is_pair = [even, odd]
            .iter()
            .all(|&die| devices[die].name.contains("MI250"));
        if !is_pair || !is_silent(odd) {
            continue;
        }
        devices[even].reports_for = vec![odd];
        devices[even].energy.method += "; of the whole package, both dies";
        devices[odd].energy = EnergySource {
            method: "in the reading of the package's other die".to_owned(),
            refresh_ms: None,
        };
    }
}

/// The odd die's 0 W is no measurement.
pub(crate) fn hush_silent_die(devices: &[Device], device: usize, reading: &mut Reading) {
    let is_reported = devices
        .iter()
        .any(|other| other.reports_for.contains(&device));
    if is_reported {
        (reading.power_watts, reading.energy_uj) = (None, None);
    }
}
