//! `mizar tune`: a search for hyperparameters as one Slurm array, or as processes of this machine.
//!
//! The edge over `mizar_tune`: copies the study into its folder, starts workers (tasks of
//! `sbatch --array`, or `--local` processes, which tell of each run), and writes table, CSV, JSON
//! and drawing. Running it again on the same folder goes on where it stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mizar_core::durable;
use mizar_tune::{Ledger, Study, Summary, decide, work};

use crate::stdout;

/// How often workers of this machine are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Rows of the table on a terminal; files have all.
const ROWS_MAX: usize = 20;

/// Nothing was measured.
const EXIT_NOTHING: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  mizar tune study.toml --workers 4 -- --ntasks=2 --time=1:00:00   a Slurm array of 4 workers
  mizar tune study.toml --local 2                                  two workers on this machine
  mizar tune study.toml                                            the table so far
  mizar tune study.toml --json | jq '.trials[0]'                   for programs

What follows -- goes to sbatch for each worker. A study:

  command = [\"mizar\", \"train\", \"unet.yaml\", \"--json\", \"--epochs\", \"{budget}\",
             \"--set\", \"train.learning_rate={rate}\",
             \"--set\", \"output.model={dir}/model.safetensors\"]
  metric = \"validation_loss\"     # its last value in lines of JSON that the command prints
  method = \"asha\"                # random, asha or tpe
  asha = { min = 1, max = 27, factor = 3 }
  budget = { trials = 40, gpu_hours = 12.0 }      # or energy_wh
  [space.rate]
  low = 1e-5
  high = 1e-2
  log = true

The folder FILE.tune holds the ledger, each trial's output, and results.csv, .json and .svg. A
worker that dies loses its own trial only, which another begins again.

Exit codes: 0 something was measured, 1 nothing was or it failed, 2 wrong command line.";

/// Arguments of `mizar tune`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The study (TOML)
    #[arg(value_name = "FILE")]
    study: PathBuf,
    /// The study's folder [default: FILE.tune]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Submit a Slurm array of so many workers
    #[arg(long, value_name = "N", conflicts_with = "local",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Option<u32>,
    /// Run so many workers on this machine, and wait for them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    local: Option<u32>,
    /// Print JSON (schema mizar-tune/1)
    #[arg(long)]
    json: bool,
    /// Be a worker: what the array's tasks call
    #[arg(long, hide = true)]
    worker: bool,
    /// Options of sbatch for each worker
    #[arg(last = true, value_name = "SBATCH OPTIONS")]
    sbatch: Vec<String>,
}

/// Runs `mizar tune`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = args.folder.clone().unwrap_or_else(|| {
        let mut name = args.study.clone().into_os_string();
        name.push(".tune");
        name.into()
    });
    if args.worker {
        return be_worker(&folder);
    }
    let study = Study::read(&args.study)?;
    if !args.sbatch.is_empty() && args.workers.is_none() {
        bail!("options of sbatch need --workers N");
    }
    prepare(&args.study, &study, &folder)?;
    if let Some(workers) = args.workers {
        submit(&folder, workers, &args.sbatch)?;
    }
    if let Some(workers) = args.local {
        work_here(&study, &folder, workers)?;
    }
    let ledger = Ledger::open(&folder, None)?;
    let summary = Summary::of(&study, ledger.trials());
    drop(ledger);
    write_results(&study, &summary, &folder)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&summary)? + "\n",
        false => summary.text(ROWS_MAX),
    };
    stdout::print(&text)?;
    // What was only just submitted has measured nothing yet.
    let is_done = summary.best().is_some() || args.workers.is_some();
    Ok(match is_done {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_NOTHING),
    })
}

/// Makes the folder with the study in it; one of another study is refused.
fn prepare(path: &Path, study: &Study, folder: &Path) -> anyhow::Result<()> {
    let kept = folder.join("study.toml");
    if kept.exists() {
        let before = Study::read(&kept)?;
        if before != *study {
            bail!(
                "{} holds results of another study (study.toml differs from {}): \
                 give --folder another name, or remove it",
                folder.display(),
                path.display()
            );
        }
        return Ok(());
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    durable::write(&kept, &text).with_context(|| format!("cannot write {}", kept.display()))
}

/// A path that goes on as a word.
fn word(path: &Path) -> anyhow::Result<String> {
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("{} is not UTF-8", path.display()),
    }
}

/// The folder from wherever a worker starts.
fn absolute(folder: &Path) -> anyhow::Result<PathBuf> {
    let found = folder.canonicalize();
    found.with_context(|| format!("cannot find {}", folder.display()))
}

/// This program as a worker of the folder.
fn worker_words(folder: &Path) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe().context("this program has no path")?;
    let folder = absolute(folder)?;
    let study = word(&folder.join("study.toml"))?;
    let (program, folder) = (word(&program)?, word(&folder)?);
    let words = [&program, "tune", "--worker", "--folder", &folder, &study];
    Ok(words.map(str::to_owned).to_vec())
}

fn submit(folder: &Path, workers: u32, options: &[String]) -> anyhow::Result<()> {
    // sbatch wants a script; what it runs comes as its arguments, which no shell parses.
    let path = folder.join("worker.sh");
    durable::write(&path, b"#!/bin/sh\nexec \"$@\"\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    // In a name of sbatch's a percent sign begins a pattern, in the folder that it puts before a
    // relative one too.
    let log = word(&absolute(folder)?)?.replace('%', "%%") + "/worker-%a.log";
    let output = Command::new("sbatch")
        .arg("--parsable")
        .arg(format!("--array=0-{}", workers - 1))
        .arg("--job-name=mizar-tune")
        .arg(format!("--output={log}"))
        .args(options)
        .arg(&path)
        .args(worker_words(folder)?)
        .stdin(Stdio::null())
        .output()
        .context("cannot start sbatch: is Slurm on the PATH?")?;
    if !output.status.success() {
        bail!(
            "sbatch refused: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let job = String::from_utf8_lossy(&output.stdout);
    eprintln!(
        "mizar tune: submitted job {} with {workers} workers",
        job.trim()
    );
    Ok(())
}

/// Workers of this machine; waits for all.
fn work_here(study: &Study, folder: &Path, workers: u32) -> anyhow::Result<()> {
    let words = worker_words(folder)?;
    let start = |_| {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        mizar_tune::end_with_parent(&mut command);
        command.spawn().context("cannot start a worker")
    };
    let mut running: Vec<Child> = (0..workers).map(start).collect::<Result<_, _>>()?;
    let mut failed = 0;
    while !running.is_empty() {
        std::thread::sleep(LOOK_AGAIN);
        let mut still = Vec::new();
        for mut worker in running {
            match worker.try_wait()? {
                None => still.push(worker),
                Some(status) => failed += usize::from(!status.success()),
            }
        }
        running = still;
    }
    let ledger = Ledger::open(folder, None)?;
    if failed > 0
        && !matches!(
            decide::next(study, ledger.trials()),
            decide::Next::End { .. }
        )
    {
        bail!(
            "{failed} of {workers} workers failed (their messages are above); run it again to go on"
        );
    }
    Ok(())
}

/// Takes runs until nothing is left.
fn be_worker(folder: &Path) -> anyhow::Result<ExitCode> {
    let study = Study::read(&folder.join("study.toml"))?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = nix::unistd::gethostname().unwrap_or_default();
    let task =
        variable("SLURM_ARRAY_TASK_ID").map_or_else(String::new, |task| format!(" task {task}"));
    let name = format!("{} {}{task}", host.to_string_lossy(), std::process::id());
    let mut tell = |line: &str| eprintln!("mizar tune: {line}");
    let done = work(&study, folder, &name, gpus(variable), &mut tell)?;
    eprintln!("mizar tune: {}: {} runs by {name}", done.reason, done.runs);
    Ok(ExitCode::SUCCESS)
}

/// How many GPUs Slurm gave this process, by what it says or what is visible.
fn gpus(variable: impl Fn(&str) -> Option<String>) -> u32 {
    if let Some(count) = variable("SLURM_GPUS_ON_NODE").and_then(|text| text.parse().ok()) {
        return count;
    }
    let lists = [
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
    ];
    let list = lists.into_iter().find_map(variable);
    list.map_or(0, |list| list.split(',').count() as u32)
}

fn write_results(study: &Study, summary: &Summary, folder: &Path) -> anyhow::Result<()> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        durable::write(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write("results.csv", summary.csv())?;
    write(
        "results.json",
        serde_json::to_string_pretty(summary)? + "\n",
    )?;
    write("results.svg", summary.svg(study))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_those_that_slurm_says_or_shows() {
        let of = |pairs: &'static [(&str, &str)]| {
            gpus(|name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, v)| (*v).to_owned())
            })
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(
            of(&[("SLURM_GPUS_ON_NODE", "4"), ("CUDA_VISIBLE_DEVICES", "0")]),
            4
        );
        assert_eq!(of(&[("CUDA_VISIBLE_DEVICES", "0,1")]), 2);
        assert_eq!(of(&[("ROCR_VISIBLE_DEVICES", "3")]), 1);
    }
}
