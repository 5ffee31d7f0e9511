//! The ranks of a run, and what they tell each other besides gradients.

use std::cell::Cell;
use std::time::{Duration, Instant};

use mizar_comm::collective::{Engine, Pending};

use crate::{Result, TrainError};

/// The longest message about a failure that is passed on.
const MESSAGE_BYTES_MAX: usize = 4096;

/// All ranks, the caller among them.
pub(crate) struct World {
    pub(crate) engine: Engine,
    /// The step that is being done, for errors.
    pub(crate) step: Cell<u64>,
    waited: Cell<Duration>,
}

/// What a rank tells all others once a step and phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// Sum of the losses of its samples.
    pub(crate) loss: f64,
    /// How many samples.
    pub(crate) samples: f64,
    /// Its part of the square of the gradient's norm.
    pub(crate) norm_squared: f64,
    /// It was asked to stop.
    pub(crate) stops: bool,
    /// Its gradients overflow half precision.
    pub(crate) overflows: bool,
    /// It cannot go on, and will say why.
    pub(crate) fails: bool,
    /// How far it is with a checkpoint: see [`Keeper`](crate::checkpoint::Keeper).
    pub(crate) saved: u8,
}

impl Report {
    const WORDS: usize = 4;

    fn to_words(self) -> Vec<f64> {
        let flags = f64::from(u8::from(self.stops))
            + 2.0 * f64::from(u8::from(self.overflows))
            + 4.0 * f64::from(u8::from(self.fails))
            + 8.0 * f64::from(self.saved);
        vec![self.loss, self.samples, self.norm_squared, flags]
    }

    fn from_words(words: &[f64]) -> Self {
        let flags = words[3] as u32;
        Self {
            loss: words[0],
            samples: words[1],
            norm_squared: words[2],
            stops: flags & 1 != 0,
            overflows: flags & 2 != 0,
            fails: flags & 4 != 0,
            saved: (flags >> 3) as u8,
        }
    }
}

impl World {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            step: Cell::new(0),
            waited: Cell::new(Duration::ZERO),
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.engine.rank()
    }

    pub(crate) fn size(&self) -> usize {
        self.engine.size()
    }

    /// How long the caller has waited for collectives so far.
    pub(crate) fn waited(&self) -> Duration {
        self.waited.get()
    }

    pub(crate) fn wait<T>(&self, pending: Pending<T>) -> Result<Vec<T>> {
        let begin = Instant::now();
        let result = pending.wait();
        self.waited.set(self.waited.get() + begin.elapsed());
        result.map_err(|source| TrainError::Communication {
            step: self.step.get(),
            source,
        })
    }

    /// The reports of all ranks, in their order.
    pub(crate) fn exchange(&self, report: Report) -> Result<Vec<Report>> {
        let words = self.wait(self.engine.all_gather(report.to_words()))?;
        Ok(words
            .chunks_exact(Report::WORDS)
            .map(Report::from_words)
            .collect())
    }

    /// The words of all ranks, who bring as many each.
    pub(crate) fn exchange_words(&self, words: &[u64]) -> Result<Vec<Vec<u64>>> {
        // Nothing is folded, so the bits of what need not be a number come through.
        let part: Vec<f64> = words.iter().map(|word| f64::from_bits(*word)).collect();
        let length = part.len().max(1);
        let all = self.wait(self.engine.all_gather(part))?;
        let of_rank = |part: &[f64]| part.iter().map(|word| word.to_bits()).collect();
        Ok(all.chunks_exact(length).map(of_rank).collect())
    }

    /// The texts of all ranks.
    pub(crate) fn exchange_texts(&self, text: &str) -> Result<Vec<String>> {
        let bytes = text.as_bytes();
        let bytes = &bytes[..bytes.len().min(MESSAGE_BYTES_MAX)];
        let lengths = self.exchange_words(&[bytes.len() as u64])?;
        let lengths: Vec<usize> = lengths.iter().map(|length| length[0] as usize).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0).div_ceil(8);
        let mut words = vec![0_u64; longest];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        let all = self.exchange_words(&words)?;
        let text = |(words, length): (&Vec<u64>, &usize)| {
            let bytes = bytemuck::cast_slice::<u64, u8>(words);
            String::from_utf8_lossy(&bytes[..*length]).into_owned()
        };
        if longest == 0 {
            return Ok(vec![String::new(); self.size()]);
        }
        Ok(all.iter().zip(&lengths).map(text).collect())
    }

    /// Why the run ends, for each rank, once all know that some rank fails; `own` is the
    /// caller's reason, if it is one of them.
    pub(crate) fn failure(&self, own: Option<TrainError>) -> TrainError {
        let text = own
            .as_ref()
            .map_or_else(String::new, |error| mizar_core::chain(error));
        let texts = match self.exchange_texts(&text) {
            Ok(texts) => texts,
            Err(lost) => return own.unwrap_or(lost),
        };
        if let Some(own) = own {
            return own;
        }
        let rank = texts.iter().position(|text| !text.is_empty()).unwrap_or(0);
        TrainError::Peer {
            rank,
            message: texts[rank].clone(),
        }
    }

    /// What the caller has, once all ranks say that all is well; else why it is not.
    pub(crate) fn agree<T>(&self, own: Result<T>) -> Result<T> {
        let report = Report {
            fails: own.is_err(),
            ..Report::default()
        };
        let reports = self.exchange(report)?;
        match reports.iter().any(|report| report.fails) {
            true => Err(self.failure(own.err())),
            false => own,
        }
    }
}

/// `rank 2`, `ranks 0 and 3`: for errors.
pub(crate) fn name_ranks(ranks: &[usize]) -> String {
    let names: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "no rank".to_owned(),
        [one] => format!("rank {one}"),
        [most @ .., last] => format!("ranks {} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_their_way() {
        let report = Report {
            loss: -0.25,
            samples: 3.0,
            norm_squared: f64::INFINITY,
            stops: true,
            overflows: false,
            fails: true,
            saved: 3,
        };
        assert_eq!(Report::from_words(&report.to_words()), report);
    }

    #[test]
    fn ranks_are_named_in_words() {
        assert_eq!(name_ranks(&[1]), "rank 1");
        assert_eq!(name_ranks(&[0, 2, 3]), "ranks 0, 2 and 3");
    }
}
