//! Job reports: what a job's record says, for people and for programs.
//!
//! [`analysis`] turns a [`mizar_record::model::JobRecord`] into a [`schema::Report`]; [`text`],
//! [`html`] and JSON (serde) show that one structure, so all three carry the same figures.
//! [`map`] and [`line`] draw results; [`scaling`] compares many runs. Called by `mizar report` and
//! `mizar plot`.
//!
//! Invariants: everything here but the reader of MLflow stores is pure (no clock, no file, no
//! terminal); figures are computed in double precision; what was not measured is `None` and
//! shown as such, never as 0; a time without samples is a gap, never a line drawn across it.
//! The HTML page asks nothing of the network and runs no script.

pub mod advice;
pub mod analysis;
pub mod balance;
pub mod chart;
pub mod colour;
mod devices;
pub mod export;
pub mod format;
pub mod gpus;
mod growth;
pub mod html;
pub mod line;
pub mod map;
pub mod nice;
mod nodes;
mod ranks;
pub mod raster;
pub mod scaling;
pub mod schema;
pub mod series;
pub mod split;
pub mod synthetic;
pub mod text;

pub use analysis::analyse;
pub use schema::Report;
