//! One step of the optimizer: every phase forward, backward, exchange, update.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Run;
use crate::exchange::{Trouble, square_sum};
use crate::optimizer::Update;
use crate::plan::Plan;
use crate::precision::{LossScale, are_finite};
use crate::prefetch::Prefetch;
use crate::random::seed_of;
use crate::schedule::learning_rate;
use crate::state::Reduced;
use crate::world::{Report, name_ranks};
use crate::{Batch, Precision, Result, StepMetrics, Strategy, TrainError};

/// Tells the seeds of models from the other things that a run draws.
const PURPOSE: u64 = 2;

/// Keeps the quotient of a clipped gradient below the limit, as PyTorch does.
const CLIP_EPSILON: f64 = 1e-6;

/// What all phases of a step have in common.
struct Step {
    /// This rank's samples, in pieces, of which some may be empty.
    batches: Vec<Option<Batch>>,
    /// Samples over all ranks.
    samples: usize,
    /// Whether ranks tell each other how they are.
    meets: bool,
    learning_rate: f64,
}

impl Run<'_> {
    /// Does a step; `true` if the ranks agreed to stop after it.
    pub(super) fn step(&mut self, batches: &mut Prefetch) -> Result<bool> {
        let begin = Instant::now();
        let traffic = self.world.engine.traffic();
        let waited = self.world.waited();
        self.world.step.set(self.progress.step + 1);
        let mut metrics = StepMetrics {
            epoch: self.progress.epoch,
            ..StepMetrics::default()
        };
        let step = self.begin_step(batches, &mut metrics);
        let mut stops = false;
        for phase in 0..self.phases.len() {
            stops |= self.phase(phase, &step, &mut metrics)?;
        }
        if step.meets && self.options.strategy == Strategy::LocalSgd {
            metrics.drift = Some(self.state.meet(&self.world, self.options.ema)?);
            self.load()?;
            self.unmet.1 = 0.0;
        }
        self.progress.step += 1;
        self.progress.step_in_epoch += 1;
        self.after_step(&step, &mut metrics)?;
        let busy = self.world.engine.traffic();
        metrics.step = self.progress.step;
        metrics.collectives = busy.collectives - traffic.collectives;
        metrics.bytes = busy.bytes - traffic.bytes;
        metrics.collective_s = (busy.busy - traffic.busy).as_secs_f64();
        metrics.exposed_s = (self.world.waited() - waited).as_secs_f64();
        metrics.step_s = begin.elapsed().as_secs_f64();
        self.totals.add(&metrics);
        self.observer.step(&metrics);
        Ok(stops)
    }

    fn begin_step(&mut self, batches: &mut Prefetch, metrics: &mut StepMetrics) -> Step {
        let place = self.progress.step_in_epoch;
        let begin = Instant::now();
        let mut taken = Vec::new();
        for piece in self.sampler.pieces(place) {
            let next = (!piece.is_empty()).then(|| batches.next()).flatten();
            taken.push(match next {
                Some(Ok(batch)) if samples(&batch) == piece.len() => Some(batch),
                Some(Ok(batch)) => {
                    let (found, expected) = (samples(&batch), piece.len());
                    self.hold(TrainError::Contract {
                        what: format!("a batch has {found} samples instead of {expected}"),
                    });
                    None
                }
                Some(Err(source)) => {
                    self.hold(TrainError::Source {
                        rank: self.world.rank(),
                        step: self.progress.step + 1,
                        source,
                    });
                    None
                }
                None => None,
            });
        }
        metrics.data_wait_s = begin.elapsed().as_secs_f64();
        metrics.samples = self.sampler.batch(place);
        let steps = self.sampler.steps();
        metrics.learning_rate = learning_rate(&self.options, self.progress.step, steps);
        metrics.loss_scale =
            (self.options.precision == Precision::F16).then_some(self.progress.loss_scale);
        let is_last = place + 1 == steps;
        Step {
            batches: taken,
            samples: metrics.samples,
            meets: match self.options.strategy {
                Strategy::LocalSgd => {
                    is_last || (place + 1).is_multiple_of(self.options.local_sgd.every)
                }
                _ => true,
            },
            learning_rate: metrics.learning_rate,
        }
    }

    /// Keeps the first thing that went wrong.
    pub(super) fn hold(&mut self, error: TrainError) {
        self.held.get_or_insert(error);
    }

    /// Does a phase; `true` if some rank was asked to stop.
    fn phase(&mut self, phase: usize, step: &Step, metrics: &mut StepMetrics) -> Result<bool> {
        let begin = Instant::now();
        let waited = self.world.waited();
        let mut report = self.backward(phase, step)?;
        let computed = begin.elapsed().saturating_sub(self.world.waited() - waited);
        metrics.compute_s += computed.as_secs_f64();

        let plan = &self.state.phases[phase].plan;
        let reduced = self.exchanges[phase].finish(&self.world, plan)?;
        report.norm_squared = self.norm_squared(phase, &reduced);
        let has_samples = report.samples > 0.0;
        let reports = self.tell(phase, step, report)?;
        if step.meets {
            self.note_losses(phase, &reports, metrics);
        }
        let squares = match self.options.strategy {
            Strategy::LocalSgd => report.norm_squared,
            _ => reports.iter().map(|report| report.norm_squared).sum(),
        };
        let norm = squares.sqrt();
        metrics.gradient_norms.push(norm);

        let is_skipped = self.is_skipped(&reports, norm)?;
        metrics.skipped |= is_skipped;
        if !norm.is_finite() && !is_skipped {
            let error = self.not_finite_sum(phase, &reduced);
            match self.options.strategy {
                Strategy::LocalSgd => self.hold(error),
                _ => return Err(error),
            }
        }
        // Under local SGD, a rank that holds an error or has no samples changes nothing.
        let is_idle =
            self.options.strategy == Strategy::LocalSgd && (self.held.is_some() || !has_samples);
        if !is_skipped && !is_idle {
            let begin = Instant::now();
            let waited = self.world.waited();
            self.update(phase, step, norm, &reduced)?;
            let updated = begin.elapsed().saturating_sub(self.world.waited() - waited);
            metrics.optimizer_s += updated.as_secs_f64();
        }
        self.exchanges[phase].reclaim(reduced);
        self.order_fused(phase)?;
        Ok(step.meets && reports.iter().any(|report| report.stops))
    }

    /// Tells the other ranks, where they meet, how a phase went, and what they tell; goes no
    /// further if any of them cannot. Where they do not meet, the caller hears itself alone.
    fn tell(&mut self, phase: usize, step: &Step, mut report: Report) -> Result<Vec<Report>> {
        report.stops = self.stop.load(Ordering::Relaxed);
        report.overflows = self.exchanges[phase].overflows;
        if phase == 0
            && let Some(keeper) = &mut self.keeper
        {
            match keeper.state(&self.world) {
                Ok(state) => report.saved = state,
                Err(error) => self.hold(error),
            }
        }
        report.fails = self.held.is_some();
        self.gather_unmet(phase, &mut report);
        if !step.meets {
            return Ok(vec![report]);
        }
        let reports = self.world.exchange(report)?;
        if reports.iter().any(|report| report.fails) {
            return Err(self.world.failure(self.held.take()));
        }
        if phase == 0 {
            self.advance_checkpoint(&reports)?;
        }
        self.unmet.0[phase] = 0.0;
        Ok(reports)
    }

    /// Runs the model over this rank's pieces; gradients are on their way when it returns.
    fn backward(&mut self, phase: usize, step: &Step) -> Result<Report> {
        let rank = self.world.rank();
        let plan = &self.state.phases[phase].plan;
        let exchange = &mut self.exchanges[phase];
        exchange.begin_step(plan);
        let own: usize = step.batches.iter().flatten().map(samples).sum();
        let total = match self.options.strategy {
            Strategy::LocalSgd => own,
            _ => step.samples,
        };
        let scale = self.progress.loss_scale as f32;
        let mut report = Report::default();
        let pieces = step.batches.len();
        for (piece, batch) in step.batches.iter().enumerate() {
            let is_last = piece + 1 == pieces;
            exchange.begin_piece(plan, is_last);
            let mut was_computed = false;
            if let Some(batch) = batch
                && self.held.is_none()
            {
                was_computed = true;
                let count = samples(batch) as f64;
                let weight = (count / total as f64) as f32;
                let place = [self.progress.step, rank as u64, phase as u64, piece as u64];
                let random = seed_of(self.options.seed, &[&[PURPOSE], &place[..]].concat());
                let world = &self.world;
                let mut ready = |tensor: usize, gradient: &[f32]| {
                    exchange.ready(world, plan, (tensor, gradient), weight, scale);
                };
                match self.learner.gradients(phase, batch, random, &mut ready) {
                    Ok(loss) => {
                        report.loss += loss * count;
                        report.samples += count;
                    }
                    Err(source) => {
                        let step = self.progress.step + 1;
                        self.held
                            .get_or_insert(TrainError::Learn { rank, step, source });
                    }
                }
            }
            exchange.end_piece(&self.world, plan, was_computed)?;
        }
        let trouble = self.exchanges[phase].trouble.take();
        self.hold_trouble(phase, trouble, report.loss);
        Ok(report)
    }

    fn hold_trouble(&mut self, phase: usize, trouble: Option<Trouble>, loss: f64) {
        let not_finite = |what: String| TrainError::NotFinite {
            step: self.progress.step + 1,
            what,
            phase: self.phases[phase].name.clone(),
            ranks: name_ranks(&[self.world.rank()]),
        };
        let error = match trouble {
            _ if !loss.is_finite() => not_finite("the loss".to_owned()),
            Some(Trouble::NotFinite(tensor)) => {
                let name = &self.layout.tensors()[tensor].name;
                not_finite(format!("the gradient of {name}"))
            }
            Some(Trouble::Contract(what)) => TrainError::Contract { what },
            None => return,
        };
        self.hold(error);
    }

    /// This rank's share of the square of the norm. Who has which share depends neither on the
    /// strategy (of those with buckets of the same sizes) nor on who holds the gradients, so
    /// that the bits of the norm do not either.
    fn norm_squared(&self, phase: usize, reduced: &[Reduced]) -> f64 {
        let (rank, ranks) = (self.world.rank(), self.world.size());
        let plan = &self.state.phases[phase].plan;
        let buckets = plan.buckets.iter().zip(reduced);
        match self.options.strategy {
            Strategy::LocalSgd => buckets
                .map(|(bucket, reduced)| square_sum(reduced.own_part(0, bucket.len, bucket.len)))
                .sum(),
            // Fused buffers change after the first step, tensors do not.
            Strategy::Fused => fused_squares(plan, reduced, rank, ranks),
            _ => buckets
                .map(|(bucket, reduced)| {
                    square_sum(reduced.own_part(rank, bucket.part, bucket.len))
                })
                .sum(),
        }
    }

    /// Adds what the ranks told to the sums of the epoch, the same on all of them.
    fn note_losses(&mut self, phase: usize, reports: &[Report], metrics: &mut StepMetrics) {
        let loss: f64 = reports.iter().map(|report| report.loss).sum();
        let samples: f64 = reports.iter().map(|report| report.samples).sum();
        if phase == 0 {
            self.progress.samples += samples;
        }
        self.progress.loss_sums[phase] += loss;
        metrics.losses.push(loss / samples.max(1.0));
    }

    /// Under local SGD a rank tells the losses of all steps since the ranks met.
    fn gather_unmet(&mut self, phase: usize, report: &mut Report) {
        if self.options.strategy != Strategy::LocalSgd {
            return;
        }
        self.unmet.0[phase] += report.loss;
        if phase == 0 {
            self.unmet.1 += report.samples;
        }
        (report.loss, report.samples) = (self.unmet.0[phase], self.unmet.1);
    }

    fn is_skipped(&mut self, reports: &[Report], norm: f64) -> Result<bool> {
        if self.options.precision != Precision::F16 {
            return Ok(false);
        }
        let overflows = !norm.is_finite() || reports.iter().any(|report| report.overflows);
        let mut scale = LossScale {
            scale: self.progress.loss_scale,
            good_steps: self.progress.good_steps,
        };
        let goes_on = scale.after(overflows);
        self.progress.loss_scale = scale.scale;
        self.progress.good_steps = scale.good_steps;
        match goes_on {
            true => Ok(overflows),
            false => Err(TrainError::LossScale {
                step: self.progress.step + 1,
            }),
        }
    }

    fn update(&mut self, phase: usize, step: &Step, norm: f64, reduced: &[Reduced]) -> Result<()> {
        let factor = match self.options.clip_norm {
            Some(limit) => (limit / (norm + CLIP_EPSILON)).min(1.0),
            None => 1.0,
        };
        let update = Update {
            optimizer: self.options.optimizer,
            learning_rate: step.learning_rate,
            step: self.state.phases[phase].steps + 1,
            factor: factor as f32,
        };
        // Under local SGD the mean follows what the ranks have when they meet.
        let ema = match self.options.strategy {
            Strategy::LocalSgd => None,
            _ => self.options.ema,
        };
        self.state
            .update(&self.world, phase, update, reduced, ema)?;
        self.load()
    }

    /// The same error on every rank, because all have the same norm; but for local SGD.
    fn not_finite_sum(&self, phase: usize, reduced: &[Reduced]) -> TrainError {
        let plan = &self.state.phases[phase].plan;
        let mut what = "the sum of a gradient".to_owned();
        for (bucket, reduced) in plan.buckets.iter().zip(reduced) {
            let Reduced::Whole(values) = reduced else {
                continue;
            };
            for piece in &bucket.tensors {
                if !are_finite(&values[piece.at..piece.at + piece.flat.len()]) {
                    let name = &self.layout.tensors()[piece.tensor].name;
                    what = format!("the sum of the gradients of {name}");
                }
            }
        }
        TrainError::NotFinite {
            step: self.progress.step + 1,
            what,
            phase: self.phases[phase].name.clone(),
            ranks: match self.options.strategy {
                Strategy::LocalSgd => name_ranks(&[self.world.rank()]),
                _ => "all ranks together".to_owned(),
            },
        }
    }

    /// After the first step, fused buffers get the order in which rank 0 had its gradients.
    fn order_fused(&mut self, phase: usize) -> Result<()> {
        let is_fused = self.options.strategy == Strategy::Fused && self.world.size() > 1;
        if !is_fused || std::mem::replace(&mut self.ordered[phase], true) {
            return Ok(());
        }
        let tensors = self.phases[phase].tensors.clone();
        let mut order: Vec<f64> = tensors.clone().rev().map(|tensor| tensor as f64).collect();
        if self.world.rank() == 0 && self.exchanges[phase].order.len() == order.len() {
            let came = self.exchanges[phase].order.iter();
            order = came.map(|tensor| *tensor as f64).collect();
        }
        let order = self.world.wait(self.world.engine.broadcast(0, order))?;
        let order = order.into_iter().map(|tensor| tensor as usize);
        let fusion_mb = self.options.fused.fusion_mb;
        let plan = Plan::new(&self.layout, order, self.world.size(), fusion_mb, fusion_mb);
        self.state.plan_again(phase, plan);
        self.exchanges[phase].forget();
        Ok(())
    }

    /// The sync proof and the checkpoint, if they are due.
    fn after_step(&mut self, step: &Step, metrics: &mut StepMetrics) -> Result<()> {
        if !step.meets {
            return Ok(());
        }
        let done = self.progress.step;
        let is_due = |every: u64, last: u64| every > 0 && done / every > last / every;
        if is_due(self.options.sync_check, self.proved) {
            let begin = Instant::now();
            self.prove()?;
            metrics.sync_check_s += begin.elapsed().as_secs_f64();
        }
        let every = self.options.checkpoint.every;
        if self.keeper.is_some() && is_due(every, self.kept.map_or(0, |(step, _)| step)) {
            let begin = Instant::now();
            self.checkpoint()?;
            metrics.checkpoint_stall_s += begin.elapsed().as_secs_f64();
        }
        Ok(())
    }
}

fn samples(batch: &Batch) -> usize {
    batch.inputs.shape.first().copied().unwrap_or(0)
}

fn fused_squares(plan: &Plan, reduced: &[Reduced], rank: usize, ranks: usize) -> f64 {
    let mut squares = Vec::new();
    for (bucket, reduced) in plan.buckets.iter().zip(reduced) {
        let values = reduced.own_part(0, bucket.len, bucket.len);
        for piece in &bucket.tensors {
            if piece.tensor % ranks == rank {
                let values = &values[piece.at..piece.at + piece.flat.len()];
                squares.push((piece.tensor, square_sum(values)));
            }
        }
    }
    squares.sort_by_key(|(tensor, _)| *tensor);
    squares.into_iter().map(|(_, square)| square).sum()
}
