//! The end of an epoch: validation, early stopping, what is told of it.

use std::time::{Duration, Instant};

use super::{Run, load_rounded};
use crate::prefetch::Prefetch;
use crate::sampler::share;
use crate::world::name_ranks;
use crate::{EpochMetrics, Result, TrainError};

impl Run<'_> {
    pub(super) fn end_epoch(&mut self, trained: Duration) -> Result<()> {
        let epoch = self.progress.epoch;
        let begin = Instant::now();
        let is_due = (epoch + 1).is_multiple_of(self.options.validate_every)
            || epoch + 1 == self.options.epochs;
        let validation_loss = match is_due {
            true => self.validate()?,
            false => None,
        };
        let validated = begin.elapsed();
        let samples = self.progress.samples;
        let losses = self.progress.loss_sums.iter();
        let losses: Vec<f64> = losses.map(|sum| sum / samples.max(1.0)).collect();
        let judged = match self.validation {
            Some(_) => validation_loss,
            None => Some(losses.iter().sum()),
        };
        if let Some(loss) = judged {
            self.judge(loss);
        }
        let metrics = EpochMetrics {
            epoch,
            step: self.progress.step,
            losses,
            validation_loss,
            best_loss: self.progress.best_loss.unwrap_or(0.0),
            samples: samples as usize,
            train_s: trained.as_secs_f64(),
            validation_s: validated.as_secs_f64(),
            samples_per_s: samples / trained.as_secs_f64(),
        };
        self.progress.epochs.push(metrics.clone());
        self.progress.epoch += 1;
        self.progress.step_in_epoch = 0;
        self.progress.loss_sums.fill(0.0);
        self.progress.samples = 0.0;
        self.observer.epoch_ended(&metrics);
        Ok(())
    }

    /// Is this better than what there was? All ranks have the same losses, so all say the same.
    fn judge(&mut self, loss: f64) {
        let min_delta = self
            .options
            .early_stopping
            .map_or(0.0, |stop| stop.min_delta);
        let is_better = self
            .progress
            .best_loss
            .is_none_or(|best| loss < best - min_delta);
        if is_better {
            self.progress.best_loss = Some(loss);
            self.progress.waited = 0;
            return;
        }
        self.progress.waited += 1;
        if let Some(stop) = self.options.early_stopping {
            self.progress.stopped_early = self.progress.waited >= stop.patience;
        }
    }

    /// The mean loss over the validation data; each rank computes its share of them.
    fn validate(&mut self) -> Result<Option<f64>> {
        let Some(source) = self.validation.clone() else {
            return Ok(None);
        };
        self.world.step.set(self.progress.step);
        let averaged = self.state.averaged(&self.world)?;
        if let Some(averaged) = &averaged {
            let precision = self.options.precision;
            load_rounded(&mut *self.learner, precision, averaged, &mut self.rounded);
        }
        let (rank, ranks) = (self.world.rank(), self.world.size());
        let own = share(&(0..source.len()), rank, ranks);
        let at_once = self.options.batch_size.div_ceil(ranks);
        let end = own.end;
        let starts = own.step_by(at_once);
        let wanted = starts.map(move |start| (start..(start + at_once).min(end)).collect());
        let mut batches = Prefetch::start(&source, wanted, self.options.prefetch)?;
        let step = self.progress.step;
        let mut sum = 0.0;
        while let Some(batch) = batches.next() {
            let loss = match batch {
                Err(source) => Err(TrainError::Source { rank, step, source }),
                Ok(batch) => {
                    let count = batch.inputs.shape.first().copied().unwrap_or(0) as f64;
                    let loss = self.learner.evaluate(&batch);
                    loss.map(|loss| loss * count)
                        .map_err(|source| TrainError::Learn { rank, step, source })
                }
            };
            match loss {
                Ok(loss) => sum += loss,
                Err(error) => {
                    self.hold(error);
                    break;
                }
            }
        }
        if !sum.is_finite() {
            self.hold(TrainError::NotFinite {
                step,
                what: "the loss".to_owned(),
                phase: "validation".to_owned(),
                ranks: name_ranks(&[rank]),
            });
        }
        let held = self.held.take().map_or(Ok(()), Err);
        self.world.agree(held)?;
        let sums = self.world.exchange_words(&[f64::to_bits(sum)])?;
        let sum: f64 = sums.iter().map(|words| f64::from_bits(words[0])).sum();
        if averaged.is_some() {
            self.load()?;
        }
        Ok(Some(sum / source.len() as f64))
    }
}
