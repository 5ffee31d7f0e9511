//! `mizar infer` of models that `mizar train` made: the model's header says what flags say for
//! others.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context as _;
use mizar_comm::Communicator;
use mizar_models::Model;
use mizar_models::forecast::{self, ForecastError, Options, Outcome, Skill};
use serde_json::json;

use super::{LINE_EVERY, say};
use crate::cube::date_now;

/// Whether a model is one of ours, by its name.
pub(super) fn is_ours(model: &Path) -> bool {
    let suffix = model.extension();
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("safetensors"))
}

/// What a run is told besides its files.
pub(super) struct How {
    pub(super) threads: usize,
    pub(super) is_quiet: bool,
    pub(super) is_json: bool,
}

/// Forecasts all of a file. How many steps came out; nothing if it failed, which is then said.
pub(super) fn run(
    comm: &dyn Communicator,
    path: &Path,
    input: &Path,
    output: &Path,
    how: &How,
) -> Result<usize, ExitCode> {
    let is_first = comm.rank() == 0;
    let started = Instant::now();
    let done = load(comm, path).and_then(|model| {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let name = path.file_name().unwrap_or(path.as_os_str());
        let options = Options {
            threads: how.threads,
            model_name: name.to_string_lossy().into_owned(),
            history: format!("{} mizar {}", date_now(), words.join(" ")),
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
        let outcome = forecast::forecast(comm, &model, input, output, &options, &progress)?;
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

/// The model, on every rank or on none. Collective.
fn load(comm: &dyn Communicator, path: &Path) -> Result<Model, ForecastError> {
    let loaded = Model::load(path).map_err(ForecastError::from);
    mizar_comm::agree(comm, loaded)
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
