//! The door to a run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mizar_comm::collective::Engine;

use crate::run::Run;
use crate::{Learner, Observer, Options, Outcome, Result, Source};

/// A run that is ready to begin. Every rank makes one, with the same options, model and data.
pub struct Trainer {
    pub(crate) options: Options,
    pub(crate) learner: Box<dyn Learner>,
    pub(crate) train: Arc<dyn Source>,
    pub(crate) validation: Option<Arc<dyn Source>>,
    pub(crate) engine: Engine,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Trainer {
    /// A run of `learner` on `train` by the ranks of `engine` (for all that were started
    /// together: `Engine::start(mizar_comm::world, limit)`).
    ///
    /// # Errors
    /// [`TrainError::Options`](crate::TrainError::Options) if an option makes no sense.
    pub fn new(
        options: Options,
        learner: Box<dyn Learner>,
        train: Arc<dyn Source>,
        engine: Engine,
    ) -> Result<Self> {
        options.check()?;
        Ok(Self {
            options,
            learner,
            train,
            validation: None,
            engine,
            stop: Arc::default(),
        })
    }

    /// Measures the loss on these samples after epochs.
    #[must_use]
    pub fn with_validation(mut self, validation: Arc<dyn Source>) -> Self {
        self.validation = Some(validation);
        self
    }

    /// Whoever sets this flag, on any rank and from any thread or signal handler, stops the run
    /// at the next step at which ranks meet, with a checkpoint.
    #[must_use]
    pub fn with_stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Trains. Collective: all ranks call it.
    ///
    /// # Errors
    /// [`TrainError`](crate::TrainError) says what went wrong, where and in which step; every
    /// rank gets an error if one does.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Outcome> {
        Run::begin(self, observer)?.finish()
    }
}
