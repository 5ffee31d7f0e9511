//! Training beside PyTorch: samples a second of the same models on the same arrays, and all-reduce
//! in the memory of a node.
//!
//! Each rank has one thread, both programs the same batch, optimizer and precision. They run in
//! turn; of several rounds the best of each counts, because what else the machine does only takes
//! away. PyTorch comes from `make torch`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Parser;
use mizar_benches::{Figure, Report};
use serde_json::Value;

/// From so many bytes on all-reduce should be [`LARGE_TIMES`] as fast as gloo.
const LARGE_BYTES: u64 = 1 << 20;
const LARGE_TIMES: f64 = 1.3;

/// Measures training beside PyTorch.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of every program
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Epochs of a run; one more warms up
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

struct Bench {
    folder: tempfile::TempDir,
    python: PathBuf,
    epochs: usize,
}

impl Bench {
    fn new(epochs: usize) -> anyhow::Result<Self> {
        let bench = Self {
            folder: tempfile::tempdir()?,
            python: mizar_lab::venv::torch().context("make torch fetches what to compare with")?,
            epochs,
        };
        let folder = bench.folder.path().display().to_string();
        bench.told(vec![bench.script(&["data", &folder])])?;
        Ok(bench)
    }

    fn script(&self, words: &[&str]) -> Command {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&self.python);
        command
            .arg(here.join("data/torch_case.py"))
            .args(words)
            .env("PYTHONPATH", here.join("../runtime/preload/python"))
            .env("OMP_NUM_THREADS", "1")
            .env(
                "MIZAR_COLLECTIVE",
                mizar_lab::binary("libmizar_collective.so"),
            );
        command
    }

    /// Runs ranks to their end; the JSON of the first, or nothing.
    fn told(&self, ranks: Vec<Command>) -> anyhow::Result<Value> {
        let mut children = Vec::new();
        for mut rank in ranks {
            rank.stdout(Stdio::piped()).stderr(Stdio::piped());
            children.push(rank.spawn()?);
        }
        let mut first = None;
        for child in children {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                bail!("{}", String::from_utf8_lossy(&output.stderr));
            }
            first.get_or_insert(output.stdout);
        }
        Ok(serde_json::from_slice(&first.unwrap_or_default()).unwrap_or(Value::Null))
    }

    /// PyTorch's ranks, which meet in a store of their own.
    fn torch_ranks(&self, ranks: usize, words: &[&str]) -> anyhow::Result<Value> {
        let store = self.folder.path().join("store");
        if store.exists() {
            std::fs::remove_file(&store)?;
        }
        let rank = |rank: usize| {
            let mut command = self.script(words);
            command.env("RANK", rank.to_string());
            command.env("WORLD_SIZE", ranks.to_string());
            command
        };
        self.told((0..ranks).map(rank).collect())
    }

    fn by_torch(&self, kind: &str, ranks: usize, how: &str) -> anyhow::Result<f64> {
        let folder = self.folder.path().display().to_string();
        let epochs = self.epochs.to_string();
        let told = self.torch_ranks(ranks, &["train", &folder, kind, &epochs, how])?;
        told["samples_per_s"].as_f64().context("PyTorch's figure")
    }

    fn by_mizar(&self, kind: &str, ranks: usize) -> anyhow::Result<f64> {
        let folder = self.folder.path();
        let (model, batch) = match kind {
            "unet" => ("{kind: unet, width: 16, depth: 2, activation: silu}", 8),
            _ => ("{kind: mlp, hidden: [512, 512], activation: silu}", 128),
        };
        let at = folder.display();
        let config = format!(
            "model: {model}\n\
             data: {{arrays: [{at}/{kind}_inputs.npy, {at}/{kind}_targets.npy], validation: 0.0}}\n\
             train: {{epochs: {}, batch_size: {batch}, learning_rate: 0.001, optimizer: {{name: adamw}}}}\n\
             output: {{model: {at}/{kind}.safetensors}}\n",
            self.epochs + 1
        );
        let path = folder.join("train.yaml");
        std::fs::write(&path, config)?;
        let mizar = mizar_lab::binary("mizar");
        let mut command = match ranks {
            1 => Command::new(mizar),
            ranks => mizar_lab::mpirun_command(ranks, &[], &mizar),
        };
        command.arg("train").arg(&path).args(["--json", "--quiet"]);
        command.env("RAYON_NUM_THREADS", "1").current_dir(folder);
        let told = self.told(vec![command])?;
        let epochs = told["epochs"].as_array().context("no epochs were told")?;
        // The first epoch warms up, as PyTorch's does.
        let of = |key: &str| {
            epochs
                .iter()
                .skip(1)
                .filter_map(|e| e[key].as_f64())
                .sum::<f64>()
        };
        Ok(of("samples") / of("train_s"))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "best of {} alternating rounds; one thread a rank; AdamW, single precision",
        arguments.rounds
    );
    let mut report = Report::new("train", method);
    let bench = Bench::new(arguments.epochs)?;
    let python = bench.python.display().to_string();
    report.peer(
        "torch",
        &python,
        &["-c", "import torch; print(torch.__version__)"],
    );
    for kind in ["mlp", "unet"] {
        for ranks in [1, 2] {
            let (mut ours, mut theirs, mut hooked) = (0.0_f64, 0.0_f64, 0.0_f64);
            for _ in 0..arguments.rounds {
                ours = ours.max(bench.by_mizar(kind, ranks)?);
                theirs = theirs.max(bench.by_torch(kind, ranks, "gloo")?);
                if ranks > 1 {
                    hooked = hooked.max(bench.by_torch(kind, ranks, "mizar")?);
                }
            }
            let name = |what: &str| format!("{kind}, {ranks} ranks: {what}");
            report.add(Figure::new(name("mizar train"), ours, "samples/s"));
            report.add(Figure::new(name("PyTorch DDP, gloo"), theirs, "samples/s"));
            let over = Figure::new(name("mizar train over PyTorch"), ours / theirs, "times");
            report.add(over.at_least(1.0));
            if ranks > 1 {
                let what = name("PyTorch with mizar.ddp over gloo");
                report.add(Figure::new(what, hooked / theirs, "times"));
            }
        }
    }
    let folder = bench.folder.path().display().to_string();
    let rounds = arguments.rounds.to_string();
    for ranks in [2, 4] {
        let told = bench.torch_ranks(ranks, &["reduce", &folder, &rounds])?;
        for size in told.as_array().context("no sizes were told")? {
            let number = |key: &str| size[key].as_f64().unwrap_or(f64::NAN);
            let bytes = size["bytes"].as_u64().unwrap_or_default();
            let name = format!("all_reduce of {bytes} B, {ranks} ranks: gloo's time over ours");
            let figure = Figure::new(name, number("gloo") / number("mizar"), "times");
            report.add(figure.at_least(match bytes >= LARGE_BYTES {
                true => LARGE_TIMES,
                false => 1.0,
            }));
        }
    }
    let code = report.finish(arguments.json);
    // An exit leaves its folder behind.
    drop(bench);
    std::process::exit(code);
}
