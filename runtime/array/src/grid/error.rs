//! Why a grid cannot be made.

/// Why a grid cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// Coordinates do not fit the shape.
    #[error("the grid needs {expected} {what}, found {found}")]
    Lengths {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A name of a grid that is too big or too small.
    #[error("`{name}` is no grid that can be made: {problem}")]
    Name {
        /// As typed.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A description lacks something.
    #[error("the grid description has no `{key}`, which a {gridtype} grid needs")]
    NoKey {
        /// What it lacks.
        key: &'static str,
        /// Its type.
        gridtype: String,
    },
    /// A line of a description cannot be understood.
    #[error("the grid description's line {line}: expected {expected}, found `{found}`")]
    Line {
        /// From 1.
        line: usize,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}
