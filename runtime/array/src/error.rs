//! Why a command could not be run.

use crate::command::CommandError;
use crate::dataset::Axis;
use crate::grid::GridError;
use crate::remap::RemapError;
use crate::storage::StorageError;
use crate::time_axis::TimeError;
use crate::write::WriteError;

/// Why a command could not be run. No output exists then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CubeError {
    /// The command line is wrong.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// An input cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Ranks cannot speak to each other.
    #[error("the ranks lost each other")]
    Communication(#[from] mizar_comm::CommError),
    /// No output has a dimension whose chunks were to have a length.
    #[error("option --chunks: no output has a dimension `{found}`; there are {known}")]
    NoChunkDimension {
        /// As typed.
        found: String,
        /// Those that there are.
        known: String,
    },
    /// The chunks that were asked for are too large.
    #[error(
        "option --chunks: chunks of {chunk:?} of variable `{variable}` have more than the {most} \
         bytes that the format allows"
    )]
    ChunkTooLarge {
        /// Whose.
        variable: String,
        /// Their shape.
        chunk: Vec<usize>,
        /// The most bytes that a chunk can have.
        most: usize,
    },
    /// The time axis is not one that can be computed with.
    #[error("operator `{operator}`: the time axis cannot be understood")]
    Time {
        /// Who needs it.
        operator: &'static str,
        /// Why.
        #[source]
        source: TimeError,
    },
    /// Nothing is left.
    #[error("operator `{operator}` selects nothing: {found}")]
    NothingSelected {
        /// Who selects.
        operator: &'static str,
        /// What there was.
        found: String,
    },
    /// The input has no such axis.
    #[error("operator `{operator}` needs {}, which the input does not have", axis_name(*axis))]
    NoAxis {
        /// Who needs it.
        operator: &'static str,
        /// What is missing.
        axis: Axis,
    },
    /// An expression cannot be understood or computed.
    #[error("operator `{operator}`: line {line}, character {column}: {problem}: `{found}`")]
    Expression {
        /// Whose.
        operator: &'static str,
        /// From 1.
        line: usize,
        /// From 1, in its line.
        column: usize,
        /// What is wrong.
        problem: String,
        /// What stands there.
        found: String,
    },
    /// A file that a parameter names cannot be read.
    #[error("operator `{operator}`: cannot read {path}")]
    Parameter {
        /// Whose parameter.
        operator: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The inputs do not fit together.
    #[error("operator `{operator}`: the inputs do not match: {problem}")]
    Mismatch {
        /// Who combines them.
        operator: &'static str,
        /// Where they differ.
        problem: String,
    },
    /// A target grid cannot be made.
    #[error("operator `{operator}`: the grid cannot be understood")]
    Grid {
        /// Who needs it.
        operator: &'static str,
        /// Why.
        #[source]
        source: Box<GridError>,
    },
    /// A file that should give a grid has none.
    #[error("operator `{operator}`: {path} has no variable with longitudes and latitudes")]
    NoGrid {
        /// Who needs it.
        operator: &'static str,
        /// Which file.
        path: String,
    },
    /// Fields cannot be put on another grid.
    #[error("operator `{operator}` cannot remap")]
    Remap {
        /// Who.
        operator: &'static str,
        /// Why.
        #[source]
        source: RemapError,
    },
    /// The input is not what the operator works on.
    #[error("operator `{operator}`: {problem}")]
    Unfit {
        /// Who works on it.
        operator: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// `diff` found differences: no failure, but it shall not exit with 0.
    #[error("the inputs differ")]
    Differs {
        /// What it prints.
        report: String,
    },
    /// A pattern or a folder stands for no file.
    #[error("no file is called {pattern}")]
    NoFile {
        /// As typed.
        pattern: String,
    },
    /// The output would take the place of what is being read.
    #[error("the output {path} is an input too: give it another name")]
    OutputIsInput {
        /// As typed.
        path: String,
    },
    /// The threads could not be started.
    #[error("cannot start {count} threads")]
    Threads {
        /// How many.
        count: usize,
        /// Why.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
    /// Another rank failed.
    #[error("rank {rank}: {message}")]
    Peer {
        /// Which.
        rank: usize,
        /// Its message, with all causes.
        message: String,
    },
    /// What another rank sent is not what was agreed on.
    #[error("rank {rank} sent a message that makes no sense here")]
    Protocol {
        /// Which.
        rank: usize,
    },
}

fn axis_name(axis: Axis) -> &'static str {
    match axis {
        Axis::Time => "a time axis",
        Axis::Level => "a vertical axis",
        Axis::Latitude => "latitudes",
        Axis::Longitude => "longitudes",
    }
}

impl mizar_comm::Shared for CubeError {
    fn of_peer(rank: usize, message: String) -> Self {
        Self::Peer { rank, message }
    }

    // A rank that learnt of a failure from its peers has none of its own to tell; its peers
    // know, and wait no more.
    fn is_known(&self) -> bool {
        matches!(self, Self::Peer { .. } | Self::Communication(_))
    }
}

impl CubeError {
    /// Whether the command line itself is wrong: exit code 2.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Command(_)
                | Self::OutputIsInput { .. }
                | Self::Expression { .. }
                | Self::NoChunkDimension { .. }
                | Self::ChunkTooLarge { .. }
        )
    }

    /// The message and its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        mizar_core::chain(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_everybodys() {
        let results = mizar_comm::run_threads(3, |comm| {
            let own = match mizar_comm::Communicator::rank(comm) {
                1 => Err(CubeError::Protocol { rank: 7 }),
                rank => Ok(rank),
            };
            mizar_comm::agree(comm, own).map_err(|error| error.chain())
        });
        let own = "rank 7 sent a message that makes no sense here";
        assert_eq!(results[0], Err(format!("rank 1: {own}")));
        assert_eq!(results[1], Err(own.to_owned()));
        assert_eq!(results[2], Err(format!("rank 1: {own}")));
    }
}
