//! What telemetry costs at each rate, and how large and how quick to read its records are.
//!
//! The daemon samples 1, 64 and 256 tasks at 1, 10 and 100 Hz, with no GPU and with the eight of
//! a script that a double of NVML plays: what is measured of GPUs is our part of reading them,
//! not the driver's. On a real Slurm the same tasks are watched by Slurm's own profiles. Then a day
//! of a job of 64 ranks is written as `mizard` writes it, and `mizar report` makes its report.

mod slurm;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use mizar_benches::daemon::{Daemon, Task};
use mizar_benches::{Figure, Report};
use mizar_record::merge::merge;
use mizar_record::model::{Event, JobInfo, Methods, NodeSample, SCHEMA, StepInfo, TaskInfo};
use mizar_record::model::{OwnCost, TaskSample};
use mizar_record::writer::{Rows, SegmentWriter};

/// The promises: shares of a core, and bytes of a finished record.
const MOST_AT_1_HZ_PERCENT: f64 = 0.1;
const MOST_AT_10_HZ_PERCENT: f64 = 1.0;
const MOST_MB_PER_RANK_HOUR: f64 = 2.0;
const MOST_REPORT_S: f64 = 5.0;

/// The simulated job.
const RANKS: u32 = 64;
const S: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * S;

/// Measures the cost of sampling and of reports.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds to measure each combination
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Hours of the simulated job
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// Only the job beside Slurm's own profiles
    #[arg(long)]
    slurm: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "tasks of 2 processes for {} s each, GPUs replayed by a double of NVML (not hardware); \
         CPU time from /proc/<pid>/task/*/schedstat",
        arguments.seconds
    );
    let mut report = Report::new("telemetry", method);
    let binary = mizar_lab::binary("mizard");
    report.peer("mizard", &binary.display().to_string(), &["--version"]);
    if arguments.slurm {
        slurm::beside_slurm(arguments.seconds, &mut report)?;
        std::process::exit(report.finish(arguments.json));
    }
    for gpus in [0, 8] {
        for tasks in [1, 64, 256] {
            for hz in [1, 10, 100] {
                sampling(&binary, &arguments, (hz, gpus, tasks), &mut report)?;
            }
        }
    }
    slurm::beside_slurm(arguments.seconds, &mut report)?;
    long_job(&arguments, &mut report)?;
    std::process::exit(report.finish(arguments.json));
}

fn sampling(
    binary: &Path,
    arguments: &Arguments,
    (hz, gpus, task_count): (u32, u32, u32),
    report: &mut Report,
) -> anyhow::Result<()> {
    let double = tempfile::tempdir()?;
    let library = mizar_gpu_trace::place(double.path(), "libmizar_fake_nvml.so", &script(gpus))
        .map_err(anyhow::Error::msg)?;
    let keys = format!("sample_ms = {}\nnvml_library = {library:?}\n", 1000 / hz);
    let daemon = Daemon::start(binary, &keys)?;
    let tasks = (0..task_count)
        .map(|_| Task::start())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let began = Instant::now();
    daemon.watch(&tasks, (gpus > 0).then_some("0-7"))?;
    let share = daemon.share(Duration::from_secs(arguments.seconds))?;
    let memory_mb = daemon.resident_bytes()? as f64 * 1e-6;
    let rank_hours = f64::from(task_count) * began.elapsed().as_secs_f64() / 3600.0;
    drop(tasks);
    let record_mb = daemon.finish()? as f64 * 1e-6;
    let name = format!("{hz} Hz, {gpus} GPUs, {task_count} tasks");
    let cost = Figure::new(name.clone(), 100.0 * share, "% of a core");
    report.add(match (hz, gpus, task_count) {
        // 256 tasks are more than the promise speaks of.
        (1, _, 1..=64) => cost.at_most(MOST_AT_1_HZ_PERCENT),
        (10, 8, 64) => cost.at_most(MOST_AT_10_HZ_PERCENT),
        _ => cost,
    });
    if task_count == 256 {
        report.add(Figure::new(format!("{name}: memory"), memory_mb, "MB"));
    }
    if (hz, task_count) == (1, 64) {
        // What is there once, whatever the length, weighs on a record of seconds.
        let name = format!("{name}: record of a rank-hour, at most");
        report.add(Figure::new(name, record_mb / rank_hours, "MB"));
    }
    Ok(())
}

/// Eight GPUs that draw and hold something.
fn script(gpus: u32) -> String {
    let start_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    let mut script =
        format!("label = \"bench\"\nlibrary = \"12.1\"\nstart_unix_s = {start_s:.6}\n");
    for gpu in 0..gpus {
        script += &format!(
            "[[gpu]]\nname = \"NVIDIA H100 80GB HBM3\"\nuuid = \"GPU-{gpu}\"\nminor = {gpu}\n\
             pci = \"00000000:0{gpu}:00.0\"\npower_w = [[0, 300]]\nbusy = [[0, 0.5]]\n\
             memory_used_mib = [[0, 4000]]\ntemperature_c = [[0, 60]]\n\
             counter = {{ start_uj = 5000000 }}\n"
        );
    }
    script
}

/// A day of many ranks, in the rows that `mizard` would have written, and its report.
fn long_job(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let job = folder.path().join("1");
    std::fs::create_dir(&job)?;
    let seconds = i64::from(arguments.hours) * 3600;
    write_job(&job, seconds)?;
    let began = Instant::now();
    merge(&job)?;
    let merged_s = began.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(job.join("job.h5"))?.len();
    let rank_hours = f64::from(RANKS) * f64::from(arguments.hours);
    let title = format!("{} h of {RANKS} ranks at 1 Hz", arguments.hours);
    report.add(
        Figure::new(
            format!("{title}: record of a rank-hour"),
            bytes as f64 * 1e-6 / rank_hours,
            "MB",
        )
        .at_most(MOST_MB_PER_RANK_HOUR),
    );
    report.add(Figure::new(format!("{title}: merge"), merged_s, "s"));
    let mut command = Command::new(mizar_lab::binary("mizar"));
    command
        .args(["report", "1", "--html"])
        .arg(folder.path().join("report.html"))
        .arg("--record-dir")
        .arg(folder.path());
    let cost = mizar_benches::watch(&mut [command]).context("mizar report")?;
    let name = format!("{title}: report");
    report.add(Figure::new(name.clone(), cost.wall_s, "s").at_most(MOST_REPORT_S));
    report.add(Figure::new(format!("{name}, memory"), cost.peak_mb, "MB"));
    Ok(())
}

fn write_job(folder: &Path, seconds: i64) -> anyhow::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let begin = Event::Begin {
        time_ns: START_NS,
        schema: SCHEMA.to_owned(),
        job: Box::new(JobInfo {
            id: 1,
            name: "a day".to_owned(),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            nodes: "n1".to_owned(),
            start_ns: START_NS,
            ..JobInfo::default()
        }),
        node: "n1".to_owned(),
        job_cpus: Some(RANKS),
        memory_limit_bytes: None,
        sample_ms: Some(1000),
        methods: Methods::default(),
        mizar: mizar_core::VERSION.to_owned(),
    };
    let end_ns = START_NS + seconds * S;
    let step = mizar_core::ids::StepId(0);
    let mut writer = SegmentWriter::create(folder, "n1", &begin)?;
    writer.append_events(&[Event::Step(StepInfo {
        step,
        task_count: RANKS,
        command: vec!["program".to_owned()],
        cwd: "/".into(),
        start_ns: START_NS,
        end_ns: Some(end_ns),
    })])?;
    let task = |rank| {
        Event::Task(TaskInfo {
            step,
            rank: mizar_core::ids::Rank(rank),
            local_rank: rank,
            pid: 1000 + rank as i32,
            start_ns: START_NS,
            end_ns: Some(end_ns),
            status: Some(0),
            visible_gpus: None,
        })
    };
    writer.append_events(&(0..RANKS).map(task).collect::<Vec<_>>())?;
    let mut rows = Rows::default();
    for second in 1..=seconds {
        rows_of(second, &mut rows);
        if second % 60 == 0 {
            writer.append(&rows)?;
            rows.clear();
        }
    }
    writer.append(&rows)?;
    writer.append_events(&[Event::End { time_ns: end_ns }])?;
    writer.close()?;
    Ok(())
}

/// One second's rows, with some jitter in each.
fn rows_of(second: i64, rows: &mut Rows) {
    let jitter_ns = (second * 7919) % 1_000_003;
    let time_ns = START_NS + second * S + jitter_ns;
    let interval_ns = if second == 1 { 0 } else { S + jitter_ns % 1000 };
    for rank in 0..RANKS {
        let busy = 0.9 + f64::from(rank % 7) * 0.01;
        rows.task_samples.push(TaskSample {
            time_ns,
            interval_ns,
            step: 0,
            rank,
            cpu_ns: (second as f64 * busy * S as f64) as u64 + (jitter_ns as u64 % 9973),
            rss_bytes: (1 << 30) + ((second as u64 * 4099 * u64::from(rank + 1)) % (64 << 20)),
            read_bytes: second as u64 * 65_536,
            write_bytes: second as u64 * 4096,
            rchar_bytes: second as u64 * 131_072 + jitter_ns as u64 % 4096,
            wchar_bytes: second as u64 * 8192,
            threads: 4,
            processes: 1,
        });
    }
    rows.node_samples.push(NodeSample {
        time_ns,
        interval_ns,
        cpu_busy_ns: second as u64 * 60 * S as u64,
        cpu_total_ns: second as u64 * 64 * S as u64,
        memory_used_bytes: 90 << 30,
        memory_total_bytes: 256 << 30,
        net_rx_bytes: second as u64 * 1_000_000,
        net_tx_bytes: second as u64 * 2_000_000,
        energy_joules: second as f64 * 400.0,
        power_watts: 400.0,
    });
    rows.own_cost.push(OwnCost {
        time_ns,
        cpu_ns: second as u64 * 500_000,
        rss_bytes: 20 << 20,
    });
}
