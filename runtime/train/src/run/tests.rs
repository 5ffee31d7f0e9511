//! What only a run from inside can be made to do: ranks that diverge.

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
