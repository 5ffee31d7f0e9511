//! When a run's checkpoints begin and end, and what is in them.

use std::path::PathBuf;
use std::time::Instant;

use super::Run;
use crate::checkpoint::{Array, Keeper, Manifest, folder_of};
use crate::state::Which;
use crate::world::Report;
use crate::{CheckpointError, Result, TrainError};

impl Run<'_> {
    /// Makes the folder of checkpoints now: better no run than one whose first checkpoint shows
    /// that there is no place for it.
    pub(super) fn make_folder(&self) -> Result<()> {
        let Some(folder) = &self.options.checkpoint.dir else {
            return Ok(());
        };
        let made = std::fs::create_dir_all(folder).map_err(|source| TrainError::Checkpoint {
            rank: self.world.rank(),
            step: self.progress.step,
            kept: "no step was done".to_owned(),
            source: Box::new(CheckpointError::File {
                path: folder.clone(),
                action: "made",
                source,
            }),
        });
        self.world.agree(made)
    }

    /// Begins a checkpoint of what is now valid, unless it is the last one.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
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
        let spare = self.keeper.as_mut().map_or_else(Vec::new, Keeper::spare);
        let arrays = self.arrays(spare);
        if let Some(keeper) = &mut self.keeper {
            keeper.begin(&self.world, manifest, arrays, begin);
        }
        self.kept = Some(place);
        Ok(())
    }

    /// What this rank writes, copied to memory that was written before, if there is any.
    fn arrays(&self, mut spare: Vec<Vec<f32>>) -> Vec<Array> {
        let names = self.identity.arrays.iter().enumerate();
        let array = |(index, name): (usize, &String)| {
            let which = match index {
                0 => Which::Parameters,
                _ if name == "ema" => Which::Ema,
                _ => Which::Slot(index - 1),
            };
            let memory = spare.pop().unwrap_or_default();
            let (ranges, values) = self.state.share(self.world.rank(), which, memory);
            Array {
                name: name.clone(),
                ranges,
                values,
            }
        };
        names.map(array).collect()
    }

    /// Waits for the checkpoint that is being written, if one is.
    pub(super) fn finish_checkpoint(&mut self) -> Result<()> {
        if let Some(keeper) = &mut self.keeper
            && let Some(made) = keeper.finish(&self.world)?
        {
            self.totals.checkpoints += 1;
            self.observer.checkpoint(&made);
        }
        Ok(())
    }

    /// Goes on with what is being written, by what ranks told of it.
    pub(super) fn advance_checkpoint(&mut self, reports: &[Report]) -> Result<()> {
        let Some(keeper) = &mut self.keeper else {
            return Ok(());
        };
        if !keeper.is_under_way() {
            return Ok(());
        }
        let states: Vec<u8> = reports.iter().map(|report| report.saved).collect();
        if let Some(made) = keeper.advance(&self.world, &states)? {
            self.totals.checkpoints += 1;
            self.observer.checkpoint(&made);
        }
        Ok(())
    }

    pub(super) fn last_checkpoint(&self) -> Option<PathBuf> {
        let folder = self.options.checkpoint.dir.as_ref()?;
        self.kept.map(|(step, _)| folder_of(folder, step))
    }
}
