//! Small models with gradients by hand, data in memory, and ranks that are threads.
#![allow(dead_code, unreachable_pub, reason = "each suite uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mizar_comm::collective::Engine;
use mizar_train::{
    Array, Batch, CheckpointMade, End, EpochMetrics, Layout, LearnError, Learner, Observer,
    Options, Outcome, Phase, Result, Resumed, Source, SourceError, Start, StepMetrics, Trainer,
};

/// No test waits longer for a rank.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Samples in memory.
pub struct Memory {
    pub name: String,
    pub inputs: Vec<Vec<f32>>,
    pub targets: Vec<Vec<f32>>,
    /// This one cannot be read.
    pub broken: Option<usize>,
}

impl Memory {
    pub fn new(inputs: Vec<Vec<f32>>, targets: Vec<Vec<f32>>) -> Self {
        Self {
            name: "memory".to_owned(),
            inputs,
            targets,
            broken: None,
        }
    }

    /// A smooth function of three numbers, sampled at irregular places.
    pub fn waves(count: usize) -> Self {
        let place = |sample: usize, axis: usize| {
            let turn = 0.618_034 * (1 + 3 * sample + axis) as f64 + 0.1 * axis as f64;
            (2.0 * turn.fract() - 1.0) as f32
        };
        let inputs: Vec<Vec<f32>> = (0..count)
            .map(|sample| (0..3).map(|axis| place(sample, axis)).collect())
            .collect();
        let target = |x: &Vec<f32>| vec![(2.0 * x[0]).sin() + x[1] * x[2], 0.5 * x[0] - x[2]];
        let targets = inputs.iter().map(target).collect();
        Self::new(inputs, targets)
    }
}

impl Source for Memory {
    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn batch(&self, samples: &[usize]) -> std::result::Result<Batch, SourceError> {
        if let Some(sample) = self.broken.filter(|broken| samples.contains(broken)) {
            return Err(SourceError {
                sample,
                origin: self.name.clone(),
                source: "the disk is gone".into(),
            });
        }
        let rows = |rows: &[Vec<f32>]| Array {
            shape: vec![samples.len(), rows[0].len()],
            values: samples.iter().flat_map(|s| rows[*s].clone()).collect(),
        };
        Ok(Batch {
            inputs: rows(&self.inputs),
            targets: rows(&self.targets),
        })
    }

    fn identity(&self) -> String {
        format!("{} of {}", self.name, self.len())
    }
}

/// What a model does wrong, at its n-th backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The gradient of this tensor has a NaN.
    Gradient(u64, usize),
    /// The loss is infinite.
    Loss(u64),
    /// It refuses the batch.
    Refuses(u64),
    /// It forgets this tensor.
    Forgets(u64, usize),
    /// It gives this tensor twice.
    Repeats(u64, usize),
    /// It panics.
    Panics(u64),
}

/// Layers of `tanh` and a linear one; the loss is the mean square over samples and outputs.
/// With one layer it is a linear model.
#[derive(Clone)]
pub struct Mlp {
    layout: Layout,
    phases: Vec<Phase>,
    sizes: Vec<usize>,
    initial: Vec<f32>,
    parameters: Vec<f32>,
    pub fault: Option<Fault>,
    passes: u64,
}

impl Mlp {
    pub fn new(sizes: &[usize]) -> Self {
        let layers = sizes.windows(2).enumerate();
        let layout = Layout::new(layers.flat_map(|(index, pair)| {
            [
                (format!("{index}.weight"), vec![pair[1], pair[0]]),
                (format!("{index}.bias"), vec![pair[1]]),
            ]
        }));
        let initial = (0..layout.len())
            .map(|index| (0.754_877_7 * (index + 1) as f64).fract() as f32 - 0.5)
            .collect();
        Self {
            phases: vec![Phase {
                name: "train".to_owned(),
                tensors: 0..layout.tensors().len(),
            }],
            layout,
            sizes: sizes.to_vec(),
            initial,
            parameters: Vec::new(),
            fault: None,
            passes: 0,
        }
    }

    pub fn starting_at(mut self, initial: Vec<f32>) -> Self {
        self.initial = initial;
        self
    }

    pub fn with_fault(mut self, fault: Option<Fault>) -> Self {
        self.fault = fault;
        self
    }

    /// Two phases: the first half of the layers and the second, one after the other.
    pub fn in_two_phases(mut self) -> Self {
        let half = self.layout.tensors().len() / 2;
        let all = self.layout.tensors().len();
        self.phases = vec![
            Phase {
                name: "upper".to_owned(),
                tensors: half..all,
            },
            Phase {
                name: "lower".to_owned(),
                tensors: 0..half,
            },
        ];
        self
    }

    /// Only the upper layers learn.
    pub fn with_lower_frozen(self) -> Self {
        let mut model = self.in_two_phases();
        model.phases.truncate(1);
        model
    }

    fn tensor(&self, index: usize) -> &[f32] {
        &self.parameters[self.layout.tensors()[index].range()]
    }

    /// What comes out of each layer, the input first.
    fn forward(&self, input: &[f32]) -> Vec<Vec<f32>> {
        let mut outputs = vec![input.to_vec()];
        for layer in 0..self.sizes.len() - 1 {
            let (weight, bias) = (self.tensor(2 * layer), self.tensor(2 * layer + 1));
            let last = &outputs[layer];
            let row = |unit: usize| -> f32 {
                let weights = &weight[unit * last.len()..][..last.len()];
                let sum: f32 = weights.iter().zip(last).map(|(w, x)| w * x).sum();
                let sum = sum + bias[unit];
                if layer + 2 < self.sizes.len() {
                    sum.tanh()
                } else {
                    sum
                }
            };
            let next = (0..self.sizes[layer + 1]).map(row).collect();
            outputs.push(next);
        }
        outputs
    }
}

impl Learner for Mlp {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn phases(&self) -> Vec<Phase> {
        self.phases.clone()
    }

    fn initial(&self) -> Vec<f32> {
        self.initial.clone()
    }

    fn load(&mut self, parameters: &[f32]) {
        self.parameters = parameters.to_vec();
    }

    fn gradients(
        &mut self,
        phase: usize,
        batch: &Batch,
        _random: u64,
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> std::result::Result<f64, LearnError> {
        self.passes += 1;
        let now = self.passes;
        if self.fault == Some(Fault::Refuses(now)) {
            return Err(LearnError::Shape {
                what: "inputs",
                expected: "(samples, 7)".to_owned(),
                found: batch.inputs.shape.clone(),
            });
        }
        assert!(self.fault != Some(Fault::Panics(now)), "a seeded panic");
        let count = batch.inputs.shape[0];
        let (width, outputs) = (self.sizes[0], *self.sizes.last().unwrap());
        let layers = self.sizes.len() - 1;
        let mut gradients: Vec<Vec<f32>> = self
            .layout
            .tensors()
            .iter()
            .map(|tensor| vec![0.0; tensor.len()])
            .collect();
        let mut loss = 0.0_f64;
        for sample in 0..count {
            let values = self.forward(&batch.inputs.values[sample * width..][..width]);
            let target = &batch.targets.values[sample * outputs..][..outputs];
            let share = 1.0 / (count * outputs) as f32;
            let difference: Vec<f32> = values[layers]
                .iter()
                .zip(target)
                .map(|(y, t)| y - t)
                .collect();
            loss += difference.iter().map(|d| f64::from(d * d)).sum::<f64>() * f64::from(share);
            let mut back: Vec<f32> = difference.iter().map(|d| 2.0 * d * share).collect();
            for layer in (0..layers).rev() {
                let below = &values[layer];
                for (unit, back) in back.iter().enumerate() {
                    gradients[2 * layer + 1][unit] += back;
                    for (column, x) in below.iter().enumerate() {
                        gradients[2 * layer][unit * below.len() + column] += back * x;
                    }
                }
                let weight = self.tensor(2 * layer);
                let through = |column: usize| {
                    let sum: f32 = (0..back.len())
                        .map(|unit| back[unit] * weight[unit * below.len() + column])
                        .sum();
                    sum * (1.0 - below[column] * below[column])
                };
                back = (0..below.len()).map(through).collect();
            }
        }
        // Weight before bias: not the plain reverse of the layout.
        let tensors = self.phases[phase].tensors.clone();
        for layer in (0..layers).rev() {
            for tensor in [2 * layer, 2 * layer + 1] {
                if !tensors.contains(&tensor) || self.fault == Some(Fault::Forgets(now, tensor)) {
                    continue;
                }
                if self.fault == Some(Fault::Gradient(now, tensor)) {
                    gradients[tensor][0] = f32::NAN;
                }
                ready(tensor, &gradients[tensor]);
                if self.fault == Some(Fault::Repeats(now, tensor)) {
                    ready(tensor, &gradients[tensor]);
                }
            }
        }
        if self.fault == Some(Fault::Loss(now)) {
            return Ok(f64::INFINITY);
        }
        Ok(loss)
    }

    fn evaluate(&mut self, batch: &Batch) -> std::result::Result<f64, LearnError> {
        let predicted = self.predict(&batch.inputs)?;
        let pairs = predicted.values.iter().zip(&batch.targets.values);
        let sum: f64 = pairs.map(|(y, t)| f64::from((y - t) * (y - t))).sum();
        Ok(sum / predicted.values.len() as f64)
    }

    fn predict(&mut self, inputs: &Array) -> std::result::Result<Array, LearnError> {
        let width = self.sizes[0];
        let rows = inputs.values.chunks(width);
        let values: Vec<f32> = rows
            .flat_map(|row| self.forward(row).pop().unwrap())
            .collect();
        Ok(Array {
            shape: vec![inputs.shape[0], *self.sizes.last().unwrap()],
            values,
        })
    }
}

/// Notes what it is told, and asks to stop after a step.
#[derive(Debug, Default)]
pub struct Notes {
    pub start: Option<Start>,
    pub resumed: Vec<Resumed>,
    pub steps: Vec<StepMetrics>,
    pub epochs: Vec<EpochMetrics>,
    pub made: Vec<CheckpointMade>,
    pub warnings: Vec<String>,
    pub end: Option<End>,
    pub stop_after: Option<u64>,
    pub stop: Arc<AtomicBool>,
}

impl Observer for Notes {
    fn started(&mut self, start: &Start) {
        self.start = Some(start.clone());
    }
    fn resumed(&mut self, resumed: &Resumed) {
        self.resumed.push(resumed.clone());
    }
    fn step(&mut self, step: &StepMetrics) {
        self.steps.push(step.clone());
        // The flag is seen during the next step, so it is set one step before.
        if self.stop_after.is_some_and(|after| step.step + 1 >= after) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn epoch_ended(&mut self, epoch: &EpochMetrics) {
        self.epochs.push(epoch.clone());
    }
    fn checkpoint(&mut self, made: &CheckpointMade) {
        self.made.push(made.clone());
    }
    fn warning(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }
    fn stopped(&mut self, end: &End) {
        self.end = Some(end.clone());
    }
}

/// Runs `job` on so many ranks.
pub fn on_ranks<T: Send>(
    ranks: usize,
    limit: Duration,
    job: impl Fn(Engine) -> T + Sync,
) -> Vec<std::thread::Result<T>> {
    std::thread::scope(|scope| {
        let job = &job;
        let run = |comm: mizar_comm::Threads| {
            scope.spawn(move || job(Engine::start(move || Ok(Box::new(comm)), limit).unwrap()))
        };
        let handles: Vec<_> = mizar_comm::threads(ranks).into_iter().map(run).collect();
        handles.into_iter().map(|handle| handle.join()).collect()
    })
}

/// What a rank says of a run.
pub type Told = (Result<Outcome>, Notes);

/// A run to be made.
#[derive(Clone)]
pub struct Case {
    pub options: Options,
    pub model: Mlp,
    pub train: Arc<Memory>,
    pub validation: Option<Arc<Memory>>,
    /// Asks rank 0 to stop after this step.
    pub stop_after: Option<u64>,
}

impl Case {
    /// A model of two layers on 44 samples: six steps an epoch, the last a smaller one.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            model: Mlp::new(&[3, 8, 2]),
            train: Arc::new(Memory::waves(44)),
            validation: None,
            stop_after: None,
        }
    }

    /// Runs it on so many ranks; rank `of` has a fault.
    pub fn try_run(&self, ranks: usize, fault: Option<(usize, Fault)>) -> Vec<Told> {
        let told = on_ranks(ranks, LIMIT, |engine| self.rank(engine, fault));
        told.into_iter().map(std::thread::Result::unwrap).collect()
    }

    pub fn rank(&self, engine: Engine, fault: Option<(usize, Fault)>) -> Told {
        let rank = engine.rank();
        let mut notes = Notes {
            stop_after: self.stop_after.filter(|_| rank == 0),
            ..Notes::default()
        };
        if self.stop_after == Some(1) && rank == 0 {
            notes.stop.store(true, Ordering::Relaxed);
        }
        let own = fault.and_then(|(of, fault)| (of == rank).then_some(fault));
        let model = Box::new(self.model.clone().with_fault(own));
        let trainer = Trainer::new(self.options.clone(), model, self.train.clone(), engine);
        let outcome = trainer.and_then(|mut trainer| {
            if let Some(validation) = &self.validation {
                trainer = trainer.with_validation(validation.clone());
            }
            trainer.with_stop(Arc::clone(&notes.stop)).run(&mut notes)
        });
        (outcome, notes)
    }

    /// Runs it on so many ranks, which all succeed and agree; what rank 0 says.
    pub fn run(&self, ranks: usize) -> (Outcome, Notes) {
        let mut told = self.try_run(ranks, None).into_iter();
        let (first, notes) = told.next().unwrap();
        let first = first.unwrap();
        for (rank, (other, other_notes)) in told.enumerate() {
            let other = other.unwrap();
            assert_same_bits(
                &first.parameters,
                &other.parameters,
                &format!("rank {}", rank + 1),
            );
            assert_eq!(first.digest, other.digest);
            assert_eq!(losses(&first), losses(&other));
            assert_eq!(first.end, other.end);
            assert_eq!(notes.steps.len(), other_notes.steps.len());
        }
        (first, notes)
    }
}

/// Losses of training and validation by epoch, as bits.
pub fn losses(outcome: &Outcome) -> Vec<(Vec<u64>, Option<u64>)> {
    let bits = |epoch: &EpochMetrics| {
        let losses = epoch.losses.iter().map(|loss| loss.to_bits()).collect();
        (losses, epoch.validation_loss.map(f64::to_bits))
    };
    outcome.epochs.iter().map(bits).collect()
}

pub fn assert_same_bits(left: &[f32], right: &[f32], what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let differs = |(left, right): (&f32, &f32)| left.to_bits() != right.to_bits();
    if let Some(place) = left.iter().zip(right).position(differs) {
        panic!(
            "{what}: number {place} is {} and {}",
            left[place], right[place]
        );
    }
}

pub fn assert_close(left: &[f32], right: &[f32], tolerance: f32, what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    for (place, (left, right)) in left.iter().zip(right).enumerate() {
        let limit = tolerance * (1.0 + left.abs());
        assert!(
            (left - right).abs() <= limit,
            "{what}: number {place} is {left} and {right}"
        );
    }
}

/// An error and its reasons.
pub fn text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", text(source)),
        None => error.to_string(),
    }
}
