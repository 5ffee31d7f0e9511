//! The script's form (TOML), and its values at a time.

use std::path::PathBuf;

use serde::Deserialize;

/// A step function: pairs of a second and the value from then on. Without any, the figure is
/// not supported.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Curve(pub Vec<(f64, f64)>);

impl Curve {
    /// The value at a second.
    #[must_use]
    pub fn at(&self, second: f64) -> Option<f64> {
        let reached = self.0.iter().rev().find(|(from_s, _)| *from_s <= second);
        Some(reached.or(self.0.first())?.1)
    }

    /// The exact integral from 0 to a second.
    #[must_use]
    pub fn integral(&self, second: f64) -> f64 {
        let ends = self.0.iter().skip(1).map(|(from_s, _)| *from_s);
        let ends = ends.chain([f64::INFINITY]);
        let pieces = self.0.iter().zip(ends).enumerate();
        pieces
            .map(|(index, ((from_s, value), to_s))| {
                let from_s = if index == 0 { 0.0 } else { *from_s };
                value * (to_s.min(second) - from_s).max(0.0)
            })
            .sum()
    }
}

/// A whole script.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// What is replayed, for people.
    pub label: String,
    /// The driver's version.
    pub driver: String,
    /// The library's version.
    pub library: String,
    /// When second 0 is; else when the library is opened.
    pub start_unix_s: Option<f64>,
    /// A file that gets a line for each call on a device.
    pub journal: Option<PathBuf>,
    /// The GPUs.
    pub gpu: Vec<Gpu>,
    /// Calls that fail.
    pub fail: Vec<Failure>,
}

/// A call that fails.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Its name.
    pub call: String,
    /// Which one fails, from 1.
    pub nth: u64,
    /// How many fail from there on.
    #[serde(default = "one")]
    pub count: u64,
    /// The library's error number.
    pub code: u32,
}

fn one() -> u64 {
    1
}

impl Failure {
    pub(crate) fn meets(&self, name: &str, number: u64) -> bool {
        self.call == name && (self.nth..self.nth.saturating_add(self.count)).contains(&number)
    }
}

/// A GPU.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// Its model.
    pub name: String,
    /// What is unique.
    pub uuid: String,
    /// Its PCI address, as NVML writes it.
    pub pci: String,
    /// The number of its device node.
    pub minor: u32,
    /// Calls that it does not support, by name.
    pub unsupported: Vec<String>,
    /// Memory.
    pub memory_total_mib: u64,
    /// Memory that the driver keeps.
    pub memory_reserved_mib: u64,
    /// Power limit.
    pub power_limit_w: f64,
    /// Power.
    pub power_w: Curve,
    /// Share of time in which a kernel ran.
    pub busy: Curve,
    /// Share of time in which memory moved.
    pub memory_busy: Curve,
    /// Share of the multiprocessors at work (GPM); without it GPM is not supported.
    pub sm_active: Curve,
    /// Likewise the tensor cores.
    pub tensor_active: Curve,
    /// Likewise the memory interface.
    pub dram_active: Curve,
    /// Memory in use.
    pub memory_used_mib: Curve,
    /// Of the chip.
    pub temperature_c: Curve,
    /// Of the memory.
    pub memory_temperature_c: Curve,
    /// Compute clock.
    pub sm_clock_mhz: Curve,
    /// Memory clock.
    pub memory_clock_mhz: Curve,
    /// NVML's bits of clock event reasons.
    pub limits: Curve,
    /// Corrected errors so far.
    pub ecc_corrected: Curve,
    /// Uncorrected errors so far.
    pub ecc_uncorrected: Curve,
    /// Bytes a second received over PCIe; as much is sent.
    pub pcie_bytes_s: Curve,
    /// Bytes a second received over NVLink or xGMI; as much is sent.
    pub link_bytes_s: Curve,
    /// The energy counter; without one it is not supported.
    pub counter: Option<Counter>,
    /// Spans in which it is gone.
    pub vanish: Vec<(f64, f64)>,
    /// Spans in which calls do not return until the end of the span.
    pub hang: Vec<(f64, f64)>,
    /// XID errors: when, which.
    pub xid: Vec<(f64, u64)>,
    /// Who uses it.
    pub process: Vec<Process>,
    /// Its MIG instances; MIG is on if there are any.
    pub mig: Vec<Instance>,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            name: "Scripted GPU".to_owned(),
            uuid: String::new(),
            pci: String::new(),
            minor: 0,
            unsupported: Vec::new(),
            memory_total_mib: 81_559,
            memory_reserved_mib: 0,
            power_limit_w: 700.0,
            power_w: Curve::default(),
            busy: Curve::default(),
            memory_busy: Curve::default(),
            sm_active: Curve::default(),
            tensor_active: Curve::default(),
            dram_active: Curve::default(),
            memory_used_mib: Curve::default(),
            temperature_c: Curve::default(),
            memory_temperature_c: Curve::default(),
            sm_clock_mhz: Curve::default(),
            memory_clock_mhz: Curve::default(),
            limits: Curve::default(),
            ecc_corrected: Curve::default(),
            ecc_uncorrected: Curve::default(),
            pcie_bytes_s: Curve::default(),
            link_bytes_s: Curve::default(),
            counter: None,
            vanish: Vec::new(),
            hang: Vec::new(),
            xid: Vec::new(),
            process: Vec::new(),
            mig: Vec::new(),
        }
    }
}

/// An energy counter.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counter {
    /// What it shows at second 0, microjoules.
    pub start_uj: u64,
    /// Between refreshes.
    pub refresh_ms: f64,
    /// It begins again at 0 after so many bits of its unit.
    pub bits: Option<u32>,
    /// Spans in which it stands still; what flows then it never tells.
    pub frozen: Vec<(f64, f64)>,
    /// Falls: when, by how many microjoules.
    pub backwards: Vec<(f64, f64)>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            start_uj: 0,
            refresh_ms: 100.0,
            bits: None,
            frozen: Vec::new(),
            backwards: Vec::new(),
        }
    }
}

/// A process on a GPU.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Its memory.
    pub memory_mib: u64,
    /// Its share of the multiprocessors.
    pub busy: f64,
    /// From then on it is there.
    pub from_s: f64,
    /// Until then.
    pub to_s: f64,
    /// The GPU instance that it runs on.
    pub instance: Option<u32>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            pid: 0,
            memory_mib: 0,
            busy: 0.0,
            from_s: 0.0,
            to_s: f64::INFINITY,
            instance: None,
        }
    }
}

/// A MIG instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instance {
    /// `MIG-…`.
    pub uuid: String,
    /// The GPU instance.
    pub instance: u32,
    /// Its compute slices.
    pub slices: u32,
    /// Its memory.
    pub memory_total_mib: u64,
    /// Its memory in use.
    pub memory_used_mib: Curve,
    /// Its share of multiprocessors at work (GPM).
    pub sm_active: Curve,
}

impl Gpu {
    /// The energy that has flowed until a second, joules: the truth.
    #[must_use]
    pub fn joules(&self, second: f64) -> f64 {
        self.power_w.integral(second)
    }

    /// What the counter shows, in units of so many microjoules; `None` without a counter.
    #[must_use]
    pub fn counter(&self, second: f64, unit_uj: f64) -> Option<u64> {
        let counter = self.counter.as_ref()?;
        let refresh_s = counter.refresh_ms * 1e-3;
        let shown_s = if refresh_s > 0.0 {
            (second / refresh_s).floor() * refresh_s
        } else {
            second
        };
        let lost = |(from_s, to_s): &(f64, f64)| {
            (self.joules(to_s.min(shown_s)) - self.joules(*from_s)).max(0.0) * 1e6
        };
        let lost_uj: f64 = counter.frozen.iter().map(lost).sum();
        let falls = counter
            .backwards
            .iter()
            .filter(|(at_s, _)| *at_s <= shown_s);
        let fallen_uj: f64 = falls.map(|(_, by_uj)| by_uj).sum();
        let shown_uj =
            counter.start_uj as f64 + self.joules(shown_s.max(0.0)) * 1e6 - lost_uj - fallen_uj;
        let count = (shown_uj.max(0.0) / unit_uj).floor() as u64;
        Some(match counter.bits {
            Some(bits) if bits < 64 => count % (1 << bits),
            _ => count,
        })
    }

    /// Who is there at a second.
    pub fn processes(&self, second: f64) -> impl Iterator<Item = &Process> {
        self.process
            .iter()
            .filter(move |process| (process.from_s..process.to_s).contains(&second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_of_steps_are_exact() {
        let curve = Curve(vec![(0.0, 100.0), (2.0, 300.0), (3.0, 0.0)]);
        for (second, value, integral) in
            [(1.0, 100.0, 100.0), (2.5, 300.0, 350.0), (10.0, 0.0, 500.0)]
        {
            assert_eq!(curve.at(second), Some(value));
            assert_eq!(curve.integral(second), integral);
        }
        assert_eq!(Curve::default().at(1.0), None);
    }

    #[test]
    fn counters_stand_still_fall_and_begin_again() {
        let mut gpu = Gpu {
            power_w: Curve(vec![(0.0, 100.0)]),
            counter: Some(Counter {
                start_uj: 5_000_000,
                frozen: vec![(2.0, 4.0)],
                backwards: vec![(6.0, 50e6)],
                ..Counter::default()
            }),
            ..Gpu::default()
        };
        let shown = |gpu: &Gpu, second: f64| gpu.counter(second, 1000.0).unwrap();
        assert_eq!(shown(&gpu, 1.05), 5_000 + 100_000);
        assert_eq!(shown(&gpu, 3.0), shown(&gpu, 2.0));
        assert_eq!(shown(&gpu, 5.0), 5_000 + 300_000);
        assert_eq!(shown(&gpu, 7.0), 5_000 + 450_000);
        gpu.counter.as_mut().unwrap().bits = Some(16);
        assert_eq!(shown(&gpu, 1.05), 105_000 % 65_536);
    }

    #[test]
    fn a_script_is_read_and_typing_errors_are_refused() {
        let script: Script = toml::from_str(
            "label = \"x\"\n[[gpu]]\nuuid = \"GPU-1\"\npower_w = [[0, 100], [5, 300]]\n\
             counter = { start_uj = 1, bits = 32 }\n[[gpu.process]]\npid = 7\n",
        )
        .unwrap();
        assert_eq!(script.gpu[0].joules(6.0), 800.0);
        assert!(toml::from_str::<Script>("[[gpu]]\npowr_w = []\n").is_err());
    }
}
