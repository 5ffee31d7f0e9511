//! A model moved over the fields of a cube, under any number of ranks.
//!
//! Called by the command. A plan says which boxes of the input are items of the model, units of
//! work are shared by ranks in turn, and all ranks write one file.
//!
//! **Invariant:** units and batches depend on the file, the model and the options alone, so the
//! values are the same for any number of ranks.
//!
//! **Invariant:** no cell is dropped. What an item does not give is missing in the output, and
//! the item is named in the outcome.
//!
//! Memory is bounded by a unit of each rank, not by the file.

mod blend;
mod error;
mod feed;
mod field;
mod layout;
mod margin;
mod output;
mod plan;
mod probe;
mod run;
mod steps;
mod tiling;
mod unit;

pub use error::InferError;
pub use feed::{Feed, FeedError};
pub use layout::{Layout, LayoutError};
pub use run::{Outcome, infer};
pub use steps::Align;
pub use unit::Failure;

use mizar_array::write::Compression;

use crate::Scaling;

/// What is done where a value of the input is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Missing {
    /// The run ends.
    #[default]
    Refuse,
    /// This value is in its place, in the units of the file.
    Fill(f64),
    /// The mean is in its place, and the output is missing at that cell.
    Mask,
}

/// What the user chooses; the rest is the model's and the file's.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Variables that are the channels; all data variables if there are none.
    pub variables: Vec<String>,
    /// Which variables go into which input of a model of several; where nothing is said, the
    /// variable of the input's name.
    pub feeds: Vec<Feed>,
    /// What the dimensions of the input mean.
    pub layout: Option<Layout>,
    /// What those of the outputs mean.
    pub output_layout: Option<Layout>,
    /// Rows and columns of a tile, where the model leaves them free.
    pub tile: Option<(usize, usize)>,
    /// Rows and columns that a tile shares with each neighbour.
    pub halo: (usize, usize),
    /// Rows and columns at each edge of a tile that do not come out, if that cannot be told.
    pub margin: Option<(usize, usize)>,
    /// Whether the last column lies beside the first.
    pub wrap: bool,
    /// Steps of a window, where the model leaves them free.
    pub steps: Option<usize>,
    /// From one window to the next.
    pub stride: Option<usize>,
    /// Which steps outputs are of.
    pub align: Align,
    /// Items of a run, where the model leaves them free.
    pub batch: Option<usize>,
    /// What is done about missing values.
    pub missing: Missing,
    /// Means and spreads of the channels.
    pub normalise: Option<Scaling>,
    /// Means and spreads of the channels of all outputs.
    pub denormalise: Option<Scaling>,
    /// Names of the variables that come out, with units behind a colon.
    pub outputs: Vec<String>,
    /// Threads that read and encode.
    pub threads: usize,
    /// A line for the attribute `history`.
    pub history: String,
    /// How the output is compressed; `None` takes what suits its format.
    pub compression: Option<Compression>,
}

/// How far a run is: units done on this rank, and all of this rank.
pub type Progress<'a> = dyn Fn(usize, usize) + Sync + 'a;
