//! The library of models, on Burn: each a `mizar_train::Learner`.
mod hook;
pub mod layers;
mod learner;
mod loss;
mod lstm;
mod mlp;
mod network;
mod resnet;
mod unet;

pub use learner::Supervised;
pub use loss::Loss;
pub use lstm::Lstm;
pub use mlp::Mlp;
pub use network::{Network, Parameter, Parameters, Random, Start};
pub use resnet::Resnet;
pub use unet::Unet;
