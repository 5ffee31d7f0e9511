//! A trained model moved over a cube: from a model file and an input to one file of forecasts.
//!
//! Called by `mizar infer`. The header of the model says all that a run needs: operators, windows,
//! normalisation, climatology and lead. Blocks of steps are read, computed and written in turn by
//! all ranks, so memory is bounded by a block of each, not by the file.
//!
//! A forecast is of the newest input's time plus the lead. Those past the end of the input are
//! given too, where its time axis goes on by the same step or the same number of months.
//!
//! **Invariant:** blocks and batches depend on the file and the model alone, so the values are the
//! same for any number of ranks.
//!
//! What is computed is [`Predictor`](crate::Predictor)'s business: here samples are cut out of what
//! was read, and forecasts put into their place.

mod axis;
mod block;
mod error;
mod output;
mod plan;
mod skill;

use std::path::Path;

use mizar_array::engine::SharedWriter;
use mizar_array::write::{Compression, Format, WriteOptions};
use mizar_comm::{Communicator, agree};

pub use error::ForecastError;
pub use skill::{Score, Skill};

use crate::{Model, Predict};
use output::Target;
use plan::Plan;

/// What a run needs besides the model.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Threads that read, on each rank.
    pub threads: usize,
    /// The name of the model's file, for the attributes.
    pub model_name: String,
    /// A line for the attribute `history`.
    pub history: String,
    /// How the output is compressed; `None` takes what suits its format.
    pub compression: Option<Compression>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Steps that were forecast.
    pub steps: usize,
    /// Of those, how many are past the end of the input.
    pub beyond: usize,
    /// Steps past the end that were left out: the time axis does not go on evenly.
    pub left_out: usize,
    /// How good it was, where the input has what came; on every rank.
    pub skill: Vec<Skill>,
}

/// How far a run is: blocks done on this rank, and all of this rank.
pub type Progress<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Forecasts all that `input` allows and writes `output`. Collective over `comm`; every rank
/// brings the same model, and what runs it: a [`Predictor`](crate::Predictor), or a server's.
///
/// # Errors
/// [`ForecastError`] on all ranks if one fails: its own where it failed, elsewhere
/// [`ForecastError::Peer`]. The output is then as it was.
pub fn forecast(
    comm: &dyn Communicator,
    model: &Model,
    network: &mut dyn Predict,
    input: &Path,
    output: &Path,
    options: &Options,
    progress: &Progress<'_>,
) -> Result<Outcome, ForecastError> {
    let (plan, target) = agree(comm, prepare(model, input, output, options))?;
    let write_options = WriteOptions {
        format: Format::of_name(output),
        compression: options.compression,
        ..WriteOptions::default()
    };
    let mut writer = SharedWriter::create(comm, output, &target.dataset, &write_options)?;
    let kept = match writer.writer() {
        Some(writer) => target.write_kept(&plan, writer),
        None => Ok(()),
    };
    agree(comm, kept)?;
    let mut skill = skill::Sums::new(&plan);
    let blocks = plan.blocks();
    let (rank, ranks) = (comm.rank(), comm.size());
    let waves = blocks.len().div_ceil(ranks);
    for (wave, blocks) in blocks.chunks(ranks).enumerate() {
        let computed = match blocks.get(rank) {
            None => Ok(None),
            Some(rows) => {
                let computed = block::compute(&plan, model, network, rows);
                computed.map(|computed| Some((rows, computed)))
            }
        };
        let computed = agree(comm, computed)?;
        for (index, field) in target.fields.iter().enumerate() {
            let own: Vec<_> = computed
                .iter()
                .map(|(rows, computed)| (field.region(rows), computed.values[index].clone()))
                .collect();
            writer.write_f32(field.variable, &own)?;
        }
        if let Some((_, computed)) = computed {
            skill.add(&computed.skill);
        }
        progress(wave + 1, waves);
    }
    writer.commit()?;
    Ok(Outcome {
        steps: plan.rows,
        beyond: plan.beyond(),
        left_out: plan.left_out,
        skill: skill.finish(comm, &plan)?,
    })
}

/// What needs no other rank.
fn prepare(
    model: &Model,
    input: &Path,
    output: &Path,
    options: &Options,
) -> Result<(Plan, Target), ForecastError> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if input == output || real(input).is_some_and(|input| Some(input) == real(output)) {
        let path = output.to_owned();
        return Err(ForecastError::OutputIsInput { path });
    }
    let plan = Plan::new(model, input, options)?;
    let target = Target::new(&plan, model, options);
    Ok((plan, target))
}
