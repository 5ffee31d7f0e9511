//! The library of models, on Burn: each a `mizar_train::Learner`.
mod gan;
mod hook;
pub mod layers;
mod learner;
mod loss;
mod lstm;
mod mlp;
mod model;
mod network;
mod resnet;
pub mod source;
mod unet;

pub use gan::{Gan, GanLearner};
pub use learner::Supervised;
pub use loss::Loss;
pub use lstm::Lstm;
pub use mlp::Mlp;
pub use model::{
    Architecture, Channel, Header, Missing, Model, ModelError, Reference, Sample, digest,
};
pub use network::{Network, Parameter, Parameters, Random, Start};
pub use resnet::Resnet;
pub use unet::Unet;
