//! Samples from cubes and from files of arrays.
//!
//! `mizar train` opens one of them by the section `data` of its configuration. What is read is
//! held in memory, in single precision, on every rank: a rank's share of the samples is the
//! trainer's business.

mod arrays;
pub(crate) mod climate;
pub(crate) mod cube;
pub(crate) mod series;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::header::{Architecture, ArrayShapes, Header, Missing, Reference, Sample};
use crate::{Climatology, Loss};

pub use arrays::{read_npy, write_npy};
pub use windows::Windows;

/// Which samples: a cube's (`files`), or those of arrays that are made already (`arrays`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// NetCDF files and Zarr stores.
    pub files: Vec<PathBuf>,
    /// How several files become one cube: an operator of `mizar cube`, `mergetime` or `merge`.
    pub join: Option<String>,
    /// Operators of `mizar cube`, the first first.
    pub operators: Vec<String>,
    /// Variables that go in; all their levels.
    pub inputs: Vec<String>,
    /// Variables that come out.
    pub targets: Vec<String>,
    /// Whole fields, or their cells one by one.
    pub sample: Sample,
    /// Steps of each input.
    pub history: Option<usize>,
    /// From the newest input to the target; 0: the same step.
    pub lead: Option<usize>,
    /// Subtract the climatology of each cell and month, as the training period has it.
    pub anomalies: bool,
    /// What the output is the difference from.
    pub relative_to: Reference,
    /// What is done about missing values.
    pub missing: Missing,
    /// The last part of time (of arrays: of the samples), from which nothing is learned.
    pub validation: Option<f64>,
    /// Instead of `files`: a safetensors or `.npz` file with arrays `inputs` and `targets`, or two
    /// `.npy` files; the first dimension is the sample.
    pub arrays: Vec<PathBuf>,
}

/// The last fifth of time.
const VALIDATION: f64 = 0.2;

/// Samples that are ready, and what a model needs to know of them.
pub struct Prepared {
    /// To learn from.
    pub train: Arc<Windows>,
    /// To measure by; `None` if `validation` is 0.
    pub validation: Option<Arc<Windows>>,
    /// The data's part of a model's header: all but the architecture and the provenance.
    pub describe: Describe,
    /// The mean of each month, with anomalies.
    pub climatology: Climatology,
    /// What it takes no model for, by name: their values for the validation samples.
    pub baselines: Vec<Baseline>,
}

/// The shapes and channels of samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Describe {
    /// Channels that go in at one step.
    pub inputs: Vec<crate::header::Channel>,
    /// Channels that come out.
    pub outputs: Vec<crate::header::Channel>,
    /// The shape of one input.
    pub input_shape: Vec<usize>,
    /// The shape of one target.
    pub target_shape: Vec<usize>,
}

/// A forecast that takes no model.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// `persistence` or `climatology`.
    pub name: &'static str,
    /// What it says, in the units of the loss.
    pub forecast: Vec<f32>,
    /// What came.
    pub truth: Vec<f32>,
    /// How many samples.
    pub samples: usize,
}

impl Baseline {
    /// Its loss, to be compared with the model's on validation.
    #[must_use]
    pub fn loss(&self, loss: Loss) -> f64 {
        loss.of_values(&self.forecast, &self.truth, self.samples)
    }
}

impl Data {
    /// Reads the data and makes samples of them.
    ///
    /// # Errors
    /// [`DataError`] says what is wrong with the configuration or the data.
    pub fn prepare(&self) -> Result<Prepared, DataError> {
        self.check()?;
        match self.arrays.is_empty() {
            true => cube::prepare(self),
            false => arrays::prepare(self),
        }
    }

    /// Checks what needs no data.
    ///
    /// # Errors
    /// [`DataError::Key`] of the first key that makes no sense.
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |key, found: String, expected| {
            Err(DataError::Key {
                key,
                found,
                expected,
            })
        };
        if self.files.is_empty() == self.arrays.is_empty() {
            let found = format!("{:?} and data.arrays {:?}", self.files, self.arrays);
            return refuse("data.files", found, "either files or arrays");
        }
        let share = self.validation_share();
        if !(0.0..1.0).contains(&share) {
            return refuse("data.validation", share.to_string(), "0 to below 1");
        }
        if self.history() == 0 {
            return refuse("data.history", "0".to_owned(), "at least 1");
        }
        if self.arrays.is_empty() {
            if self.files.len() > 1 && self.join.is_none() {
                let expected = "`mergetime` or `merge` to join several files";
                return refuse("data.join", "nothing".to_owned(), expected);
            }
            for (key, list) in [
                ("data.inputs", &self.inputs),
                ("data.targets", &self.targets),
            ] {
                if list.is_empty() {
                    return refuse(key, "[]".to_owned(), "the names of variables");
                }
            }
        }
        let lacks = self.targets.iter().find(|name| !self.inputs.contains(name));
        if let (Reference::Persistence, Some(name)) = (self.relative_to, lacks) {
            let expected = "none, or a target that is among the inputs";
            return refuse(
                "data.relative_to",
                format!("persistence of `{name}`"),
                expected,
            );
        }
        Ok(())
    }

    pub(crate) fn history(&self) -> usize {
        self.history.unwrap_or(1)
    }

    pub(crate) fn lead(&self) -> usize {
        self.lead.unwrap_or(0)
    }

    pub(crate) fn validation_share(&self) -> f64 {
        self.validation.unwrap_or(VALIDATION)
    }
}

impl Prepared {
    /// The header of a model of these data.
    #[must_use]
    pub fn header(&self, data: &Data, architecture: Architecture) -> Header {
        Header {
            sample: data.sample,
            history: data.history(),
            lead: data.lead(),
            anomalies: data.anomalies,
            relative_to: data.relative_to,
            missing: data.missing,
            operators: data.operators.clone(),
            arrays: (!data.arrays.is_empty()).then(|| ArrayShapes {
                input: self.describe.input_shape.clone(),
                output: self.describe.target_shape.clone(),
            }),
            inputs: self.describe.inputs.clone(),
            outputs: self.describe.outputs.clone(),
            ..Header::new(architecture)
        }
    }
}

/// Why samples could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A key makes no sense.
    #[error("{key} = {found}: expected {expected}")]
    Key {
        /// The key, with dots.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The cube could not be read.
    #[error("{origin} cannot be read: {reason}")]
    Cube {
        /// The files.
        origin: String,
        /// The array engine's message.
        reason: String,
    },
    /// A variable is not there.
    #[error("{origin} has no variable `{name}` with numbers; it has {known}")]
    NoVariable {
        /// The files.
        origin: String,
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A variable cannot be used.
    #[error("variable `{name}` of {origin} has dimensions {found}: expected {expected}")]
    Shape {
        /// The files.
        origin: String,
        /// The name.
        name: String,
        /// Names and lengths.
        found: String,
        /// What can be used.
        expected: String,
    },
    /// The time axis cannot be understood.
    #[error(
        "the time axis of {origin} cannot be understood: anomalies and climatology need months"
    )]
    Time {
        /// The files.
        origin: String,
        /// Why.
        #[source]
        source: mizar_array::time_axis::TimeError,
    },
    /// Values are missing.
    #[error(
        "{missing} of {values} values of `{name}` in {origin} are missing, the first at step {step}: fill them (operators: setmisstonn), or leave them out with missing: mask"
    )]
    Missing {
        /// The files.
        origin: String,
        /// The variable.
        name: String,
        /// How many.
        missing: usize,
        /// Of how many.
        values: usize,
        /// The first step that lacks one.
        step: usize,
    },
    /// There are too few steps.
    #[error(
        "{origin} has {steps} steps: too few for history {history}, lead {lead} and a training and a validation part"
    )]
    TooFew {
        /// The files.
        origin: String,
        /// How many.
        steps: usize,
        /// Steps of inputs.
        history: usize,
        /// From input to target.
        lead: usize,
    },
    /// A file of arrays cannot be used.
    #[error("{path}: {reason}")]
    Arrays {
        /// The file.
        path: PathBuf,
        /// Why, and what would do.
        reason: String,
    },
}
