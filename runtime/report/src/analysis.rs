//! From a record to a report: totals, and the parts joined.
//!
//! Pure: a running job is measured up to its last reading, so no clock is needed.

use std::collections::{BTreeMap, BTreeSet};

use mizar_core::ids::StepId;
use mizar_record::model::{FileRecord, JobRecord, NodeRecord, StepInfo};

use crate::advice::Thresholds;
use crate::format::NOT_MEASURED;
use crate::ranks::{Frame, MAX_RANK_SERIES, MeasuredRank, io_totals, sum};
use crate::schema::{
    Completeness, Cpu, Energy, File, Gap, Io, Job, Measurement, Memory, Network, Node, Provenance,
    Rank, Report, SCHEMA, Step,
};
use crate::series::{GAP_INTERVALS, Grid, median};
use crate::{advice, balance, gpus, nodes, ranks, split};

/// The interval that is assumed where a record holds too few readings to tell.
const USUAL_INTERVAL_NS: i64 = 1_000_000_000;

/// Makes the report of a record, with the default thresholds.
#[must_use]
pub fn analyse(record: &JobRecord) -> Report {
    analyse_with(record, Thresholds::default())
}

/// Makes the report of a record.
#[must_use]
pub fn analyse_with(record: &JobRecord, thresholds: Thresholds) -> Report {
    let intervals = intervals_s(record);
    let frame = frame(record, median(intervals.clone()));
    let measured = ranks::measure(record, frame);
    let shown: Vec<&Rank> = measured.iter().map(|rank| &rank.shown).collect();
    let nodes: Vec<Node> = record
        .nodes
        .iter()
        .map(|node| nodes::measure(node, &shown, frame))
        .collect();
    let elapsed_s = frame.after_start_s(frame.end_ns);
    let mut report = Report {
        schema: SCHEMA,
        mizar: mizar_core::VERSION,
        job: job(record, elapsed_s),
        completeness: completeness(record, &measured, frame),
        cpu: cpu(record, &shown, elapsed_s),
        memory: memory(record, &nodes),
        io: io(record, &shown, elapsed_s),
        network: Network {
            received_bytes: sum(nodes.iter().map(|node| node.received_bytes)),
            sent_bytes: sum(nodes.iter().map(|node| node.sent_bytes)),
            method: method(record, |node| &node.methods.network),
        },
        energy: energy(record, &nodes, elapsed_s),
        gpu: gpus::measure(record, frame),
        communication: split::measure(record, frame),
        advice: Vec::new(),
        steps: steps(record, &measured, frame),
        ranks: Vec::new(),
        nodes,
        provenance: provenance(record),
        measurement: measurement(record, intervals, measured.len()),
        thresholds,
    };
    report.ranks = measured.into_iter().map(|rank| rank.shown).collect();
    report.advice = advice::of(&report);
    report
}

fn intervals_s(record: &JobRecord) -> Vec<f64> {
    let of_node = |node: &NodeRecord| -> Vec<i64> {
        let tasks = node.task_samples.iter().map(|sample| sample.interval_ns);
        tasks
            .chain(node.node_samples.iter().map(|sample| sample.interval_ns))
            .collect()
    };
    let all = record.nodes.iter().flat_map(of_node);
    all.filter(|&interval_ns| interval_ns > 0)
        .map(|ns| ns as f64 / 1e9)
        .collect()
}

fn frame(record: &JobRecord, interval_s: Option<f64>) -> Frame {
    let interval_ns = interval_s.map_or(USUAL_INTERVAL_NS, |interval_s| (interval_s * 1e9) as i64);
    let start_ns = record.job.start_ns;
    let last_reading_ns = record.nodes.iter().flat_map(|node| {
        let tasks = node.task_samples.iter().map(|sample| sample.time_ns);
        tasks.chain(node.node_samples.iter().map(|sample| sample.time_ns))
    });
    let end_ns = record
        .job
        .end_ns
        .or_else(|| last_reading_ns.max())
        .unwrap_or(start_ns);
    let end_ns = end_ns.max(start_ns);
    Frame {
        grid: Grid::new(start_ns, end_ns, interval_ns),
        start_ns,
        end_ns,
        running: record.job.end_ns.is_none(),
        longest_ns: (interval_ns as f64 * GAP_INTERVALS) as i64,
    }
}

fn job(record: &JobRecord, elapsed_s: f64) -> Job {
    let job = &record.job;
    Job {
        id: job.id,
        array: job.array,
        restart_count: job.restart_count,
        name: job.name.clone(),
        title: crate::format::job_title(&job.name).to_owned(),
        user: if job.user.is_empty() {
            format!("uid {}", job.uid)
        } else {
            job.user.clone()
        },
        partition: job.partition.clone(),
        account: job.account.clone(),
        cluster: job.cluster.clone(),
        nodes: job.nodes.clone(),
        state: if job.end_ns.is_some() {
            "finished"
        } else {
            "running"
        },
        start_s: job.start_ns as f64 / 1e9,
        end_s: job.end_ns.map(|end_ns| end_ns as f64 / 1e9),
        elapsed_s,
        time_limit_s: job.time_limit_s,
    }
}

fn completeness(record: &JobRecord, measured: &[MeasuredRank], frame: Frame) -> Completeness {
    let lived_s: f64 = measured.iter().map(|rank| rank.shown.elapsed_s).sum();
    let spans = measured.iter().flat_map(|rank| &rank.cpu_rates);
    let observed_s = spans
        .map(|span| (span.to_ns - span.from_ns) as f64 / 1e9)
        .sum::<f64>();
    let gaps = record.nodes.iter().flat_map(|node| {
        node.gaps.iter().map(|gap| Gap {
            node: node.node.clone(),
            from_s: frame.after_start_s(gap.from_ns).max(0.0),
            to_s: frame.after_start_s(gap.to_ns).max(0.0),
            reason: gap.reason.clone(),
        })
    });
    Completeness {
        complete: record.complete,
        missing_nodes: record.missing_nodes.clone(),
        observed_share: (lived_s > 0.0).then(|| (observed_s / lived_s).min(1.0)),
        gaps: gaps.collect(),
    }
}

fn cpu(record: &JobRecord, ranks: &[&Rank], elapsed_s: f64) -> Cpu {
    let cpus: Option<Vec<u32>> = record.nodes.iter().map(|node| node.job_cpus).collect();
    let allocated = cpus
        .map(|cpus| cpus.iter().sum::<u32>())
        .filter(|&cpus| cpus > 0);
    let used_s = sum(ranks.iter().map(|rank| rank.cpu_s));
    let mean_busy = used_s.and_then(|used_s| (elapsed_s > 0.0).then(|| used_s / elapsed_s));
    Cpu {
        allocated,
        used_s,
        efficiency: mean_busy
            .zip(allocated)
            .map(|(busy, cpus)| busy / f64::from(cpus)),
        mean_busy,
        method: method(record, |node| &node.methods.cpu),
    }
}

/// The node that came nearest to its limit, or that used most where there is none.
fn memory(record: &JobRecord, nodes: &[Node]) -> Memory {
    let pressure = |node: &&Node| {
        let peak = node.memory_peak_bytes.unwrap_or(0) as f64;
        peak / node
            .memory_limit_bytes
            .filter(|&limit| limit > 0)
            .unwrap_or(1 << 60) as f64
    };
    let tightest = nodes
        .iter()
        .filter(|node| node.memory_peak_bytes.is_some())
        .reduce(|a, b| if pressure(&b) > pressure(&a) { b } else { a });
    let peak_bytes = tightest.and_then(|node| node.memory_peak_bytes);
    let limit_bytes = tightest
        .and_then(|node| node.memory_limit_bytes)
        .filter(|&limit| limit > 0);
    Memory {
        node: tightest.map(|node| node.node.clone()),
        peak_bytes,
        limit_bytes,
        used_share: peak_bytes
            .zip(limit_bytes)
            .map(|(peak, limit)| peak as f64 / limit as f64),
        oom_kills: sum(nodes.iter().map(|node| node.oom_kills)),
        method: method(record, |node| &node.methods.memory),
    }
}

fn io(record: &JobRecord, ranks: &[&Rank], elapsed_s: f64) -> Io {
    let totals = io_totals(ranks.iter().copied());
    let moved = totals
        .read_bytes
        .zip(totals.written_bytes)
        .map(|(read, written)| read + written);
    Io {
        totals,
        mean_bytes_per_s: moved
            .filter(|_| elapsed_s > 0.0)
            .map(|moved| moved as f64 / elapsed_s),
        method: method(record, |node| &node.methods.io),
    }
}

/// A sum over some of the nodes would look like the job's: one without energy leaves none.
fn energy(record: &JobRecord, nodes: &[Node], elapsed_s: f64) -> Energy {
    let joules: Option<Vec<f64>> = nodes.iter().map(|node| node.joules).collect();
    let joules = joules
        .filter(|joules| !joules.is_empty())
        .map(|joules| joules.iter().sum());
    let bounds = nodes.iter().map(|node| node.bound_joules);
    Energy {
        joules,
        bound_joules: joules.and(bounds.sum()),
        mean_watts: joules
            .filter(|_| elapsed_s > 0.0)
            .map(|joules: f64| joules / elapsed_s),
        method: match joules {
            Some(_) => method(record, |node| &node.methods.energy),
            None => NOT_MEASURED.to_owned(),
        },
    }
}

/// The methods that nodes name, each once.
fn method(record: &JobRecord, of: fn(&NodeRecord) -> &String) -> String {
    let named: BTreeSet<&str> = record
        .nodes
        .iter()
        .map(|node| of(node).as_str())
        .filter(|name| !name.is_empty())
        .collect();
    match named.len() {
        0 => NOT_MEASURED.to_owned(),
        _ => named.into_iter().collect::<Vec<_>>().join("; "),
    }
}

fn steps(record: &JobRecord, measured: &[MeasuredRank], frame: Frame) -> Vec<Step> {
    let mut infos: BTreeMap<StepId, Vec<&StepInfo>> = BTreeMap::new();
    for info in record.nodes.iter().flat_map(|node| &node.steps) {
        infos.entry(info.step).or_default().push(info);
    }
    let mut steps: Vec<Step> = infos
        .into_iter()
        .filter_map(|(step, infos)| {
            let ranks: Vec<_> = measured.iter().filter(|rank| rank.step == step).collect();
            one_step(step, &infos, &ranks, frame)
        })
        .collect();
    steps.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    steps
}

fn one_step(
    step: StepId,
    infos: &[&StepInfo],
    ranks: &[&MeasuredRank],
    frame: Frame,
) -> Option<Step> {
    let first = infos.first()?;
    let start_ns = infos.iter().map(|info| info.start_ns).min()?;
    let ends: Option<Vec<i64>> = infos.iter().map(|info| info.end_ns).collect();
    let end_ns = ends.as_ref().and_then(|ends| ends.iter().copied().max());
    let shown = ranks.iter().map(|rank| &rank.shown);
    let failed = |rank: &&Rank| {
        !matches!(
            rank.status.as_str(),
            "exit 0" | "running" | "ended" | "not known"
        )
    };
    Some(Step {
        step: step.to_string(),
        command: mizar_prov::job::command_line(&first.command),
        cwd: first.cwd.to_string_lossy().into_owned(),
        task_count: first.task_count,
        node_count: infos.len(),
        start_s: frame.after_start_s(start_ns),
        elapsed_s: (end_ns.unwrap_or(frame.end_ns) - start_ns).max(0) as f64 / 1e9,
        finished: end_ns.is_some(),
        cpu_s: sum(shown.clone().map(|rank| rank.cpu_s)),
        rank_peak_bytes: shown.clone().filter_map(|rank| rank.peak_bytes).max(),
        io: io_totals(shown.clone()),
        failures: shown
            .filter(failed)
            .map(|rank| format!("rank {}: {}", rank.rank, rank.status))
            .collect(),
        balance: balance::of_step(ranks, frame.grid),
    })
}

fn provenance(record: &JobRecord) -> Provenance {
    let mizard_version = record.nodes.first().map_or("", |node| node.mizar.as_str());
    let plain = mizar_record::provenance::of_job(record, mizard_version);
    let files = || record.nodes.iter().flat_map(|node| &node.files);
    let script = record.nodes.iter().find_map(|node| node.script.as_ref());
    Provenance {
        script: script.map(file),
        inputs: merged(files().filter(|file| !file.generated)),
        outputs: merged(files().filter(|file| file.generated)),
        document: mizar_prov::job_document(&plain).to_json(),
    }
}

/// One entry for each path and content, with all steps that touched it.
fn merged<'r>(files: impl Iterator<Item = &'r FileRecord>) -> Vec<File> {
    let mut entries: BTreeMap<(String, Option<String>), File> = BTreeMap::new();
    for record in files {
        let shown = file(record);
        let entry = entries.entry((shown.path.clone(), shown.sha256.clone()));
        let known = entry.or_insert_with(|| File {
            steps: Vec::new(),
            ..shown
        });
        let step = record.step.to_string();
        if !known.steps.contains(&step) {
            known.steps.push(step);
        }
    }
    entries.into_values().collect()
}

fn file(record: &FileRecord) -> File {
    File {
        path: record.path.to_string_lossy().into_owned(),
        steps: vec![record.step.to_string()],
        size_bytes: record.size_bytes,
        sha256: record.sha256.clone(),
        note: record.note.clone(),
    }
}

fn measurement(record: &JobRecord, intervals: Vec<f64>, rank_count: usize) -> Measurement {
    let costs: Vec<_> = record
        .nodes
        .iter()
        .filter_map(|node| nodes::own_cost(&node.own_cost))
        .collect();
    let watched_s: f64 = costs.iter().map(|cost| cost.1).sum();
    let own_cpu_s = (!costs.is_empty()).then(|| costs.iter().map(|cost| cost.0).sum::<f64>());
    Measurement {
        task_reading_count: record
            .nodes
            .iter()
            .map(|node| node.task_samples.len())
            .sum(),
        node_reading_count: record
            .nodes
            .iter()
            .map(|node| node.node_samples.len())
            .sum(),
        interval_asked_s: record
            .nodes
            .iter()
            .find_map(|node| node.sample_ms)
            .map(|sample_ms| f64::from(sample_ms) / 1e3),
        interval_max_s: intervals.iter().copied().reduce(f64::max),
        interval_median_s: median(intervals),
        own_cpu_s,
        own_cpu_share: own_cpu_s
            .filter(|_| watched_s > 0.0)
            .map(|cpu_s| cpu_s / watched_s),
        own_memory_bytes: costs.iter().map(|cost| cost.2).max(),
        ranks_without_series: rank_count.saturating_sub(MAX_RANK_SERIES),
    }
}
