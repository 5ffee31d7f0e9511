//! The configuration: one TOML file, then environment, then flags, checked before anything
//! starts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mizar_node::Roots;
use serde::{Deserialize, Serialize};

/// Where the file is looked for when none is named; it may be absent.
pub(crate) const DEFAULT_FILE: &str = "/etc/mizar/mizard.toml";

/// The fastest and slowest sampling that is allowed.
pub(crate) const SAMPLE_MS_RANGE: std::ops::RangeInclusive<u32> = 10..=60_000;

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration {path} is not valid")]
    Parse {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{key}` is {found}; expected {expected}")]
    Value {
        key: &'static str,
        found: String,
        expected: String,
    },
}

/// The names under which metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MetricsNames {
    /// Ours: `mizar_…`.
    Mizar,
    /// omnistat's, for its dashboards.
    Omnistat,
}

/// Everything a site can say, effective and checked. Keys of the file have the same names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Slurm's name of this node; empty: `SLURMD_NODENAME`, else the host's short name.
    pub(crate) node: String,
    /// The socket; `%n` is the node.
    pub(crate) socket: PathBuf,
    /// Where job records go, shared by all nodes; `%n` is the node.
    pub(crate) record_dir: PathBuf,
    /// What survives a restart, on this node; `%n` is the node.
    pub(crate) state_dir: PathBuf,
    /// Address of the Prometheus endpoint; empty: none.
    pub(crate) metrics_listen: String,
    /// Under whose names; several serve each figure once for each.
    pub(crate) metrics_names: Vec<MetricsNames>,
    /// Between samples, unless a job asks otherwise.
    pub(crate) sample_ms: u32,
    /// Between writes of samples to the record.
    pub(crate) flush_ms: u32,
    /// Users who may register jobs and see all of them, besides root and the daemon's own.
    pub(crate) admin_uids: Vec<u32>,
    /// Where /proc is.
    pub(crate) proc_root: PathBuf,
    /// Where /sys is.
    pub(crate) sys_root: PathBuf,
    /// Look for GPUs when a job comes that may have some.
    pub(crate) gpu: bool,
    /// NVIDIA's library; empty: `libnvidia-ml.so.1` where the system keeps it.
    pub(crate) nvml_library: PathBuf,
    /// AMD's library; empty: `librocm_smi64.so` where the system keeps it.
    pub(crate) rocm_smi_library: PathBuf,
    /// AMD's newer one, where the other is not; empty: `libamd_smi.so`.
    pub(crate) amd_smi_library: PathBuf,
    /// A GPU whose driver does not answer for this long is left alone until it does.
    pub(crate) gpu_deadline_ms: u32,
    /// Take digests of the files that jobs report, after the job.
    pub(crate) digest: bool,
    /// Larger files get none.
    pub(crate) digest_max_bytes: u64,
    /// All digests of a job on this node end by then.
    pub(crate) digest_timeout_s: u32,
    /// A job without any process for this long has ended, even if no epilog said so.
    pub(crate) job_idle_end_s: u32,
    /// Ranks that wait for each other for so long, and in different places, hang.
    pub(crate) hang_s: u32,
    /// Jobs watched at once.
    pub(crate) max_jobs: usize,
    /// Tasks watched at once, all jobs.
    pub(crate) max_tasks: usize,
    /// Connections served at once.
    pub(crate) max_connections: usize,
    /// Connections served at once of one ordinary user.
    pub(crate) max_user_connections: usize,
    /// Requests a second of one ordinary user.
    pub(crate) max_user_requests_per_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: String::new(),
            socket: PathBuf::from(mizar_api::DEFAULT_SOCKET),
            record_dir: PathBuf::from("/var/lib/mizar/records"),
            state_dir: PathBuf::from("/var/lib/mizar/state"),
            metrics_listen: "127.0.0.1:9741".to_owned(),
            metrics_names: vec![MetricsNames::Mizar],
            sample_ms: 1000,
            flush_ms: 4000,
            admin_uids: Vec::new(),
            proc_root: PathBuf::from("/proc"),
            sys_root: PathBuf::from("/sys"),
            gpu: true,
            nvml_library: PathBuf::new(),
            rocm_smi_library: PathBuf::new(),
            amd_smi_library: PathBuf::new(),
            gpu_deadline_ms: 2000,
            digest: true,
            digest_max_bytes: 64 << 30,
            digest_timeout_s: 600,
            job_idle_end_s: 600,
            hang_s: 60,
            max_jobs: 512,
            max_tasks: 8192,
            max_connections: 256,
            max_user_connections: 16,
            max_user_requests_per_s: 500,
        }
    }
}

/// What flags and environment say over the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Slurm's name of this node
    #[arg(long, env = "MIZARD_NODE")]
    node: Option<String>,
    /// Unix socket to listen at; %n is the node
    #[arg(long, env = "MIZARD_SOCKET")]
    socket: Option<PathBuf>,
    /// Folder of the job records, shared by all nodes
    #[arg(long, env = "MIZARD_RECORD_DIR")]
    record_dir: Option<PathBuf>,
    /// Folder of what survives a restart, on this node
    #[arg(long, env = "MIZARD_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Address of the Prometheus endpoint; empty for none
    #[arg(long, env = "MIZARD_METRICS_LISTEN")]
    metrics_listen: Option<String>,
    /// Milliseconds between samples
    #[arg(long, env = "MIZARD_SAMPLE_MS")]
    sample_ms: Option<u32>,
    /// NVIDIA's library, where it is not libnvidia-ml.so.1 of the system
    #[arg(long, env = "MIZARD_NVML_LIBRARY")]
    nvml_library: Option<PathBuf>,
    /// AMD's library, where it is not librocm_smi64.so of the system
    #[arg(long, env = "MIZARD_ROCM_SMI_LIBRARY")]
    rocm_smi_library: Option<PathBuf>,
}

impl Config {
    /// Reads the file (the default one may be absent), applies what overrides it, checks all.
    pub(crate) fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let mut config = match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Self::default()
            }
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        config.apply(overrides);
        config.resolve();
        config.check()?;
        Ok(config)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    fn apply(&mut self, overrides: Overrides) {
        let Overrides {
            node,
            socket,
            record_dir,
            state_dir,
            metrics_listen,
            sample_ms,
            nvml_library,
            rocm_smi_library,
        } = overrides;
        replace(&mut self.node, node);
        replace(&mut self.socket, socket);
        replace(&mut self.record_dir, record_dir);
        replace(&mut self.state_dir, state_dir);
        replace(&mut self.metrics_listen, metrics_listen);
        replace(&mut self.sample_ms, sample_ms);
        replace(&mut self.nvml_library, nvml_library);
        replace(&mut self.rocm_smi_library, rocm_smi_library);
    }

    /// Finds the node's name and puts it where `%n` stands.
    fn resolve(&mut self) {
        if self.node.is_empty() {
            self.node = std::env::var("SLURMD_NODENAME").unwrap_or_else(|_| short_host_name());
        }
        for path in [&mut self.socket, &mut self.record_dir, &mut self.state_dir] {
            if let Some(text) = path.to_str().filter(|text| text.contains("%n")) {
                *path = PathBuf::from(text.replace("%n", &self.node));
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, found: String, expected: &str| {
            Err(ConfigError::Value {
                key,
                found,
                expected: expected.to_owned(),
            })
        };
        if !mizar_record::folder::is_node_name(&self.node) {
            return wrong(
                "node",
                format!("`{}`", self.node),
                "a node's name, as Slurm has it",
            );
        }
        for (key, path) in [
            ("socket", &self.socket),
            ("record_dir", &self.record_dir),
            ("state_dir", &self.state_dir),
            ("proc_root", &self.proc_root),
            ("sys_root", &self.sys_root),
        ] {
            if !path.is_absolute() {
                return wrong(key, path.display().to_string(), "an absolute path");
            }
        }
        for (key, path) in [
            ("nvml_library", &self.nvml_library),
            ("rocm_smi_library", &self.rocm_smi_library),
            ("amd_smi_library", &self.amd_smi_library),
        ] {
            if !path.as_os_str().is_empty() && !path.is_absolute() {
                let expected = "an absolute path, or nothing";
                return wrong(key, path.display().to_string(), expected);
            }
        }
        if !(100..=60_000).contains(&self.gpu_deadline_ms) {
            let found = self.gpu_deadline_ms.to_string();
            return wrong("gpu_deadline_ms", found, "100 to 60000");
        }
        if !SAMPLE_MS_RANGE.contains(&self.sample_ms) {
            let expected = format!("{} to {}", SAMPLE_MS_RANGE.start(), SAMPLE_MS_RANGE.end());
            return wrong("sample_ms", self.sample_ms.to_string(), &expected);
        }
        if !(100..=600_000).contains(&self.flush_ms) {
            return wrong("flush_ms", self.flush_ms.to_string(), "100 to 600000");
        }
        if self.metrics_address().is_none() && !self.metrics_listen.is_empty() {
            let expected = "an address such as 127.0.0.1:9741, or nothing";
            return wrong(
                "metrics_listen",
                format!("`{}`", self.metrics_listen),
                expected,
            );
        }
        if self.metrics_names.is_empty() {
            let expected = "\"mizar\", \"omnistat\" or both";
            return wrong("metrics_names", "nothing".to_owned(), expected);
        }
        for (key, limit) in [
            ("hang_s", self.hang_s as usize),
            ("max_jobs", self.max_jobs),
            ("max_tasks", self.max_tasks),
            ("max_connections", self.max_connections),
            ("max_user_connections", self.max_user_connections),
            (
                "max_user_requests_per_s",
                self.max_user_requests_per_s as usize,
            ),
        ] {
            if limit == 0 {
                return wrong(key, "0".to_owned(), "at least 1");
            }
        }
        Ok(())
    }

    /// Where metrics are served, if they are.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_listen.parse().ok()
    }

    /// Where the vendors' libraries for GPUs are.
    pub(crate) fn libraries(&self) -> mizar_gpu::Libraries {
        let named = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        mizar_gpu::Libraries {
            nvml: named(&self.nvml_library),
            rocm_smi: named(&self.rocm_smi_library),
            amd_smi: named(&self.amd_smi_library),
            sys: self.sys_root.clone(),
        }
    }

    /// Where the kernel's trees are.
    pub(crate) fn roots(&self) -> Roots {
        Roots {
            proc: self.proc_root.clone(),
            sys: self.sys_root.clone(),
        }
    }

    /// The configuration as a file that says the same.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("all values have a place in TOML")
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn short_host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.unwrap_or_default()
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::parse(text, Path::new("x.toml"))?;
        config.resolve();
        config.check()?;
        Ok(config)
    }

    #[test]
    fn the_shipped_example_is_valid_and_says_the_defaults() {
        let shipped = load(include_str!("../mizard.example.toml")).unwrap();
        let defaults = load("").unwrap();
        assert_eq!(shipped, defaults);
    }

    #[test]
    fn what_is_printed_says_the_same() {
        let config = load("node = \"n7\"\nsocket = \"/run/%n/s\"\nadmin_uids = [7]").unwrap();
        assert_eq!(config.socket, Path::new("/run/n7/s"));
        assert_eq!(load(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, key) in [
            ("smaple_ms = 5", "smaple_ms"),
            ("sample_ms = 5", "sample_ms"),
            ("flush_ms = 1", "flush_ms"),
            ("node = \"../x\"", "node"),
            ("socket = \"mizard.sock\"", "socket"),
            ("metrics_listen = \"here\"", "metrics_listen"),
            ("metrics_names = []", "metrics_names"),
            ("metrics_names = [\"other\"]", "metrics_names"),
            ("max_jobs = 0", "max_jobs"),
            ("nvml_library = \"libnvidia-ml.so.1\"", "nvml_library"),
            ("gpu_deadline_ms = 1", "gpu_deadline_ms"),
        ] {
            let error = load(text).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let chain = format!("{error} {}", source.unwrap_or_default());
            assert!(chain.contains(key), "{chain}");
        }
    }
}
