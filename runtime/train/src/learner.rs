//! What the trainer asks of a model.

use crate::{Array, Batch, Layout};

/// A part of a step that has a loss and an optimizer of its own. Most models have one; a GAN has
/// two: its discriminator learns, then its generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// `train`, `discriminator`, `generator`: the name under which its loss is logged.
    pub name: String,
    /// Which tensors of the layout it changes.
    pub tensors: std::ops::Range<usize>,
}

/// A model that learns. It computes on one process's device and knows nothing of ranks.
pub trait Learner {
    /// How its parameters lie in the flat array.
    fn layout(&self) -> &Layout;

    /// The phases of a step, in order.
    fn phases(&self) -> Vec<Phase> {
        vec![Phase {
            name: "train".to_owned(),
            tensors: 0..self.layout().tensors().len(),
        }]
    }

    /// The parameters at the start, from the seed that the model was made with: the same on
    /// every rank.
    fn initial(&self) -> Vec<f32>;

    /// Takes the parameters for what follows.
    fn load(&mut self, parameters: &[f32]);

    /// Runs forward and backward over `batch` and returns the mean loss of its samples.
    /// `ready(tensor, gradient)` is called once for each tensor of the phase, as soon as its
    /// gradient (of the mean loss) is known, so the last layers come first; it must not block
    /// for long, because the backward pass waits for it. The order is the same on all ranks.
    /// `random` seeds all that is drawn (dropout, noise of a generator).
    ///
    /// # Errors
    /// [`LearnError`] if the batch does not fit the model.
    fn gradients(
        &mut self,
        phase: usize,
        batch: &Batch,
        random: u64,
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<f64, LearnError>;

    /// The mean loss over `batch`, without gradients, dropout off.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients).
    fn evaluate(&mut self, batch: &Batch) -> Result<f64, LearnError>;

    /// What the model makes of inputs, dropout off.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients).
    fn predict(&mut self, inputs: &Array) -> Result<Array, LearnError>;
}

/// A batch that does not fit a model.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The shape is another one.
    #[error("the model takes {what} of shape {expected}, found {found:?}")]
    Shape {
        /// `inputs` or `targets`.
        what: &'static str,
        /// The shape that it takes, in words: `(samples, 3, height, width)`.
        expected: String,
        /// What came.
        found: Vec<usize>,
    },
}
