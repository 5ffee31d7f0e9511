//! `mizar train`: the edge over `mizar_train` and `mizar_models`. Reads the configuration, makes
//! samples and a model of it, opens the world of ranks, and writes log and model.
//!
//! Only rank 0 prints, and the rank that fails. Left out: how a model computes, and how ranks
//! train together.

mod config;
mod events;
mod log;
mod stop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mizar_comm::ReduceOperation;
use mizar_comm::collective::Engine;
use mizar_models::source::Prepared;
use mizar_models::{Model, digest, missing_months};
use mizar_train::{End, Learner, Outcome, Trainer};
use serde_json::json;

use config::Config;
use log::Log;

/// It could not be done.
const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const EXIT_USAGE: u8 = 2;
/// It was asked to stop before its end.
const EXIT_STOPPED: u8 = 3;

/// How long a rank waits for the others in one collective: the slowest may still read its data.
const COLLECTIVE_LIMIT: Duration = Duration::from_secs(600);

const EXAMPLES: &str = "\
Examples:
  mizar train unet.yaml --check                             what would be done, all defaults filled in
  mizar train unet.yaml --set data.files=[tas.nc]           on this machine, alone
  srun -n 4 mizar train unet.yaml --strategy zero1          by four ranks
  mizar train unet.yaml --epochs 5 --set train.learning_rate=0.01 --set model.width=32

A configuration (YAML or TOML; every key of `train` has a default, --check shows all):
  model: {kind: unet, width: 16, depth: 2}       kinds: mlp, lstm, unet, resnet, gan
  data:
    files: [tas.nc]              cubes, joined by join: mergetime or merge if there are several; or
                                 arrays: [inputs.npy, targets.npy] (or one .npz or .safetensors)
    operators: [\"sellonlatbox,-10,40,35,70\"]     of `mizar cube`, before all else
    inputs: [tas]
    targets: [tas]
    history: 3                   steps of each input
    lead: 1                      from the newest input to the target
    sample: field                or cell: every cell on its own
    anomalies: false             subtract each month's mean over the training period
    relative_to: none            or persistence: learn the change from the newest input
    missing: refuse              or mask: missing inputs are the mean, missing targets count nowhere
    validation: 0.2              the last part of time
  loss: mse                      or mae, huber
  train: {epochs: 20, batch_size: 16, learning_rate: 0.001, seed: 1}
  output: {model: model.safetensors}

Signals: SIGTERM and SIGUSR1 (sbatch --signal=USR1@120) stop at the next step, with a checkpoint
if train.checkpoint.dir is set; train.resume=auto goes on from it.

Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 stopped by a signal.";

/// Arguments of `mizar train`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration: YAML, or TOML if its name ends so
    #[arg(value_name = "CONFIG")]
    config: PathBuf,

    /// Who holds and exchanges what: ddp, zero1, zero2, zero3, fused, local-sgd
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,

    /// Passes over the data
    #[arg(long, value_name = "COUNT")]
    epochs: Option<u64>,

    /// Set a key of the configuration: data.lead=2 (can be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Print the configuration with all defaults, and train nothing
    #[arg(long)]
    check: bool,

    /// Requeue the Slurm job if a signal stops it (with train.resume=auto)
    #[arg(long)]
    requeue: bool,

    /// Print what came out as JSON
    #[arg(long)]
    json: bool,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `mizar train`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match read(args) {
        Ok(config) => config,
        Err(error) => {
            if is_first_by_name() {
                say(&format!("mizar train: {error:#}"));
            }
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    if args.check {
        let text = toml::to_string_pretty(&config).context("cannot print the configuration")?;
        return Ok(crate::cube::print(&text));
    }
    let stop = stop::when_asked().context("cannot wait for signals")?;
    let watch = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&watch);
    let open = move || {
        let world = mizar_comm::world()?;
        let started = mizar_comm::Watch::start(world.as_ref(), end_without)?;
        if let Ok(mut kept) = kept.lock() {
            *kept = Some(started);
        }
        Ok(world)
    };
    let engine = Engine::start(open, COLLECTIVE_LIMIT).context("cannot join the other ranks")?;
    let code = train(args, &config, engine, stop);
    drop(watch);
    code
}

fn read(args: &Args) -> anyhow::Result<Config> {
    let mut set = args.set.clone();
    set.extend(
        args.strategy
            .iter()
            .map(|name| format!("train.strategy={name}")),
    );
    set.extend(
        args.epochs
            .iter()
            .map(|count| format!("train.epochs={count}")),
    );
    config::read(&args.config, &set)
}

/// Trains, and writes what came out. Collective.
fn train(
    args: &Args,
    config: &Config,
    engine: Engine,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> anyhow::Result<ExitCode> {
    let (rank, ranks) = (engine.rank(), engine.size());
    let is_first = rank == 0;
    let Some((prepared, learner)) = together(&engine, ready(config))? else {
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    if let Some(months) = missing_months(&prepared.climatology)
        && is_first
    {
        say(&format!(
            "mizar train: warning: the training period has no {months} (data.anomalies): samples and \
             forecasts of these months will be missing; train on whole years, or lower data.validation"
        ));
    }
    let baselines = prepared.baselines.iter();
    let baselines = baselines.map(|b| (b.name, b.loss(config.loss))).collect();
    let log = match is_first {
        true => Log::create(config, baselines, !args.quiet),
        false => Ok(Log::silent()),
    };
    let Some(mut log) = together(&engine, log)? else {
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    let source = Arc::clone(&prepared.train) as Arc<dyn mizar_train::Source>;
    let layout = learner.layout().clone();
    let mut trainer = Trainer::new(config.train.clone(), learner, source, engine)?.with_stop(stop);
    if let Some(validation) = &prepared.validation {
        trainer = trainer.with_validation(Arc::clone(validation) as Arc<dyn mizar_train::Source>);
    }
    let outcome = match trainer.run(&mut log) {
        Ok(outcome) => outcome,
        Err(mizar_train::TrainError::Peer { .. }) if !is_first => {
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        Err(error) => {
            if is_first {
                say(&format!("mizar train: {:#}", anyhow::Error::new(error)));
            }
            return Ok(ExitCode::from(EXIT_FAILED));
        }
    };
    if let End::Interrupted { checkpoint } = &outcome.end {
        if is_first {
            stopped(args, checkpoint.as_deref())?;
        }
        return Ok(ExitCode::from(EXIT_STOPPED));
    }
    if is_first {
        let parameters = outcome.averaged.clone();
        let parameters = parameters.unwrap_or_else(|| outcome.parameters.clone());
        let identity = digest(&layout, &parameters);
        write_model(config, &prepared, &outcome, parameters, ranks)?;
        log.finish(&outcome, &identity);
        let inputs = config.data.files.iter().chain(&config.data.arrays);
        let outputs = [config.output.model.as_path(), log.path()];
        crate::cube::tell_daemon(inputs.map(PathBuf::as_path), outputs.into_iter());
        if args.json {
            let text = summary(config, &outcome, &log, &identity, ranks);
            // One line: what `mizar tune` looks for.
            crate::cube::print(&format!("{text}\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Samples and a model that fits them.
fn ready(config: &Config) -> anyhow::Result<(Prepared, Box<dyn Learner>)> {
    let prepared = config.data.prepare()?;
    let architecture = config.architecture(&prepared.describe)?;
    let mut learner = architecture.learner(config.loss, config.train.seed);
    // One sample now is a clear message; in the run it would be one of a step.
    let first = mizar_train::Source::batch(&*prepared.train, &[0])?;
    learner
        .evaluate(&first)
        .context("the model does not fit the data")?;
    Ok((prepared, learner))
}

/// What all ranks have, or nothing if one could not: the first of those says why. Collective.
fn together<T>(engine: &Engine, own: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    #[allow(clippy::cast_precision_loss, reason = "a rank")]
    let rank = engine.rank() as f64;
    let failed = if own.is_ok() { f64::INFINITY } else { rank };
    let first = engine
        .all_reduce(vec![failed], ReduceOperation::Minimum)
        .wait()
        .context("the ranks lost each other")?;
    if first.iter().all(|first| first.is_infinite()) {
        return own.map(Some);
    }
    match own {
        Err(error) if first == [rank] => say(&format!("mizar train: {error:#}")),
        _ => {}
    }
    Ok(None)
}

fn write_model(
    config: &Config,
    prepared: &Prepared,
    outcome: &Outcome,
    parameters: Vec<f32>,
    ranks: usize,
) -> anyhow::Result<()> {
    let architecture = config.architecture(&prepared.describe)?;
    let mut header = prepared.header(&config.data, architecture);
    header.provenance = json!({
        "program": concat!("mizar ", env!("CARGO_PKG_VERSION")),
        "config": config,
        "data": mizar_train::Source::identity(&*prepared.train),
        "seed": config.train.seed,
        "ranks": ranks,
        "steps": outcome.step,
        "epochs": outcome.epochs.last(),
        "parameters_digest": outcome.digest,
    });
    let mut model = Model {
        header,
        parameters,
        climatology: prepared.climatology.clone(),
    };
    model.save(&config.output.model)?;
    Ok(())
}

fn summary(
    config: &Config,
    outcome: &Outcome,
    log: &Log,
    identity: &str,
    ranks: usize,
) -> serde_json::Value {
    let losses = || {
        outcome
            .epochs
            .iter()
            .filter_map(|epoch| epoch.validation_loss)
    };
    let best = losses().min_by(f64::total_cmp);
    json!({
        "end": outcome.end,
        "validation_loss": losses().next_back(),
        "best_validation_loss": best,
        "epochs": outcome.epochs,
        "steps": outcome.step,
        "baselines": log.baselines(),
        "model": config.output.model,
        "digest": identity,
        "log": log.path(),
        "ranks": ranks,
        "strategy": config.train.strategy.name(),
        "totals": outcome.totals,
        "hidden": outcome.totals.hidden(),
    })
}

/// Says where the run can go on, and has it go on if asked.
fn stopped(args: &Args, checkpoint: Option<&std::path::Path>) -> anyhow::Result<()> {
    match checkpoint {
        Some(path) => say(&format!(
            "mizar train: stopped by a signal; --set train.resume=auto goes on from {}",
            path.display()
        )),
        None => say(
            "mizar train: stopped by a signal, nothing is kept: set train.checkpoint.dir to go on later",
        ),
    }
    if !args.requeue {
        return Ok(());
    }
    let job = std::env::var("SLURM_JOB_ID").context("--requeue is for jobs of Slurm")?;
    let status = std::process::Command::new("scontrol")
        .args(["requeue", &job])
        .status()
        .context("cannot start scontrol")?;
    if !status.success() {
        bail!("scontrol requeue {job} failed: {status}");
    }
    Ok(())
}

/// Ends this rank because another is gone and will not come to any collective.
fn end_without(lost: mizar_comm::LostRank) {
    mizar_core::durable::abandon_all();
    if lost.tells {
        say(&format!(
            "mizar train: rank {} on {} was lost (killed, out of memory, or its node is gone): \
             the run ends; train.resume=auto goes on from the last checkpoint, if \
             train.checkpoint.dir was set",
            lost.rank, lost.host
        ));
    }
    mizar_comm::end_process(i32::from(EXIT_FAILED));
}

/// One write to standard error: a launcher joins what its ranks write piece by piece.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Before ranks have met, those that know their number let the first speak.
fn is_first_by_name() -> bool {
    ["PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .is_none_or(|rank| rank == "0")
}
