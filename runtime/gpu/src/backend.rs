//! The trait that every vendor's library stands behind, and the search for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Device, Occurrence, Snapshot};
use crate::{amd_smi, amdgpu, nvml, rocm_smi};

/// Why a device could not be read as a whole; single figures that cannot be read are `None`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It has fallen off the bus, or needs a reset.
    #[error("the device is lost: {0}")]
    Vanished(String),
    /// Every call failed.
    #[error("the device cannot be read: {0}")]
    Failed(String),
}

/// A library that tells of GPUs. Calls may block for ever: see [`crate::reader`].
pub trait Backend: Send + Sync {
    /// The library and its version.
    fn source(&self) -> String;

    /// The devices; the list never changes.
    fn devices(&self) -> &[Device];

    /// Looks at one device, by its place in [`Backend::devices`].
    ///
    /// # Errors
    /// [`ReadError`] if nothing of it could be read.
    fn read(&self, device: usize) -> Result<Snapshot, ReadError>;

    /// What befell devices since the last call; never waits for anything to happen.
    fn occurrences(&self) -> Vec<(usize, Occurrence)> {
        Vec::new()
    }
}

/// Where the vendors' libraries are; each is looked for by its usual name if not given, and
/// not at all if the path is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    /// `libnvidia-ml.so.1`.
    pub nvml: Option<PathBuf>,
    /// `librocm_smi64.so`.
    pub rocm_smi: Option<PathBuf>,
    /// `libamd_smi.so`.
    pub amd_smi: Option<PathBuf>,
    /// `/sys`.
    pub sys: PathBuf,
}

/// What was found.
pub struct Found {
    /// Libraries that know devices.
    pub backends: Vec<Arc<dyn Backend>>,
    /// What was looked for and why it does not serve, for people.
    pub notes: Vec<String>,
}

/// Looks for GPUs. May block for ever where a driver hangs: call it on a thread of its own.
#[must_use]
pub fn open(libraries: &Libraries) -> Found {
    let mut found = Found {
        backends: Vec::new(),
        notes: Vec::new(),
    };
    let wanted = |path: &Option<PathBuf>, usual: &str| -> Option<PathBuf> {
        let path = path.clone().unwrap_or_else(|| PathBuf::from(usual));
        (!path.as_os_str().is_empty()).then_some(path)
    };
    if let Some(path) = wanted(&libraries.nvml, "libnvidia-ml.so.1") {
        found.take("NVML", &path, nvml::Nvidia::open(&path));
    }
    let before = found.backends.len();
    if let Some(path) = wanted(&libraries.rocm_smi, "librocm_smi64.so") {
        let opened = rocm_smi::RocmSmi::open(&path, &libraries.sys);
        found.take("ROCm SMI", &path, opened);
    }
    if let Some(path) = wanted(&libraries.amd_smi, "libamd_smi.so")
        && found.backends.len() == before
    {
        let opened = amd_smi::AmdSmi::open(&path, &libraries.sys);
        found.take("AMD SMI", &path, opened);
    }
    if found.backends.len() == before {
        let opened = amdgpu::Amdgpu::open(&libraries.sys);
        found.take("amdgpu", &libraries.sys, opened);
    }
    found
}

impl Found {
    fn take<B: Backend + 'static>(
        &mut self,
        what: &str,
        path: &Path,
        opened: Result<B, OpenError>,
    ) {
        match opened {
            Ok(backend) if !backend.devices().is_empty() => self.backends.push(Arc::new(backend)),
            Ok(backend) => self.notes.push(format!("{}: no devices", backend.source())),
            Err(error) => self
                .notes
                .push(format!("{what} ({}): {error}", path.display())),
        }
    }
}

/// Why a library does not serve.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or not a library.
    #[error("not found ({0})")]
    Absent(String),
    /// It lacks a function that is needed.
    #[error("has no function `{0}`")]
    Function(&'static str),
    /// Its layouts are not known to us.
    #[error("version {found} is not known (known: {known}); its layouts are not guessed")]
    Version {
        /// Found.
        found: String,
        /// Known.
        known: &'static str,
    },
    /// It refuses to begin.
    #[error("does not start: {0}")]
    Start(String),
}
