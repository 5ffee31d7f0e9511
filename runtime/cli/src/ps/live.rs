//! Who runs what now: from the local daemon, and from records that are still being written.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use mizar_api::{LiveJob, LiveStep, Request, Response};
use mizar_core::clock;
use mizar_core::ids::{JobId, StepId};
use mizar_record::model::{JobRecord, NodeRecord, TaskSample, UNKNOWN};
use nix::unistd::{Uid, User};

use super::{Hang, Row, gpus};
use crate::record_dir::{self, RecordDir};

/// A record that nobody has written to for so long is that of a dead node, not of a job.
const STALE_AFTER: Duration = Duration::from_secs(300);
/// A reading this old says nothing about now.
pub(crate) const OLD_READING_NS: i64 = 60_000_000_000;

/// What was found, and where it was looked for.
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    /// Ranks that hang, as all nodes tell together.
    pub(super) hangs: Vec<Hang>,
    /// Did the daemon answer, or could the record folder be read?
    pub(super) reached: bool,
    /// One line a place, for people.
    pub(super) looked: Vec<String>,
}

/// Looks everywhere.
pub(super) fn find(job: Option<JobId>, records: &RecordDir) -> Found {
    let mut found = Found {
        rows: Vec::new(),
        hangs: Vec::new(),
        reached: false,
        looked: Vec::new(),
    };
    let told = ask_daemon(job, &mut found);
    let folder = record_dir::resolve(records);
    match unfinished(&folder, job) {
        Ok(jobs) => {
            found.reached = true;
            let count = jobs.len();
            for record in &jobs {
                found.add_hangs(record);
                // What the daemon of a node says is newer than what it has written.
                found.rows.extend(record_rows(record, &told));
            }
            found.looked.push(format!(
                "Records in {}: {count} unfinished.",
                folder.display()
            ));
        }
        Err(error) => found.looked.push(format!(
            "Records in {} cannot be read ({error}); name another folder with --record-dir or {}.",
            folder.display(),
            record_dir::RECORD_DIR_VARIABLE
        )),
    }
    found
        .rows
        .sort_by(|a, b| (a.job, &a.step, &a.node).cmp(&(b.job, &b.step, &b.node)));
    found
}

impl Found {
    /// What the nodes of a job tell together goes before what the local daemon tells alone.
    fn add_hangs(&mut self, record: &JobRecord) {
        let job = JobId(record.job.id);
        let verdicts = mizar_report::split::hangs(record, clock::unix_ns());
        if !verdicts.is_empty() {
            self.hangs.retain(|known| known.job != job);
        }
        self.hangs.extend(verdicts.into_iter().map(|verdict| Hang {
            job,
            text: format!("step {}: {}", verdict.step, verdict.text),
        }));
    }
}

/// Adds the rows of the local daemon; returns the jobs and nodes that it told of.
fn ask_daemon(job: Option<JobId>, found: &mut Found) -> HashSet<(JobId, String)> {
    let client = record_dir::daemon();
    let mut told = HashSet::new();
    match client.ask(Request::Jobs { job }) {
        Ok(Response::Jobs { jobs }) => {
            found.reached = true;
            found.looked.push(format!(
                "mizard at {}: {} running.",
                client.socket().display(),
                jobs.len()
            ));
            for job in &jobs {
                told.insert((job.job, job.node.clone()));
                found.hangs.extend(job.hang.iter().map(|text| Hang {
                    job: job.job,
                    text: text.clone(),
                }));
                found
                    .rows
                    .extend(job.steps.iter().map(|step| live_row(job, step)));
            }
        }
        Ok(_) => found
            .looked
            .push("mizard answered something else than was asked.".to_owned()),
        // A login node has no mizard, by design.
        Err(_) if !client.socket().exists() && !record_dir::daemon_is_named() => {}
        Err(error) => found.looked.push(format!("{error}.")),
    }
    told
}

fn live_row(job: &LiveJob, step: &LiveStep) -> Row {
    let running = || step.tasks.iter().filter(|task| task.running);
    Row {
        job: job.job,
        user: user_name(job.uid),
        name: job.name.clone(),
        node: job.node.clone(),
        step: step.step.to_string(),
        ranks_here: running().count(),
        ranks: step.task_count,
        elapsed_s: elapsed_s(job.start_ns),
        cpus_busy: sum(running().map(|task| task.cpus_busy)),
        cpus_allocated: job.cpus,
        memory_bytes: Some(running().map(|task| task.memory_bytes).sum()),
        memory_limit_bytes: job.memory_limit_bytes,
        io_bytes_per_s: sum(running().map(|task| task.io_bytes_per_s)),
        gpus: gpus::of_live(job, step),
        source: "mizard",
    }
}

/// Records that are not merged and were written to lately. One that cannot be read is another
/// user's, or just beginning: passed over.
pub(crate) fn unfinished(folder: &Path, only: Option<JobId>) -> std::io::Result<Vec<JobRecord>> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<JobId>().ok());
        let Some(id) = id.filter(|id| only.is_none_or(|only| only == *id)) else {
            continue;
        };
        let folder = mizar_record::folder::of_job(folder, id);
        if folder.join(mizar_record::folder::MERGED).exists() || !written_lately(&folder) {
            continue;
        }
        if let Ok(record) = mizar_record::reader::read_job(&folder)
            && record.job.end_ns.is_none()
        {
            records.push(record);
        }
    }
    Ok(records)
}

fn written_lately(folder: &Path) -> bool {
    let Ok(segments) = mizar_record::folder::segments(folder) else {
        return false;
    };
    let lately = |path: &Path| {
        let changed = std::fs::metadata(path).and_then(|status| status.modified());
        changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < STALE_AFTER))
    };
    segments
        .iter()
        .any(|segment| lately(&segment.tables()) || lately(&segment.events()))
}

fn record_rows(record: &JobRecord, told: &HashSet<(JobId, String)>) -> Vec<Row> {
    let job = JobId(record.job.id);
    let silent = |node: &&NodeRecord| !told.contains(&(job, node.node.clone()));
    let mut rows = Vec::new();
    for node in record.nodes.iter().filter(silent) {
        for step in node.steps.iter().filter(|step| step.end_ns.is_none()) {
            rows.push(record_row(record, node, step.step, step.task_count));
        }
    }
    rows
}

fn record_row(record: &JobRecord, node: &NodeRecord, step: StepId, ranks: u32) -> Row {
    let job = &record.job;
    let running: HashSet<u32> = node
        .tasks
        .iter()
        .filter(|task| task.step == step && task.end_ns.is_none())
        .map(|task| task.rank.0)
        .collect();
    let fresh_ns = clock::unix_ns() - OLD_READING_NS;
    let mut last: BTreeMap<u32, (Option<TaskSample>, TaskSample)> = BTreeMap::new();
    let readings = node.task_samples.iter().filter(|sample| {
        sample.step == step.0 && running.contains(&sample.rank) && sample.time_ns >= fresh_ns
    });
    for sample in readings {
        last.entry(sample.rank)
            .and_modify(|(before, now)| (*before, *now) = (Some(*now), *sample))
            .or_insert((None, *sample));
    }
    let rate = |of: fn(&TaskSample) -> Option<u64>| {
        sum(last.values().map(|(before, now)| {
            let delta = of(now)?.checked_sub(of(before.as_ref()?)?)?;
            (now.interval_ns > 0).then(|| delta as f64 * 1e9 / now.interval_ns as f64)
        }))
    };
    Row {
        job: JobId(job.id),
        user: if job.user.is_empty() {
            user_name(job.uid)
        } else {
            job.user.clone()
        },
        name: job.name.clone(),
        node: node.node.clone(),
        step: step.to_string(),
        ranks_here: running.len(),
        ranks,
        elapsed_s: elapsed_s(job.start_ns),
        cpus_busy: rate(|sample| known(sample.cpu_ns)).map(|ns| ns / 1e9),
        cpus_allocated: node.job_cpus,
        memory_bytes: sum(last.values().map(|(_, now)| known(now.rss_bytes))),
        memory_limit_bytes: node.memory_limit_bytes,
        io_bytes_per_s: rate(|sample| {
            Some(known(sample.rchar_bytes)?.saturating_add(known(sample.wchar_bytes)?))
        }),
        gpus: gpus::of_record(node, step, fresh_ns),
        source: "record",
    }
}

pub(crate) fn known(number: u64) -> Option<u64> {
    (number != UNKNOWN).then_some(number)
}

/// The sum of what is known; `None` if nothing is.
fn sum<T: std::iter::Sum>(numbers: impl Iterator<Item = Option<T>>) -> Option<T> {
    let known: Vec<T> = numbers.flatten().collect();
    (!known.is_empty()).then(|| known.into_iter().sum())
}

pub(crate) fn elapsed_s(start_ns: i64) -> f64 {
    (clock::unix_ns() - start_ns).max(0) as f64 / 1e9
}

pub(crate) fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use mizar_report::synthetic::{START_NS, Shape, record};

    use super::*;

    /// A running synthetic job, as if its last reading were of now.
    fn running() -> JobRecord {
        let mut job = record(&Shape {
            running: true,
            busy: |rank, _| if rank % 2 == 0 { 1.0 } else { 0.5 },
            ..Shape::default()
        });
        let later_ns = clock::unix_ns() - START_NS - 60_000_000_000;
        job.job.start_ns += later_ns;
        for sample in job.nodes.iter_mut().flat_map(|node| &mut node.task_samples) {
            sample.time_ns += later_ns;
        }
        job
    }

    #[test]
    fn a_record_gives_the_use_of_its_last_interval() {
        let rows = record_rows(&running(), &HashSet::new());
        assert_eq!(rows.len(), 2);
        let row = &rows[0];
        assert_eq!((row.node.as_str(), row.ranks_here, row.ranks), ("n1", 2, 4));
        assert!((row.cpus_busy.unwrap() - 1.5).abs() < 1e-6, "{row:?}");
        assert_eq!(row.memory_bytes, Some(1 << 30));
        assert_eq!(row.io_bytes_per_s, Some(10.0 * f64::from(1 << 20)));
        assert!((59.0..120.0).contains(&row.elapsed_s));
    }

    #[test]
    fn what_nodes_tell_together_of_a_hang_goes_before_one_nodes_word() {
        use mizar_core::ids::Rank;
        use mizar_record::model::Waiting;

        let mut job = running();
        for (index, node) in job.nodes.iter_mut().enumerate() {
            let waiting = |rank| Waiting {
                rank: Rank(rank),
                node: node.node.clone(),
                call: Some(["MPI_Barrier", "MPI_Bcast"][index].to_owned()),
                sequence: 4,
                since_ns: clock::unix_ns() - 70_000_000_000,
            };
            let first = 2 * index as u32;
            node.hangs = vec![mizar_record::model::Hang {
                time_ns: clock::unix_ns(),
                step: StepId(0),
                waiting: vec![waiting(first), waiting(first + 1)],
                text: String::new(),
            }];
        }
        let alone = Hang {
            job: JobId(1234),
            text: "step 0: half of the truth".to_owned(),
        };
        let mut found = Found {
            rows: Vec::new(),
            hangs: vec![alone],
            reached: true,
            looked: Vec::new(),
        };
        found.add_hangs(&job);
        assert_eq!(found.hangs.len(), 1);
        let text = &found.hangs[0].text;
        assert!(
            text.contains("ranks 0 on n1, 1 on n1 wait in MPI_Barrier"),
            "{text}"
        );
        assert!(text.contains("2 on n2, 3 on n2 wait in MPI_Bcast, collective 4, for 70 s"));
    }

    #[test]
    fn what_a_daemon_told_is_not_repeated_and_old_readings_say_nothing() {
        let mut job = running();
        let told = [(JobId(1234), "n1".to_owned())].into();
        assert_eq!(record_rows(&job, &told).len(), 1);
        for sample in job.nodes.iter_mut().flat_map(|node| &mut node.task_samples) {
            sample.time_ns -= 2 * OLD_READING_NS;
        }
        let row = &record_rows(&job, &told)[0];
        assert_eq!((row.cpus_busy, row.memory_bytes), (None, None));
    }
}
