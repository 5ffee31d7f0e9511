//! A run from its first step to its outcome: what happens in which order.
//!
//! Every rank goes through this in step with the others. What goes wrong on one rank is held
//! until the ranks next tell each other how they are, so that nobody waits for one who gave up:
//! only a rank that is lost altogether ends in a time limit.

mod epoch;
mod resume;
mod step;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::{Array, Identity, Keeper, Manifest, Progress, folder_of};
use crate::exchange::Exchange;
use crate::prefetch::Prefetch;
use crate::proof::Digests;
use crate::sampler::Sampler;
use crate::state::{State, Which};
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
        let has_samples = check_samples(&options, &*train, validation.as_deref(), sampler.steps());
        world.agree(has_samples)?;

        let initial = learner.initial();
        let fits = match initial.len() == layout.len() {
            true => Ok(()),
            false => Err(TrainError::Contract {
                what: format!(
                    "it begins with {} parameters, its tensors have {}",
                    initial.len(),
                    layout.len()
                ),
            }),
        };
        world.agree(fits)?;
        let parameters = world.wait(world.engine.broadcast(0, initial))?;
        let state = State::new(&options, &layout, &phases, parameters, &world);
        let state = match state {
            Ok(state) => {
                world.agree(Ok(()))?;
                state
            }
            Err(error) => {
                world.agree(Err(error))?;
                unreachable!("an error of this rank is returned")
            }
        };
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
            if self.options.checkpoint.every == 0 {
                self.checkpoint()?;
            }
        }
        self.outcome(false)
    }

    /// Batches of what is left of the epoch.
    fn read_ahead(&self) -> Result<Prefetch> {
        let order = self.sampler.order(self.progress.epoch);
        let steps = self.progress.step_in_epoch..self.sampler.steps();
        let pieces = steps.flat_map(|step| self.sampler.pieces(step));
        let wanted = pieces.filter(|piece| !piece.is_empty());
        let wanted = wanted.map(|piece| order[piece].to_vec()).collect();
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

    /// Begins a checkpoint of what is now valid, unless it is the last one.
    fn checkpoint(&mut self) -> Result<()> {
        let place = (self.progress.step, self.progress.epoch);
        if self.keeper.is_none() || self.kept == Some(place) {
            return Ok(());
        }
        let begin = Instant::now();
        self.finish_checkpoint()?;
        let digest = self.prove()?;
        for (steps, phase) in self
            .progress
            .optimizer_steps
            .iter_mut()
            .zip(&self.state.phases)
        {
            *steps = phase.steps;
        }
        let manifest = Manifest::new(
            self.identity.clone(),
            self.progress.clone(),
            self.options.clone(),
            self.world.size(),
            digest,
        );
        let arrays = self.arrays();
        if let Some(keeper) = &mut self.keeper {
            keeper.begin(&self.world, manifest, arrays, begin);
        }
        self.kept = Some(place);
        Ok(())
    }

    /// What this rank writes.
    fn arrays(&self) -> Vec<Array> {
        let names = self.identity.arrays.iter().enumerate();
        let array = |(index, name): (usize, &String)| {
            let which = match index {
                0 => Which::Parameters,
                _ if name == "ema" => Which::Ema,
                _ => Which::Slot(index - 1),
            };
            let (ranges, values) = self.state.share(self.world.rank(), which);
            Array {
                name: name.clone(),
                ranges,
                values,
            }
        };
        names.map(array).collect()
    }

    /// Waits for the checkpoint that is being written, if one is.
    fn finish_checkpoint(&mut self) -> Result<()> {
        if let Some(keeper) = &mut self.keeper
            && let Some(made) = keeper.finish(&self.world)?
        {
            self.totals.checkpoints += 1;
            self.observer.checkpoint(&made);
        }
        Ok(())
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

    fn last_checkpoint(&self) -> Option<PathBuf> {
        let folder = self.options.checkpoint.dir.as_ref()?;
        self.kept.map(|(step, _)| folder_of(folder, step))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mizar_comm::collective::Engine;

    use super::*;
    use crate::{Array, Batch, LearnError, SourceError, Strategy};

    /// A model that learns nothing, whose rank 1 or 2 is hit by a cosmic ray.
    struct Idle(Layout);

    impl Learner for Idle {
        fn layout(&self) -> &Layout {
            &self.0
        }
        fn initial(&self) -> Vec<f32> {
            vec![1.0; self.0.len()]
        }
        fn load(&mut self, _parameters: &[f32]) {}
        fn gradients(
            &mut self,
            _phase: usize,
            _batch: &Batch,
            _random: u64,
            ready: &mut dyn FnMut(usize, &[f32]),
        ) -> std::result::Result<f64, LearnError> {
            for (index, tensor) in self.0.tensors().iter().enumerate() {
                ready(index, &vec![0.0; tensor.len()]);
            }
            Ok(0.0)
        }
        fn evaluate(&mut self, _batch: &Batch) -> std::result::Result<f64, LearnError> {
            Ok(0.0)
        }
        fn predict(&mut self, inputs: &Array) -> std::result::Result<Array, LearnError> {
            Ok(inputs.clone())
        }
    }

    struct Zeros;

    impl Source for Zeros {
        fn len(&self) -> usize {
            30
        }
        fn batch(&self, samples: &[usize]) -> std::result::Result<Batch, SourceError> {
            let zeros = Array {
                shape: vec![samples.len(), 1],
                values: vec![0.0; samples.len()],
            };
            Ok(Batch {
                inputs: zeros.clone(),
                targets: zeros,
            })
        }
        fn identity(&self) -> String {
            "zeros".to_owned()
        }
    }

    fn run_with_a_flipped_bit(strategy: Strategy, engine: Engine) -> Result<()> {
        let options = Options {
            strategy,
            batch_size: 3,
            sync_check: 2,
            ..Options::default()
        };
        let layout = Layout::new([("a".to_owned(), vec![5]), ("b".to_owned(), vec![2, 4])]);
        let trainer = Trainer::new(options, Box::new(Idle(layout)), Arc::new(Zeros), engine)?;
        let mut observer = ();
        let mut run = Run::begin(trainer, &mut observer)?;
        let mut batches = run.read_ahead()?;
        for _ in 0..4 {
            run.step(&mut batches)?;
        }
        if run.world.rank() == 1 {
            let number = &mut run.state.full_mut()[7];
            *number = f32::from_bits(number.to_bits() ^ 1);
        }
        // Not looked at after this one, but after the next.
        run.step(&mut batches)?;
        run.step(&mut batches)?;
        Ok(())
    }

    #[test]
    fn one_flipped_bit_stops_the_run_and_is_named() {
        for strategy in [Strategy::Ddp, Strategy::Fused] {
            std::thread::scope(|scope| {
                for comm in mizar_comm::threads(3) {
                    scope.spawn(move || {
                        let limit = Duration::from_secs(60);
                        let engine = Engine::start(move || Ok(Box::new(comm)), limit).unwrap();
                        let error = run_with_a_flipped_bit(strategy, engine).unwrap_err();
                        assert_eq!(
                            error.to_string(),
                            "step 6: the parameters of b differ on rank 1 from those of the other \
                             ranks (0 more tensors differ): the ranks no longer train one model"
                        );
                    });
                }
            });
        }
    }
}
