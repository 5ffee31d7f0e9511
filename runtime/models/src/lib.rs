//! The library of models, on Burn: each a `mizar_train::Learner`.
//!
//! A [`Network`] is hyperparameters, a list of parameters and a forward pass over any of Burn's
//! back ends; [`Supervised`] makes a learner of it whose gradients are told while the backward pass
//! runs. [`Gan`] has two networks and two phases. [`source`] makes samples of cubes and of files
//! of arrays; [`Model`] is a trained model in a file, which a [`Predictor`] runs over samples in
//! physical units, and [`forecast`] over cubes. `mizar train` and `mizar infer` put all of this
//! together.
//!
//! Left out: whatever is distributed (`mizar-train`), and reading of cubes (`mizar-array`).
//!
//! # A model of your own
//!
//! ```
//! use mizar_models::burn::{Backend, FlexDevice, Flex, Tensor};
//! use mizar_models::layers::{Activation, Linear};
//! use mizar_models::{Loss, Network, Parameter, Parameters, Supervised};
//! use mizar_train::{Array, Batch, LearnError, Learner as _};
//!
//! /// Two numbers to one, by way of eight; what the last layer makes is added to the first number.
//! struct Correction;
//!
//! impl Correction {
//!     fn layers(&self) -> [Linear; 2] {
//!         let layer = |name: &str, inputs, outputs, activation| Linear {
//!             name: name.to_owned(),
//!             inputs,
//!             outputs,
//!             activation,
//!             starts_at_zero: outputs == 1,
//!         };
//!         [layer("hidden", 2, 8, Activation::Tanh), layer("out", 8, 1, Activation::None)]
//!     }
//! }
//!
//! impl Network<2, 2> for Correction {
//!     fn parameters(&self) -> Vec<Parameter> {
//!         self.layers().iter().flat_map(Linear::parameters).collect()
//!     }
//!
//!     fn input_shape(&self, batch: &[usize]) -> Result<[usize; 2], LearnError> {
//!         match *batch {
//!             [samples, 2] => Ok([samples, 2]),
//!             _ => Err(LearnError::Shape {
//!                 what: "inputs",
//!                 expected: "(samples, 2)".to_owned(),
//!                 found: batch.to_vec(),
//!             }),
//!         }
//!     }
//!
//!     fn forward<B: Backend>(&self, parameters: &Parameters<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
//!         let known = input.clone().narrow(1, 0, 1);
//!         let [hidden, out] = self.layers();
//!         known + out.forward(parameters, hidden.forward(parameters, input))
//!     }
//! }
//!
//! let mut learner = Supervised::<_, Flex, 2, 2>::new(Correction, Loss::Mse, 1, FlexDevice);
//! let batch = Batch {
//!     inputs: Array { shape: vec![2, 2], values: vec![1.0, 2.0, 3.0, 4.0] },
//!     targets: Array { shape: vec![2, 1], values: vec![1.0, 5.0] },
//! };
//! let mut told = Vec::new();
//! let loss = learner.gradients(0, &batch, 0, &mut |tensor, _| told.push(tensor))?;
//! assert_eq!(loss, 2.0); // it begins with no correction: (0² + 2²) / 2
//! assert!(told[..2].contains(&2) && told[..2].contains(&3)); // the last layer's come first
//! # Ok::<(), LearnError>(())
//! ```
//!
//! `mizar_train::Trainer` takes such a learner as it takes the library's.

mod activation;
mod backend;
mod convolution;
pub mod forecast;
mod gan;
mod header;
mod hook;
pub mod layers;
mod learner;
mod loss;
mod lstm;
mod mlp;
mod model;
mod months;
mod network;
mod pooling;
mod predictor;
mod resnet;
pub mod source;
mod unet;
mod vectors;

/// What a network of one's own needs of Burn, in the version that this crate has; its `Backend` with
/// our convolutions and activations.
pub mod burn {
    pub use crate::backend::Backend;
    pub use burn_flex::{Flex, FlexDevice};
    pub use burn_tensor::{Tensor, activation, module};
}

pub use gan::{Gan, GanLearner};
pub use header::{Architecture, ArrayShapes, Channel, Header, Missing, Reference, Sample};
pub use learner::Supervised;
pub use loss::Loss;
pub use lstm::Lstm;
pub use mlp::Mlp;
pub use model::{Model, ModelError, digest};
pub use months::{Climatology, missing_months};
pub use network::{Network, Parameter, Parameters, Random, Start};
pub use predictor::{Port, Predict, PredictError, Predictor, Role, Samples};
pub use resnet::Resnet;
pub use unet::Unet;
