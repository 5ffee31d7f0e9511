//! Inference: models over cubes and files under MPI, and the server that keeps them warm.
//!
//! A [`Loader`] opens a model file by the back ends that it is given, in their order: ONNX
//! Runtime ([`onnx_runtime`]), and whatever implements [`Backend`] elsewhere. What comes back is
//! a [`Model`], whatever runs it: [`cube`] moves it over fields, [`npy`] reads and writes arrays
//! that are no cubes, [`server`] holds models for many short requests and [`client`] makes one
//! of its models a [`Model`] here.
//!
//! Left out: training, and any knowledge of what a model computes.

pub mod client;
pub mod cube;
mod header;
mod loader;
mod model;
pub mod npy;
pub mod onnx_runtime;
mod rows;
mod scaling;
pub mod server;
mod tensor;
mod wire;

pub use header::{Header, HeaderError};
pub use loader::{Backend, Loaded, Loader, OpenError, Provider, Source, digest};
pub use model::{Model, ModelError, Port, batch_of, check_inputs};
pub use rows::run_rows;
pub use scaling::{Scaling, ScalingError};
pub use tensor::{ElementType, Tensor, Values};
