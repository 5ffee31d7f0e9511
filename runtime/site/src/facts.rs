//! What a node shows of itself, read under a root folder so that tests have their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

/// What the examination goes by. What cannot be read is absent, not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The environment.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
    /// Network interfaces that are up, with their kind: `ethernet`, `infiniband`, `loopback`,
    /// `other`.
    pub interfaces: BTreeMap<String, String>,
    /// InfiniBand devices.
    pub infiniband: BTreeSet<String>,
    /// Bytes that `/dev/shm` can hold, and those that are free.
    pub shared_memory_bytes: Option<(u64, u64)>,
    /// Memory that a process may lock; `u64::MAX` for no limit.
    pub locked_bytes_max: Option<u64>,
    /// Files that a process may open.
    pub open_files_max: Option<u64>,
    /// Whether control groups are of version 2.
    pub has_cgroup2: Option<bool>,
    /// Whether the kernel shows NVIDIA's, or AMD's, device files.
    pub nvidia_devices: usize,
    /// As above.
    pub amd_devices: usize,
    /// The scaling governors of all processors.
    pub governors: BTreeSet<String>,
    /// The setting of transparent huge pages.
    pub huge_pages: Option<String>,
}

impl Facts {
    /// Reads the machine whose `/proc`, `/sys` and `/dev` lie under `root`.
    #[must_use]
    pub fn read(root: &Path, environment: BTreeMap<String, String>) -> Self {
        let limits = std::fs::read_to_string(root.join("proc/self/limits")).unwrap_or_default();
        Self {
            environment,
            interfaces: interfaces(&root.join("sys/class/net")),
            infiniband: names(&root.join("sys/class/infiniband")).collect(),
            shared_memory_bytes: None,
            locked_bytes_max: soft_limit(&limits, "Max locked memory"),
            open_files_max: soft_limit(&limits, "Max open files"),
            has_cgroup2: root
                .join("sys/fs/cgroup")
                .exists()
                .then(|| root.join("sys/fs/cgroup/cgroup.controllers").exists()),
            nvidia_devices: numbered(&root.join("dev"), "nvidia"),
            amd_devices: amd_devices(&root.join("sys/class/kfd/kfd/topology/nodes")),
            governors: governors(&root.join("sys/devices/system/cpu")),
            huge_pages: chosen(&root.join("sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn word(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Interfaces that are up, or do not tell (the loopback says `unknown`).
fn interfaces(folder: &Path) -> BTreeMap<String, String> {
    let kind = |name: String| {
        let state = word(&folder.join(&name).join("operstate"))?;
        if state == "down" {
            return None;
        }
        let kind = match word(&folder.join(&name).join("type")).as_deref() {
            Some("1") => "ethernet",
            Some("32") => "infiniband",
            Some("772") => "loopback",
            _ => "other",
        };
        Some((name, kind.to_owned()))
    };
    names(folder).filter_map(kind).collect()
}

/// The soft limit of a line of `/proc/self/limits`.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Files named so with a number after it.
fn numbered(folder: &Path, head: &str) -> usize {
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    names(folder)
        .filter(|name| name.strip_prefix(head).is_some_and(is_number))
        .count()
}

/// Nodes of the topology that have vector units: the others are processors.
fn amd_devices(nodes: &Path) -> usize {
    let is_gpu = |name: &String| {
        let text = std::fs::read_to_string(nodes.join(name).join("properties"));
        text.unwrap_or_default().lines().any(|line| {
            let count = line.strip_prefix("simd_count ").map(str::trim);
            count.is_some_and(|count| count != "0")
        })
    };
    names(nodes).filter(is_gpu).count()
}

fn governors(folder: &Path) -> BTreeSet<String> {
    names(folder)
        .filter_map(|name| word(&folder.join(name).join("cpufreq/scaling_governor")))
        .collect()
}

/// The word in brackets of a file such as `always [madvise] never`.
fn chosen(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_node_is_read() {
        let root = tree(&[
            ("sys/class/net/hsn0/operstate", "up\n"),
            ("sys/class/net/hsn0/type", "1\n"),
            ("sys/class/net/ib0/operstate", "up\n"),
            ("sys/class/net/ib0/type", "32\n"),
            ("sys/class/net/eth1/operstate", "down\n"),
            ("sys/class/net/lo/operstate", "unknown\n"),
            ("sys/class/net/lo/type", "772\n"),
            ("sys/class/infiniband/mlx5_0/x", ""),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max open files            1024                 524288               files     \n\
                 Max locked memory         unlimited            unlimited            bytes     \n",
            ),
            ("sys/fs/cgroup/cgroup.controllers", "cpu\n"),
            ("dev/nvidia0", ""),
            ("dev/nvidia1", ""),
            ("dev/nvidiactl", ""),
            (
                "sys/class/kfd/kfd/topology/nodes/0/properties",
                "simd_count 0\n",
            ),
            (
                "sys/class/kfd/kfd/topology/nodes/1/properties",
                "simd_count 440\n",
            ),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "powersave\n",
            ),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
        ]);
        let facts = Facts::read(root.path(), BTreeMap::new());
        let kinds: Vec<_> = facts
            .interfaces
            .iter()
            .map(|(n, k)| format!("{n}:{k}"))
            .collect();
        assert_eq!(kinds, ["hsn0:ethernet", "ib0:infiniband", "lo:loopback"]);
        assert_eq!(facts.infiniband.len(), 1);
        assert_eq!(facts.open_files_max, Some(1024));
        assert_eq!(facts.locked_bytes_max, Some(u64::MAX));
        assert_eq!(facts.has_cgroup2, Some(true));
        assert_eq!((facts.nvidia_devices, facts.amd_devices), (2, 1));
        assert!(facts.governors.contains("powersave"));
        assert_eq!(facts.huge_pages.as_deref(), Some("madvise"));
    }

    #[test]
    fn what_is_not_there_or_not_readable_is_unknown() {
        let root = tree(&[
            (
                "proc/self/limits",
                "Max open files            many\nMax locked",
            ),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always"),
            ("sys/class/net/odd/type", "1"),
        ]);
        let facts = Facts::read(root.path(), BTreeMap::new());
        assert_eq!(facts, Facts::default());
    }
}
