//! Inference beside a plain loop of onnxruntime in Python: the same ONNX models, data, library and
//! threads, in turn.
//!
//! Three cases: a cube by two processes ([`cube`]), single requests of two clients ([`requests`]), and
//! one warm request beside a batch job that runs the same model on the same row. Of several rounds the
//! best of each counts, because what else the machine does only takes away.

mod cube;
mod requests;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use mizar_benches::{Figure, Report, median};
use mizar_lab::Lab;
use requests::Server;

/// Clients, and processes over a cube.
const PROCESSES: usize = 2;

/// The promise beside a batch job.
const WARM_TIMES: f64 = 100.0;

/// The longest that anything but a measurement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures inference beside onnxruntime in Python.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of every program
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests of each client and round
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Batch jobs
    #[arg(long, default_value_t = 5)]
    jobs: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

struct Bench {
    folder: tempfile::TempDir,
    python: PathBuf,
    library: PathBuf,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let needed = "the Python environment with onnxruntime: make venv";
        let package = mizar_lab::venv::package("onnxruntime").context(needed)?;
        let bench = Self {
            folder: tempfile::tempdir()?,
            python: mizar_lab::venv::python().context(needed)?,
            library: library(&package.join("capi"))?,
        };
        let mut make = bench.script(&["make"], &[]);
        done(vec![make.spawn()?])?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A command of the script, its output to be read.
    fn script(&self, before: &[&str], after: &[&str]) -> Command {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&self.python);
        command.arg(here.join("data/infer_case.py")).args(before);
        command.arg(self.folder.path()).args(after);
        command.env("OMP_NUM_THREADS", "1");
        piped(command)
    }

    /// `mizar infer` with this library.
    fn infer(&self, mut command: Command, model: &str, threads: usize) -> Command {
        command.args(["infer", &self.path(model), "--backend", "onnxruntime"]);
        command.args(["--threads", &threads.to_string(), "--quiet"]);
        command.env("ORT_DYLIB_PATH", &self.library);
        piped(command)
    }

    /// Seconds of a batch job that runs the small model on one row.
    fn job(&self, lab: &Lab) -> anyhow::Result<f64> {
        let mizar = mizar_lab::binary("mizar");
        let words = [
            format!("ORT_DYLIB_PATH={}", self.library.display()),
            mizar.display().to_string(),
            format!("infer {}", self.path("mlp.onnx")),
            format!("-i {} -o {}", self.path("row.npy"), self.path("job.npy")),
            "--backend onnxruntime --threads 1 --quiet".to_owned(),
        ];
        let mut command = lab.command("sbatch");
        command.args([
            "--wait",
            "--output",
            "/dev/null",
            "--wrap",
            &words.join(" "),
        ]);
        lab.wait_idle(PATIENCE)?;
        let begun = Instant::now();
        done(vec![piped(command).spawn()?])?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// The shared library in a folder of the package.
fn library(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut names = entries.flatten().map(|entry| entry.path());
    let found = names.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libonnxruntime.so")
    });
    found.with_context(|| format!("no libonnxruntime.so in {}", folder.display()))
}

fn piped(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What programs printed; an error if one failed.
fn done(children: Vec<Child>) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut printed = Vec::new();
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        printed.push(output.stdout);
    }
    Ok(printed)
}

fn warm_and_batch(
    bench: &Bench,
    server: &Server,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let lab = Lab::builder().nodes(1).cpus(2).start()?;
    let jobs = (0..arguments.jobs).map(|_| bench.job(&lab));
    let jobs: Vec<f64> = jobs.collect::<Result<_, _>>()?;
    let asked = bench.ask_server(server, "mlp", arguments.requests)?;
    let (job_ms, warm_ms) = (median(&jobs) * 1e3, median(&asked.times_s) * 1e3);
    let name = |what: &str| format!("mlp, one row: {what}");
    report.add(Figure::new(name("warm request, median"), warm_ms, "ms"));
    report.add(Figure::new(name("sbatch --wait, median"), job_ms, "ms"));
    let over = Figure::new(
        name("batch job over warm request"),
        job_ms / warm_ms,
        "times",
    );
    report.add(over.at_least(WARM_TIMES));
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "best of {} alternating rounds; one thread a process, two of the server; the same models, \
         data and library",
        arguments.rounds
    );
    let mut report = Report::new("infer", method);
    let bench = Bench::new()?;
    let python = bench.python.display().to_string();
    let version = "import onnxruntime, numpy, aiohttp, netCDF4 as n; print(onnxruntime.__version__, \
                   'numpy', numpy.__version__, 'netCDF4', n.__version__, 'aiohttp', \
                   aiohttp.__version__)";
    report.peer("onnxruntime", &python, &["-c", version]);
    let mut told = 0;
    let mut tell = |report: &Report| {
        report.tell(told);
        told = report.figures.len();
    };
    cube::compare(&bench, arguments.rounds, &mut report)?;
    tell(&report);
    let server = Server::of_mizar(&bench)?;
    requests::compare(&bench, &server, &arguments, &mut report)?;
    tell(&report);
    warm_and_batch(&bench, &server, &arguments, &mut report)?;
    tell(&report);
    drop(server);
    // An exit drops nothing, and there are 200 MB.
    drop(bench);
    std::process::exit(report.finish(arguments.json));
}
