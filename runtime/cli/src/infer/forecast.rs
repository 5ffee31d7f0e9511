//! `mizar infer` of models that `mizar train` made: the model's header says what flags say for
//! others.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context as _;
use mizar_comm::Communicator;
use mizar_infer::client;
use mizar_infer_native::{Remote, SUFFIX};
use mizar_models::forecast::{self, ForecastError, Options, Outcome, Skill};
use mizar_models::{Model, Predict, PredictError, Predictor, missing_months};
use serde_json::json;

use super::{How, LINE_EVERY, history, say};

/// Whether a model is one of ours, by its name.
pub(super) fn is_ours(model: &Path) -> bool {
    let suffix = model.extension();
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX))
}

/// Forecasts all of a file, by the server at `warm` if there is one. How many steps came out;
/// nothing if it failed, which is then said.
pub(super) fn run(
    comm: &dyn Communicator,
    path: &Path,
    warm: Option<&Path>,
    [input, output]: [&Path; 2],
    how: &How,
) -> Result<usize, ExitCode> {
    let is_first = comm.rank() == 0;
    let started = Instant::now();
    let done = load(comm, path, warm).and_then(|(model, mut network)| {
        if let Some(months) = missing_months(&model.climatology)
            && is_first
        {
            say(&format!(
                "mizar infer: warning: the model was trained without any {months}: forecasts from \
                 and of these months are missing; train it on whole years"
            ));
        }
        let name = path.file_name().unwrap_or(path.as_os_str());
        let options = Options {
            threads: how.threads,
            model_name: name.to_string_lossy().into_owned(),
            history: history(),
            compression: how.compression,
        };
        let last = Mutex::new(started);
        let progress = |done: usize, all: usize| {
            let Ok(mut last) = last.lock() else { return };
            if is_first && !how.is_quiet && last.elapsed() >= LINE_EVERY {
                *last = Instant::now();
                let (share, seconds) = (100 * done / all.max(1), started.elapsed().as_secs());
                say(&format!("mizar infer: {share} % after {seconds} s"));
            }
        };
        let network = network.as_mut();
        let outcome =
            forecast::forecast(comm, &model, network, input, output, &options, &progress)?;
        Ok((model, outcome))
    });
    let (model, outcome) = match done {
        Ok(done) => done,
        Err(error) => {
            if is_first {
                say(&format!("mizar infer: {}", mizar_core::chain(&error)));
            }
            return Err(ExitCode::from(crate::EXIT_FAILED));
        }
    };
    if is_first {
        if !how.is_quiet {
            tell(&outcome, output);
        }
        if how.is_json {
            let text = json!({
                "model": path,
                "digest": model.header.digest,
                "input": input,
                "output": output,
                "steps": outcome.steps,
                "steps_past_the_end": outcome.beyond,
                "steps_left_out": outcome.left_out,
                "skill": outcome.skill,
                "ranks": comm.size(),
                "elapsed_s": started.elapsed().as_secs_f64(),
            });
            crate::cube::print(&format!("{text}\n"));
        }
    }
    Ok(outcome.steps)
}

/// The model and what runs it, on every rank or on none. Collective.
fn load(
    comm: &dyn Communicator,
    path: &Path,
    warm: Option<&Path>,
) -> Result<(Model, Box<dyn Predict>), ForecastError> {
    let elsewhere = |error: Box<dyn std::error::Error + Send + Sync>| {
        ForecastError::from(PredictError::Elsewhere(error))
    };
    let loaded = || {
        let model = Model::load(path)?;
        let network: Box<dyn Predict> = match warm {
            None => Box::new(Predictor::new(&model)?),
            Some(socket) => {
                let loaded = client::load(socket, path).map_err(|error| elsewhere(error.into()))?;
                let remote = Remote::new(loaded.model);
                Box::new(remote.map_err(|error| elsewhere(error.into()))?)
            }
        };
        Ok((model, network))
    };
    mizar_comm::agree(comm, loaded())
}

fn tell(outcome: &Outcome, output: &Path) {
    let beyond = match outcome.beyond {
        0 => String::new(),
        beyond => format!(", {beyond} of them past the end of the input"),
    };
    say(&format!(
        "mizar infer: {} forecasts{beyond} in {}",
        outcome.steps,
        output.display()
    ));
    if outcome.left_out > 0 {
        say(&format!(
            "mizar infer: {} more could not be dated: the input's time axis is not even",
            outcome.left_out
        ));
    }
    for skill in &outcome.skill {
        say(&format!("mizar infer: {}", line(skill)));
    }
}

/// `ta: RMSE 0.91 K, persistence 1.20, climatology 1.52 (34560 values)`.
fn line(skill: &Skill) -> String {
    let mut scores = skill.rmse.iter();
    let mut text = format!("{}: RMSE", skill.variable);
    if let Some(model) = scores.next() {
        text.push_str(&format!(" {:.4} {}", model.rmse, skill.units));
    }
    for score in scores {
        text.push_str(&format!(", {} {:.4}", score.forecast, score.rmse));
    }
    text + &format!(" ({} values)", skill.values)
}

/// Draws one step of what came out.
pub(super) fn draw(output: &Path, picture: &Path, step: u32) -> anyhow::Result<()> {
    crate::plot::at_step(output, picture, step)
        .context("the result is written, but not its picture")
}
