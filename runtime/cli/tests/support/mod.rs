//! Records on disk as `mizard` writes them, and the command as users run it.
#![allow(dead_code, reason = "each suite uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mizar_record::merge::{Merged, merge};
use mizar_record::model::{Event, JobRecord, NodeRecord, SCHEMA};
use mizar_record::writer::{Rows, SegmentWriter};

/// Runs the command; no daemon answers it.
pub(crate) fn mizar(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mizar"))
        .args(arguments)
        .env("MIZAR_SOCKET", folder.join("nobody.sock"))
        .env_remove("MIZAR_RECORD_DIR")
        .env_remove("MLFLOW_TRACKING_URI")
        .output()
        .unwrap()
}

/// What a command that succeeded printed.
pub(crate) fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that failed said.
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Moves a synthetic job in time, so that it began so long ago.
pub(crate) fn begun_before_now(job: &mut JobRecord, ago_ns: i64) {
    let later_ns = mizar_core::clock::unix_ns() - mizar_report::synthetic::START_NS - ago_ns;
    job.job.start_ns += later_ns;
    for node in &mut job.nodes {
        let samples = node.task_samples.iter_mut();
        samples.for_each(|sample| sample.time_ns += later_ns);
        let tasks = node.tasks.iter_mut();
        tasks.for_each(|task| task.start_ns += later_ns);
        let steps = node.steps.iter_mut();
        steps.for_each(|step| step.start_ns += later_ns);
    }
}

/// Writes a record as `mizard` does; the writers stay open while the job runs.
pub(crate) fn write(record: &JobRecord, record_dir: &Path) -> (PathBuf, Vec<SegmentWriter>) {
    let folder = record_dir.join(record.job.id.to_string());
    std::fs::create_dir(&folder).unwrap();
    let mut open = Vec::new();
    for node in &record.nodes {
        let begin = Event::Begin {
            time_ns: record.job.start_ns,
            schema: SCHEMA.to_owned(),
            job: Box::new(record.job.clone()),
            node: node.node.clone(),
            job_cpus: node.job_cpus,
            memory_limit_bytes: node.memory_limit_bytes,
            sample_ms: node.sample_ms,
            methods: node.methods.clone(),
            mizar: mizar_core::VERSION.to_owned(),
        };
        let mut writer = SegmentWriter::create(&folder, &node.node, &begin).unwrap();
        writer.append_events(&events(record, node)).unwrap();
        let rows = Rows {
            task_samples: node.task_samples.clone(),
            step_samples: node.step_samples.clone(),
            node_samples: node.node_samples.clone(),
            own_cost: node.own_cost.clone(),
            counter_samples: node.counter_samples.clone(),
            gpu_samples: node.gpu_samples.clone(),
            gpu_process_samples: node.gpu_process_samples.clone(),
            call_samples: node.call_samples.clone(),
            split_samples: node.split_samples.clone(),
            mark_samples: node.mark_samples.clone(),
        };
        writer.append(&rows).unwrap();
        open.push(writer);
    }
    if record.job.end_ns.is_some() {
        for writer in open.drain(..) {
            writer.close().unwrap();
        }
        assert!(matches!(merge(&folder).unwrap(), Merged::Written(_)));
    }
    (folder, open)
}

fn events(record: &JobRecord, node: &NodeRecord) -> Vec<Event> {
    let mut events: Vec<Event> = node.steps.iter().cloned().map(Event::Step).collect();
    events.extend(node.tasks.iter().cloned().map(Event::Task));
    events.extend(node.counters.iter().cloned().map(Event::Counter));
    events.extend(node.gpus.iter().cloned().map(Event::Gpu));
    events.extend(node.gpu_events.iter().cloned().map(Event::GpuEvent));
    events.extend(node.names.iter().cloned().map(Event::Name));
    events.extend(node.hangs.iter().cloned().map(Event::Hang));
    events.extend(node.files.iter().cloned().map(Event::File));
    events.extend(node.script.iter().cloned().map(Event::Script));
    events.extend(record.job.end_ns.map(|time_ns| Event::End { time_ns }));
    events
}
