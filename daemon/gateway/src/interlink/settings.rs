//! What pods may do at a site: the table `[interlink]` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::flags::{Options, merge};

/// Longest path of a socket: what the kernel takes.
const MAX_SOCKET_BYTES: usize = 107;

/// The table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interlink {
    /// A Unix socket that serves the plugin API too, without tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Users that are answered there, besides the gateway's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub socket_uids: Vec<u32>,
    /// Largest body of a create request.
    pub body_bytes: usize,
    /// How long a create waits for Slurm's job id; the pod is safe before that.
    pub create_wait_ms: u64,
    /// Most pods that the node of Kubernetes may have.
    pub pods: u32,
    /// Whether probes are asked.
    pub probes: bool,
    /// Whether pods may run commands on the node outside of their containers: `pre-exec`,
    /// `mpi-flags`, options of the runtime, a ready `jobScript`.
    pub host_commands: bool,
    /// What stands before the container's command if `mpi-flags` is given.
    pub mpi_launcher: Vec<String>,
    /// Accelerators of Kubernetes and the generic resources of Slurm that they are.
    pub accelerators: BTreeMap<String, String>,
    /// Sets of options that pods may choose by name.
    pub flavors: BTreeMap<String, Flavor>,
    /// The one that pods get without choosing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_flavor: Option<String>,
    /// Taints that the node of Kubernetes reports; none leaves them as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<Taint>>,
}

/// A set of options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flavor {
    /// For people.
    pub description: String,
    /// Options of sbatch.
    pub flags: Vec<String>,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Default for Interlink {
    fn default() -> Self {
        Self {
            socket: None,
            socket_uids: Vec::new(),
            body_bytes: 16 << 20,
            create_wait_ms: 3_000,
            pods: 1000,
            probes: true,
            host_commands: false,
            mpi_launcher: vec!["mpirun".to_owned()],
            accelerators: BTreeMap::from([("nvidia.com/gpu".to_owned(), "gpu".to_owned())]),
            flavors: BTreeMap::new(),
            default_flavor: None,
            taints: None,
        }
    }
}

impl Interlink {
    /// Checks what can be known before a pod comes.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let length = self
            .socket
            .as_ref()
            .map_or(0, |path| path.as_os_str().len());
        if length > MAX_SOCKET_BYTES {
            return Err(format!(
                "has a `socket` whose path is longer than {MAX_SOCKET_BYTES} bytes"
            ));
        }
        if self.socket.is_none() && !self.socket_uids.is_empty() {
            return Err("has `socket_uids` and no `socket`".to_owned());
        }
        for (name, flavor) in &self.flavors {
            let at = format!("flavors.{name}");
            merge(&mut Options::new(), &at, &flavor.flags).map_err(|error| error.to_string())?;
        }
        if let Some(name) = &self.default_flavor
            && !self.flavors.contains_key(name)
        {
            return Err(format!(
                "has the default flavor `{name}`, which is not among its flavors"
            ));
        }
        let plain = |word: &String| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte))
        };
        match self.accelerators.values().find(|word| !plain(word)) {
            Some(word) => Err(format!(
                "has the generic resource `{word}`, which is no name of one"
            )),
            None => Ok(()),
        }
    }
}
