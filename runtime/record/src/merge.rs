//! Joins all segments of all nodes into `job.h5`.
//!
//! Layout, for plain h5py: the root has attributes `schema`, `mizar`, `job_id`, `job` (JSON),
//! `user`, `nodes`, `start_ns`, `end_ns` (-1 if a node did not finish) and `complete` (is every
//! node of the job in it?); each `/nodes/<node>` has the tables `task_samples`, `step_samples`,
//! `node_samples`, `own_cost`, `counter_samples`, `gpu_samples`, `gpu_process_samples`, `call_samples`,
//! `split_samples`, `mark_samples` (compressed compounds) and `events` (JSON lines, one string each), and attributes
//! `cpu_method`, `memory_method`, `io_method`, `energy_method`, `network_method`,
//! `communication_method`.
//!
//! Called once no node is writing, by whichever finished last, as the job's owner: what lies
//! in the owner's folder is read with the owner's rights only. Rows go over in blocks, so
//! memory does not grow with the job.

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hdf5::types::VarLenUnicode;
use hdf5::{File, Group};
use mizar_core::durable::PendingFile;
use mizar_core::nodelist;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::RecordError;
use crate::events::read_events;
use crate::folder::{self, MERGED, Segment};
use crate::model::{
    CallSample, CounterSample, Event, GpuProcessSample, GpuSample, JobInfo, MarkSample, Methods,
    NodeSample, OwnCost, SCHEMA, SplitSample, StepSample, TaskSample,
};
use crate::reader::open_segment;
use crate::table::{Row, Table, visit_rows};
use crate::writer::write_text;

/// Held by the node that merges.
const LOCK: &str = ".merge.lock";

/// What [`merge`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// `job.h5` holds everything.
    Written(PathBuf),
    /// These nodes are still writing; the last of them merges.
    Running(Vec<String>),
    /// Another process is merging right now.
    Elsewhere,
}

/// Merges the record in a job's folder if every node that began one has finished.
///
/// # Errors
/// [`RecordError`]; an older `job.h5` is then untouched.
pub fn merge(folder: &Path) -> Result<Merged, RecordError> {
    let Some(_lock) = lock(folder)? else {
        return Ok(Merged::Elsewhere);
    };
    let segments = folder::current_segments(folder)?;
    let mut events = Vec::new();
    for segment in &segments {
        events.push(read_events(&segment.events())?);
    }
    let running = still_running(&segments, &events);
    if !running.is_empty() {
        return Ok(Merged::Running(running));
    }
    let target = folder.join(MERGED);
    let pending = PendingFile::create(&target).map_err(RecordError::io("create", &target))?;
    write(pending.temporary_path(), &segments, &events)?;
    let readable = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(pending.temporary_path(), readable)
        .map_err(RecordError::io("set the mode of", &target))?;
    pending
        .commit()
        .map_err(RecordError::io("finish", &target))?;
    Ok(Merged::Written(target))
}

fn lock(folder: &Path) -> Result<Option<Flock<std::fs::File>>, RecordError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        // Not kept waiting by a FIFO of that name.
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(&path)
        .map_err(RecordError::io("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, code)) => Err(RecordError::io("lock", &path)(code.into())),
    }
}

/// Nodes whose last segment has no end.
fn still_running(segments: &[Segment], events: &[Vec<Event>]) -> Vec<String> {
    let mut running = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let is_last = segments
            .get(index + 1)
            .is_none_or(|next| next.node != segment.node);
        let ended = events[index]
            .iter()
            .any(|event| matches!(event, Event::End { .. }));
        if is_last && !ended {
            running.push(segment.node.clone());
        }
    }
    running
}

fn write(path: &Path, segments: &[Segment], events: &[Vec<Event>]) -> Result<(), RecordError> {
    let failed = || RecordError::hdf5("write", path);
    let file = File::with_options()
        .with_fapl(|list| list.libver_v110())
        .create(path)
        .map_err(failed())?;
    let nodes = file.create_group("nodes").map_err(failed())?;
    let mut index = 0;
    while index < segments.len() {
        let node = &segments[index].node;
        let count = segments[index..]
            .iter()
            .take_while(|segment| segment.node == *node)
            .count();
        let range = index..index + count;
        let group = nodes.create_group(node).map_err(failed())?;
        write_node(
            &group,
            path,
            &segments[range.clone()],
            &events[range].concat(),
        )?;
        index += count;
    }
    let job = write_job(&file, &events.concat()).map_err(failed())?;
    // All that began have ended; one that was never heard of is missing.
    let listed = nodelist::expand(&job.nodes).unwrap_or_default();
    let complete = listed
        .iter()
        .all(|name| segments.iter().any(|segment| segment.node == *name));
    file.new_attr::<bool>()
        .create("complete")
        .and_then(|attribute| attribute.write_scalar(&complete))
        .map_err(failed())?;
    file.close().map_err(failed())
}

fn write_node(
    group: &Group,
    path: &Path,
    segments: &[Segment],
    events: &[Event],
) -> Result<(), RecordError> {
    let failed = || RecordError::hdf5("write", path);
    copy_table::<TaskSample>(group, path, segments)?;
    copy_table::<StepSample>(group, path, segments)?;
    copy_table::<NodeSample>(group, path, segments)?;
    copy_table::<OwnCost>(group, path, segments)?;
    copy_table::<CounterSample>(group, path, segments)?;
    copy_table::<GpuSample>(group, path, segments)?;
    copy_table::<GpuProcessSample>(group, path, segments)?;
    copy_table::<CallSample>(group, path, segments)?;
    copy_table::<SplitSample>(group, path, segments)?;
    copy_table::<MarkSample>(group, path, segments)?;
    write_events(group, events).map_err(failed())?;
    let methods = events.iter().rev().find_map(|event| match event {
        Event::Begin { methods, .. } => Some(methods.clone()),
        _ => None,
    });
    write_methods(group, &methods.unwrap_or_default()).map_err(failed())
}

fn copy_table<R: Row>(group: &Group, path: &Path, segments: &[Segment]) -> Result<(), RecordError> {
    let failed = || RecordError::hdf5("write", path);
    let mut table = Table::create_compressed::<R>(group).map_err(failed())?;
    for segment in segments {
        let source = segment.tables();
        // A segment begun on a full disk has no tables; a damaged one ends early.
        let Ok(opened) = open_segment(&source) else {
            continue;
        };
        visit_rows::<R>(&opened, &source, &mut |rows| {
            table.append(rows).map_err(failed())
        })?;
    }
    Ok(())
}

fn write_events(group: &Group, events: &[Event]) -> hdf5::Result<()> {
    let lines: Vec<VarLenUnicode> = events
        .iter()
        .filter_map(|event| serde_json::to_string(event).ok()?.parse().ok())
        .collect();
    group
        .new_dataset_builder()
        .with_data(&lines)
        .create("events")
        .map(drop)
}

fn write_methods(group: &Group, methods: &Methods) -> hdf5::Result<()> {
    write_text(group, "cpu_method", &methods.cpu)?;
    write_text(group, "memory_method", &methods.memory)?;
    write_text(group, "io_method", &methods.io)?;
    write_text(group, "energy_method", &methods.energy)?;
    write_text(group, "network_method", &methods.network)?;
    write_text(group, "communication_method", &methods.communication)
}

fn write_job(file: &File, events: &[Event]) -> hdf5::Result<JobInfo> {
    let mut job = JobInfo::default();
    let mut start_ns = i64::MAX;
    let mut end_ns = -1;
    for event in events {
        match event {
            Event::Begin { job: known, .. } => {
                start_ns = start_ns.min(known.start_ns);
                job = (**known).clone();
            }
            Event::End { time_ns } => end_ns = end_ns.max(*time_ns),
            _ => {}
        }
    }
    job.start_ns = start_ns;
    job.end_ns = (end_ns >= 0).then_some(end_ns);
    let json = serde_json::to_string(&job).unwrap_or_default();
    for (name, text) in [
        ("schema", SCHEMA),
        ("mizar", mizar_core::VERSION),
        ("job", &json),
        ("user", &job.user),
        ("nodes", &job.nodes),
    ] {
        write_text(file, name, text)?;
    }
    file.new_attr::<u32>()
        .create("job_id")?
        .write_scalar(&job.id)?;
    file.new_attr::<i64>()
        .create("start_ns")?
        .write_scalar(&start_ns)?;
    file.new_attr::<i64>()
        .create("end_ns")?
        .write_scalar(&end_ns)?;
    Ok(job)
}
