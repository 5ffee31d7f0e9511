//! Reads a job's record back: live, finished, or cut short.
//!
//! Called by `mizar ps`, `mizar report` and the daemon's last step. Takes `job.h5` where it is
//! whole and not older than the segments, else the segments themselves, opened under SWMR so
//! that a running or killed writer does no harm: what it flushed last is what is read.

use std::collections::BTreeMap;
use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{File, Group, OpenMode};
use mizar_core::nodelist;

use crate::RecordError;
use crate::events::{parse, read_events};
use crate::folder::{self, MERGED, Segment};
use crate::model::{Event, Gap, JobInfo, JobRecord, NodeRecord};
use crate::table::{Row, visit_rows};

/// What is in one place (a segment or a node of `job.h5`) before it is joined.
#[derive(Debug, Default)]
struct Part {
    events: Vec<Event>,
    record: NodeRecord,
}

/// Reads the record in a job's folder.
///
/// # Errors
/// [`RecordError::Missing`] if there is none; otherwise what is wrong with a file of it.
/// Tables that are damaged or not there give what can be read of them and a [`Gap`].
pub fn read_job(folder: &Path) -> Result<JobRecord, RecordError> {
    read(folder, true)
}

/// Like [`read_job`] without the samples: what provenance needs, in little memory.
///
/// # Errors
/// As [`read_job`].
pub fn read_outline(folder: &Path) -> Result<JobRecord, RecordError> {
    read(folder, false)
}

fn read(folder: &Path, with_samples: bool) -> Result<JobRecord, RecordError> {
    let segments = folder::current_segments(folder)?;
    let merged = folder.join(MERGED);
    if segments.is_empty() && !merged.exists() {
        return Err(RecordError::Missing {
            folder: folder.to_owned(),
        });
    }
    if merged_is_current(&merged, &segments) {
        return read_parts_of(&merged, with_samples);
    }
    let mut parts = BTreeMap::<String, Part>::new();
    for segment in &segments {
        let part = parts.entry(segment.node.clone()).or_default();
        part.events.extend(read_events(&segment.events())?);
        if with_samples {
            read_segment(segment, part)?;
        }
    }
    join(parts, &merged)
}

/// Reads a merged file wherever it is.
///
/// # Errors
/// [`RecordError::Newer`], [`RecordError::Damaged`], [`RecordError::Hdf5`].
pub fn read_merged(path: &Path) -> Result<JobRecord, RecordError> {
    read_parts_of(path, true)
}

fn read_parts_of(path: &Path, with_samples: bool) -> Result<JobRecord, RecordError> {
    let failed = || RecordError::hdf5("read", path);
    let file = File::open_as(path, OpenMode::Read).map_err(failed())?;
    let mut parts = BTreeMap::<String, Part>::new();
    let nodes = file.group("nodes").map_err(failed())?;
    for name in nodes.member_names().map_err(failed())? {
        let group = nodes.group(&name).map_err(failed())?;
        let part = parts.entry(name).or_default();
        let lines: Vec<VarLenUnicode> = group
            .dataset("events")
            .and_then(|dataset| dataset.read_raw())
            .map_err(failed())?;
        for (index, line) in lines.iter().enumerate() {
            part.events.push(parse(path, index + 1, line.as_bytes())?);
        }
        if with_samples {
            read_tables(&group, path, &mut part.record)?;
        }
    }
    join(parts, path)
}

/// `job.h5` counts if no segment changed after it was made.
fn merged_is_current(merged: &Path, segments: &[Segment]) -> bool {
    let changed = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|status| status.modified())
            .ok()
    };
    let Some(made) = changed(merged) else {
        return false;
    };
    segments
        .iter()
        .all(|segment| changed(&segment.events()).is_none_or(|time| time <= made))
}

fn read_segment(segment: &Segment, part: &mut Part) -> Result<(), RecordError> {
    let path = segment.tables();
    let opened = open_segment(&path);
    match opened {
        Ok(file) => read_tables(&file, &path, &mut part.record),
        // The disk was full when the segment began, or its first block is lost.
        Err(error) => {
            part.record.gaps.push(unreadable(&part.events, &error));
            Ok(())
        }
    }
}

/// Opens a segment's tables, whether they are being written, finished or left by a killed
/// writer.
pub(crate) fn open_segment(path: &Path) -> Result<File, RecordError> {
    File::open_as(path, OpenMode::ReadSWMR).map_err(RecordError::hdf5("open", path))
}

fn unreadable(events: &[Event], error: &RecordError) -> Gap {
    let from_ns = events.iter().rev().find_map(|event| match event {
        Event::Begin { time_ns, .. } => Some(*time_ns),
        _ => None,
    });
    let from_ns = from_ns.unwrap_or(0);
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    let reason = format!("{error}{}", source.unwrap_or_default());
    Gap {
        from_ns,
        to_ns: from_ns,
        reason,
    }
}

fn read_tables(group: &Group, path: &Path, record: &mut NodeRecord) -> Result<(), RecordError> {
    let missing = read_table(group, path, &mut record.task_samples)?
        + read_table(group, path, &mut record.step_samples)?
        + read_table(group, path, &mut record.node_samples)?
        + read_table(group, path, &mut record.own_cost)?
        + read_table(group, path, &mut record.counter_samples)?
        + read_table(group, path, &mut record.gpu_samples)?
        + read_table(group, path, &mut record.gpu_process_samples)?
        + read_table(group, path, &mut record.call_samples)?
        + read_table(group, path, &mut record.split_samples)?
        + read_table(group, path, &mut record.mark_samples)?;
    if missing > 0 {
        let last_ns = record
            .node_samples
            .last()
            .map_or(0, |sample| sample.time_ns);
        let reason = format!("{missing} rows of {} cannot be read", path.display());
        record.gaps.push(Gap {
            from_ns: last_ns,
            to_ns: last_ns,
            reason,
        });
    }
    Ok(())
}

fn read_table<R: Row>(group: &Group, path: &Path, into: &mut Vec<R>) -> Result<usize, RecordError> {
    visit_rows::<R>(group, path, &mut |rows| {
        into.extend_from_slice(rows);
        Ok(())
    })
}

/// Folds events into records and puts the nodes into the job's order.
fn join(parts: BTreeMap<String, Part>, path: &Path) -> Result<JobRecord, RecordError> {
    let mut job: Option<JobInfo> = None;
    let mut ends = Vec::new();
    let mut nodes = BTreeMap::new();
    for (name, mut part) in parts {
        part.record.node.clone_from(&name);
        let (info, end_ns) = fold(&part.events, &mut part.record);
        if let Some(info) = info {
            let start_ns = job
                .as_ref()
                .map_or(info.start_ns, |known| known.start_ns.min(info.start_ns));
            job = Some(JobInfo {
                start_ns,
                ..job.unwrap_or(info)
            });
            ends.push(end_ns);
            nodes.insert(name, part.record);
        }
    }
    let Some(mut job) = job else {
        let what = "no node has a whole first line".to_owned();
        return Err(RecordError::Damaged {
            path: path.to_owned(),
            what,
        });
    };
    let listed = nodelist::expand(&job.nodes).unwrap_or_default();
    let mut ordered: Vec<NodeRecord> = listed
        .iter()
        .filter_map(|name| nodes.remove(name))
        .collect();
    let present: Vec<String> = ordered.iter().map(|node| node.node.clone()).collect();
    ordered.extend(nodes.into_values());
    let missing_nodes = listed
        .into_iter()
        .filter(|name| !present.contains(name))
        .collect();
    let complete = ends.iter().all(Option::is_some);
    job.end_ns = if complete {
        ends.into_iter().flatten().max()
    } else {
        None
    };
    Ok(JobRecord {
        job,
        nodes: ordered,
        missing_nodes,
        complete,
    })
}

/// Applies events in order; the last word on a thing wins. Returns the job as the node knows
/// it and when the node finished.
fn fold(events: &[Event], record: &mut NodeRecord) -> (Option<JobInfo>, Option<i64>) {
    let mut info: Option<JobInfo> = None;
    let mut end_ns = None;
    for event in events {
        match event {
            Event::Begin {
                job,
                job_cpus,
                memory_limit_bytes,
                sample_ms,
                methods,
                mizar,
                ..
            } => {
                let start_ns = info
                    .as_ref()
                    .map_or(job.start_ns, |known| known.start_ns.min(job.start_ns));
                info = Some(JobInfo {
                    start_ns,
                    ..(**job).clone()
                });
                record.job_cpus = *job_cpus;
                record.memory_limit_bytes = *memory_limit_bytes;
                record.sample_ms = *sample_ms;
                record.methods = methods.clone();
                record.mizar.clone_from(mizar);
                end_ns = None;
            }
            Event::End { time_ns } => end_ns = Some(*time_ns),
            Event::Gap {
                from_ns,
                to_ns,
                reason,
            } => {
                record.gaps.push(Gap {
                    from_ns: *from_ns,
                    to_ns: *to_ns,
                    reason: reason.clone(),
                });
            }
            Event::Script(script) => record.script = Some(script.clone()),
            other => fold_thing(other, record),
        }
    }
    (info, end_ns)
}

fn fold_thing(event: &Event, record: &mut NodeRecord) {
    match event {
        Event::Step(step) => {
            replace(&mut record.steps, step, |known| known.step == step.step);
        }
        Event::Task(task) => replace(&mut record.tasks, task, |known| {
            (known.step, known.rank) == (task.step, task.rank)
        }),
        Event::TaskEnd {
            time_ns,
            step,
            rank,
            status,
        } => {
            let known = record
                .tasks
                .iter_mut()
                .find(|task| (task.step, task.rank) == (*step, *rank));
            if let Some(task) = known {
                task.end_ns = task.end_ns.or(Some(*time_ns));
                task.status = status.or(task.status);
            }
        }
        Event::StepEnd { time_ns, step } => {
            if let Some(known) = record.steps.iter_mut().find(|known| known.step == *step) {
                known.end_ns = Some(*time_ns);
            }
        }
        Event::File(file) => replace(&mut record.files, file, |known| {
            (known.step, known.rank, known.generated, &known.path)
                == (file.step, file.rank, file.generated, &file.path)
        }),
        Event::Counter(counter) => {
            replace(&mut record.counters, counter, |known| {
                known.id == counter.id
            });
        }
        Event::Gpu(gpu) => replace(&mut record.gpus, gpu, |known| known.gpu == gpu.gpu),
        Event::GpuEvent(event) => record.gpu_events.push(event.clone()),
        Event::Name(name) => replace(&mut record.names, name, |known| known.id == name.id),
        Event::Hang(hang) => record.hangs.push(hang.clone()),
        Event::Begin { .. } | Event::End { .. } | Event::Gap { .. } | Event::Script(_) => {}
    }
}

fn replace<T: Clone>(list: &mut Vec<T>, value: &T, same: impl Fn(&T) -> bool) {
    match list.iter_mut().find(|known| same(known)) {
        Some(known) => *known = value.clone(),
        None => list.push(value.clone()),
    }
}
