//! The record of one job on this node, as the engine fills it: rows and events wait here until
//! the next flush, and longer while the disk refuses them.
//!
//! Invariant: nothing here ever fails the job or the daemon. Trouble is logged once, counted,
//! and becomes a gap in the record when there is room again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mizar_core::clock::{monotonic_ns, unix_ns};
use mizar_core::ids::JobId;
use mizar_record::model::{Event, JobInfo, Methods, SCHEMA};
use mizar_record::writer::{Rows, SegmentWriter};
use mizar_record::{RecordError, folder};

use crate::registry::MAX_OUTBOX;
use crate::shared::Counters;

/// Rows of one job that wait in memory, 72 bytes each: what 50 tasks at 1 Hz give in a minute
/// and a half, and some 200 MB for 512 jobs on a full disk.
const MAX_WAITING_ROWS: usize = 5000;

/// Until the next segment after HDF5 failed: a failed one is never quite given back, so each
/// wait is twice the last.
const FIRST_PAUSE_NS: i64 = 10_000_000_000;
const LONGEST_PAUSE_NS: i64 = 900_000_000_000;

/// What a segment begins with.
#[derive(Clone, Debug)]
pub(crate) struct Preamble {
    pub(crate) job: JobInfo,
    pub(crate) node: String,
    pub(crate) job_cpus: Option<u32>,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) sample_ms: u32,
    pub(crate) methods: Methods,
}

/// One job's record.
pub(crate) struct Recorder {
    preamble: Preamble,
    record_dir: PathBuf,
    writer: Option<SegmentWriter>,
    pub(crate) rows: Rows,
    events: Vec<Event>,
    /// Rows lost since: (from, reason).
    lost: Option<(i64, String)>,
    trouble: bool,
    pause: Option<Pause>,
}

/// No new segment before then.
struct Pause {
    until_ns: i64,
    length_ns: i64,
}

/// When the node's last segment was written to, Unix nanoseconds: since then a restarted
/// daemon has not sampled.
pub(crate) fn last_written_ns(record_dir: &Path, job: JobId, node: &str) -> Option<i64> {
    let segments = folder::segments(&folder::of_job(record_dir, job)).ok()?;
    let last = segments.iter().rfind(|segment| segment.node == node)?;
    // Of a link that the folder's owner may have put there, not of what it points to.
    let status = std::fs::symlink_metadata(last.tables()).ok()?;
    let since = status
        .modified()
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    i64::try_from(since.as_nanos()).ok()
}

impl Recorder {
    pub(crate) fn new(preamble: Preamble, record_dir: PathBuf) -> Self {
        Self {
            preamble,
            record_dir,
            writer: None,
            rows: Rows::default(),
            events: Vec::new(),
            lost: None,
            trouble: false,
            pause: None,
        }
    }

    pub(crate) fn job(&self) -> &JobInfo {
        &self.preamble.job
    }

    /// The folder of the record, whether it exists or not.
    pub(crate) fn folder(&self) -> PathBuf {
        folder::of_job(&self.record_dir, JobId(self.preamble.job.id))
    }

    /// Do so many rows wait that they must be written before it is time?
    pub(crate) fn is_full(&self) -> bool {
        self.rows.count() >= MAX_WAITING_ROWS
    }

    /// Waits for the next flush.
    pub(crate) fn post(&mut self, events: impl IntoIterator<Item = Event>) {
        self.events.extend(events);
        let excess = self.events.len().saturating_sub(MAX_OUTBOX);
        self.events.drain(..excess);
    }

    /// Writes what waits; true if all of it is written.
    pub(crate) fn flush(&mut self, counters: &Counters) -> bool {
        let paused = self
            .pause
            .as_ref()
            .is_some_and(|pause| monotonic_ns() < pause.until_ns);
        if self.writer.is_none() && paused {
            if self.rows.count() > MAX_WAITING_ROWS {
                self.lose_rows("record not writable", &counters.dropped_rows);
            }
            return false;
        }
        match self.try_flush() {
            Ok(()) => {
                if self.trouble {
                    tracing::info!(
                        job = self.preamble.job.id,
                        "the record is being written again"
                    );
                }
                self.trouble = false;
                true
            }
            Err(error) => {
                counters.record_errors.fetch_add(1, Ordering::Relaxed);
                self.suffer(&error, &counters.dropped_rows);
                false
            }
        }
    }

    fn try_flush(&mut self) -> Result<(), RecordError> {
        if self.writer.is_none() {
            self.writer = Some(self.begin_segment()?);
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        if let Some((from_ns, reason)) = self.lost.take() {
            self.events.push(Event::Gap {
                from_ns,
                to_ns: self
                    .rows
                    .node_samples
                    .first()
                    .map_or_else(unix_ns, |row| row.time_ns),
                reason,
            });
        }
        writer.append_events(&self.events)?;
        self.events.clear();
        writer.append(&self.rows)?;
        self.rows.clear();
        Ok(())
    }

    fn begin_segment(&self) -> Result<SegmentWriter, RecordError> {
        let Preamble {
            job,
            node,
            job_cpus,
            memory_limit_bytes,
            sample_ms,
            methods,
        } = self.preamble.clone();
        let folder = folder::create(&self.record_dir, JobId(job.id), job.uid, job.gid)?;
        let begin = Event::Begin {
            time_ns: unix_ns(),
            schema: SCHEMA.to_owned(),
            job: Box::new(job),
            node: node.clone(),
            job_cpus,
            memory_limit_bytes,
            sample_ms: Some(sample_ms),
            methods,
            mizar: mizar_core::VERSION.to_owned(),
        };
        SegmentWriter::create(&folder, &node, &begin)
    }

    /// Keeps what waits within bounds and says once what is wrong.
    fn suffer(&mut self, error: &RecordError, dropped_rows: &AtomicU64) {
        let source = std::error::Error::source(error)
            .map(ToString::to_string)
            .unwrap_or_default();
        if !self.trouble {
            tracing::error!(
                job = self.preamble.job.id, %error, source,
                "the record cannot be written; the job is not affected, samples may be lost"
            );
        }
        self.trouble = true;
        let reason = if error.is_disk_full() {
            "disk full"
        } else {
            "record not writable"
        };
        let hdf5_failed = matches!(error, RecordError::Hdf5 { .. });
        if hdf5_failed {
            self.writer = None;
            let last_ns = self
                .pause
                .as_ref()
                .map_or(FIRST_PAUSE_NS / 2, |pause| pause.length_ns);
            let length_ns = (2 * last_ns).min(LONGEST_PAUSE_NS);
            self.pause = Some(Pause {
                until_ns: monotonic_ns() + length_ns,
                length_ns,
            });
        }
        // After a failure part of the rows may be in the file: they are not written twice.
        if hdf5_failed || self.rows.count() > MAX_WAITING_ROWS {
            self.lose_rows(reason, dropped_rows);
        }
    }

    fn lose_rows(&mut self, reason: &str, dropped_rows: &AtomicU64) {
        dropped_rows.fetch_add(self.rows.count() as u64, Ordering::Relaxed);
        let oldest_ns = self
            .rows
            .node_samples
            .first()
            .map_or_else(unix_ns, |row| row.time_ns);
        self.lost
            .get_or_insert_with(|| (oldest_ns, reason.to_owned()));
        self.rows.clear();
    }

    /// Writes the last word and closes the segment; false if the record could not take it.
    pub(crate) fn finish(&mut self, counters: &Counters) -> bool {
        if !self.flush(counters) {
            return false;
        }
        self.close();
        true
    }

    /// Closes the segment as it is.
    pub(crate) fn close(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.close()
        {
            tracing::warn!(job = self.preamble.job.id, %error, "the segment did not close cleanly");
        }
    }
}
