//! What training costs beside the model's own work: communication that is not hidden, the sync
//! proof, checkpoints. Run it under `mpirun`; rank 0 prints one line of JSON for each strategy.
//!
//! ```text
//! mpirun -n 2 costs [WIDTH [LAYERS [SAMPLES [STEPS]]]]
//! ```
//!
//! The model is a perceptron of LAYERS square layers of WIDTH units by hand, on one thread a
//! rank, SAMPLES samples a step and rank; a checkpoint is made every tenth step, the proof too.

use std::sync::Arc;
use std::time::Duration;

use mizar_comm::collective::Engine;
use mizar_train::{
    Array, Batch, Checkpoint, Layout, LearnError, Learner, Observer, Options, Source, SourceError,
    StepMetrics, Strategy, Trainer,
};

struct Dense {
    layout: Layout,
    width: usize,
    parameters: Vec<f32>,
}

/// `out[s][j] += sum_i left[s][i] * right[i][j]`.
fn multiply(left: &[f32], right: &[f32], out: &mut [f32], inner: usize, width: usize) {
    for (left, out) in left.chunks_exact(inner).zip(out.chunks_exact_mut(width)) {
        for (factor, row) in left.iter().zip(right.chunks_exact(width)) {
            for (out, value) in out.iter_mut().zip(row) {
                *out += factor * value;
            }
        }
    }
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let cell = |index: usize| values[index % rows * columns + index / rows];
    (0..rows * columns).map(cell).collect()
}

impl Dense {
    fn new(width: usize, layers: usize) -> Self {
        let tensors = (0..layers).map(|layer| (format!("{layer}.weight"), vec![width, width]));
        Self {
            layout: Layout::new(tensors),
            width,
            parameters: Vec::new(),
        }
    }
}

impl Learner for Dense {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn initial(&self) -> Vec<f32> {
        let scale = 1.0 / (self.width as f32).sqrt();
        let value = |index: usize| ((index * 7919 % 10_007) as f32 / 5003.5 - 1.0) * scale;
        (0..self.layout.len()).map(value).collect()
    }

    fn load(&mut self, parameters: &[f32]) {
        self.parameters.clear();
        self.parameters.extend_from_slice(parameters);
    }

    fn gradients(
        &mut self,
        _phase: usize,
        batch: &Batch,
        _random: u64,
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<f64, LearnError> {
        let (width, samples) = (self.width, batch.inputs.shape[0]);
        let mut outputs = vec![batch.inputs.values.clone()];
        for tensor in self.layout.tensors() {
            let mut next = vec![0.0; samples * width];
            let last = &outputs[outputs.len() - 1];
            multiply(
                last,
                &self.parameters[tensor.range()],
                &mut next,
                width,
                width,
            );
            next.iter_mut().for_each(|value| *value = value.max(0.0));
            outputs.push(next);
        }
        let share = 1.0 / (samples * width) as f32;
        let mut back: Vec<f32> = outputs[outputs.len() - 1].clone();
        let loss: f64 = back.iter().map(|value| f64::from(value * value)).sum();
        back.iter_mut().for_each(|value| *value *= 2.0 * share);
        for (layer, tensor) in self.layout.tensors().iter().enumerate().rev() {
            let mut gradient = vec![0.0; width * width];
            let below = transpose(&outputs[layer], samples, width);
            multiply(&below, &back, &mut gradient, samples, width);
            ready(layer, &gradient);
            let weight = transpose(&self.parameters[tensor.range()], width, width);
            let mut next = vec![0.0; samples * width];
            multiply(&back, &weight, &mut next, width, width);
            for (back, value) in next.iter_mut().zip(&outputs[layer]) {
                *back = if *value > 0.0 { *back } else { 0.0 };
            }
            back = next;
        }
        Ok(loss * f64::from(share))
    }

    fn evaluate(&mut self, _batch: &Batch) -> Result<f64, LearnError> {
        Ok(0.0)
    }

    fn predict(&mut self, inputs: &Array) -> Result<Array, LearnError> {
        Ok(inputs.clone())
    }
}

struct Ramp {
    samples: usize,
    width: usize,
}

impl Source for Ramp {
    fn len(&self) -> usize {
        self.samples
    }

    fn batch(&self, samples: &[usize]) -> Result<Batch, SourceError> {
        let value = |index: usize| (samples[index / self.width] + index) as f32 % 17.0 / 17.0;
        let inputs = Array {
            shape: vec![samples.len(), self.width],
            values: (0..samples.len() * self.width).map(value).collect(),
        };
        Ok(Batch {
            targets: Array::default(),
            inputs,
        })
    }

    fn identity(&self) -> String {
        "a ramp".to_owned()
    }
}

/// Sums what steps were held up by checkpoints: the wait for the last one, after the last step,
/// is not of a step.
#[derive(Default)]
struct Stalls(f64);

impl Observer for Stalls {
    fn step(&mut self, step: &StepMetrics) {
        self.0 += step.checkpoint_stall_s;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut number = |default: usize| words.next().map_or(Ok(default), |word| word.parse());
    let (width, layers, samples, steps) = (number(1024)?, number(8)?, number(64)?, number(40)?);
    let folder = std::env::temp_dir().join("mizar-train-costs");
    let engine = Engine::start(mizar_comm::world, Duration::from_secs(120))?;
    // MPI is opened once in a process, so a process measures one strategy.
    let strategy = std::env::var("STRATEGY").unwrap_or_else(|_| "ddp".to_owned());
    let strategy: Strategy = serde_json::from_value(strategy.into())?;
    let (rank, ranks) = (engine.rank(), engine.size());
    if rank == 0 {
        let _ = std::fs::remove_dir_all(&folder);
    }
    engine.barrier()?;
    let options = Options {
        epochs: 1,
        batch_size: samples * ranks,
        strategy,
        clip_norm: Some(1.0),
        sync_check: 10,
        checkpoint: Checkpoint {
            dir: Some(folder.clone()),
            every: 10,
            keep: 1,
        },
        ..Options::default()
    };
    let source = Arc::new(Ramp {
        samples: samples * ranks * steps,
        width,
    });
    let learner = Box::new(Dense::new(width, layers));
    let mut stalls = Stalls::default();
    let outcome = Trainer::new(options, learner, source, engine)?.run(&mut stalls)?;
    if rank == 0 {
        let totals = &outcome.totals;
        let share = |part: f64| 100.0 * part / totals.step_s;
        let line = serde_json::json!({
            "strategy": strategy.name(),
            "ranks": ranks,
            "parameters": outcome.parameters.len(),
            "step_ms": 1e3 * totals.step_s / totals.steps as f64,
            "samples_per_s": totals.samples as f64 / totals.step_s,
            "compute_%": share(totals.compute_s),
            "optimizer_%": share(totals.optimizer_s),
            "collectives_%": share(totals.collective_s),
            "exposed_%": share(totals.exposed_s),
            "hidden_%_of_collectives": totals.hidden().map(|hidden| 100.0 * hidden),
            "sync_check_%": share(totals.sync_check_s),
            "sync_check_ms": 1e3 * totals.sync_check_s / (totals.steps / 10) as f64,
            "checkpoint_stall_%": share(stalls.0),
            "last_checkpoint_ms": 1e3 * (totals.checkpoint_stall_s - stalls.0),
            "bytes_per_step": totals.bytes / totals.steps,
        });
        println!("{line}");
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
