//! CDO's command line, parsed: options, one tree of operators, one output.
//!
//! `mizar cube` calls [`parse`] and hands the [`Command`] to [`crate::plan`]. Chains run right
//! to left: `-timmean -sellonlatbox,0,90,0,45 in.nc out.nc` selects first. No file is touched
//! here.

mod chunks;
mod error;
mod help;
mod memory;
mod options;
mod parse;
mod pipeline;

use std::path::PathBuf;

pub use chunks::{ChunkChoice, ChunkDimension, ChunkLength};
pub use error::CommandError;
pub use help::{operator_help, operator_list, overview};
pub use parse::{apply, parse};
pub use pipeline::{PipelineError, command_line, parse as parse_pipeline};

pub use crate::ops::series::percentile::Method as PercentileMethod;
pub use crate::write::{Compression, Format};

use crate::ops::Operator;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Run operators.
    Run(Box<Command>),
    /// Run a pipeline.
    Pipeline(PipelineCall),
    /// Print how to use it all.
    Overview,
    /// Print one line per operator.
    Operators,
    /// Print what one operator does.
    Operator(&'static Operator),
}

/// A pipeline to run: `run FILE [--set NAME=VALUE] [--check]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineCall {
    /// The file to read.
    pub file: PathBuf,
    /// The values of its variables.
    pub values: Vec<(String, String)>,
    /// Print the command lines that do the same, and do nothing.
    pub check: bool,
    /// Options before `run`; those of the file are added.
    pub options: String,
}

/// Operators to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// How to run and to write.
    pub options: Options,
    /// What to compute.
    pub tree: Node,
    /// Where the results go, existing files are replaced; none for operators that print.
    pub outputs: Vec<PathBuf>,
}

/// One operator with what it works on, or a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// An input file.
    Input(PathBuf),
    /// An operator.
    Operator {
        /// Which.
        operator: &'static Operator,
        /// Its parameters, as typed.
        arguments: Vec<String>,
        /// Where its data comes from, in CDO's order.
        inputs: Vec<Node>,
    },
    /// Several operators on one input, whose results stand side by side.
    Together {
        /// Which; none takes parameters.
        operators: Vec<&'static Operator>,
        /// Where their data comes from.
        input: Box<Node>,
    },
}

impl Node {
    /// The files that the tree reads, each once, in the order of the command line.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        self.collect_files(&mut files);
        files
    }

    fn collect_files(&self, files: &mut Vec<PathBuf>) {
        match self {
            Self::Input(path) if files.contains(path) => {}
            Self::Input(path) => files.push(path.clone()),
            Self::Operator { inputs, .. } => {
                inputs.iter().for_each(|input| input.collect_files(files));
            }
            Self::Together { input, .. } => input.collect_files(files),
        }
    }
}

/// The options before the first operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-s`: no progress and no warnings.
    pub silent: bool,
    /// `-O`: operators that append to an existing output replace it, as all others do.
    pub overwrite: bool,
    /// `--json`: what is printed is JSON, and a run prints a summary.
    pub json: bool,
    /// `-f`: without the option the name of the output decides.
    pub format: Option<Format>,
    /// `-z`: without the option the writer decides.
    pub compression: Option<Compression>,
    /// `--chunks`, `--chunkspec` and `-k`: the chunks of data variables.
    pub chunks: ChunkChoice,
    /// `-b`: the type of data variables.
    pub precision: Option<Precision>,
    /// `-P`: threads of each rank.
    pub threads: Option<usize>,
    /// `--plan`: tell what would be done, and do nothing.
    pub plan: bool,
    /// `--plot`: the picture of the result.
    pub plot: Option<PathBuf>,
    /// `--cdo`: CDO's answers where Mizar's differ on purpose.
    pub cdo: bool,
    /// `--timestat_date`: which moment of a group of steps its time is.
    pub time_stamp: TimeStamp,
    /// `--percentile`: where between sorted values percentiles lie.
    pub percentile: PercentileMethod,
    /// `--memory`: bytes that each rank may keep of series that are read as a whole.
    pub memory_bytes: Option<u64>,
}

impl Options {
    /// What each rank may keep of series: as told, else a fixed amount, or less where Slurm gave
    /// the job little.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let of_slurm = || memory::of_slurm(|name| std::env::var(name).ok());
        let default = crate::plan::series::MEMORY_BYTES;
        self.memory_bytes
            .unwrap_or_else(|| of_slurm().map_or(default, |bytes| bytes.min(default)))
    }
}

/// The type that data variables are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}

/// Which moment of a group of steps its time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeStamp {
    /// The middle of its bounds.
    #[default]
    Default,
    /// The time of its first step.
    First,
    /// The time of its middle step.
    Middle,
    /// The time of its last step.
    Last,
}
