//! What the Slurm plugin costs: `srun -n2 true` with it over `srun -n2 true` without it.
//!
//! Two labs of one node, one with the plugin and a `mizard`, one without either, so that no
//! run leaves work (an epilog) to the other's. Each round times all variants in rotating order
//! and starts when both labs are idle; the figure is the median of the rounds' ratios.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use mizar_benches::{Figure, Report, median, percentile};
use mizar_lab::Lab;

/// The promise: no more than this times the plain `srun`.
const MOST_TIMES: f64 = 1.05;

/// Rounds that only warm caches.
const WARM_UP: usize = 3;

/// The longest that a lab may take to be idle again.
const IDLE: Duration = Duration::from_secs(30);

/// Times `srun -n2 true` with and without the Slurm plugin.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds to time
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One way to run the step.
#[derive(Clone, Copy, Debug)]
enum Variant {
    /// No plugin in plugstack.conf.
    Without,
    /// Loaded, but not asked for.
    Idle,
    /// `--mizar`: environment set, step registered with a `mizard`.
    Watched,
}

const VARIANTS: [Variant; 3] = [Variant::Without, Variant::Idle, Variant::Watched];

struct Labs {
    without: Lab,
    with: Lab,
}

impl Labs {
    fn start() -> anyhow::Result<Self> {
        let with = Lab::builder().nodes(1).cpus(4).mizar(true).start();
        let without = Lab::builder().nodes(1).cpus(4).start();
        Ok(Self {
            without: without.context("the lab without the plugin")?,
            with: with.context("the lab with the plugin")?,
        })
    }

    fn command(&self, variant: Variant) -> Command {
        let (lab, option) = match variant {
            Variant::Without => (&self.without, None),
            Variant::Idle => (&self.with, None),
            Variant::Watched => (&self.with, Some("--mizar")),
        };
        let mut command = lab.command("srun");
        command.args(["--mpi=none", "-n2"]).args(option).arg("true");
        command
    }

    fn time_ms(&self, variant: Variant) -> anyhow::Result<f64> {
        self.without.wait_idle(IDLE)?;
        self.with.wait_idle(IDLE)?;
        let mut command = self.command(variant);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let output = command.output().context("srun")?;
        let elapsed_ms = start.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            bail!("{variant:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(elapsed_ms)
    }

    /// Times every variant once, in an order that rotates with the round.
    fn round(&self, round: usize) -> anyhow::Result<[f64; VARIANTS.len()]> {
        let mut times_ms = [f64::NAN; VARIANTS.len()];
        for place in 0..VARIANTS.len() {
            let index = (round + place) % VARIANTS.len();
            times_ms[index] = self.time_ms(VARIANTS[index])?;
        }
        Ok(times_ms)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "median over {} rounds of the ratio to plain `srun --mpi=none -n2 true` of the same \
         round; orders rotate, labs are idle at the start of each run",
        arguments.rounds
    );
    let mut report = Report::new("plugin", method);
    // The only one that tells without a cluster to ask.
    report.peer("slurm", "slurmctld", &["-V"]);
    let labs = Labs::start()?;
    for round in 0..WARM_UP {
        labs.round(round)?;
    }
    let times_ms: Vec<[f64; 3]> = (0..arguments.rounds)
        .map(|round| labs.round(round))
        .collect::<Result<_, _>>()?;
    let column = |of: &dyn Fn(&[f64; 3]) -> f64| times_ms.iter().map(of).collect::<Vec<f64>>();

    let watched = median(&column(&|[without, _, watched]| watched / without));
    let idle = median(&column(&|[without, idle, _]| idle / without));
    report.add(
        Figure::new("srun --mizar over srun without plugin", watched, "times").at_most(MOST_TIMES),
    );
    report.add(Figure::new(
        "srun, plugin loaded, over without",
        idle,
        "times",
    ));
    for (index, name) in ["without", "plugin loaded", "--mizar"]
        .into_iter()
        .enumerate()
    {
        let times = column(&|times| times[index]);
        report.add(Figure::new(
            format!("srun {name}, median"),
            median(&times),
            "ms",
        ));
        report.add(Figure::new(
            format!("srun {name}, p90"),
            percentile(&times, 90.0),
            "ms",
        ));
    }
    drop(labs);
    std::process::exit(report.finish(arguments.json));
}
