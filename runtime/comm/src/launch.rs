//! Which back end this process was started for.

use crate::{CommError, Communicator, Result, Single};

/// Overrides the choice of [`world`]: `auto`, `single` (independent processes, although a
/// launcher started them) or `mpi`.
pub const MODE_VARIABLE: &str = "MIZAR_COMM";

/// Variables that launchers set to this rank; any of them means MPI.
const RANK_VARIABLES: [&str; 4] = [
    "PMIX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "MV2_COMM_WORLD_RANK",
];

/// Variables that launchers set to the number of ranks. Slurm's is that of the step, which is
/// what PMIx of `srun` spans.
const SIZE_VARIABLES: [&str; 4] = [
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
];

/// How the process was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Alone, or as one rank of one.
    Alone,
    /// By an MPI launcher.
    Mpi,
}

impl Launch {
    /// Reads it from the environment through `variable`.
    ///
    /// # Errors
    /// [`CommError::UnknownMode`] if [`MODE_VARIABLE`] has another value than those it lists.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        match variable(MODE_VARIABLE).as_deref() {
            None | Some("" | "auto") => {}
            Some("single") => return Ok(Self::Alone),
            Some("mpi") => return Ok(Self::Mpi),
            Some(other) => {
                return Err(CommError::UnknownMode {
                    found: other.to_owned(),
                });
            }
        }
        if !RANK_VARIABLES.iter().any(|name| variable(name).is_some()) {
            return Ok(Self::Alone);
        }
        let size = SIZE_VARIABLES.iter().find_map(|name| variable(name));
        Ok(if size.as_deref() == Some("1") {
            Self::Alone
        } else {
            Self::Mpi
        })
    }
}

/// The communicator over all ranks that were started together. Opens MPI if need be: call it
/// once, from the thread that will communicate.
///
/// # Errors
/// [`CommError`] if MPI is asked for and cannot be opened.
pub fn world() -> Result<Box<dyn Communicator>> {
    match Launch::detect(|name| std::env::var(name).ok())? {
        Launch::Alone => Ok(Box::new(Single)),
        #[cfg(feature = "mpi")]
        Launch::Mpi => Ok(Box::new(crate::Mpi::open()?)),
        #[cfg(not(feature = "mpi"))]
        Launch::Mpi => Err(CommError::NotBuilt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Launch) {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(Launch::detect(lookup).unwrap(), expected, "{variables:?}");
    }

    #[test]
    fn only_a_launcher_of_more_than_one_rank_means_mpi() {
        check(&[], Launch::Alone);
        check(
            &[("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "1")],
            Launch::Alone,
        );
        check(
            &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")],
            Launch::Alone,
        );
        check(
            &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2")],
            Launch::Mpi,
        );
        check(
            &[("PMIX_RANK", "3"), ("SLURM_STEP_NUM_TASKS", "4")],
            Launch::Mpi,
        );
        check(
            &[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "1")],
            Launch::Alone,
        );
        check(
            &[
                ("PMI_RANK", "0"),
                ("PMI_SIZE", "2"),
                (MODE_VARIABLE, "single"),
            ],
            Launch::Alone,
        );
        check(&[(MODE_VARIABLE, "mpi")], Launch::Mpi);
    }

    #[test]
    fn an_unknown_mode_is_named() {
        let error = Launch::detect(|_| Some("nccl".to_owned())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MIZAR_COMM=nccl: expected auto, single or mpi"
        );
    }
}
