//! A job's figures in the formats of other tools.
//!
//! Called by `mizar report --export`. Each is made from the record itself, pure: what a format
//! cannot say is left out, never made up. [`mlflow`] only makes the requests; the caller sends
//! them.

pub mod jobstats;
pub mod mlflow;
pub mod omnistat;
pub mod trace;
