//! The cgroup that Slurm keeps for a step, version 1 or 2.
//!
//! Found from `/proc/<pid>/cgroup` of a task and not from job numbers, because the names of
//! the folders differ between releases (from 26.05 a job's is no longer its number). Where
//! Slurm keeps none (`proctrack/linuxproc`) there is none to read.

use std::path::{Path, PathBuf};

use crate::text::{keyed, lines, number, read_into, read_number, words};
use crate::{Roots, UNKNOWN, add};

/// Where a step's counters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepCgroup {
    /// The unified hierarchy.
    V2 {
        /// The step's folder.
        folder: PathBuf,
    },
    /// One hierarchy a controller; those that Slurm does not use are absent.
    V1 {
        /// `cpuacct`.
        cpu: Option<PathBuf>,
        /// `memory`.
        memory: Option<PathBuf>,
        /// `blkio`.
        io: Option<PathBuf>,
    },
}

/// One reading; [`UNKNOWN`] where the kernel does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepUse {
    /// CPU time so far.
    pub cpu_ns: u64,
    /// Anonymous and shared memory now.
    pub memory_bytes: u64,
    /// High-water mark, page cache included.
    pub memory_peak_bytes: u64,
    /// Processes killed for memory so far.
    pub oom_kills: u64,
    /// From block devices so far.
    pub read_bytes: u64,
    /// To block devices so far.
    pub write_bytes: u64,
}

impl StepCgroup {
    /// The step's cgroup that the process is in, if Slurm made one.
    #[must_use]
    pub fn of_process(roots: &Roots, pid: i32) -> Option<Self> {
        let mut buffer = Vec::new();
        let text = read_into(
            &roots.proc.join(pid.to_string()).join("cgroup"),
            &mut buffer,
        )?;
        let root = roots.sys.join("fs/cgroup");
        let (mut cpu, mut memory, mut io) = (None, None, None);
        let mut unified = None;
        for line in lines(text) {
            let mut fields = std::str::from_utf8(line).ok()?.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let Some(step) = step_folder(path) else {
                continue;
            };
            if controllers.is_empty() {
                unified = Some(root.join(step));
            }
            for controller in controllers.split(',') {
                let place = match controller {
                    "cpuacct" => &mut cpu,
                    "memory" => &mut memory,
                    "blkio" => &mut io,
                    _ => continue,
                };
                *place = [controllers, controller]
                    .map(|mount| root.join(mount).join(step))
                    .into_iter()
                    .find(|folder| folder.is_dir());
            }
        }
        match unified {
            Some(folder) if folder.join("cpu.stat").exists() => Some(Self::V2 { folder }),
            _ if cpu.is_some() || memory.is_some() || io.is_some() => {
                Some(Self::V1 { cpu, memory, io })
            }
            _ => None,
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::V1 { .. } => "cgroup v1",
            Self::V2 { .. } => "cgroup v2",
        }
    }

    /// Reads the counters.
    #[must_use]
    pub fn read(&self, buffer: &mut Vec<u8>) -> StepUse {
        match self {
            Self::V2 { folder } => read_v2(folder, buffer),
            Self::V1 { cpu, memory, io } => {
                read_v1(cpu.as_deref(), memory.as_deref(), io.as_deref(), buffer)
            }
        }
    }
}

/// The path up to the step, relative; `None` if no part of it is a step's or it climbs.
fn step_folder(path: &str) -> Option<&str> {
    let path = path.trim_start_matches('/');
    let mut end = 0;
    for part in path.split('/') {
        if part == ".." {
            return None;
        }
        end += part.len();
        if part.starts_with("step_") {
            return Some(&path[..end]);
        }
        end += 1;
    }
    None
}

fn read_v2(folder: &Path, buffer: &mut Vec<u8>) -> StepUse {
    let mut find = |file: &str, keys: &[&str]| {
        let Some(text) = read_into(&folder.join(file), buffer) else {
            return UNKNOWN;
        };
        keys.iter()
            .map(|key| keyed(text, key.as_bytes()).unwrap_or(UNKNOWN))
            .fold(0, add)
    };
    let cpu_us = find("cpu.stat", &["usage_usec"]);
    let memory_bytes = find("memory.stat", &["anon", "shmem"]);
    let oom_kills = find("memory.events", &["oom_kill"]);
    let memory_peak_bytes = read_number(&folder.join("memory.peak"), buffer).unwrap_or(UNKNOWN);
    let (read_bytes, write_bytes) = match read_into(&folder.join("io.stat"), buffer) {
        Some(text) => (sum_io_stat(text, b"rbytes="), sum_io_stat(text, b"wbytes=")),
        None => (UNKNOWN, UNKNOWN),
    };
    let cpu_ns = if cpu_us == UNKNOWN {
        UNKNOWN
    } else {
        cpu_us.saturating_mul(1000)
    };
    StepUse {
        cpu_ns,
        memory_bytes,
        memory_peak_bytes,
        oom_kills,
        read_bytes,
        write_bytes,
    }
}

/// `8:0 rbytes=1 wbytes=2 …` over all devices; an empty file is 0.
fn sum_io_stat(text: &[u8], key: &[u8]) -> u64 {
    lines(text)
        .flat_map(words)
        .filter_map(|word| word.strip_prefix(key))
        .map(|digits| number(digits).unwrap_or(UNKNOWN))
        .fold(0, add)
}

fn read_v1(
    cpu: Option<&Path>,
    memory: Option<&Path>,
    io: Option<&Path>,
    buffer: &mut Vec<u8>,
) -> StepUse {
    let mut single = |folder: Option<&Path>, file: &str| {
        folder
            .and_then(|folder| read_number(&folder.join(file), buffer))
            .unwrap_or(UNKNOWN)
    };
    let cpu_ns = single(cpu, "cpuacct.usage");
    let memory_peak_bytes = single(memory, "memory.max_usage_in_bytes");
    let mut memory_bytes = UNKNOWN;
    let mut oom_kills = UNKNOWN;
    if let Some(folder) = memory {
        if let Some(text) = read_into(&folder.join("memory.stat"), buffer) {
            // total_rss leaves tmpfs and shared mappings out; old kernels do not tell them.
            let shared = keyed(text, b"total_shmem").unwrap_or(0);
            memory_bytes = add(keyed(text, b"total_rss").unwrap_or(UNKNOWN), shared);
        }
        if let Some(text) = read_into(&folder.join("memory.oom_control"), buffer) {
            oom_kills = keyed(text, b"oom_kill").unwrap_or(UNKNOWN);
        }
    }
    let (mut read_bytes, mut write_bytes) = (UNKNOWN, UNKNOWN);
    if let Some(folder) = io {
        for file in [
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ] {
            if let Some(text) = read_into(&folder.join(file), buffer) {
                read_bytes = sum_blkio(text, b"Read");
                write_bytes = sum_blkio(text, b"Write");
                break;
            }
        }
    }
    StepUse {
        cpu_ns,
        memory_bytes,
        memory_peak_bytes,
        oom_kills,
        read_bytes,
        write_bytes,
    }
}

/// `8:0 Read 4096` over all devices.
fn sum_blkio(text: &[u8], operation: &[u8]) -> u64 {
    lines(text)
        .filter_map(|line| {
            let mut words = words(line).skip(1);
            (words.next()? == operation).then(|| words.next().and_then(number))
        })
        .map(|value| value.unwrap_or(UNKNOWN))
        .fold(0, add)
}
