//! A model that runs, and how long it takes: what is quick enough to be run where it came in.
//!
//! Called by [`held`](super::held), under its lock.

use std::time::{Duration, Instant};

use crate::{Model, ModelError, Tensor};

/// What may be run where it came in: that long the connections of a thread wait for it.
const QUICK: Duration = Duration::from_micros(100);

/// What a request gets.
pub(super) type Answer = Result<Vec<Tensor>, ModelError>;

/// A model, and how fast it was.
pub(super) struct Engine {
    model: Box<dyn Model>,
    /// Of the last runs: numbers that went in, and seconds; `None` before the first.
    last: Option<(usize, f64)>,
}

impl Engine {
    pub(super) fn new(model: Box<dyn Model>) -> Self {
        Self { model, last: None }
    }

    pub(super) fn run(&mut self, inputs: &[Tensor]) -> Answer {
        let begun = Instant::now();
        let answer = self.model.run(inputs);
        let (numbers, now) = (numbers_of(inputs), begun.elapsed().as_secs_f64());
        let seconds = match self.last {
            // One run that something else held up does not make a model slow for long.
            Some((same, before)) if same == numbers => 0.875 * before + 0.125 * now,
            _ => now,
        };
        self.last = Some((numbers, seconds));
        answer
    }

    /// Whether such a request is expected to be run in next to no time. More numbers are expected to
    /// take longer; fewer may take as long.
    pub(super) fn is_quick(&self, inputs: &[Tensor]) -> bool {
        let times = |last: usize| (numbers_of(inputs) as f64 / last as f64).max(1.0);
        self.last
            .is_some_and(|(numbers, seconds)| seconds * times(numbers) < QUICK.as_secs_f64())
    }
}

/// At least 1.
fn numbers_of(inputs: &[Tensor]) -> usize {
    let count: usize = inputs.iter().map(|input| input.values().len()).sum();
    count.max(1)
}
