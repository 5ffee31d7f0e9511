//! A model as a file: one safetensors file that tells all that is needed to run it again.
//!
//! The tensors are those of the model's [`Layout`] by name, in `F32`; with anomalies also
//! `climatology.NAME` of each variable (12 months, channels, cells). The file's metadata has one
//! key, `mizar`, whose value is a JSON object, a [`Header`], and `mizar.sha256` over all the file says:
//!
//! ```json
//! {
//!   "format": 1,
//!   "architecture": {"kind": "unet", "inputs": 3, "outputs": 1, "width": 16, "depth": 2},
//!   "sample": "field", "history": 3, "lead": 1, "anomalies": false, "relative_to": "none",
//!   "missing": "refuse", "operators": [],
//!   "inputs":  [{"variable": "tas", "channel": 0, "units": "K", "mean": 288.1, "std": 14.2}],
//!   "outputs": [{"variable": "tas", "channel": 0, "units": "K", "mean": 288.1, "std": 14.2}],
//!   "digest": "sha256 of the tensors of the layout",
//!   "provenance": {"config": "…", "data": ["…"], "seed": 1}
//! }
//! ```
//!
//! What goes in: of each input channel, after `operators`, `(value - mean) / std`; with
//! `anomalies` the month's climatology is subtracted first; a missing value becomes 0. `field`
//! samples are `(history * channels, y, x)`, oldest step first, `cell` samples
//! `(history, channels)`. What comes out is undone alike: `output * std + mean`, plus, with
//! `relative_to: persistence`, the newest input of the same variable, plus, with `anomalies`, the
//! climatology of the month that is `lead` steps ahead. A model of arrays has their shapes too
//! (`"arrays": {"input": [16], "output": [2]}`); its numbers go in and come out as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mizar_train::{Layout, Learner};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::Loss;
use crate::header::{FORMAT, Header};
use crate::months::Climatology;

/// The key of the header in the file's metadata.
const KEY: &str = "mizar";

/// The key of the SHA-256 over the header's text and all tensors, names first.
const SUM_KEY: &str = "mizar.sha256";

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it says of itself.
    pub header: Header,
    /// As the layout of its network has them.
    pub parameters: Vec<f32>,
    /// With anomalies: of each variable, its shape and the mean of each month.
    pub climatology: Climatology,
}

/// Why a model could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be read or written.
    #[error("the model {path} cannot be {action}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It is no safetensors file, or a damaged one.
    #[error("{path} is no whole safetensors file")]
    Container {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// It was not made by `mizar train`.
    #[error("{path} has no header of Mizar: expected metadata `{KEY}`, as `mizar train` writes it")]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// The header means nothing.
    #[error("the header of {path} cannot be understood")]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The header is of another version.
    #[error("{path} has format {found}, this Mizar reads format {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A tensor is missing or another one.
    #[error("{path}: expected tensor `{name}` of F32 {expected:?}, found {found}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// What there is.
        found: String,
    },
    /// The parameters are not those that were written.
    #[error("{path} is damaged: it has the digest {found}, and says of itself {expected}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// As written.
        expected: String,
        /// As found.
        found: String,
    },
}

impl Model {
    /// Writes a file, whole or not at all; the digest in the header is set.
    ///
    /// # Errors
    /// [`ModelError`] if it cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<(), ModelError> {
        let learner = self.header.architecture.learner(Loss::Mse, 0);
        let layout = learner.layout();
        self.header.digest = digest(layout, &self.parameters);
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for tensor in layout.tensors() {
            let values = &self.parameters[tensor.range()];
            tensors.push((tensor.name.clone(), tensor.shape.clone(), bytes(values)));
        }
        for (variable, (shape, values)) in &self.climatology {
            tensors.push((climatology(variable), shape.clone(), bytes(values)));
        }
        let container = |source| ModelError::Container {
            path: path.to_owned(),
            source,
        };
        let views: Result<Vec<(&str, TensorView<'_>)>, _> = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
            })
            .collect();
        let header = serde_json::to_string(&self.header).map_err(|source| ModelError::Header {
            path: path.to_owned(),
            source,
        })?;
        let parts = tensors
            .iter()
            .map(|(name, _, bytes)| (name.as_str(), bytes.as_slice()));
        let sum = checksum(&header, parts.collect());
        let metadata = [(KEY.to_owned(), header), (SUM_KEY.to_owned(), sum)];
        let metadata = std::collections::HashMap::from(metadata);
        let whole =
            safetensors::serialize(views.map_err(container)?, Some(metadata)).map_err(container)?;
        mizar_core::durable::write(path, &whole).map_err(|source| ModelError::File {
            path: path.to_owned(),
            action: "written",
            source,
        })
    }

    /// Reads a file, and checks that its parameters are those that were written.
    ///
    /// # Errors
    /// [`ModelError`] if it cannot be read or is not whole.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let whole = std::fs::read(path).map_err(|source| ModelError::File {
            path: path.to_owned(),
            action: "read",
            source,
        })?;
        Self::of_bytes(path, &whole)
    }

    /// As [`load`](Self::load), of the bytes of a file that were read.
    ///
    /// # Errors
    /// As `load`.
    pub fn of_bytes(path: &Path, whole: &[u8]) -> Result<Self, ModelError> {
        let container = |source| ModelError::Container {
            path: path.to_owned(),
            source,
        };
        let (_, metadata) = SafeTensors::read_metadata(whole).map_err(container)?;
        let header = metadata.metadata().as_ref().and_then(|all| all.get(KEY));
        let text = header.ok_or_else(|| ModelError::NoHeader {
            path: path.to_owned(),
        })?;
        let header = parse_header(path, text)?;
        let tensors = SafeTensors::deserialize(whole).map_err(container)?;
        let expected = metadata
            .metadata()
            .as_ref()
            .and_then(|all| all.get(SUM_KEY));
        if let Some(expected) = expected {
            let all = tensors.tensors();
            let parts = all.iter().map(|(name, view)| (name.as_str(), view.data()));
            let found = checksum(text, parts.collect());
            if found != *expected {
                return Err(ModelError::Damaged {
                    path: path.to_owned(),
                    expected: expected.clone(),
                    found,
                });
            }
        }
        let learner = header.architecture.learner(Loss::Mse, 0);
        let layout = learner.layout();
        let mut parameters = Vec::with_capacity(layout.len());
        for tensor in layout.tensors() {
            parameters.extend(values(path, &tensors, &tensor.name, &tensor.shape)?);
        }
        let found = digest(layout, &parameters);
        if found != header.digest {
            return Err(ModelError::Damaged {
                path: path.to_owned(),
                expected: header.digest,
                found,
            });
        }
        let mut months = BTreeMap::new();
        if header.anomalies {
            let channels = header.inputs.iter().chain(&header.outputs);
            for variable in channels.map(|channel| &channel.variable) {
                let name = climatology(variable);
                let shape = tensors
                    .tensor(&name)
                    .map_or(vec![12, 0, 0], |view| view.shape().to_vec());
                let found = values(path, &tensors, &name, &shape)?;
                months.insert(variable.clone(), (shape, found));
            }
        }
        Ok(Self {
            header,
            parameters,
            climatology: months,
        })
    }

    /// Ready to predict, on the CPU.
    #[must_use]
    pub fn learner(&self) -> Box<dyn Learner + Send> {
        let mut learner = self.header.architecture.learner(Loss::Mse, 0);
        learner.load(&self.parameters);
        learner
    }
}

/// A model's identity: SHA-256 over names, shapes and numbers of its tensors.
#[must_use]
pub fn digest(layout: &Layout, parameters: &[f32]) -> String {
    let mut hash = Sha256::new();
    for tensor in layout.tensors() {
        hash.update(format!("{} {:?}\n", tensor.name, tensor.shape));
        hash.update(bytes(&parameters[tensor.range()]));
    }
    mizar_core::hex(hash.finalize())
}

/// That of the header's text and of tensors, which are put in the order of their names.
fn checksum(header: &str, mut tensors: Vec<(&str, &[u8])>) -> String {
    tensors.sort_unstable_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    hash.update(header);
    for (name, bytes) in tensors {
        hash.update(format!("\n{name} {}\n", bytes.len()));
        hash.update(bytes);
    }
    mizar_core::hex(hash.finalize())
}

fn climatology(variable: &str) -> String {
    format!("climatology.{variable}")
}

fn parse_header(path: &Path, text: &str) -> Result<Header, ModelError> {
    /// What every format has.
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    let wrong = |source| ModelError::Header {
        path: path.to_owned(),
        source,
    };
    let Any { format } = serde_json::from_str(text).map_err(wrong)?;
    if format != FORMAT {
        return Err(ModelError::Format {
            path: path.to_owned(),
            found: format,
        });
    }
    serde_json::from_str(text).map_err(wrong)
}

fn values(
    path: &Path,
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, ModelError> {
    let wrong = |found| ModelError::Tensor {
        path: path.to_owned(),
        name: name.to_owned(),
        expected: shape.to_vec(),
        found,
    };
    let view = tensors.tensor(name).map_err(|_| wrong("none".to_owned()))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(wrong(format!("{:?} {:?}", view.dtype(), view.shape())));
    }
    let (words, _) = view.data().as_chunks::<4>();
    Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Activation;
    use crate::{Architecture, Channel, Mlp};

    fn model() -> Model {
        let architecture = Architecture::Mlp(Mlp {
            inputs: 3,
            outputs: 2,
            hidden: vec![4],
            activation: Activation::Silu,
            starts_at_zero: false,
        });
        let parameters = architecture.learner(Loss::Mse, 3).initial();
        let mut header = Header::new(architecture);
        header.anomalies = true;
        header.inputs.push(Channel {
            variable: "tas".to_owned(),
            channel: 0,
            units: "K".to_owned(),
            mean: 0.0,
            std: 2.0,
        });
        let months = (vec![12, 1, 1], vec![280.0; 12]);
        Model {
            header,
            parameters,
            climatology: BTreeMap::from([("tas".to_owned(), months)]),
        }
    }

    #[test]
    fn a_model_survives_its_file_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut written = model();
        written.save(&path).unwrap();
        let read = Model::load(&path).unwrap();
        assert_eq!(read, written);
        let inputs = mizar_train::Array {
            shape: vec![1, 3],
            values: vec![1.0, 2.0, 3.0],
        };
        assert_eq!(
            read.learner().predict(&inputs).unwrap(),
            written.learner().predict(&inputs).unwrap()
        );

        // The parameters come first among equals of one type: flip a bit in each eighth byte.
        let whole = std::fs::read(&path).unwrap();
        let begin = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for at in (0..whole.len()).step_by(8) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            let loaded = Model::load(&path);
            if at >= begin + 12 * 4 {
                assert!(matches!(loaded, Err(ModelError::Damaged { .. })), "{at}");
            }
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(
            Model::load(&path),
            Err(ModelError::Container { .. })
        ));
    }
}
