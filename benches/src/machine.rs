//! Describes the machine, the commit and the peers that a figure was measured on.
//!
//! Called by [`crate::report`]. Everything here is best effort: what cannot be read is said to
//! be unknown rather than left out, so that two results always have the same fields.

use std::fs;
use std::process::Command;

use serde::Serialize;

const UNKNOWN: &str = "unknown";

/// The machine as the kernel describes it, and how busy it was at the start.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Processors this process may use.
    pub cpu_count: usize,
    /// Physical memory in bytes, 0 if unknown.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Distribution name and version.
    pub system: String,
    /// Load averages over 1, 5 and 15 minutes when the benchmark began.
    pub load: String,
}

impl Machine {
    /// Reads `/proc` and `/etc/os-release`.
    #[must_use]
    pub fn describe() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| UNKNOWN.into()),
            cpu_count: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory_bytes(),
            kernel: line("/proc/sys/kernel/osrelease"),
            system: field("/etc/os-release", "PRETTY_NAME", '=')
                .map_or_else(|| UNKNOWN.into(), |name| name.trim_matches('"').to_owned()),
            load: line("/proc/loadavg")
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

/// Returns the commit that this checkout is at, with `+changes` if files differ from it.
#[must_use]
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let output = Command::new("git")
            .args(["-C", root])
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(id) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return UNKNOWN.into();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => id,
        _ => format!("{id}+changes"),
    }
}

/// Returns the first line that `program arguments…` prints, on either stream.
#[must_use]
pub fn version(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "not installed".into();
    };
    [output.stdout, output.stderr]
        .iter()
        .flat_map(|stream| {
            String::from_utf8_lossy(stream)
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .find(|text| !text.trim().is_empty())
        .unwrap_or_else(|| UNKNOWN.into())
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| UNKNOWN.into(), |text| text.trim().to_owned())
}

fn field(path: &str, key: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|row| {
        let (name, value) = row.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

fn memory_bytes() -> u64 {
    field("/proc/meminfo", "MemTotal", ':')
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let machine = Machine::describe();
        assert!(machine.cpu_count >= 1);
        assert!(machine.memory_bytes > 0);
    }

    #[test]
    fn a_missing_peer_is_said_to_be_missing() {
        assert_eq!(version("mizar-no-such-program", &[]), "not installed");
    }
}
