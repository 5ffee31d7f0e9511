//! The chunks that a command line asks for: `--chunks time=1,lat=90`, `--chunkspec t=1,y=90` and
//! `-k lines`, one form for all. Which variables they fit is for the plan to see.

use crate::dataset::Axis;

/// What `--chunks` takes.
pub(super) const CHUNKS: &str =
    "auto, or lengths of dimensions such as time=1,lat=90,lon=all (all: the whole dimension)";

/// What `--chunkspec` takes.
pub(super) const CHUNK_SPEC: &str = "lengths of x, y, z or t such as t=1,y=90,x=all";

/// What `-k` takes.
pub(super) const CHUNK_TYPE: &str = "auto, grid or lines";

/// Lengths of the chunks of data variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkChoice {
    /// By dimension; of one that is named twice the last counts.
    pub lengths: Vec<(ChunkDimension, ChunkLength)>,
    /// Whether chunks are one cell long in dimensions that are not named; else these have a
    /// length that makes chunks of a good size.
    pub others_are_one: bool,
}

/// How a dimension is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkDimension {
    /// By its name.
    Name(String),
    /// By what it means; without coordinates of degrees the last two are y and x.
    Axis(Axis),
}

/// How long chunks are in a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkLength {
    /// So many cells, or the whole dimension if it has fewer.
    Cells(usize),
    /// The whole dimension.
    Whole,
}

impl ChunkChoice {
    /// Understands the value of `--chunks`.
    pub(super) fn by_name(text: &str) -> Option<Self> {
        if text == "auto" {
            return Some(Self::default());
        }
        Self::list(text, |name| {
            (!name.is_empty()).then(|| ChunkDimension::Name(name.to_owned()))
        })
    }

    /// Understands the value of `--chunkspec`.
    pub(super) fn by_axis(text: &str) -> Option<Self> {
        Self::list(text, |letter| {
            let axis = match letter {
                "x" => Axis::Longitude,
                "y" => Axis::Latitude,
                "z" => Axis::Level,
                "t" => Axis::Time,
                _ => return None,
            };
            Some(ChunkDimension::Axis(axis))
        })
    }

    /// Understands CDO's types of chunks: a horizontal field, or one of its lines.
    pub(super) fn by_type(text: &str) -> Option<Self> {
        let whole = |axis| (ChunkDimension::Axis(axis), ChunkLength::Whole);
        let lengths = match text {
            "auto" => return Some(Self::default()),
            "grid" => vec![whole(Axis::Latitude), whole(Axis::Longitude)],
            "lines" => vec![whole(Axis::Longitude)],
            _ => return None,
        };
        Some(Self {
            lengths,
            others_are_one: true,
        })
    }

    fn list(text: &str, dimension: impl Fn(&str) -> Option<ChunkDimension>) -> Option<Self> {
        let pair = |word: &str| {
            let (name, length) = word.split_once('=')?;
            let length = match length {
                "all" => ChunkLength::Whole,
                number => ChunkLength::Cells(number.parse().ok().filter(|&n| n > 0)?),
            };
            Some((dimension(name)?, length))
        };
        Some(Self {
            lengths: text.split(',').map(pair).collect::<Option<_>>()?,
            others_are_one: false,
        })
    }
}
