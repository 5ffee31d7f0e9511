//! What a checkpoint is of and what belongs to it. The manifest is written last: without it a
//! folder is no checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::CheckpointError;
use super::shard::Facts;
use crate::{EpochMetrics, Layout, Options, Phase};

/// Changes when older readers would misread it.
const FORMAT: u32 = 1;

const NAME: &str = "manifest.json";

/// What a checkpoint has beside its arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) identity: Identity,
    pub(crate) progress: Progress,
    /// How many ranks wrote it.
    pub(crate) ranks: usize,
    /// Under which options; for people, and what must not change is in `identity`.
    pub(crate) options: Options,
    /// Of all parameters.
    pub(crate) digest: String,
    pub(crate) files: Vec<File>,
}

/// What must be the same for a run to go on from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Name and shape of each tensor.
    pub(crate) tensors: Vec<(String, Vec<usize>)>,
    /// Name and tensors of each phase.
    pub(crate) phases: Vec<(String, usize, usize)>,
    /// The arrays: `parameters`, then the optimizer's, then `ema`.
    pub(crate) arrays: Vec<String>,
    pub(crate) optimizer: String,
    pub(crate) data: String,
    pub(crate) samples: usize,
    pub(crate) batch_size: usize,
    pub(crate) drop_last: bool,
    pub(crate) seed: u64,
}

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// The epoch that is being done.
    pub(crate) epoch: u64,
    /// Steps of it that are done.
    pub(crate) step_in_epoch: u64,
    /// Steps of each phase's optimizer.
    pub(crate) optimizer_steps: Vec<u64>,
    pub(crate) loss_scale: f64,
    pub(crate) good_steps: u64,
    /// Sums of losses of this epoch by phase, and its samples.
    pub(crate) loss_sums: Vec<f64>,
    pub(crate) samples: f64,
    pub(crate) best_loss: Option<f64>,
    /// Validations without a better loss.
    pub(crate) waited: u64,
    /// It was ended by early stopping.
    pub(crate) stopped_early: bool,
    /// Epochs done.
    pub(crate) epochs: Vec<EpochMetrics>,
}

/// A file of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl File {
    pub(crate) fn new(name: String, facts: &Facts) -> Self {
        Self {
            name,
            bytes: facts.bytes,
            sha256: mizar_core::hex(facts.sha256),
        }
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        let mut sha256 = [0; 32];
        let is_hex = self.sha256.len() == 64 && self.sha256.is_ascii();
        for (place, byte) in sha256.iter_mut().enumerate() {
            let digits = is_hex.then(|| &self.sha256[2 * place..2 * place + 2])?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Facts {
            bytes: self.bytes,
            sha256,
        })
    }
}

/// The file as it is on disk: the checksum is of the compact text of the manifest.
#[derive(Serialize, Deserialize)]
struct Sealed {
    sha256: String,
    manifest: Value,
}

impl Identity {
    pub(crate) fn new(
        options: &Options,
        layout: &Layout,
        phases: &[Phase],
        data: String,
        samples: usize,
    ) -> Self {
        let tensors = layout.tensors().iter();
        let mut arrays = vec!["parameters".to_owned()];
        arrays.extend(
            options
                .optimizer
                .slots()
                .iter()
                .map(|slot| (*slot).to_owned()),
        );
        arrays.extend(options.ema.map(|_| "ema".to_owned()));
        Self {
            tensors: tensors
                .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
                .collect(),
            phases: phases
                .iter()
                .map(|phase| (phase.name.clone(), phase.tensors.start, phase.tensors.end))
                .collect(),
            arrays,
            optimizer: options.optimizer.name().to_owned(),
            data,
            samples,
            batch_size: options.batch_size,
            drop_last: options.drop_last,
            seed: options.seed,
        }
    }

    /// What differs from `other`: its name, ours, theirs.
    fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        if self.tensors.len() != other.tensors.len() {
            let (ours, theirs) = (self.tensors.len(), other.tensors.len());
            return Some((
                "number of tensors".to_owned(),
                ours.to_string(),
                theirs.to_string(),
            ));
        }
        let mut pairs = self.tensors.iter().zip(&other.tensors);
        if let Some((ours, theirs)) = pairs.find(|(ours, theirs)| ours != theirs) {
            let show = |(name, shape): &(String, Vec<usize>)| format!("{name} {shape:?}");
            return Some(("tensor".to_owned(), show(ours), show(theirs)));
        }
        let fields: [(&str, String, String); 8] = [
            (
                "phases",
                format!("{:?}", self.phases),
                format!("{:?}", other.phases),
            ),
            ("optimizer", self.optimizer.clone(), other.optimizer.clone()),
            ("arrays", self.arrays.join(", "), other.arrays.join(", ")),
            ("data", self.data.clone(), other.data.clone()),
            (
                "samples",
                self.samples.to_string(),
                other.samples.to_string(),
            ),
            (
                "batch_size",
                self.batch_size.to_string(),
                other.batch_size.to_string(),
            ),
            (
                "drop_last",
                self.drop_last.to_string(),
                other.drop_last.to_string(),
            ),
            ("seed", self.seed.to_string(), other.seed.to_string()),
        ];
        let mut fields = fields.into_iter();
        let (name, ours, theirs) = fields.find(|(_, ours, theirs)| ours != theirs)?;
        Some((name.to_owned(), ours, theirs))
    }
}

impl Manifest {
    pub(crate) fn new(
        identity: Identity,
        progress: Progress,
        options: Options,
        ranks: usize,
        digest: String,
    ) -> Self {
        Self {
            format: FORMAT,
            identity,
            progress,
            ranks,
            options,
            digest,
            files: Vec::new(),
        }
    }

    /// Writes it to the folder of a checkpoint, which it completes.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), CheckpointError> {
        let path = folder.join(NAME);
        let go = || -> io::Result<()> {
            let manifest = serde_json::to_value(self)?;
            let sealed = Sealed {
                sha256: sum(&manifest),
                manifest,
            };
            let text = serde_json::to_string_pretty(&sealed)?;
            mizar_core::durable::write(&path, text.as_bytes())
        };
        go().map_err(|source| CheckpointError::File {
            path: path.clone(),
            action: "written",
            source,
        })
    }

    /// Reads the manifest of a checkpoint, and checks that it is of a run like this.
    pub(crate) fn read(folder: &Path, identity: &Identity) -> Result<Self, CheckpointError> {
        let path = folder.join(NAME);
        let text = std::fs::read(&path).map_err(|source| CheckpointError::File {
            path: path.clone(),
            action: "read",
            source,
        })?;
        let damaged = |what: String| CheckpointError::Damaged {
            path: path.clone(),
            what,
        };
        let sealed: Sealed = serde_json::from_slice(&text)
            .map_err(|error| damaged(format!("it is no manifest: {error}")))?;
        if sum(&sealed.manifest) != sealed.sha256 {
            return Err(damaged("its SHA-256 is not its own".to_owned()));
        }
        let foreign = |what: &str, found: String, expected: String| CheckpointError::Foreign {
            path: path.clone(),
            what: what.to_owned(),
            found,
            expected,
        };
        let format = sealed.manifest.get("format").and_then(Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            let found = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
            return Err(foreign("format", found, FORMAT.to_string()));
        }
        let manifest: Self = serde_json::from_value(sealed.manifest)
            .map_err(|error| damaged(format!("it is no manifest: {error}")))?;
        if let Some((what, ours, theirs)) = identity.difference(&manifest.identity) {
            return Err(foreign(&what, theirs, ours));
        }
        Ok(manifest)
    }
}

fn sum(manifest: &Value) -> String {
    mizar_core::hex(Sha256::digest(manifest.to_string().as_bytes()))
}

/// The folder of the checkpoint of a step.
pub(crate) fn folder_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:010}"))
}

/// The steps whose folders are in `folder`, the newest first; with a manifest or without.
fn steps(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix("step-"));
        steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// The steps of the checkpoints in a folder, the newest first.
pub(crate) fn complete(folder: &Path) -> Result<Vec<u64>, CheckpointError> {
    let mut steps = steps(folder).map_err(|source| CheckpointError::File {
        path: folder.to_owned(),
        action: "listed",
        source,
    })?;
    steps.retain(|step| folder_of(folder, *step).join(NAME).exists());
    Ok(steps)
}

/// Removes all but the newest `keep` checkpoints up to `newest`, and what never became one.
/// What cannot be removed stays.
pub(crate) fn prune(folder: &Path, newest: u64, keep: usize) {
    let mut kept = 0;
    for step in steps(folder).unwrap_or_default() {
        if step > newest {
            continue;
        }
        let path = folder_of(folder, step);
        if path.join(NAME).exists() && kept < keep {
            kept += 1;
            continue;
        }
        // First what makes it a checkpoint, so that half of one is none.
        let _ = std::fs::remove_file(path.join(NAME));
        let _ = std::fs::remove_dir_all(path);
    }
}
