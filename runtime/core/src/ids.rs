//! Names of jobs, steps and ranks, as Slurm and MPI use them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Slurm job, as `squeue` prints it (`%A`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

/// A step of a job: a number, or one of Slurm's named steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// A global rank: `SLURM_PROCID`, the rank in `MPI_COMM_WORLD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rank(pub u32);

impl StepId {
    /// The batch script itself (`slurm.h`: `SLURM_BATCH_SCRIPT`).
    pub const BATCH: Self = Self(0xffff_fffb);
    /// The external step that adopts ssh sessions (`SLURM_EXTERN_CONT`).
    pub const EXTERN: Self = Self(0xffff_fffc);
    /// The shell of `salloc` with `use_interactive_step` (`SLURM_INTERACTIVE_STEP`).
    pub const INTERACTIVE: Self = Self(0xffff_fffa);
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BATCH => f.pad("batch"),
            Self::EXTERN => f.pad("extern"),
            Self::INTERACTIVE => f.pad("interactive"),
            Self(number) => number.fmt(f),
        }
    }
}

/// The text is not a job or step id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not a {expected}: a whole number as squeue prints it")]
pub struct ParseIdError {
    expected: &'static str,
    found: String,
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| ParseIdError {
            expected: "job id",
            found: text.to_owned(),
        })
    }
}

impl FromStr for StepId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "batch" => Ok(Self::BATCH),
            "extern" => Ok(Self::EXTERN),
            "interactive" => Ok(Self::INTERACTIVE),
            number => number.parse().map(Self).map_err(|_| ParseIdError {
                expected: "step id",
                found: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_print_and_parse_as_slurm_names_them() {
        for (step, text) in [
            (StepId::BATCH, "batch"),
            (StepId::EXTERN, "extern"),
            (StepId::INTERACTIVE, "interactive"),
            (StepId(0), "0"),
            (StepId(41), "41"),
        ] {
            assert_eq!(step.to_string(), text);
            assert_eq!(text.parse(), Ok(step));
        }
        assert!("-1".parse::<StepId>().is_err());
        assert!("12x".parse::<JobId>().is_err());
    }
}
