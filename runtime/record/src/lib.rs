//! The job record: what `mizard` measured of a job, on disk.
//!
//! One folder a job under the site's record folder:
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `<record_dir>/<job>/<node>.<segment>.h5` | `mizard` of that node, every few seconds | the tables of [`model`], appended under HDF5's single-writer/multiple-reader mode, so that h5py reads them (`swmr=True`) while the job runs; a restarted daemon begins the next segment |
//! | `<record_dir>/<job>/<node>.<segment>.jsonl` | the same | [`model::Event`] lines: registrations, exits, files, gaps |
//! | `<record_dir>/<job>/job.h5` | the last node to finish | all nodes and segments merged, `/nodes/<node>/<table>` |
//! | `<record_dir>/<job>/prov.json` | the same | the job's W3C PROV document |
//!
//! Called by the daemon ([`writer`]) and by `mizar ps` and `mizar report` ([`reader`]).
//! Samples hold raw counters and the clock at which they were read; rates are the reader's
//! business. Left out: any sampling and any judgement.
//!
//! Live tables are chunked and not compressed: a table's last chunk is rewritten at every
//! flush, and under SWMR a compressed chunk whose size changed moves and leaves its old place
//! unused for ever, so that compression would make the file larger. `job.h5` is compressed.

pub mod error;
pub mod events;
pub mod folder;
pub mod hang;
pub mod merge;
pub mod model;
pub mod provenance;
pub mod reader;
mod table;
pub mod writer;

pub use error::RecordError;
