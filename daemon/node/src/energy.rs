//! The energy of the node, from whatever measures it: Cray counters, the module sensors of
//! Grace Hopper, an ACPI power meter, or RAPL; in this order, because each earlier one sees
//! more of the node.
//!
//! A meter counts from its own first reading. Where only power is measured it is integrated
//! over the intervals as they were, by the trapezoidal rule.

use std::path::{Path, PathBuf};

use crate::Roots;
use crate::text::{number, read_into, read_number, words};

/// Tries to read one consistent set of Cray counters.
const FRESHNESS_TRIES: u32 = 3;

/// A gap between two power readings that is not integrated over.
const MAX_INTEGRATED_GAP_NS: i64 = 120_000_000_000;

/// How often counters are brought up to date: Cray's ten times a second, RAPL's a thousand times.
const CRAY_REFRESH_MS: u32 = 100;
const RAPL_REFRESH_MS: u32 = 1;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Energy {
    /// Since the meter's first reading; NaN if nothing measures it.
    pub joules: f64,
    /// Over the last interval, or now; NaN likewise.
    pub watts: f64,
}

/// What measures, and what it has measured so far.
#[derive(Debug)]
pub struct EnergyMeter {
    source: Source,
    joules: f64,
    last: Option<Last>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    monotonic_ns: i64,
    watts: f64,
}

#[derive(Debug)]
enum Source {
    None {
        why: &'static str,
    },
    Cray {
        folder: PathBuf,
        last_joules: Option<u64>,
    },
    Power {
        sensors: Vec<Sensor>,
        method: String,
    },
    Rapl {
        domains: Vec<Domain>,
    },
}

#[derive(Debug)]
struct Sensor {
    path: PathBuf,
    last_microwatts: Option<u64>,
}

#[derive(Debug)]
struct Domain {
    name: String,
    path: PathBuf,
    range_uj: u64,
    last_uj: Option<u64>,
}

impl EnergyMeter {
    /// Finds what measures this node.
    #[must_use]
    pub fn discover(roots: &Roots) -> Self {
        let mut buffer = Vec::new();
        let source = discover_cray(roots, &mut buffer)
            .or_else(|| discover_hwmon(roots, &mut buffer))
            .unwrap_or_else(|| discover_rapl(roots, &mut buffer));
        Self {
            source,
            joules: 0.0,
            last: None,
            buffer,
        }
    }

    /// How the figures are obtained, for people; begins with "none" if they are not.
    #[must_use]
    pub fn method(&self) -> String {
        match &self.source {
            Source::None { why: "" } => "none".to_owned(),
            Source::None { why } => format!("none: {why}"),
            Source::Cray { .. } => "Cray pm_counters, node energy counter".to_owned(),
            Source::Power { method, .. } => method.clone(),
            Source::Rapl { domains } => {
                let names: Vec<&str> = domains.iter().map(|domain| domain.name.as_str()).collect();
                format!("RAPL counters ({}), CPUs and memory only", names.join(", "))
            }
        }
    }

    /// How long its counter lags at most; `None` where power is integrated, or nothing measures.
    #[must_use]
    pub fn refresh_ms(&self) -> Option<u32> {
        match self.source {
            Source::Cray { .. } => Some(CRAY_REFRESH_MS),
            Source::Rapl { .. } => Some(RAPL_REFRESH_MS),
            Source::None { .. } | Source::Power { .. } => None,
        }
    }

    /// Reads the meter at a time of the monotonic clock.
    pub fn read(&mut self, monotonic_ns: i64) -> Energy {
        let elapsed_ns = self.last.map(|last| monotonic_ns - last.monotonic_ns);
        let Some(step) = self.source.step(elapsed_ns, self.last, &mut self.buffer) else {
            return Energy {
                joules: f64::NAN,
                watts: f64::NAN,
            };
        };
        self.joules += step.joules;
        self.last = Some(Last {
            monotonic_ns,
            watts: step.watts,
        });
        Energy {
            joules: self.joules,
            watts: step.watts,
        }
    }
}

/// Energy since the last reading, and power.
struct Step {
    joules: f64,
    watts: f64,
}

impl Step {
    /// From a counter's increase over an interval; power is unknown at the first.
    fn from_increase(joules: f64, elapsed_ns: Option<i64>) -> Self {
        let watts = match elapsed_ns {
            Some(elapsed_ns) if elapsed_ns > 0 => joules / (elapsed_ns as f64 * 1e-9),
            _ => f64::NAN,
        };
        Self { joules, watts }
    }
}

impl Source {
    fn step(
        &mut self,
        elapsed_ns: Option<i64>,
        last: Option<Last>,
        buffer: &mut Vec<u8>,
    ) -> Option<Step> {
        match self {
            Self::None { .. } => None,
            Self::Cray {
                folder,
                last_joules,
            } => {
                let (joules, watts) = read_cray(folder, buffer)?;
                // The counter restarts with the blade controller.
                let increase = joules.saturating_sub(last_joules.unwrap_or(joules));
                *last_joules = Some(joules);
                Some(Step {
                    joules: increase as f64,
                    watts: watts as f64,
                })
            }
            Self::Power { sensors, .. } => {
                let mut watts = 0.0;
                for sensor in sensors {
                    watts += sensor.read(buffer)? as f64 * 1e-6;
                }
                let joules = match (elapsed_ns, last) {
                    (Some(elapsed_ns), Some(last)) if elapsed_ns < MAX_INTEGRATED_GAP_NS => {
                        0.5 * (watts + last.watts) * elapsed_ns as f64 * 1e-9
                    }
                    _ => 0.0,
                };
                Some(Step { joules, watts })
            }
            Self::Rapl { domains } => {
                let mut microjoules = 0;
                for domain in domains {
                    microjoules += domain.increase(buffer)?;
                }
                Some(Step::from_increase(microjoules as f64 * 1e-6, elapsed_ns))
            }
        }
    }
}

impl Sensor {
    /// Microwatts now. Grace Hopper's sensors read 0 at times: the last value stands then.
    fn read(&mut self, buffer: &mut Vec<u8>) -> Option<u64> {
        match read_number(&self.path, buffer) {
            Some(value) if value > 0 => {
                self.last_microwatts = Some(value);
                Some(value)
            }
            Some(_) => self.last_microwatts,
            None => None,
        }
    }
}

impl Domain {
    /// Microjoules since the last reading; the counter wraps at `range_uj`.
    fn increase(&mut self, buffer: &mut Vec<u8>) -> Option<u64> {
        let now = read_number(&self.path, buffer)?;
        let increase = match self.last_uj.replace(now) {
            None => 0,
            Some(last) if now >= last => now - last,
            Some(last) => (self.range_uj + 1).saturating_sub(last).saturating_add(now),
        };
        Some(increase)
    }
}

fn discover_cray(roots: &Roots, buffer: &mut Vec<u8>) -> Option<Source> {
    let folder = roots.sys.join("cray/pm_counters");
    read_cray(&folder, buffer)?;
    Some(Source::Cray {
        folder,
        last_joules: None,
    })
}

/// Node energy in joules and power in watts of one scan: `freshness` counts scans and must be
/// the same before and after.
fn read_cray(folder: &Path, buffer: &mut Vec<u8>) -> Option<(u64, u64)> {
    let mut first = |name: &str| {
        let text = read_into(&folder.join(name), buffer)?;
        words(text).next().and_then(number)
    };
    for _ in 0..FRESHNESS_TRIES {
        let before = first("freshness")?;
        let values = (first("energy")?, first("power")?);
        if first("freshness")? == before {
            return Some(values);
        }
    }
    None
}

fn discover_hwmon(roots: &Roots, buffer: &mut Vec<u8>) -> Option<Source> {
    let mut modules = Vec::new();
    let mut meters = Vec::new();
    for entry in std::fs::read_dir(roots.sys.join("class/hwmon"))
        .ok()?
        .flatten()
    {
        let place = entry.path();
        let device = place.join("device");
        let name = read_into(&device.join("power1_oem_info"), buffer);
        if name.is_some_and(|name| name.starts_with(b"Module Power Socket")) {
            modules.push(device.join("power1_average"));
        }
        let name = read_into(&place.join("name"), buffer);
        if name.is_some_and(|name| name.trim_ascii() == b"power_meter") {
            meters.extend(
                [place.join("power1_average"), device.join("power1_average")]
                    .into_iter()
                    .find(|path| path.exists()),
            );
        }
    }
    modules.sort();
    let method = format!(
        "module power sensors of {} sockets (CPU and GPU together), integrated",
        modules.len()
    );
    if let Some(source) = power_source(modules, method, buffer) {
        return Some(source);
    }
    meters.sort();
    power_source(
        meters,
        "ACPI power meter of the node, integrated".to_owned(),
        buffer,
    )
}

fn power_source(paths: Vec<PathBuf>, method: String, buffer: &mut Vec<u8>) -> Option<Source> {
    let readable = |path: &PathBuf, buffer: &mut Vec<u8>| read_number(path, buffer).is_some();
    if paths.is_empty() || !paths.iter().all(|path| readable(path, buffer)) {
        return None;
    }
    let sensors = paths
        .into_iter()
        .map(|path| Sensor {
            path,
            last_microwatts: None,
        })
        .collect();
    Some(Source::Power { sensors, method })
}

/// Packages and their memory; cores are within packages and `psys` overlaps them.
fn discover_rapl(roots: &Roots, buffer: &mut Vec<u8>) -> Source {
    let mut domains = Vec::new();
    let mut denied = false;
    let entries = std::fs::read_dir(roots.sys.join("class/powercap"));
    for entry in entries.into_iter().flatten().flatten() {
        let folder = entry.path();
        // intel-rapl-mmio shows the same packages a second time.
        let is_rapl = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"intel-rapl:");
        let Some(name) = read_into(&folder.join("name"), buffer)
            .and_then(|name| String::from_utf8(name.trim_ascii().to_vec()).ok())
        else {
            continue;
        };
        if !is_rapl || !(name.starts_with("package-") || name == "dram") {
            continue;
        }
        let path = folder.join("energy_uj");
        let range_uj = read_number(&folder.join("max_energy_range_uj"), buffer);
        match (read_number(&path, buffer), range_uj) {
            (Some(_), Some(range_uj)) => domains.push(Domain {
                name,
                path,
                range_uj,
                last_uj: None,
            }),
            _ => denied = true,
        }
    }
    domains.sort_by(|a, b| a.path.cmp(&b.path));
    if domains.is_empty() {
        let why = if denied {
            "RAPL counters are not readable (only root may)"
        } else {
            ""
        };
        return Source::None { why };
    }
    Source::Rapl { domains }
}
