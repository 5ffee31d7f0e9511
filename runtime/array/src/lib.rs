//! The datacube engine: CF NetCDF in and out, CDO's operators, any number of ranks and threads.
//!
//! [`storage`] opens files and decodes them on all cores, [`write`] makes them; between the two
//! stand a [`dataset`] (what a file holds and what it means) and a [`time_axis`].

pub mod dataset;
mod library;
pub mod storage;
pub mod time_axis;
pub mod write;
