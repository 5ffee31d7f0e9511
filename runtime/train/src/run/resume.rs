//! The start of a run that was begun before: which checkpoint, and do all ranks have it?

use std::path::Path;

use super::Run;
use crate::checkpoint::{Manifest, complete, folder_of, read};
use crate::proof::Digests;
use crate::{Result, Resume, Resumed, TrainError};
use mizar_core::chain;

/// Says that there is no (further) checkpoint.
const NONE: u64 = u64::MAX;

impl Run<'_> {
    /// Goes on from the newest good checkpoint, if that is wanted and there is one.
    pub(super) fn resume(&mut self) -> Result<()> {
        let Some(folder) = self.options.checkpoint.dir.clone() else {
            return match self.options.resume {
                Resume::Must => Err(TrainError::NothingToResume {
                    folder: Path::new("").to_owned(),
                    reasons: "checkpoint.dir is not set".to_owned(),
                }),
                Resume::Never | Resume::Auto => Ok(()),
            };
        };
        // What rank 0 sees counts: a network file system may show others an older state.
        let steps = match self.world.rank() {
            0 => complete(&folder).map_err(|source| TrainError::Checkpoint {
                rank: 0,
                step: 0,
                kept: "no step was done".to_owned(),
                source: Box::new(source),
            }),
            _ => Ok(Vec::new()),
        };
        let steps = self.world.agree(steps)?;
        let mut steps = steps.into_iter();
        let mut reasons = Vec::new();
        loop {
            let next = steps.next().unwrap_or(NONE);
            let step = self.world.exchange_words(&[next])?[0][0];
            if step == NONE {
                break;
            }
            let path = folder_of(&folder, step);
            if self.options.resume == Resume::Never {
                let found = path.display().to_string();
                return Err(TrainError::FolderInUse { folder, found });
            }
            match self.resume_from(&path)? {
                None => return Ok(()),
                Some(reason) => {
                    self.observer
                        .warning(&format!("a checkpoint is passed over: {reason}"));
                    reasons.push(reason);
                }
            }
        }
        if reasons.is_empty() && self.options.resume != Resume::Must {
            return Ok(());
        }
        if reasons.is_empty() {
            reasons.push("there is none".to_owned());
        }
        Err(TrainError::NothingToResume {
            folder,
            reasons: reasons.join("; "),
        })
    }

    /// Takes the state of a checkpoint; else why that cannot be, the same on all ranks.
    fn resume_from(&mut self, path: &Path) -> Result<Option<String>> {
        let manifest = Manifest::read(path, &self.identity)
            .and_then(|manifest| read(path, &manifest, &mut self.state).map(|()| manifest));
        let text = manifest
            .as_ref()
            .err()
            .map_or_else(String::new, |error| chain(error));
        let texts = self.world.exchange_texts(&text)?;
        if let Some(rank) = texts.iter().position(|text| !text.is_empty()) {
            return Ok(Some(format!("rank {rank}: {}", texts[rank])));
        }
        let Ok(manifest) = manifest else {
            return Ok(Some(text));
        };
        let parameters = self.state.parameters(&self.world)?;
        let digest = Digests::of(&self.layout, &parameters).name();
        if digest != manifest.digest {
            let (path, expected) = (path.display(), &manifest.digest);
            return Ok(Some(format!(
                "{path} is damaged: its parameters have the digest {digest}, its manifest says {expected}"
            )));
        }
        self.progress = manifest.progress;
        self.kept = Some((self.progress.step, self.progress.epoch));
        self.observer.resumed(&Resumed {
            path: path.to_owned(),
            step: self.progress.step,
            epoch: self.progress.epoch,
            ranks_before: manifest.ranks,
        });
        Ok(None)
    }
}
