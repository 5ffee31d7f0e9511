//! Inference beside a plain loop of onnxruntime in Python: the same ONNX models, data, library and
//! threads, in turn.
//!
//! Three cases: a cube by two processes, less the start-up of each program (measured with a small
//! cube); single requests of two clients to our warm server beside two loops that call the library in
//! their own process, so that the way to the server is on our side alone; and one warm request beside
//! a batch job that runs the same model on the same row. Of several rounds the best of each counts,
//! because what else the machine does only takes away.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use mizar_benches::{Cost, Figure, Report, median, percentile, watch};
use mizar_infer::{Tensor, Values, client};
use mizar_lab::Lab;
use serde_json::Value;

/// Steps of the cubes that `data/infer_case.py` makes.
const STEPS: usize = 2000;
const STEPS_SMALL: usize = 32;

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

    /// Two ranks over a cube.
    fn cube_by_mizar(&self, cube: &str) -> anyhow::Result<Cost> {
        let mizar = mizar_lab::binary("mizar");
        let ranks = mizar_lab::mpirun_command(PROCESSES, &[], &mizar);
        let mut command = self.infer(ranks, "conv.onnx", 1);
        command.args(["-i", &self.path(cube), "-o", &self.path("out.nc")]);
        command.args(["--variables", "tas,pr", "--batch", "16"]);
        command.stderr(Stdio::inherit());
        Ok(watch(&mut [command])?)
    }

    /// Two processes over the halves of a cube, each into a file of its own.
    fn cube_by_python(&self, cube: &str, steps: usize) -> anyhow::Result<Cost> {
        let name = cube.strip_suffix(".nc").unwrap_or(cube);
        let start = |part: usize| {
            let at = |part: usize| (steps * part / PROCESSES).to_string();
            let (first, last) = (at(part), at(part + 1));
            let mut command = self.script(&["cube"], &["conv", name, &first, &last]);
            command.stderr(Stdio::inherit());
            command
        };
        let mut commands: Vec<Command> = (0..PROCESSES).map(start).collect();
        Ok(watch(&mut commands)?)
    }

    /// Two loops, each in the process that holds its model.
    fn ask_python(&self, model: &str, requests: usize) -> anyhow::Result<Asked> {
        let count = requests.to_string();
        let start = |_| self.script(&["ask"], &[model, &count]).spawn();
        let children = (0..PROCESSES).map(start).collect::<Result<Vec<_>, _>>()?;
        let mut asked = Asked::default();
        for output in done(children)? {
            let told: Value = serde_json::from_slice(&output)?;
            let times = told["times_s"].as_array().context("no times were told")?;
            let spent = told["spent_s"].as_f64().context("no time was told")?;
            asked.rate += requests as f64 / spent;
            asked.times_s.extend(times.iter().filter_map(Value::as_f64));
        }
        Ok(asked)
    }

    /// Two clients of our server, each with a connection.
    fn ask_server(&self, server: &Server, model: &str, requests: usize) -> anyhow::Result<Asked> {
        let file = self.folder.path().join(format!("{model}.onnx"));
        let client = || -> anyhow::Result<Asked> {
            let mut model = client::load(&server.socket, &file)?.model;
            let shape = model.inputs()[0].shape.clone().unwrap_or_default();
            let shape: Vec<usize> = shape.iter().map(|len| len.unwrap_or(1)).collect();
            let count: usize = shape.iter().product();
            let values = (0..count).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect();
            let inputs = [Tensor::new(shape, Values::F32(values))?];
            for _ in 0..20 {
                model.run(&inputs)?;
            }
            let mut times_s = Vec::with_capacity(requests);
            let begun = Instant::now();
            for _ in 0..requests {
                let start = Instant::now();
                model.run(&inputs)?;
                times_s.push(start.elapsed().as_secs_f64());
            }
            let rate = requests as f64 / begun.elapsed().as_secs_f64();
            Ok(Asked { times_s, rate })
        };
        let mut all = Asked::default();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(client)).collect();
            for client in clients {
                let own = client
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client died"))??;
                all.rate += own.rate;
                all.times_s.extend(own.times_s);
            }
            Ok::<(), anyhow::Error>(())
        })?;
        Ok(all)
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

/// The best of what was measured.
fn least(one: Cost, other: Cost) -> Cost {
    Cost {
        wall_s: one.wall_s.min(other.wall_s),
        cpu_s: one.cpu_s.min(other.cpu_s),
        peak_mb: one.peak_mb.min(other.peak_mb),
    }
}

/// What clients found.
#[derive(Debug, Default)]
struct Asked {
    times_s: Vec<f64>,
    /// Requests a second of all together.
    rate: f64,
}

/// A server that ends with the benchmark.
struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let socket = bench.folder.path().join("models.sock");
        let mizar = Command::new(mizar_lab::binary("mizar"));
        // As many threads as the loops in Python have together.
        let mut command = bench.infer(mizar, "conv.onnx", PROCESSES);
        command
            .arg(bench.path("mlp.onnx"))
            .arg("--serve")
            .arg(&socket);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self {
            process: command.spawn()?,
            socket,
        };
        let begun = Instant::now();
        while !server.socket.exists() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn over_cube(bench: &Bench, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut best: Option<[Cost; 4]> = None;
    for _ in 0..rounds.max(1) {
        let costs = [
            bench.cube_by_mizar("cube.nc")?,
            bench.cube_by_python("cube.nc", STEPS)?,
            bench.cube_by_mizar("small.nc")?,
            bench.cube_by_python("small.nc", STEPS_SMALL)?,
        ];
        let before = best.unwrap_or(costs);
        best = Some(std::array::from_fn(|index| {
            least(before[index], costs[index])
        }));
    }
    let [ours, theirs, our_start, their_start] = best.context("no rounds")?;
    let rate =
        |whole: Cost, start: Cost| (STEPS - STEPS_SMALL) as f64 / (whole.wall_s - start.wall_s);
    let (own, other) = (rate(ours, our_start), rate(theirs, their_start));
    let name = |what: &str| format!("cube, {PROCESSES} processes: {what}");
    let mut add = |what: &str, value: f64, unit: &str| {
        report.add(Figure::new(name(what), value, unit));
    };
    add("mizar infer", own, "steps/s");
    add("onnxruntime in Python", other, "steps/s");
    add(
        "the same with start-up, over Python",
        theirs.wall_s / ours.wall_s,
        "times",
    );
    add(
        "processor time, over Python's",
        ours.cpu_s / theirs.cpu_s,
        "times",
    );
    add("start-up of mizar infer", our_start.wall_s, "s");
    add("start-up of Python", their_start.wall_s, "s");
    let over = Figure::new(name("mizar infer over Python"), own / other, "times");
    report.add(over.at_least(1.0));
    Ok(())
}

fn by_requests(
    bench: &Bench,
    server: &Server,
    model: &str,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut best = [(0.0_f64, f64::INFINITY); 2];
    for _ in 0..arguments.rounds {
        let asked = [
            bench.ask_server(server, model, arguments.requests)?,
            bench.ask_python(model, arguments.requests)?,
        ];
        for (best, asked) in best.iter_mut().zip(asked) {
            best.0 = best.0.max(asked.rate);
            best.1 = best.1.min(percentile(&asked.times_s, 99.0) * 1e3);
        }
    }
    let [(ours, our_ms), (theirs, their_ms)] = best;
    let name = |what: &str| format!("{model}, {PROCESSES} clients: {what}");
    report.add(Figure::new(name("our server"), ours, "requests/s"));
    report.add(Figure::new(name("loops in Python"), theirs, "requests/s"));
    let over = Figure::new(name("our server over Python"), ours / theirs, "times");
    report.add(over.at_least(1.0));
    report.add(Figure::new(name("p99 of our server"), our_ms, "ms"));
    report.add(Figure::new(name("p99 in Python"), their_ms, "ms"));
    let over = Figure::new(name("p99 over Python's"), our_ms / their_ms, "times");
    report.add(over.at_most(1.0));
    Ok(())
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
    let version = "import onnxruntime, numpy, netCDF4 as n; print(onnxruntime.__version__, 'numpy', \
                   numpy.__version__, 'netCDF4', n.__version__)";
    report.peer("onnxruntime", &python, &["-c", version]);
    let mut told = 0;
    let mut tell = |report: &Report| {
        report.tell(told);
        told = report.figures.len();
    };
    over_cube(&bench, arguments.rounds, &mut report)?;
    tell(&report);
    let server = Server::start(&bench)?;
    for model in ["conv", "mlp"] {
        by_requests(&bench, &server, model, &arguments, &mut report)?;
        tell(&report);
    }
    warm_and_batch(&bench, &server, &arguments, &mut report)?;
    tell(&report);
    drop(server);
    // An exit drops nothing, and there are 200 MB.
    drop(bench);
    std::process::exit(report.finish(arguments.json));
}
