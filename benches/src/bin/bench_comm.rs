//! What `--mizar=comm` costs a program that makes 10,000 MPI calls a second.
//!
//! The same program runs with the library and without, in turn, on one rank and on a communicator
//! of itself, so that nothing but the calls is measured. Between two calls lies arithmetic of 100
//! microseconds, the same number of iterations in both. The ring is taken by a socket of this
//! program; what draining it costs `mizard` is in `bench_mizard`'s domain.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Parser;
use mizar_benches::{Figure, Report, median};

/// The promise: no more CPU time than this times the plain program's.
const MOST_TIMES: f64 = 1.01;

/// Rounds of four calls in one run at pace: two seconds.
const PACED_ROUNDS: u32 = 5_000;

/// Likewise without any arithmetic between the calls.
const DENSE_ROUNDS: u32 = 250_000;

/// Measures the cost of the library behind --mizar=comm.
#[derive(Debug, Parser)]
struct Arguments {
    /// Pairs of runs to time
    #[arg(long, default_value_t = 15)]
    pairs: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What one run of the loop took.
#[derive(Clone, Copy, Debug)]
struct Run {
    cpu_s: f64,
    calls: f64,
}

struct Bench {
    folder: tempfile::TempDir,
    program: PathBuf,
    library: PathBuf,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("comm");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/comm.c");
        let mut compiler = Command::new("mpicc");
        compiler.arg("-O2").arg("-o").arg(&program).arg(source);
        if !compiler.status().context("mpicc")?.success() {
            bail!("mpicc cannot compile c/comm.c");
        }
        let library = mizar_lab::binary("libmizar_comm.so");
        if !library.exists() {
            bail!("{} is not built (mizar-preload)", library.display());
        }
        let listener = UnixListener::bind(folder.path().join("sock"))?;
        // Takes what is handed over and forgets it.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        Ok(Self {
            folder,
            program,
            library,
        })
    }

    fn iterations(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.program).arg("calibrate").output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn run(&self, counted: bool, rounds: u32, iterations: &str) -> anyhow::Result<Run> {
        let mut command = Command::new("mpirun");
        command.args(["--allow-run-as-root", "-n", "1"]);
        command.arg(&self.program);
        command.arg(rounds.to_string()).arg(iterations);
        if counted {
            command
                .env("LD_PRELOAD", &self.library)
                .env("MIZAR_SOCKET", self.folder.path().join("sock"))
                .env("MIZAR_JOB_ID", "1")
                .env("MIZAR_STEP_ID", "0");
        }
        let output = command.output().context("mpirun")?;
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [cpu_s, _wall_s, calls] = numbers[..] else {
            bail!("{text}{}", String::from_utf8_lossy(&output.stderr));
        };
        Ok(Run { cpu_s, calls })
    }

    /// Pairs of runs: without the library, and with it.
    fn pairs(&self, count: usize, rounds: u32, work: &str) -> anyhow::Result<Vec<[Run; 2]>> {
        let mut pairs = Vec::new();
        for index in 0..=count {
            // The order alternates; the first pair only warms up.
            let first = self.run(index % 2 == 1, rounds, work)?;
            let second = self.run(index % 2 == 0, rounds, work)?;
            if index > 0 {
                pairs.push(if index % 2 == 0 {
                    [first, second]
                } else {
                    [second, first]
                });
            }
        }
        Ok(pairs)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "median over {} alternating pairs of the CPU seconds of one MPI rank's loop, with \
         libmizar_comm.so over without",
        arguments.pairs
    );
    let mut report = Report::new("comm", method);
    report.peer("mpi", "mpirun", &["--version"]);
    let bench = Bench::new()?;
    let iterations = bench.iterations()?;
    let paced = bench.pairs(arguments.pairs, PACED_ROUNDS, &iterations)?;
    let dense = bench.pairs(arguments.pairs, DENSE_ROUNDS, "0")?;
    let over = |pairs: &[[Run; 2]], of: &dyn Fn(&[Run; 2]) -> f64| {
        median(&pairs.iter().map(of).collect::<Vec<f64>>())
    };
    let ratio = over(&paced, &|[plain, counted]| counted.cpu_s / plain.cpu_s);
    report.add(
        Figure::new("CPU seconds with over without, at pace", ratio, "times").at_most(MOST_TIMES),
    );
    // Of CPU time: on a busy machine the clock counts others' time too.
    let pace = over(&paced, &|[plain, _]| plain.calls / plain.cpu_s);
    report.add(Figure::new("calls a CPU second, at pace", pace, "1/s"));
    let each = over(&dense, &|[plain, counted]| {
        1e9 * (counted.cpu_s - plain.cpu_s) / plain.calls
    });
    report.add(Figure::new(
        "added to a call, one after another",
        each,
        "ns",
    ));
    let plain = over(&dense, &|[plain, _]| 1e9 * plain.cpu_s / plain.calls);
    report.add(Figure::new("a call without the library", plain, "ns"));
    std::process::exit(report.finish(arguments.json));
}
