//! W3C PROV: who did what, from what, in words that other tools understand.
//!
//! [`document`] is the data model (PROV-DM as far as jobs need it), [`json`] its PROV-JSON
//! form, [`job`] the document of one Slurm job. Called by `mizard` when a job ends and by
//! `mizar report`. Left out: reading records, taking digests and any store; the input of
//! [`job::document`] is plain data, so that this crate knows neither HDF5 nor Slurm.
//!
//! Invariant: a document that [`job::document`] makes is read without a warning by the
//! Python package `prov`, and identifiers depend only on what they name (cluster, job, step,
//! rank, path and content), never on when or where the document was written.

pub mod document;
pub mod job;
pub mod json;
pub mod name;
pub mod time;

pub use document::{Activity, Attributes, Document, Relation, RelationKind, Value};
pub use job::{JobProvenance, document as job_document};
pub use json::ParseError;
pub use name::QualifiedName;
pub use time::Timestamp;
