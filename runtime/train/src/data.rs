//! Samples and batches as plain arrays.

/// Numbers with a shape, slowest dimension first; of a batch the first dimension is the sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    /// The shape.
    pub shape: Vec<usize>,
    /// As many numbers as the shape says.
    pub values: Vec<f32>,
}

/// Some samples: what goes in and what should come out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What goes in.
    pub inputs: Array,
    /// What should come out; for a generative model, what its generator is conditioned on.
    pub targets: Array,
}

/// Where samples come from: a cube, a file, memory. Every rank opens the same one; the trainer
/// decides which samples are whose, and fetches ahead on a thread of its own.
pub trait Source: Send + Sync {
    /// How many samples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of these numbers (each below [`len`](Self::len)), in this order.
    ///
    /// # Errors
    /// [`SourceError`] says which sample could not be read and why.
    fn batch(&self, samples: &[usize]) -> Result<Batch, SourceError>;

    /// What identifies the data in checkpoints and provenance: paths, digests, windows. A
    /// checkpoint is not continued on other data.
    fn identity(&self) -> String;
}

/// A sample that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("sample {sample} of {origin} cannot be read")]
pub struct SourceError {
    /// The number of the sample.
    pub sample: usize,
    /// The file or variable.
    pub origin: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
