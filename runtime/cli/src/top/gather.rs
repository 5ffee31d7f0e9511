//! Where the figures of `mizar top` come from.
//!
//! This machine's daemon is asked each time. Records of other nodes are read anew only so often
//! that reading them takes a small share of the time: those of a long job are large.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use mizar_api::{LiveGpu, LiveJob, LiveSplit, Request, Response};
use mizar_core::clock;
use mizar_core::ids::JobId;
use mizar_record::model::{GpuSample, JobRecord, NodeRecord, SplitSample, TaskSample, UNKNOWN};

use super::view::{Node, Rank, SCHEMA, View};
use crate::ps::live;
use crate::record_dir::{self, RecordDir};

/// Records are not written more often than this.
const RECORD_AGE: Duration = Duration::from_secs(2);
/// Reading records may take this share of the time.
const READING_SHARE: u32 = 10;
/// A verdict on a hang that is older than this is not of now.
const OLD_HANG_NS: i64 = 60_000_000_000;

/// Gathers again and again.
pub(super) struct Gatherer {
    job: Option<JobId>,
    records: RecordDir,
    read: Vec<JobRecord>,
    /// When the records were read, and how long that took.
    read_at: Option<(Instant, Duration)>,
    looked: Option<(bool, String)>,
}

impl Gatherer {
    pub(super) fn new(job: Option<JobId>, records: RecordDir) -> Self {
        Self {
            job,
            records,
            read: Vec::new(),
            read_at: None,
            looked: None,
        }
    }

    /// What is to be seen now.
    pub(super) fn view(&mut self) -> View {
        let mut view = View {
            schema: SCHEMA,
            time_s: clock::unix_ns() as f64 / 1e9,
            nodes: Vec::new(),
            reached: false,
            looked: Vec::new(),
        };
        let told = self.ask_daemon(&mut view);
        self.read_records();
        if let Some((reached, line)) = &self.looked {
            view.reached |= reached;
            view.looked.push(line.clone());
        }
        for record in &self.read {
            let silent =
                |node: &&NodeRecord| !told.contains(&(JobId(record.job.id), node.node.clone()));
            view.nodes.extend(
                record
                    .nodes
                    .iter()
                    .filter(silent)
                    .map(|node| of_record(record, node)),
            );
        }
        view.nodes
            .sort_by(|a, b| (a.job, &a.node).cmp(&(b.job, &b.node)));
        view
    }

    fn ask_daemon(&self, view: &mut View) -> HashSet<(JobId, String)> {
        let client = record_dir::daemon();
        let mut told = HashSet::new();
        match client.ask(Request::Jobs { job: self.job }) {
            Ok(Response::Jobs { jobs }) => {
                view.reached = true;
                view.looked.push(format!(
                    "mizard at {}: {} running.",
                    client.socket().display(),
                    jobs.len()
                ));
                for job in jobs {
                    told.insert((job.job, job.node.clone()));
                    view.nodes.push(of_daemon(job));
                }
            }
            Ok(_) => view
                .looked
                .push("mizard answered something else than was asked.".to_owned()),
            // A login node has no mizard, by design.
            Err(_) if !client.socket().exists() && !record_dir::daemon_is_named() => {}
            Err(error) => view.looked.push(format!("{error}.")),
        }
        told
    }

    fn read_records(&mut self) {
        let is_fresh =
            |(at, took): (Instant, Duration)| at.elapsed() < RECORD_AGE.max(took * READING_SHARE);
        if self.read_at.is_some_and(is_fresh) {
            return;
        }
        let began = Instant::now();
        let folder = record_dir::resolve(&self.records);
        self.looked = Some(match live::unfinished(&folder, self.job) {
            Ok(read) => {
                let line = format!(
                    "Records in {}: {} unfinished.",
                    folder.display(),
                    read.len()
                );
                self.read = read;
                (true, line)
            }
            Err(error) => {
                self.read.clear();
                let variable = record_dir::RECORD_DIR_VARIABLE;
                let line = format!(
                    "Records in {} cannot be read ({error}); name another folder with \
                     --record-dir or {variable}.",
                    folder.display()
                );
                (false, line)
            }
        });
        self.read_at = Some((Instant::now(), began.elapsed()));
    }
}

fn of_daemon(job: LiveJob) -> Node {
    let mut ranks = Vec::new();
    for step in &job.steps {
        for task in step.tasks.iter().filter(|task| task.running) {
            ranks.push(Rank {
                step: step.step.to_string(),
                rank: task.rank.0,
                pid: task.pid,
                cpus_busy: task.cpus_busy,
                memory_bytes: Some(task.memory_bytes),
                io_bytes_per_s: task.io_bytes_per_s,
                threads: Some(task.threads),
                gpus: task.gpus.clone(),
                split: task.split,
                call: task.call.clone(),
            });
        }
    }
    Node {
        job: job.job,
        user: live::user_name(job.uid),
        elapsed_s: live::elapsed_s(job.start_ns),
        name: job.name,
        node: job.node,
        cpus: job.cpus,
        memory_limit_bytes: job.memory_limit_bytes,
        gpus: job.gpus,
        hang: job.hang,
        source: "mizard",
        age_s: None,
        ranks,
    }
}

/// The last two readings of each key.
fn last_two<S: Copy, K: std::hash::Hash + Eq>(
    samples: &[S],
    key: impl Fn(&S) -> K,
) -> HashMap<K, (Option<S>, S)> {
    let mut last: HashMap<K, (Option<S>, S)> = HashMap::new();
    for sample in samples {
        last.entry(key(sample))
            .and_modify(|(before, now)| (*before, *now) = (Some(*now), *sample))
            .or_insert((None, *sample));
    }
    last
}

fn of_record(record: &JobRecord, node: &NodeRecord) -> Node {
    let now_ns = clock::unix_ns();
    let tasks = last_two(&node.task_samples, |s: &TaskSample| (s.step, s.rank));
    let splits = last_two(&node.split_samples, |s: &SplitSample| (s.step, s.rank));
    let gpus = last_two(&node.gpu_samples, |s: &GpuSample| s.gpu);
    let mut uses: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for sample in &node.gpu_process_samples {
        let fresh = sample.time_ns >= now_ns - live::OLD_READING_NS;
        let gpus = uses.entry((sample.step, sample.rank)).or_default();
        if fresh && !gpus.contains(&sample.gpu) {
            gpus.push(sample.gpu);
        }
    }
    let newest_ns = tasks.values().map(|(_, now)| now.time_ns).max();
    let ranks = node
        .tasks
        .iter()
        .filter(|task| task.end_ns.is_none())
        .map(|task| {
            let key = (task.step.0, task.rank.0);
            let readings = tasks
                .get(&key)
                .filter(|(_, now)| is_fresh(now.time_ns, now_ns));
            let rate = |of: fn(&TaskSample) -> Option<u64>| {
                let (before, now) = readings?;
                let delta = of(now)?.checked_sub(of(before.as_ref()?)?)?;
                (now.interval_ns > 0).then(|| delta as f64 * 1e9 / now.interval_ns as f64)
            };
            Rank {
                step: task.step.to_string(),
                rank: task.rank.0,
                pid: task.pid,
                cpus_busy: rate(|s| live::known(s.cpu_ns)).map(|ns| ns / 1e9),
                memory_bytes: readings.and_then(|(_, now)| live::known(now.rss_bytes)),
                io_bytes_per_s: rate(|s| {
                    Some(live::known(s.rchar_bytes)?.saturating_add(live::known(s.wchar_bytes)?))
                }),
                threads: readings
                    .map(|(_, now)| now.threads)
                    .filter(|&threads| threads != u32::MAX),
                gpus: uses.get(&key).cloned().unwrap_or_default(),
                split: splits
                    .get(&key)
                    .filter(|(_, now)| is_fresh(now.time_ns, now_ns))
                    .and_then(|(before, now)| split(before.as_ref()?, now)),
                call: None,
            }
        });
    let job = &record.job;
    let hang = node
        .hangs
        .last()
        .filter(|hang| hang.time_ns >= now_ns - OLD_HANG_NS);
    Node {
        job: JobId(job.id),
        user: if job.user.is_empty() {
            live::user_name(job.uid)
        } else {
            job.user.clone()
        },
        name: job.name.clone(),
        node: node.node.clone(),
        elapsed_s: live::elapsed_s(job.start_ns),
        cpus: node.job_cpus,
        memory_limit_bytes: node.memory_limit_bytes,
        gpus: node
            .gpus
            .iter()
            .map(|info| {
                let now = gpus.get(&info.gpu).map(|(_, now)| now);
                gpu(info, now.filter(|now| is_fresh(now.time_ns, now_ns)))
            })
            .collect(),
        hang: hang.map(|hang| hang.text.clone()),
        source: "record",
        age_s: newest_ns.map(|newest_ns| (now_ns - newest_ns).max(0) as f64 / 1e9),
        ranks: ranks.collect(),
    }
}

fn is_fresh(time_ns: i64, now_ns: i64) -> bool {
    time_ns >= now_ns - live::OLD_READING_NS
}

fn gpu(info: &mizar_record::model::GpuInfo, now: Option<&GpuSample>) -> LiveGpu {
    let float = |of: fn(&GpuSample) -> f32| now.map(of).filter(|v| v.is_finite()).map(f64::from);
    LiveGpu {
        gpu: info.gpu,
        name: info.name.clone(),
        uuid: info.uuid.clone(),
        busy: float(|s| s.busy),
        memory_used_bytes: now
            .map(|s| s.memory_used_bytes)
            .filter(|&bytes| bytes != UNKNOWN),
        memory_total_bytes: info.memory_total_bytes,
        power_watts: float(|s| s.power_watts),
        temperature_c: float(|s| s.temperature_c),
        replayed: info.replayed,
    }
}

/// Shares of the time between two readings; `None` if counters fell or nothing passed.
fn split(before: &SplitSample, now: &SplitSample) -> Option<LiveSplit> {
    let of = |value: fn(&SplitSample) -> u64| Some(value(now).checked_sub(value(before))? as f64);
    let (compute, exposed, hidden) = (
        of(|s| s.compute_ns)?,
        of(|s| s.exposed_ns)?,
        of(|s| s.hidden_ns)?,
    );
    let (io, idle) = (of(|s| s.io_ns)?, of(|s| s.idle_ns)?);
    let wall = compute + exposed + io + idle;
    (wall > 0.0).then(|| LiveSplit {
        compute: compute / wall,
        exposed: exposed / wall,
        hidden: hidden / wall,
        io: io / wall,
        idle: idle / wall,
    })
}

#[cfg(test)]
mod tests {
    use mizar_report::scaling::synthetic::{Training, record};
    use mizar_report::synthetic::START_NS;

    use super::*;

    #[test]
    fn a_record_gives_ranks_gpus_and_splits_of_its_last_interval() {
        let mut job = record(&Training {
            ranks_per_node: 2,
            gpu_watts: Some(300.0),
            split: Some([0.7, 0.2, 0.1, 0.05]),
            ..Training::default()
        });
        let last_ns = job.nodes[0].task_samples.last().unwrap().time_ns;
        let later_ns = clock::unix_ns() - last_ns;
        job.job.end_ns = None;
        job.job.start_ns = START_NS + later_ns;
        let node = &mut job.nodes[0];
        node.task_samples
            .iter_mut()
            .for_each(|s| s.time_ns += later_ns);
        node.split_samples
            .iter_mut()
            .for_each(|s| s.time_ns += later_ns);
        node.gpu_samples
            .iter_mut()
            .for_each(|s| s.time_ns += later_ns);
        node.tasks.iter_mut().for_each(|task| task.end_ns = None);
        let seen = of_record(&job, &job.nodes[0]);
        assert_eq!(
            (seen.ranks.len(), seen.gpus.len(), seen.source),
            (2, 2, "record")
        );
        let rank = &seen.ranks[1];
        assert!((rank.cpus_busy.unwrap() - 1.0).abs() < 1e-6);
        let split = rank.split.unwrap();
        assert!((split.exposed - 0.2).abs() < 1e-6 && (split.hidden - 0.1).abs() < 1e-6);
        assert_eq!(seen.gpus[1].power_watts, Some(300.0));
        assert!(seen.age_s.unwrap() < 60.0);

        job.nodes[0]
            .task_samples
            .iter_mut()
            .for_each(|s| s.time_ns -= 2 * live::OLD_READING_NS);
        let old = of_record(&job, &job.nodes[0]);
        assert_eq!(
            (old.ranks[0].cpus_busy, old.ranks[0].memory_bytes),
            (None, None)
        );
    }
}
