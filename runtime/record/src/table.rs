//! Tables of fixed-size rows in HDF5: create, append, read in blocks.
//!
//! Called by the writer, the reader and the merge; knows row types only through [`Row`].

use std::path::Path;

use hdf5::{Dataset, Group, H5Type};

use crate::RecordError;
use crate::model::{
    CallSample, CounterSample, GpuProcessSample, GpuSample, MarkSample, NodeSample, OwnCost,
    SplitSample, StepSample, TaskSample,
};

/// Rows a chunk holds: some 70 KB of task samples.
const CHUNK_ROWS: usize = 1024;

/// Rows of a live chunk: each flush rewrites the last chunk whole, so it is small.
const LIVE_CHUNK_ROWS: usize = 128;

/// Rows moved in one read: bounds the memory of a merge.
const BLOCK_ROWS: usize = 16 * CHUNK_ROWS;

/// Chunk cache of one live table; the default of 1 MiB times four tables times fifty jobs
/// would be most of the daemon's allowance.
const LIVE_CACHE_BYTES: usize = 64 << 10;

/// Deflate level of merged tables.
const DEFLATE_LEVEL: u8 = 4;

/// A row type and the name of its table.
pub(crate) trait Row: H5Type + Copy {
    /// The dataset.
    const TABLE: &'static str;
    /// Has every record had it, from the first release on?
    const ALWAYS: bool = true;
}

impl Row for TaskSample {
    const TABLE: &'static str = "task_samples";
}
impl Row for StepSample {
    const TABLE: &'static str = "step_samples";
}
impl Row for NodeSample {
    const TABLE: &'static str = "node_samples";
}
impl Row for OwnCost {
    const TABLE: &'static str = "own_cost";
}
impl Row for CounterSample {
    const TABLE: &'static str = "counter_samples";
    const ALWAYS: bool = false;
}

impl Row for GpuSample {
    const TABLE: &'static str = "gpu_samples";
    const ALWAYS: bool = false;
}
impl Row for GpuProcessSample {
    const TABLE: &'static str = "gpu_process_samples";
    const ALWAYS: bool = false;
}
impl Row for CallSample {
    const TABLE: &'static str = "call_samples";
    const ALWAYS: bool = false;
}
impl Row for SplitSample {
    const TABLE: &'static str = "split_samples";
    const ALWAYS: bool = false;
}
impl Row for MarkSample {
    const TABLE: &'static str = "mark_samples";
    const ALWAYS: bool = false;
}

/// An open table that grows.
pub(crate) struct Table {
    dataset: Dataset,
    rows: usize,
}

impl Table {
    /// Creates an empty live table: chunked, extensible, not compressed (see the crate's doc).
    pub(crate) fn create_live<R: Row>(group: &Group) -> hdf5::Result<Self> {
        let dataset = group
            .new_dataset::<R>()
            .chunk(LIVE_CHUNK_ROWS)
            .chunk_cache(17, LIVE_CACHE_BYTES, 1.0)
            .shape(0..)
            .create(R::TABLE)?;
        Ok(Self { dataset, rows: 0 })
    }

    /// Creates an empty compressed table.
    pub(crate) fn create_compressed<R: Row>(group: &Group) -> hdf5::Result<Self> {
        let dataset = group
            .new_dataset::<R>()
            .chunk(CHUNK_ROWS)
            .shuffle()
            .deflate(DEFLATE_LEVEL)
            .shape(0..)
            .create(R::TABLE)?;
        Ok(Self { dataset, rows: 0 })
    }

    /// Appends rows; readers see them once flushed.
    pub(crate) fn append<R: Row>(&mut self, rows: &[R]) -> hdf5::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let end = self.rows + rows.len();
        self.dataset.resize(end)?;
        self.dataset.write_slice(rows, self.rows..end)?;
        self.rows = end;
        Ok(())
    }

    /// Appends rows and hands them to the system; nothing happens if there are none.
    pub(crate) fn append_flushed<R: Row>(&mut self, rows: &[R]) -> hdf5::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.append(rows)?;
        self.dataset.flush()
    }
}

/// Calls `visit` with all readable rows of a table, block by block, and returns how many rows
/// there should have been beyond those (0 unless the file is damaged).
pub(crate) fn visit_rows<R: Row>(
    group: &Group,
    path: &Path,
    visit: &mut dyn FnMut(&[R]) -> Result<(), RecordError>,
) -> Result<usize, RecordError> {
    if !R::ALWAYS && !group.link_exists(R::TABLE) {
        return Ok(0);
    }
    let dataset = group
        .dataset(R::TABLE)
        .map_err(RecordError::hdf5("open a table of", path))?;
    let total = dataset.shape().first().copied().unwrap_or(0);
    let mut done = 0;
    while done < total {
        let end = total.min(done + BLOCK_ROWS);
        let Some(rows) = read_range::<R>(&dataset, done, end) else {
            break;
        };
        visit(&rows)?;
        let count = rows.len();
        done += count;
        if done < end {
            break;
        }
    }
    Ok(total - done)
}

/// The rows `begin..end`, or those of them before the first unreadable chunk.
fn read_range<R: Row>(dataset: &Dataset, begin: usize, end: usize) -> Option<Vec<R>> {
    if let Ok(rows) = dataset.read_slice_1d::<R, _>(begin..end) {
        // Freshly read: its memory is the rows, from the first on.
        return Some(rows.into_raw_vec_and_offset().0);
    }
    let mut rows = Vec::new();
    let mut done = begin;
    while done < end {
        let next = end.min(done + LIVE_CHUNK_ROWS);
        let Ok(part) = dataset.read_slice_1d::<R, _>(done..next) else {
            break;
        };
        rows.extend(part.iter().copied());
        done = next;
    }
    (!rows.is_empty()).then_some(rows)
}
