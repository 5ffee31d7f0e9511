//! Reads what a checkpoint holds into the state of a rank, whoever had written it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::manifest::{Identity, Manifest};
use super::shard;
use crate::state::{State, Which};

/// Reads the arrays of a checkpoint that `manifest` describes. On an error the state is of no
/// use until another is read.
pub(crate) fn read(
    folder: &Path,
    manifest: &Manifest,
    state: &mut State,
) -> Result<(), CheckpointError> {
    let arrays = &manifest.identity.arrays;
    let mut covered: Vec<Vec<Range<usize>>> = vec![Vec::new(); arrays.len()];
    let length = length(&manifest.identity);
    let damaged = |path: PathBuf, what: &str| CheckpointError::Damaged {
        path,
        what: what.to_owned(),
    };
    for file in &manifest.files {
        let path = folder.join(&file.name);
        let Some(facts) = file.facts() else {
            return Err(damaged(path, "its manifest has no SHA-256 of it"));
        };
        for array in shard::read(&path, &facts)? {
            let Some(index) = arrays.iter().position(|name| *name == array.name) else {
                return Err(damaged(
                    path,
                    "it has arrays that the manifest does not know",
                ));
            };
            let mut at = 0;
            for range in array.ranges {
                if range.end > length {
                    return Err(damaged(path, "it has numbers beyond the last tensor"));
                }
                let values = &array.values[at..at + range.len()];
                at += range.len();
                state.place(which(arrays, index), range.start, values);
                covered[index].push(range);
            }
        }
    }
    for (phase, steps) in state
        .phases
        .iter_mut()
        .zip(&manifest.progress.optimizer_steps)
    {
        phase.steps = *steps;
    }
    let changed: usize = state.phases.iter().map(|phase| phase.range.len()).sum();
    for (index, mut ranges) in covered.into_iter().enumerate() {
        ranges.sort_by_key(|range| range.start);
        let overlap = ranges.windows(2).any(|pair| pair[0].end > pair[1].start);
        let sum: usize = ranges.iter().map(Range::len).sum();
        let expected = if index == 0 { length } else { changed };
        if overlap || sum != expected {
            let name = &arrays[index];
            let what = format!("its files hold {sum} of the {expected} numbers of {name}");
            return Err(damaged(folder.to_owned(), &what));
        }
    }
    Ok(())
}

fn which(arrays: &[String], index: usize) -> Which {
    match index {
        0 => Which::Parameters,
        _ if arrays[index] == "ema" => Which::Ema,
        _ => Which::Slot(index - 1),
    }
}

fn length(identity: &Identity) -> usize {
    let of_tensor = |(_, shape): &(String, Vec<usize>)| shape.iter().product::<usize>();
    identity.tensors.iter().map(of_tensor).sum()
}
