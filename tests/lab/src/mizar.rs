//! `mizard` on every node of a lab, and its configuration.

use crate::process::wait_until;
use crate::{Lab, LabError, binaries};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Until a mizard's socket answers.
const START: Duration = Duration::from_secs(20);

/// Settings of the mizards of a lab.
#[derive(Debug, Clone, Default)]
pub struct MizarOptions {
    keys: BTreeMap<String, String>,
}

impl MizarOptions {
    /// Sets a key of every node's configuration to a TOML value, such as `sample_ms` to
    /// `"200"` or `metrics_listen` to `"\"127.0.0.1:9741\""`. `%n` is the node's name.
    #[must_use]
    pub fn key(mut self, name: &str, toml_value: &str) -> Self {
        self.keys.insert(name.to_owned(), toml_value.to_owned());
        self
    }
}

impl Lab {
    /// Returns the directory of the job records.
    #[must_use]
    pub fn record_dir(&self) -> PathBuf {
        self.dir().join("records")
    }

    /// Returns the socket of a node's `mizard`.
    #[must_use]
    pub fn mizard_socket(&self, node: &str) -> PathBuf {
        self.node_dir(node).join("mizard.sock")
    }

    /// Returns the configuration file of a node's `mizard`.
    #[must_use]
    pub fn mizard_config(&self, node: &str) -> PathBuf {
        self.dir().join(format!("etc/mizard.{node}.toml"))
    }

    /// Starts (again) the `mizard` of a node and waits until its socket answers.
    ///
    /// # Errors
    /// [`LabError::NotBuilt`], or why it does not start or answer.
    pub fn start_mizard(&mut self, node: &str) -> Result<(), LabError> {
        binaries::require_built()?;
        self.write_mizard_config(node)?;
        let mut command = self.command(binaries::binary("mizard"));
        command.current_dir(self.dir());
        command.arg("--config").arg(self.mizard_config(node));
        let mizard = self.spawn_on_node(node, command)?;
        self.keep_mizard(node, mizard);
        let socket = self.mizard_socket(node);
        let mizard = self.mizard(node)?;
        wait_until("mizard", START, || match mizard.ended() {
            Some(status) => Err(LabError::DaemonEnded {
                daemon: "mizard".into(),
                status: status.to_string(),
                log_tail: crate::process::tail(&mizard.log()),
                log: mizard.log(),
            }),
            None => Ok(UnixStream::connect(&socket).is_ok()),
        })
    }

    pub(crate) fn start_mizards(&mut self) -> Result<(), LabError> {
        if self.plan().builder.mizar.is_none() {
            return Ok(());
        }
        self.node_names()
            .iter()
            .try_for_each(|node| self.start_mizard(node))
    }

    fn write_mizard_config(&self, node: &str) -> Result<(), LabError> {
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let state_dir = self.dir().join("mizar").join(node);
        for dir in [&state_dir, &self.record_dir()] {
            std::fs::create_dir_all(dir).map_err(LabError::file("create", dir))?;
        }
        let mut keys = BTreeMap::from([
            ("node".to_owned(), format!("{node:?}")),
            ("socket".to_owned(), quoted(self.mizard_socket(node))),
            ("record_dir".to_owned(), quoted(self.record_dir())),
            ("state_dir".to_owned(), quoted(state_dir)),
            ("metrics_listen".to_owned(), "\"\"".to_owned()),
        ]);
        if let Some(options) = &self.plan().builder.mizar {
            keys.extend(
                options
                    .keys
                    .iter()
                    .map(|(key, value)| (key.clone(), value.replace("%n", node))),
            );
        }
        let text: String = keys
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let path = self.mizard_config(node);
        std::fs::write(&path, text).map_err(LabError::file("write", path))
    }
}
