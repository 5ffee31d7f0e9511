//! What a model file says of itself: which network, what goes in, what comes out.
//!
//! The form in the file, and what the numbers mean, is told in [`model`](super::model).

use burn_flex::Flex;
use mizar_train::Learner;
use serde::{Deserialize, Serialize};

use crate::{Gan, GanLearner, Loss, Lstm, Mlp, Resnet, Supervised, Unet};

/// Results of a matrix product of so few numbers are summed in another order by `gemm` 0.19, which
/// Burn multiplies by (`gemm-common`, `gemm_basic_generic`: 16 x 16).
const SMALL_PRODUCT: usize = 256;

/// The number of the header's format.
pub(crate) const FORMAT: u32 = 1;

/// Which network, and its hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Architecture {
    /// A multilayer perceptron.
    Mlp(Mlp),
    /// Long short-term memory.
    Lstm(Lstm),
    /// A U-Net.
    Unet(Unet),
    /// A residual network.
    Resnet(Resnet),
    /// A generator of showers and its discriminator.
    Gan(Gan),
}

impl Architecture {
    /// A learner on the CPU, its parameters drawn by `seed`.
    #[must_use]
    pub fn learner(&self, loss: Loss, seed: u64) -> Box<dyn Learner + Send> {
        let device = burn_flex::FlexDevice;
        match self.clone() {
            Self::Mlp(net) => Box::new(Supervised::<_, Flex, 2, 2>::new(net, loss, seed, device)),
            Self::Lstm(net) => Box::new(Supervised::<_, Flex, 3, 2>::new(net, loss, seed, device)),
            Self::Unet(net) => Box::new(Supervised::<_, Flex, 4, 4>::new(net, loss, seed, device)),
            Self::Resnet(net) => {
                Box::new(Supervised::<_, Flex, 4, 4>::new(net, loss, seed, device))
            }
            Self::Gan(gan) => Box::new(GanLearner::<Flex>::new(gan, seed, device)),
        }
    }
}

impl Architecture {
    /// From so many samples on the last bit of each no more depends on how many there are. Fields go
    /// through convolutions, one by one: any number will do.
    pub(crate) fn samples_min(&self) -> usize {
        let narrowest = match self {
            Self::Mlp(net) => net.hidden.iter().chain([&net.outputs]).min().copied(),
            Self::Lstm(net) => Some(net.hidden.min(net.outputs)),
            Self::Unet(_) | Self::Resnet(_) | Self::Gan(_) => None,
        };
        narrowest.map_or(1, |width| SMALL_PRODUCT / width.max(1) + 1)
    }
}

/// What one sample is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// A whole field: `(history * channels, y, x)`.
    #[default]
    Field,
    /// One cell of it: `(history, channels)`.
    Cell,
}

/// What the output is the difference from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// Nothing.
    #[default]
    None,
    /// The newest input of the same variable.
    Persistence,
}

/// What is done about missing values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// They are an error.
    #[default]
    Refuse,
    /// Missing inputs are 0 once normalised, missing targets count nowhere.
    Mask,
}

/// A channel of inputs or outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// The variable.
    pub variable: String,
    /// Which of its channels (levels); 0 if it has one.
    pub channel: usize,
    /// Of the file.
    pub units: String,
    /// Normalised values are `(value - mean) / std`.
    pub mean: f64,
    /// See `mean`.
    pub std: f64,
}

/// The shapes of arrays, without the sample.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayShapes {
    /// Of one input.
    pub input: Vec<usize>,
    /// Of one output.
    pub output: Vec<usize>,
}

/// What a model file says of itself; see the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The number of this format.
    pub format: u32,
    /// Which network.
    pub architecture: Architecture,
    /// What one sample is made of.
    pub sample: Sample,
    /// Steps of each input.
    pub history: usize,
    /// From the newest input to the target.
    pub lead: usize,
    /// Whether the months' climatology was subtracted.
    pub anomalies: bool,
    /// What outputs are the difference from.
    pub relative_to: Reference,
    /// What was done about missing values.
    pub missing: Missing,
    /// Operators of `mizar cube`, the first first, applied to the files before all else.
    pub operators: Vec<String>,
    /// Of a model of arrays: their shapes. Nothing for cubes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrays: Option<ArrayShapes>,
    /// Channels that go in, of one step.
    pub inputs: Vec<Channel>,
    /// Channels that come out.
    pub outputs: Vec<Channel>,
    /// The model's identity: see [`digest`].
    pub digest: String,
    /// Where it comes from: free for whoever trains.
    pub provenance: serde_json::Value,
}

impl Header {
    /// A header of this format for a network.
    #[must_use]
    pub fn new(architecture: Architecture) -> Self {
        Self {
            format: FORMAT,
            architecture,
            sample: Sample::default(),
            history: 1,
            lead: 0,
            anomalies: false,
            relative_to: Reference::default(),
            missing: Missing::default(),
            operators: Vec::new(),
            arrays: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            digest: String::new(),
            provenance: serde_json::Value::Null,
        }
    }

    /// What the network takes beside what the header names, if both differ; of models of cubes.
    pub(crate) fn contradiction(&self) -> Option<(usize, usize)> {
        let (channels, history) = (self.inputs.len(), self.history);
        let (takes, named, fits) = match &self.architecture {
            _ if self.arrays.is_some() => return None,
            Architecture::Gan(_) => return None,
            Architecture::Lstm(net) => (net.inputs, channels, net.inputs == channels),
            Architecture::Mlp(net) => {
                let named = history * channels;
                // Of a field, all its cells go in.
                let fits = match self.sample {
                    Sample::Field => net.inputs.is_multiple_of(named.max(1)),
                    Sample::Cell => net.inputs == named,
                };
                let is_old = channels == 1 && self.inputs[0].variable == "inputs";
                (net.inputs, named, fits && !is_old)
            }
            Architecture::Unet(Unet { inputs, .. })
            | Architecture::Resnet(Resnet { inputs, .. }) => {
                let named = history * channels;
                (*inputs, named, *inputs == named)
            }
        };
        (!fits).then_some((takes, named))
    }
}
