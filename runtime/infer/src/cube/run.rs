//! The run: units in turn over the ranks, one file from all.
//!
//! Ranks meet once for several units, because one that is late keeps all others waiting.

use std::path::Path;

use mizar_array::engine::SharedWriter;
use mizar_array::storage::Source;
use mizar_array::write::{Format, WriteOptions};
use mizar_comm::{Communicator, ReduceOperation, agree};

use super::output::Target;
use super::plan::{Plan, is_same};
use super::unit::{self, Computed, FAILURES_KEPT, Failure};
use super::{InferError, Options, Progress};
use crate::Loaded;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Items that the model was asked for, on all ranks.
    pub items: u64,
    /// Those that gave no sound output: their cells are missing.
    pub failed: u64,
    /// The first of them in order; on rank 0 only.
    pub failures: Vec<Failure>,
    /// The window in words.
    pub window: String,
    /// Items of a run.
    pub batch: usize,
}

/// Moves a model over the fields of `input` and writes `output`. Collective over `comm`; every
/// rank brings its own copy of the same model and the same options.
///
/// # Errors
/// [`InferError`] on all ranks if one fails, with its own error where it failed and
/// [`InferError::Peer`] elsewhere. The output is then as it was.
pub fn infer(
    comm: &dyn Communicator,
    input: &Path,
    output: &Path,
    loaded: &mut Loaded,
    options: &Options,
    progress: &Progress<'_>,
) -> Result<Outcome, InferError> {
    let threads = options.threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let failed = |source| InferError::Threads {
        count: threads,
        source,
    };
    let pool = agree(comm, pool.map_err(failed))?;
    let prepared = agree(comm, prepare(input, output, loaded, options))?;
    let (source, plan, target) = prepared;
    let write_options = WriteOptions {
        format: Format::of_name(output),
        compression: options.compression,
        ..WriteOptions::default()
    };
    let mut writer = SharedWriter::create(comm, output, &target.dataset, &write_options)?;
    let kept = match writer.writer() {
        Some(writer) => pool.install(|| target.write_kept(&source, &plan, writer)),
        None => Ok(()),
    };
    agree(comm, kept)?;
    let units = plan.units();
    let (rank, ranks) = (comm.rank(), comm.size());
    let in_wave = ranks * plan.units_together(&units, ranks);
    let waves = units.len().div_ceil(in_wave);
    let mut outcome = Outcome {
        window: plan.describe(),
        batch: plan.batch,
        ..Outcome::default()
    };
    for (wave, units) in units.chunks(in_wave).enumerate() {
        let model = &mut *loaded.model;
        let own = units.iter().skip(rank).step_by(ranks);
        let mut compute = |unit| -> Result<_, InferError> {
            let computed = unit::compute(&plan, &source, model, options.missing, unit)?;
            Ok((unit, computed))
        };
        let computed = pool.install(|| own.map(&mut compute).collect::<Result<Vec<_>, _>>());
        let computed = agree(comm, computed)?;
        for field in &target.fields {
            let parts = computed
                .iter()
                .map(|(unit, computed)| target.part(field, &plan, unit, computed));
            let parts: Vec<_> = parts.collect();
            writer.write_f32(field.variable, &parts)?;
        }
        for (_, computed) in computed {
            outcome.take(computed);
        }
        progress(wave + 1, waves);
    }
    let unchanged = source.check_unchanged().map_err(InferError::from);
    agree(comm, unchanged)?;
    writer.commit()?;
    outcome.join(comm)?;
    Ok(outcome)
}

/// What needs no other rank.
fn prepare(
    input: &Path,
    output: &Path,
    loaded: &mut Loaded,
    options: &Options,
) -> Result<(Source, Plan, Target), InferError> {
    if is_same(input, output) {
        let path = output.to_owned();
        return Err(InferError::OutputIsInput { path });
    }
    let source = Source::open(input)?;
    let plan = Plan::new(&source, &mut *loaded.model, options)?;
    let target = Target::new(&source, &plan, loaded, options)?;
    Ok((source, plan, target))
}

impl Outcome {
    fn take(&mut self, computed: Computed) {
        self.items += computed.items;
        self.failed += computed.failed;
        let left = FAILURES_KEPT - self.failures.len();
        self.failures
            .extend(computed.failures.into_iter().take(left));
    }

    /// Sums of all ranks, and on rank 0 their failures in order.
    fn join(&mut self, comm: &dyn Communicator) -> Result<(), InferError> {
        let mut sums = [self.items as f64, self.failed as f64];
        comm.all_reduce(&mut sums, ReduceOperation::Sum)?;
        (self.items, self.failed) = (sums[0] as u64, sums[1] as u64);
        // Texts and numbers: JSON holds them all.
        let own = serde_json::to_vec(&self.failures).unwrap_or_default();
        let Some(parts) = comm.gather(0, &own)? else {
            self.failures.clear();
            return Ok(());
        };
        let of_rank = |part: &Vec<u8>| serde_json::from_slice::<Vec<Failure>>(part);
        let parts = parts.iter().filter_map(|part| of_rank(part).ok());
        self.failures = parts.flatten().collect();
        let place = |failure: &Failure| (failure.steps.start, failure.rows.start, failure.columns);
        self.failures.sort_by_key(place);
        self.failures.truncate(FAILURES_KEPT);
        Ok(())
    }
}
