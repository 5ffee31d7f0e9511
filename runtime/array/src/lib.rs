//! The datacube engine: CF NetCDF in and out, CDO's operators, any number of ranks and threads.
//!
//! [`storage`] opens files and decodes them on all cores, [`write`] makes them; between the two
//! stand a [`dataset`] (what a file holds and what it means) and a [`time_axis`].
//!
//! A Rust program starts with [`Datacube`]: the operators, their order and one method to write
//! or to compute.
//!
//! [`grid`] knows where the cells of fields lie, and [`remap`] finds weights between two grids;
//! both are pure.
//!
//! [`command`] understands CDO's command line, [`plan`] applies the operators of [`ops`] to the
//! structure of the inputs, and [`engine`] computes the data over ranks and threads.
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod api;
pub mod command;
mod cube;
pub mod dataset;
pub mod engine;
mod error;
pub mod grid;
mod library;
pub mod npz;
pub mod ops;
pub mod plan;
pub mod remap;
mod simd;
pub mod storage;
pub mod time_axis;
pub mod write;

pub use api::{Computed, Datacube, Values};
pub use error::CubeError;
