//! What a site allows warm workers: the table `[oscar.warm]` of the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Options of sbatch that are ours: what makes a job findable, and what a worker is.
const OURS: [&str; 10] = [
    "array", "chdir", "comment", "error", "export", "job-name", "output", "parsable", "time",
    "wrap",
];

/// The table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmSettings {
    /// Address at which the gateway waits for its workers.
    pub listen: SocketAddr,
    /// `host:port` by which the nodes reach it; without it the address itself, or this host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// Most workers of all services together.
    #[serde(default = "default_workers")]
    pub workers: u32,
    /// Most workers of one service, whatever its `max_scale` says.
    #[serde(default = "default_workers_per_service")]
    pub workers_per_service: u32,
    /// Most calls of one service that wait for a worker.
    #[serde(default = "default_queue_calls")]
    pub queue_calls: usize,
    /// How long a worker above `min_scale` may wait for a call.
    #[serde(default = "default_idle_s")]
    pub idle_s: u64,
    /// How long a worker may wait in Slurm's queue.
    #[serde(default = "default_start_s")]
    pub start_s: u64,
    /// A worker of this age takes no more calls; the time limit of its job follows from it.
    #[serde(default = "default_lifetime_s")]
    pub lifetime_s: u64,
    /// A worker that had so many calls takes no more.
    #[serde(default = "default_calls_per_worker")]
    pub calls_per_worker: u64,
    /// How long a worker looks for a gateway that it lost before it ends.
    #[serde(default = "default_reconnect_s")]
    pub reconnect_s: u64,
    /// Folder of the nodes for the files of calls, better a local one.
    #[serde(default = "default_scratch_dir")]
    pub scratch_dir: PathBuf,
    /// Further options of sbatch for every worker: `partition`, `qos`, `account`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

fn default_workers() -> u32 {
    32
}

fn default_workers_per_service() -> u32 {
    8
}

fn default_queue_calls() -> usize {
    100
}

fn default_idle_s() -> u64 {
    300
}

fn default_start_s() -> u64 {
    300
}

fn default_lifetime_s() -> u64 {
    3600
}

fn default_calls_per_worker() -> u64 {
    10_000
}

fn default_reconnect_s() -> u64 {
    10
}

fn default_scratch_dir() -> PathBuf {
    PathBuf::from("/tmp")
}

impl WarmSettings {
    /// Checks the table by itself.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("workers", u64::from(self.workers)),
            ("workers_per_service", u64::from(self.workers_per_service)),
            ("idle_s", self.idle_s),
            ("start_s", self.start_s),
            ("lifetime_s", self.lifetime_s),
            ("calls_per_worker", self.calls_per_worker),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("has warm.{key} = 0; it must be at least 1"));
        }
        let scratch = self.scratch_dir.to_str().unwrap_or_default();
        if !scratch.starts_with('/') || scratch.contains([':', ',']) {
            return Err(
                "has a warm.scratch_dir that is no absolute path without `:` and `,`".to_owned(),
            );
        }
        if let Some(connect) = &self.connect {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
            let port = connect
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || !connect.bytes().all(plain) {
                return Err("has a warm.connect that is not host:port".to_owned());
            }
        }
        for (name, value) in &self.options {
            let plain = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if name.is_empty() || name.starts_with('-') || !plain {
                return Err(format!(
                    "has the warm option `{}`, which is no long option of sbatch",
                    name.escape_debug()
                ));
            }
            if OURS.contains(&name.as_str()) {
                return Err(format!(
                    "has the warm option `{name}`, which the gateway sets itself"
                ));
            }
            if value.chars().any(char::is_control) {
                return Err(format!(
                    "has the warm option `{name}` with a control character"
                ));
            }
        }
        Ok(())
    }

    /// Where workers connect.
    #[must_use]
    pub fn address(&self) -> String {
        if let Some(given) = &self.connect {
            return given.clone();
        }
        if !self.listen.ip().is_unspecified() {
            return self.listen.to_string();
        }
        let host = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok());
        format!(
            "{}:{}",
            host.unwrap_or_else(|| "localhost".to_owned()),
            self.listen.port()
        )
    }

    /// The time limit of a worker's job, in minutes: its life, its last call, and some time to end.
    #[must_use]
    pub fn time_minutes(&self, run_ms: u64) -> u64 {
        (self.lifetime_s + run_ms / 1000).div_ceil(60) + 2
    }

    /// How long a worker looks for a gateway that it lost.
    #[must_use]
    pub fn reconnect(&self) -> Duration {
        Duration::from_secs(self.reconnect_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<WarmSettings, String> {
        let text = format!("listen = \"127.0.0.1:8743\"\n{more}");
        let found: WarmSettings = toml::from_str(&text).map_err(|error| error.to_string())?;
        found.check().map(|()| found)
    }

    #[test]
    fn what_is_odd_is_refused() {
        assert!(read("options = { partition = \"warm\" }\nconnect = \"gw.site:8743\"").is_ok());
        for odd in [
            "workers = 0",
            "scratch_dir = \"tmp\"",
            "scratch_dir = \"/a:b\"",
            "connect = \"gw\"",
            "connect = \"gw;id:1\"",
            "options = { comment = \"x\" }",
            "options = { \"-x\" = \"1\" }",
            "options = { partition = \"a\\nb\" }",
            "surprise = 1",
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_job_outlives_the_last_call_of_its_worker() {
        let found = read("lifetime_s = 3600").unwrap();
        assert_eq!(found.time_minutes(60_000), 63);
        assert_eq!(found.address(), "127.0.0.1:8743");
    }
}
