//! A run from its first step to its outcome: what happens in which order.
//!
//! Every rank goes through this in step with the others. What goes wrong on one rank is held
//! until the ranks next tell each other how they are, so that nobody waits for one who gave up:
//! only a rank that is lost altogether ends in a time limit.

mod epoch;
mod keep;
mod resume;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::{Identity, Keeper, Progress};
use crate::exchange::Exchange;
use crate::prefetch::Prefetch;
use crate::proof::Digests;
use crate::sampler::Sampler;
use crate::state::State;
use crate::world::World;
use crate::{
    End, Layout, Learner, Observer, Options, Outcome, Phase, Precision, Result, Source, Start,
    Totals, TrainError, Trainer,
};

/// A run that has begun.
pub(crate) struct Run<'a> {
    options: Options,
    learner: Box<dyn Learner>,
    layout: Layout,
    phases: Vec<Phase>,
    world: World,
    pub(crate) state: State,
    exchanges: Vec<Exchange>,
    /// Phases whose fused buffers are in the order in which gradients come.
    ordered: Vec<bool>,
    sampler: Sampler,
    train: Arc<dyn Source>,
    validation: Option<Arc<dyn Source>>,
    stop: Arc<AtomicBool>,
    identity: Identity,
    keeper: Option<Keeper>,
    /// The step and epoch of the last checkpoint.
    kept: Option<(u64, u64)>,
    progress: Progress,
    /// What this rank cannot go on for, until the others are told.
    held: Option<TrainError>,
    /// Local SGD: losses of this rank since the ranks met, by phase, and their samples.
    unmet: (Vec<f64>, f64),
    /// The step at which parameters were compared last.
    proved: u64,
    totals: Totals,
    observer: &'a mut dyn Observer,
    /// What the model is loaded with, where that is rounded.
    rounded: Vec<f32>,
}

impl<'a> Run<'a> {
    /// Brings all ranks to the same state: that of a checkpoint, or rank 0's.
    pub(crate) fn begin(trainer: Trainer, observer: &'a mut dyn Observer) -> Result<Self> {
        let world = World::new(trainer.engine);
        let Trainer {
            options,
            learner,
            train,
            validation,
            ..
        } = trainer;
        let (layout, phases) = (learner.layout().clone(), learner.phases());
        let identity = Identity::new(&options, &layout, &phases, train.identity(), train.len());
        agree_on_task(&world, &options, &identity, validation.as_deref())?;
        let sampler = Sampler {
            samples: train.len(),
            batch_size: options.batch_size,
            drop_last: options.drop_last,
            seed: options.seed,
            rank: world.rank(),
            ranks: world.size(),
            pieces: options.accumulate,
        };
        let state = first_state(
            &world,
            &options,
            &sampler,
            &*learner,
            &*train,
            validation.as_deref(),
        );
        let state = world.agree(state)?;
        let progress = Progress {
            optimizer_steps: vec![0; phases.len()],
            loss_scale: options.loss_scale,
            loss_sums: vec![0.0; phases.len()],
            ..Progress::default()
        };
        let mut run = Self {
            exchanges: phases.iter().map(|_| Exchange::new(&options)).collect(),
            ordered: vec![false; phases.len()],
            unmet: (vec![0.0; phases.len()], 0.0),
            stop: trainer.stop,
            kept: None,
            held: None,
            keeper: None,
            proved: 0,
            totals: Totals::default(),
            rounded: Vec::new(),
            options,
            learner,
            layout,
            phases,
            world,
            state,
            sampler,
            train,
            validation,
            identity,
            progress,
            observer,
        };
        run.resume()?;
        run.make_folder()?;
        if let Some(folder) = &run.options.checkpoint.dir {
            run.keeper = Some(Keeper::start(folder, run.options.checkpoint.keep)?);
        }
        let digest = run.prove()?;
        run.load()?;
        run.tell_start(digest);
        Ok(run)
    }

    fn tell_start(&mut self, digest: String) {
        let ranks = self.world.size();
        let pairs = self.exchanges.iter().zip(&self.state.phases);
        let gradients: usize = pairs
            .map(|(exchange, phase)| exchange.bytes(&phase.plan, ranks))
            .sum();
        let phases = self.state.phases.iter();
        let start = Start {
            rank: self.world.rank(),
            ranks,
            nodes: self.world.engine.node_count(),
            strategy: self.options.strategy.name(),
            parameters: self.layout.len(),
            samples: self.sampler.samples,
            steps_per_epoch: self.sampler.steps(),
            buckets: phases.map(|phase| phase.plan.buckets.len()).collect(),
            phases: self.phases.iter().map(|phase| phase.name.clone()).collect(),
            state_bytes: (self.state.bytes() + gradients) as u64,
            digest,
        };
        self.observer.started(&start);
    }

    /// Does all epochs that are left.
    pub(crate) fn finish(mut self) -> Result<Outcome> {
        while self.progress.epoch < self.options.epochs && !self.progress.stopped_early {
            self.observer.epoch_began(self.progress.epoch);
            let begin = Instant::now();
            let mut batches = self.read_ahead()?;
            while self.progress.step_in_epoch < self.sampler.steps() {
                if self.step(&mut batches)? {
                    return self.outcome(true);
                }
            }
            drop(batches);
            self.end_epoch(begin.elapsed())?;
            if self.options.checkpoint.every == 0 && self.keeper.is_some() {
                let begin = Instant::now();
                self.checkpoint()?;
                self.totals.checkpoint_stall_s += begin.elapsed().as_secs_f64();
            }
        }
        self.outcome(false)
    }

    /// Batches of what is left of the epoch.
    fn read_ahead(&self) -> Result<Prefetch> {
        let order = self.sampler.order(self.progress.epoch);
        let sampler = self.sampler.clone();
        let steps = self.progress.step_in_epoch..sampler.steps();
        let pieces = steps.flat_map(move |step| sampler.pieces(step));
        let wanted = pieces.filter(|piece| !piece.is_empty());
        let wanted = wanted.map(move |piece| order[piece].to_vec());
        Prefetch::start(&self.train, wanted, self.options.prefetch)
    }

    /// Gives the model the parameters that are now valid. Collective in ZeRO-3.
    fn load(&mut self) -> Result<()> {
        let parameters = self.state.parameters(&self.world)?;
        load_rounded(
            &mut *self.learner,
            self.options.precision,
            &parameters,
            &mut self.rounded,
        );
        Ok(())
    }

    /// Compares the parameters of all ranks and returns their digest.
    fn prove(&mut self) -> Result<String> {
        self.world.step.set(self.progress.step);
        let parameters = self.state.parameters(&self.world)?;
        let digests = Digests::of(&self.layout, &parameters);
        digests.compare(&self.world, &self.layout)?;
        self.proved = self.progress.step;
        self.totals.sync_checks += 1;
        Ok(digests.name())
    }

    fn outcome(mut self, interrupted: bool) -> Result<Outcome> {
        let held = self.held.take().map_or(Ok(()), Err);
        self.world.agree(held)?;
        let begin = Instant::now();
        self.checkpoint()?;
        self.finish_checkpoint()?;
        if self.keeper.is_some() {
            self.totals.checkpoint_stall_s += begin.elapsed().as_secs_f64();
        }
        let digest = self.prove()?;
        let end = match (interrupted, self.progress.stopped_early) {
            (true, _) => End::Interrupted {
                checkpoint: self.last_checkpoint(),
            },
            (false, true) => End::StoppedEarly {
                epoch: self.progress.epoch.saturating_sub(1),
            },
            (false, false) => End::Finished,
        };
        self.observer.stopped(&end);
        let averaged = self.state.averaged(&self.world)?;
        let parameters = self.state.parameters(&self.world)?.into_owned();
        Ok(Outcome {
            end,
            step: self.progress.step,
            epochs: self.progress.epochs,
            parameters,
            averaged,
            digest,
            totals: self.totals,
        })
    }
}

/// Loads a model with parameters as a precision has them.
fn load_rounded(
    learner: &mut dyn Learner,
    precision: Precision,
    parameters: &[f32],
    rounded: &mut Vec<f32>,
) {
    if precision == Precision::F32 {
        learner.load(parameters);
        return;
    }
    rounded.clear();
    rounded.extend_from_slice(parameters);
    precision.round_parameters(rounded);
    learner.load(rounded);
}

/// The state before the first step: what rank 0's model begins with.
fn first_state(
    world: &World,
    options: &Options,
    sampler: &Sampler,
    learner: &dyn Learner,
    train: &dyn Source,
    validation: Option<&dyn Source>,
) -> Result<State> {
    let (layout, phases) = (learner.layout(), learner.phases());
    let checked = check_samples(options, train, validation, sampler.steps());
    world.agree(checked)?;
    let initial = learner.initial();
    let (found, expected) = (initial.len(), layout.len());
    let fits = match found == expected {
        true => Ok(initial),
        false => Err(TrainError::Contract {
            what: format!("it begins with {found} parameters, its tensors have {expected}"),
        }),
    };
    let initial = world.agree(fits)?;
    let parameters = world.wait(world.engine.broadcast(0, initial))?;
    State::new(options, layout, &phases, parameters, world)
}

/// Were all ranks told the same?
fn agree_on_task(
    world: &World,
    options: &Options,
    identity: &Identity,
    validation: Option<&dyn Source>,
) -> Result<()> {
    let hash = |text: String| xxh3_64(text.as_bytes());
    let validation = validation.map(|source| (source.identity(), source.len()));
    let words = [
        hash(format!("{options:?}")),
        hash(format!("{:?} {:?}", identity.tensors, identity.phases)),
        hash(format!(
            "{:?} {validation:?} {}",
            identity.data, identity.samples
        )),
    ];
    let all = world.exchange_words(&words)?;
    for (index, what) in ["options", "tensors", "data"].into_iter().enumerate() {
        if let Some(rank) = all.iter().position(|words| words[index] != all[0][index]) {
            return Err(TrainError::Disagreement { rank, what });
        }
    }
    Ok(())
}

fn check_samples(
    options: &Options,
    train: &dyn Source,
    validation: Option<&dyn Source>,
    steps: u64,
) -> Result<()> {
    let sources = [("training", Some(train)), ("validation", validation)];
    for (what, source) in sources {
        if let Some(source) = source
            && source.is_empty()
        {
            let origin = source.identity();
            return Err(TrainError::NoSamples { what, origin });
        }
    }
    if steps == 0 {
        let (samples, batch_size) = (train.len(), options.batch_size);
        return Err(TrainError::NoBatch {
            samples,
            batch_size,
        });
    }
    Ok(())
}
