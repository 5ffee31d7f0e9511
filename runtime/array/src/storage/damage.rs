//! What is wrong with which bytes of a file, in one form for all kinds of files.

use std::fmt;
use std::ops::Range;

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    owner: Owner,
    bytes: Range<u64>,
    problem: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Header,
    Variable(String),
}

impl Damage {
    /// Of the structure of a file, before any variable is known.
    pub(super) fn of_header(bytes: Range<u64>, problem: impl Into<String>) -> Self {
        Self {
            owner: Owner::Header,
            bytes,
            problem: problem.into(),
        }
    }

    /// Of a variable's data, or of what tells where that lies.
    pub(super) fn of_variable(name: &str, bytes: Range<u64>, problem: impl Into<String>) -> Self {
        Self {
            owner: Owner::Variable(name.to_owned()),
            bytes,
            problem: problem.into(),
        }
    }

    /// The same, once the variable is known.
    pub(super) fn in_variable(self, name: &str) -> Self {
        Self::of_variable(name, self.bytes, self.problem)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Variable(name) => write!(out, "variable `{name}`, ")?,
            Owner::Header => write!(out, "header, ")?,
        }
        let Range { start, end } = self.bytes;
        write!(out, "bytes {start}..{end}: {}", self.problem)
    }
}
