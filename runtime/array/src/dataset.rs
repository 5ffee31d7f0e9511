//! What a CF NetCDF file holds: dimensions, variables and their attributes, without the data.
//!
//! [`crate::storage`] makes a [`Dataset`] from a file, [`crate::write`] makes a file from a
//! `Dataset`, and the operators of the cube turn one into the other. What a variable means by
//! the CF conventions (its axes, bounds and grid) is in [`roles`]. No I/O here.

use std::ops::Range;

mod attributes;
mod roles;

pub use attributes::{AttrValue, Attributes};
pub use roles::Axis;
pub(crate) use roles::REFERRING;

/// The structure of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// In the order of the file; the writer keeps it.
    pub dimensions: Vec<Dimension>,
    /// In the order of the file; the writer keeps it.
    pub variables: Vec<Variable>,
    /// The global attributes; those of groups by their paths (`ocean/title`).
    pub attributes: Attributes,
}

/// A named axis of some length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Unique in its file; a path if it lies in a group.
    pub name: String,
    /// How many steps it has now.
    pub len: usize,
    /// Whether other programs may append to it (NetCDF's record dimension).
    pub unlimited: bool,
}

/// A named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Unique in its file; a path (`ocean/thetao`) if it lies in a group.
    pub name: String,
    /// How elements are stored, before any unpacking.
    pub dtype: DType,
    /// Indexes into [`Dataset::dimensions`], slowest first; empty for a scalar.
    pub dims: Vec<usize>,
    /// Without those that only hold the file together (`DIMENSION_LIST` and the like).
    pub attributes: Attributes,
}

/// How the elements of a variable are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// `NC_BYTE`
    I8,
    /// `NC_UBYTE`
    U8,
    /// `NC_SHORT`
    I16,
    /// `NC_USHORT`
    U16,
    /// `NC_INT`
    I32,
    /// `NC_UINT`
    U32,
    /// `NC_INT64`
    I64,
    /// `NC_UINT64`
    U64,
    /// `NC_FLOAT`
    F32,
    /// `NC_DOUBLE`
    F64,
    /// `NC_CHAR`: single bytes; the last dimension is the length of the texts.
    Char,
    /// `NC_STRING`: one text of any length per element.
    Text,
}

impl DType {
    /// Whether elements are characters or texts, not numbers.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Char | Self::Text)
    }

    /// The size of one element in the file; a text counts as its 16-byte reference.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Char => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
            Self::Text => 16,
        }
    }
}

/// The group in which something lies and its name there: of `ocean/deep/thetao`, `ocean/deep`
/// and `thetao`. The group of the file itself has no name.
#[must_use]
pub fn split_path(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The path of what has a name in a group.
#[must_use]
pub fn in_group(group: &str, name: &str) -> String {
    match group {
        "" => name.to_owned(),
        group => format!("{group}/{name}"),
    }
}

impl Dataset {
    /// The variable that a name means in a group: there, or in the nearest group around it.
    #[must_use]
    pub fn variable_seen_from(&self, group: &str, name: &str) -> Option<usize> {
        if let Some(path) = name.strip_prefix('/') {
            return self.variable_index(path);
        }
        let mut group = group;
        loop {
            let found = self.variable_index(&in_group(group, name));
            if found.is_some() || group.is_empty() {
                return found;
            }
            group = split_path(group).0;
        }
    }

    /// The variable called `name`.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// The index of the variable called `name`.
    #[must_use]
    pub fn variable_index(&self, name: &str) -> Option<usize> {
        self.variables
            .iter()
            .position(|variable| variable.name == name)
    }

    /// The index of the dimension called `name`.
    #[must_use]
    pub fn dimension_index(&self, name: &str) -> Option<usize> {
        self.dimensions
            .iter()
            .position(|dimension| dimension.name == name)
    }

    /// The lengths of the dimensions of a variable, slowest first.
    #[must_use]
    pub fn shape(&self, variable: usize) -> Vec<usize> {
        self.variables[variable]
            .dims
            .iter()
            .map(|&dim| self.dimensions[dim].len)
            .collect()
    }

    /// The region that is the whole of a variable.
    #[must_use]
    pub fn whole(&self, variable: usize) -> Vec<Range<usize>> {
        self.shape(variable).into_iter().map(|len| 0..len).collect()
    }
}
