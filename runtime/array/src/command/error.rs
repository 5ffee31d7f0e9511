//! Why a command line cannot be run: each message says what was expected.

/// The command line is wrong; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Nothing to do.
    #[error("no operator given: `mizar cube --help` shows examples")]
    Empty,
    /// No such option.
    #[error("option {found} is not known: `mizar cube --help` lists them")]
    UnknownOption {
        /// As typed.
        found: String,
    },
    /// An option's value is missing or means nothing.
    #[error("option {option}: expected {expected}, found {found}")]
    OptionValue {
        /// As typed.
        option: String,
        /// What it takes.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// No such operator.
    #[error(
        "operator `{found}` is not known{}: `mizar cube --operators` lists them",
        .nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
    )]
    UnknownOperator {
        /// As typed.
        found: String,
        /// One that looks like it.
        nearest: Option<&'static str>,
    },
    /// Too many or too few parameters.
    #[error("operator `{operator}` takes {expected}, found {found}: {usage}")]
    ArgumentCount {
        /// Its name.
        operator: &'static str,
        /// How many it takes, in words.
        expected: String,
        /// How many came.
        found: usize,
        /// How it is written.
        usage: String,
    },
    /// A parameter means nothing.
    #[error("operator `{operator}`: expected {expected}, found `{found}`")]
    Argument {
        /// Its name.
        operator: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// An output that would lie on a server.
    #[error("the output {found} is not a path of this machine: results are written to files only")]
    RemoteOutput {
        /// As it may be shown.
        found: String,
    },
    /// The line ends before the operator's inputs and the output.
    #[error("operator `{operator}` needs {needed} after it")]
    TooFewFiles {
        /// Its name.
        operator: &'static str,
        /// How many inputs, in words.
        needed: String,
    },
    /// Words are left over.
    #[error("`{found}` is one file or operator too many: `{operator}` takes {needed}")]
    TooManyFiles {
        /// The first word left over.
        found: String,
        /// The operator that does not take it.
        operator: &'static str,
        /// How many inputs, in words.
        needed: String,
    },
    /// An operator whose result is no file stands where an input must be.
    #[error("operator `{operator}` gives no single file: it must be the first of its line")]
    NotAnInput {
        /// Its name.
        operator: &'static str,
    },
    /// An operator or bracket where the output must be.
    #[error("the last word must be the output file, found `{found}`")]
    Output {
        /// As typed.
        found: String,
    },
    /// `[` and `]` do not match.
    #[error("`{found}` does not match: inputs are grouped as [ in1 in2 ]")]
    Bracket {
        /// The bracket.
        found: &'static str,
    },
    /// An argument is not UTF-8.
    #[error("argument {found} is not UTF-8")]
    NotText {
        /// Escaped.
        found: String,
    },
}
