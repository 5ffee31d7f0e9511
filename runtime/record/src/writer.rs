//! Writes one segment of one node's record while the job runs.
//!
//! Called by `mizard` alone, from one thread. Tables are created up front, then the file is
//! switched to single-writer/multiple-reader mode; rows appear to readers at each
//! [`SegmentWriter::append`]. After an error the tables must be taken as lost: the caller
//! drops the writer and begins the next segment.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{File, Location};
use nix::sys::statvfs::statvfs;

use crate::RecordError;
use crate::events::EventLog;
use crate::folder::{self, Segment};
use crate::model::{
    CallSample, CounterSample, Event, GpuProcessSample, GpuSample, MarkSample, NodeSample, OwnCost,
    SCHEMA, SplitSample, StepSample, TaskSample,
};
use crate::table::Table;

/// Space that must remain beyond what is appended: HDF5 does not survive a failed write of
/// its metadata, so it is never let near the end.
const SPACE_MARGIN_BYTES: u64 = 512 << 10;

/// Space for a new, empty segment.
const NEW_SEGMENT_BYTES: u64 = 64 << 10;

/// A crashed daemon leaves segments behind; more than these in one job are not believed.
const MAX_SEGMENTS: u32 = 10_000;

/// Rows waiting to be written.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// For `/task_samples`.
    pub task_samples: Vec<TaskSample>,
    /// For `/step_samples`.
    pub step_samples: Vec<StepSample>,
    /// For `/node_samples`.
    pub node_samples: Vec<NodeSample>,
    /// For `/own_cost`.
    pub own_cost: Vec<OwnCost>,
    /// For `/counter_samples`.
    pub counter_samples: Vec<CounterSample>,
    /// For `/gpu_samples`.
    pub gpu_samples: Vec<GpuSample>,
    /// For `/gpu_process_samples`.
    pub gpu_process_samples: Vec<GpuProcessSample>,
    /// For `/call_samples`.
    pub call_samples: Vec<CallSample>,
    /// For `/split_samples`.
    pub split_samples: Vec<SplitSample>,
    /// For `/mark_samples`.
    pub mark_samples: Vec<MarkSample>,
}

impl Rows {
    /// Number of rows, all tables.
    #[must_use]
    pub fn count(&self) -> usize {
        self.task_samples.len()
            + self.step_samples.len()
            + self.node_samples.len()
            + self.own_cost.len()
            + self.counter_samples.len()
            + self.gpu_samples.len()
            + self.gpu_process_samples.len()
            + self.call_samples.len()
            + self.split_samples.len()
            + self.mark_samples.len()
    }

    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.task_samples.clear();
        self.step_samples.clear();
        self.node_samples.clear();
        self.own_cost.clear();
        self.counter_samples.clear();
        self.gpu_samples.clear();
        self.gpu_process_samples.clear();
        self.call_samples.clear();
        self.split_samples.clear();
        self.mark_samples.clear();
    }

    fn size_bytes(&self) -> u64 {
        (size_of_val(&self.task_samples[..])
            + size_of_val(&self.step_samples[..])
            + size_of_val(&self.node_samples[..])
            + size_of_val(&self.own_cost[..])
            + size_of_val(&self.counter_samples[..])
            + size_of_val(&self.gpu_samples[..])
            + size_of_val(&self.gpu_process_samples[..])
            + size_of_val(&self.call_samples[..])
            + size_of_val(&self.split_samples[..])
            + size_of_val(&self.mark_samples[..])) as u64
    }
}

/// An open segment.
pub struct SegmentWriter {
    segment: Segment,
    events: EventLog,
    open: Option<Open>,
    failed: bool,
}

struct Open {
    tables: Tables,
    file: File,
}

struct Tables {
    task_samples: Table,
    step_samples: Table,
    node_samples: Table,
    own_cost: Table,
    counter_samples: Table,
    gpu_samples: Table,
    gpu_process_samples: Table,
    call_samples: Table,
    split_samples: Table,
    mark_samples: Table,
}

impl SegmentWriter {
    /// Begins the next free segment of `node` in the job's folder; `begin` must be
    /// [`Event::Begin`] and becomes its first line.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is then left behind.
    pub fn create(folder: &Path, node: &str, begin: &Event) -> Result<Self, RecordError> {
        require_space(folder, NEW_SEGMENT_BYTES)?;
        let mut number = folder::segments(folder)?
            .into_iter()
            .filter(|segment| segment.node == node)
            .map(|segment| segment.number + 1)
            .max()
            .unwrap_or(0);
        loop {
            let segment = Segment {
                node: node.to_owned(),
                number,
                folder: folder.to_owned(),
            };
            match Self::create_segment(segment, begin) {
                Err(RecordError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists
                        && number < MAX_SEGMENTS =>
                {
                    number += 1;
                }
                other => return other,
            }
        }
    }

    fn create_segment(segment: Segment, begin: &Event) -> Result<Self, RecordError> {
        let mut events = EventLog::create(&segment.events())?;
        let made = events
            .append(std::slice::from_ref(begin))
            .and_then(|()| create_tables(&segment));
        match made {
            Ok((file, tables)) => Ok(Self {
                segment,
                events,
                open: Some(Open { tables, file }),
                failed: false,
            }),
            Err(error) => {
                // What cannot be removed is an empty segment, which readers pass over.
                let _ = std::fs::remove_file(segment.tables());
                let _ = std::fs::remove_file(segment.events());
                Err(error)
            }
        }
    }

    /// Which segment this is.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Appends rows and hands them to the system, so that readers of the open file see them.
    ///
    /// # Errors
    /// [`RecordError::DiskFull`] leaves the segment usable: try again later.
    /// After [`RecordError::Hdf5`] drop it; that costs its memory and file descriptor, so do
    /// not begin new segments often.
    pub fn append(&mut self, rows: &Rows) -> Result<(), RecordError> {
        if rows.count() == 0 {
            return Ok(());
        }
        let path = self.segment.tables();
        require_space(&self.segment.folder, rows.size_bytes())?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let appended = open.tables.append(rows);
        self.failed |= appended.is_err();
        appended.map_err(RecordError::hdf5("append samples to", &path))
    }

    /// Appends events durably.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the events may then be appended again.
    pub fn append_events(&mut self, events: &[Event]) -> Result<(), RecordError> {
        self.events.append(events)
    }

    /// Ends the segment cleanly.
    ///
    /// # Errors
    /// [`RecordError::Hdf5`] if the last blocks could not be written.
    pub fn close(mut self) -> Result<(), RecordError> {
        let path = self.segment.tables();
        let Some(open) = &self.open else {
            return Ok(());
        };
        let flushed = open.file.flush();
        self.failed |= flushed.is_err();
        flushed.map_err(RecordError::hdf5("flush", &path))?;
        match self.open.take() {
            Some(Open { tables, file }) => {
                drop(tables);
                file.close().map_err(RecordError::hdf5("close", &path))
            }
            None => Ok(()),
        }
    }
}

impl Drop for SegmentWriter {
    /// After a failed write the file is not closed but forgotten: closing would mark a file
    /// whose end is missing as whole, and HDF5 1.10 then refuses to open it, while it opens
    /// what a killed writer left.
    fn drop(&mut self) {
        if self.failed {
            std::mem::forget(self.open.take());
        }
    }
}

impl Tables {
    fn append(&mut self, rows: &Rows) -> hdf5::Result<()> {
        self.task_samples.append_flushed(&rows.task_samples)?;
        self.step_samples.append_flushed(&rows.step_samples)?;
        self.node_samples.append_flushed(&rows.node_samples)?;
        self.own_cost.append_flushed(&rows.own_cost)?;
        self.counter_samples.append_flushed(&rows.counter_samples)?;
        self.gpu_samples.append_flushed(&rows.gpu_samples)?;
        self.gpu_process_samples
            .append_flushed(&rows.gpu_process_samples)?;
        self.call_samples.append_flushed(&rows.call_samples)?;
        self.split_samples.append_flushed(&rows.split_samples)?;
        self.mark_samples.append_flushed(&rows.mark_samples)
    }
}

fn create_tables(segment: &Segment) -> Result<(File, Tables), RecordError> {
    let path = segment.tables();
    let make = || -> hdf5::Result<(File, Tables)> {
        // SWMR needs the 1.10 file format. Exclusive creation follows no link that the folder's
        // owner may have planted.
        let file = File::with_options()
            .with_fapl(|list| list.libver_v110())
            .create_excl(&path)?;
        write_text(&file, "schema", SCHEMA)?;
        write_text(&file, "mizar", mizar_core::VERSION)?;
        write_text(&file, "node", &segment.node)?;
        let tables = Tables {
            task_samples: Table::create_live::<TaskSample>(&file)?,
            step_samples: Table::create_live::<StepSample>(&file)?,
            node_samples: Table::create_live::<NodeSample>(&file)?,
            own_cost: Table::create_live::<OwnCost>(&file)?,
            counter_samples: Table::create_live::<CounterSample>(&file)?,
            gpu_samples: Table::create_live::<GpuSample>(&file)?,
            gpu_process_samples: Table::create_live::<GpuProcessSample>(&file)?,
            call_samples: Table::create_live::<CallSample>(&file)?,
            split_samples: Table::create_live::<SplitSample>(&file)?,
            mark_samples: Table::create_live::<MarkSample>(&file)?,
        };
        file.start_swmr()?;
        Ok((file, tables))
    };
    make().map_err(RecordError::hdf5("create", &path))
}

fn require_space(folder: &Path, bytes: u64) -> Result<(), RecordError> {
    let status = statvfs(folder)
        .map_err(|code| RecordError::io("ask for free space at", folder)(code.into()))?;
    let available_bytes = status.blocks_available() as u64 * status.fragment_size() as u64;
    let needed_bytes = bytes + SPACE_MARGIN_BYTES;
    if available_bytes < needed_bytes {
        let path = folder.to_owned();
        return Err(RecordError::DiskFull {
            path,
            available_bytes,
            needed_bytes,
        });
    }
    Ok(())
}

pub(crate) fn write_text(place: &Location, name: &str, text: &str) -> hdf5::Result<()> {
    // HDF5 strings end at the first NUL.
    let text: VarLenUnicode = text
        .replace('\0', "")
        .parse()
        .map_err(|_| hdf5::Error::Internal(format!("attribute {name} is no text")))?;
    place
        .new_attr::<VarLenUnicode>()
        .create(name)?
        .write_scalar(&text)
}
