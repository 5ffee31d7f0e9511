//! The same job under Slurm's own profiles (`acct_gather_profile/hdf5`) and under `--mizar`.
//!
//! Both read every process of 64 tasks once a second on a real Slurm. What slurmstepd spends without
//! either is measured too and taken off both, so that each figure is that of the sampling.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mizar_benches::{Figure, Report};
use mizar_lab::{Lab, MizarOptions};

const TASKS: u32 = 64;

/// The longest that anything but the measurement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a job is watched.
#[derive(Clone, Copy, PartialEq)]
enum Watch {
    Nothing,
    Profile,
    Mizar,
}

/// What watching a job came to.
struct Cost {
    /// Share of a core.
    share: f64,
    record_mb: f64,
    rank_hours: f64,
}

/// Adds the comparison to the report; says so if this machine has no such Slurm.
pub(super) fn beside_slurm(seconds: u64, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("lab");
    let profiles = folder.path().join("profiles");
    std::fs::create_dir(&profiles)?;
    let builder = Lab::builder()
        .nodes(1)
        .cpus(TASKS)
        .dir(&dir)
        .mizar_with(MizarOptions::default().key("sample_ms", "1000"))
        .slurm_conf_extra(
            "AcctGatherProfileType=acct_gather_profile/hdf5\nJobAcctGatherFrequency=task=0\n",
        )
        .acct_gather_conf(format!("ProfileHDF5Dir={}\n", profiles.display()));
    let lab = match builder.start() {
        Ok(lab) => lab,
        Err(error) if error.is_missing_requirement() => {
            eprintln!("not beside Slurm's profiles: {error}");
            return Ok(());
        }
        Err(error) => return Err(error).context("Slurm with its HDF5 profiles (make packages)"),
    };
    let measured = |watch| measure(&lab, watch, &profiles, seconds);
    let nothing = measured(Watch::Nothing)?;
    let slurm = measured(Watch::Profile)?;
    let ours = measured(Watch::Mizar)?;
    let title = format!("{TASKS} tasks at 1 Hz under Slurm");
    let percent = |cost: &Cost| 100.0 * (cost.share - nothing.share).max(0.0);
    let size = |cost: &Cost| cost.record_mb / cost.rank_hours;
    for (name, cost) in [("acct_gather_profile/hdf5", &slurm), ("--mizar", &ours)] {
        let name = format!("{title}, {name}");
        report.add(Figure::new(name.clone(), percent(cost), "% of a core"));
        let name = format!("{name}: record of a rank-hour, at most");
        report.add(Figure::new(name, size(cost), "MB"));
    }
    let ratio = percent(&ours) / percent(&slurm);
    report.add(Figure::new(format!("{title}, --mizar over Slurm's"), ratio, "times").at_most(1.0));
    lab.stop();
    Ok(())
}

fn measure(lab: &Lab, watch: Watch, profiles: &Path, seconds: u64) -> anyhow::Result<Cost> {
    let mut srun = start(lab, watch)?;
    let began = Instant::now();
    wait_for("the tasks", || Ok(tasks(lab)? == TASKS as usize))?;
    // Those who begin at once have settled, and have rates.
    std::thread::sleep(Duration::from_secs(3));
    let (before, start) = (spent_ns(lab)?, Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (spent_ns(lab)? - before) as f64 * 1e-9 / start.elapsed().as_secs_f64();
    // The tasks end with srun's input.
    drop(srun.stdin.take());
    ensure!(srun.wait()?.success(), "srun failed");
    let rank_hours = f64::from(TASKS) * began.elapsed().as_secs_f64() / 3600.0;
    let record_mb = match watch {
        Watch::Nothing => 0.0,
        Watch::Profile => largest(profiles, ".h5")?,
        Watch::Mizar => {
            let records = lab.record_dir();
            wait_for("the record", || Ok(largest(&records, "job.h5")? > 0.0))?;
            largest(&records, "job.h5")?
        }
    };
    Ok(Cost {
        share,
        record_mb,
        rank_hours,
    })
}

/// A step of tasks of two processes each, as the rest of this benchmark has them.
fn start(lab: &Lab, watch: Watch) -> anyhow::Result<Child> {
    let mut srun = lab.command("srun");
    srun.args(["--mpi=none", "--mem=0", "--input=all", "-n"]);
    srun.arg(TASKS.to_string());
    match watch {
        Watch::Nothing => {}
        Watch::Profile => drop(srun.args(["--profile=task", "--acctg-freq=task=1"])),
        Watch::Mizar => drop(srun.arg("--mizar")),
    }
    srun.args(["sh", "-c", "exec 3<&0; cat <&3 & wait"]);
    let srun = srun.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    srun.context("cannot start srun")
}

fn tasks(lab: &Lab) -> anyhow::Result<usize> {
    let is_task = |comm: &str, command: &[u8]| {
        comm == "sh" && command.windows(7).any(|bytes| bytes == b"exec 3<")
    };
    Ok(processes(lab, is_task)?.len())
}

/// CPU time of slurmstepd and mizard of the lab.
fn spent_ns(lab: &Lab) -> anyhow::Result<u64> {
    let watches = |comm: &str, _: &[u8]| matches!(comm, "slurmstepd" | "mizard");
    let pids = processes(lab, watches)?;
    Ok(pids.into_iter().map(mizar_benches::daemon::cpu_ns).sum())
}

/// Processes that were started with the lab's configuration.
fn processes(lab: &Lab, is_it: impl Fn(&str, &[u8]) -> bool) -> anyhow::Result<Vec<u32>> {
    let dir = lab.dir().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // Processes end while they are looked at.
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let comm = read("comm");
        let comm = String::from_utf8_lossy(&comm);
        let environment = read("environ");
        let is_ours = environment
            .windows(dir.len())
            .any(|bytes| bytes == dir.as_bytes());
        if is_ours && is_it(comm.trim_end(), &read("cmdline")) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The size in MB of the largest file below a folder whose name ends so.
fn largest(folder: &Path, suffix: &str) -> anyhow::Result<f64> {
    let mut most = 0.0_f64;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            most = most.max(largest(&path, suffix)?);
        } else if path.to_string_lossy().ends_with(suffix) {
            most = most.max(std::fs::metadata(&path)?.len() as f64 * 1e-6);
        }
    }
    Ok(most)
}

fn wait_for(what: &str, ready: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !ready()? {
        ensure!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
