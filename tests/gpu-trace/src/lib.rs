//! GPUs that exist in a script only: what they draw, hold and suffer at each second.
//!
//! `tests/fake-nvml` and `tests/fake-rsmi` play such a script behind the vendors' C interfaces.
//! All curves are steps, so that integrals are exact. Nothing here is a measurement, and
//! whoever shows what comes of it must say so ([`Script::label`]).

mod ffi;
mod script;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use ffi::library_of;
pub use script::{Counter, Curve, Failure, Gpu, Instance, Process, Script};

/// The variable that names the script.
pub const SCRIPT_VARIABLE: &str = "MIZAR_GPU_TRACE";

/// The script beside a double's library, if the variable names none.
pub const SCRIPT_FILE: &str = "trace.toml";

/// A script being played.
pub struct Trace {
    script: Script,
    start_s: f64,
    calls: Mutex<HashMap<String, u64>>,
    told_xids: Mutex<usize>,
}

/// What a call on a device meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// It succeeds, this many seconds after the script's start.
    At(f64),
    /// The script says "not supported".
    Unsupported,
    /// The device is gone.
    Lost,
    /// The script's own error number.
    Failed(u32),
}

impl Trace {
    /// Begins to play the script that [`SCRIPT_VARIABLE`] names, else `trace.toml` beside the
    /// double's own library.
    ///
    /// # Errors
    /// In words, if there is none or it cannot be read.
    pub fn find(beside: Option<&Path>) -> Result<Self, String> {
        match (std::env::var_os(SCRIPT_VARIABLE), beside) {
            (Some(path), _) => Self::open(Path::new(&path)),
            (None, Some(library)) => Self::open(&library.with_file_name(SCRIPT_FILE)),
            (None, None) => Err(format!("{SCRIPT_VARIABLE} names no script")),
        }
    }

    /// Begins to play a script.
    ///
    /// # Errors
    /// In words, if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let script: Script =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            start_s: script.start_unix_s.unwrap_or_else(unix_s),
            script,
            calls: Mutex::default(),
            told_xids: Mutex::new(0),
        })
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The GPU at a place.
    #[must_use]
    pub fn gpu(&self, index: usize) -> Option<&Gpu> {
        self.script.gpu.get(index)
    }

    /// Seconds since the script's start.
    #[must_use]
    pub fn now_s(&self) -> f64 {
        unix_s() - self.start_s
    }

    /// Plays a call of `name` on a GPU: counts it, hangs, fails, or gives the time.
    pub fn call(&self, index: usize, name: &str) -> Answer {
        let Some(gpu) = self.gpu(index) else {
            return Answer::Lost;
        };
        let number = self.count(name);
        if let Some(failure) = self
            .script
            .fail
            .iter()
            .find(|failure| failure.meets(name, number))
        {
            return Answer::Failed(failure.code);
        }
        let now_s = self.now_s();
        if let Some(end_s) = within(&gpu.hang, now_s) {
            // In pieces, so that a test's end is not waited for by a process that is killed.
            let mut left_s = end_s - now_s;
            while left_s > 0.0 {
                std::thread::sleep(Duration::from_secs_f64(left_s.min(0.5)));
                left_s = end_s - self.now_s();
            }
        }
        let now_s = self.now_s();
        if within(&gpu.vanish, now_s).is_some() {
            return Answer::Lost;
        }
        if gpu.unsupported.iter().any(|call| call == name) {
            return Answer::Unsupported;
        }
        Answer::At(now_s)
    }

    /// The next XID error that has happened and was not told: GPU and number.
    pub fn next_xid(&self) -> Option<(usize, u64)> {
        let now_s = self.now_s();
        let gpus = self.script.gpu.iter().enumerate();
        let all = gpus.flat_map(|(index, gpu)| gpu.xid.iter().map(move |xid| (index, *xid)));
        let mut due: Vec<(usize, (f64, u64))> =
            all.filter(|(_, (at_s, _))| *at_s <= now_s).collect();
        due.sort_by(|a, b| a.1.0.total_cmp(&b.1.0));
        let mut told = self
            .told_xids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (index, (_, code)) = *due.get(*told)?;
        *told += 1;
        Some((index, code))
    }

    fn count(&self, name: &str) -> u64 {
        if let Some(path) = &self.script.journal
            && let Ok(mut file) = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
        {
            let _ = writeln!(file, "{name}");
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let number = calls.entry(name.to_owned()).or_default();
        *number += 1;
        *number
    }
}

/// Puts a copy of a double, which cargo has built beside the running test, into a folder with
/// its script. A copy is a library of its own: scripts of one process do not mix.
///
/// # Errors
/// What copying or writing says.
pub fn place(folder: &Path, library: &str, script: &str) -> std::io::Result<PathBuf> {
    let copy = folder.join(library);
    std::fs::copy(std::env::current_exe()?.with_file_name(library), &copy)?;
    std::fs::write(folder.join(SCRIPT_FILE), script)?;
    Ok(copy)
}

/// The end of the span that a time lies in.
fn within(spans: &[(f64, f64)], now_s: f64) -> Option<f64> {
    let span = spans
        .iter()
        .find(|(from_s, to_s)| (*from_s..*to_s).contains(&now_s))?;
    Some(span.1)
}

fn unix_s() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
