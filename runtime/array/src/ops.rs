//! The operators: one table row each, over a few families of kernels.
//!
//! [`crate::command`] finds operators here by name, [`crate::plan`] applies them. To add one:
//! write a row in the table of its family (under `ops/`); where no family fits, write a module
//! with a function that takes cubes and gives an [`Outcome`]. What an operator does to the
//! structure of the data is in its family, how blocks are computed is in an
//! [`Operation`](crate::plan::expr::Operation) that the family puts into the cube, or in a
//! stage of [`crate::engine`].

pub(crate) mod cellwise;
mod context;
pub(crate) mod each;
pub(crate) mod expression;
pub(crate) mod field;
pub(crate) mod grouping;
mod horizontal;
pub(crate) mod index;
mod info;
mod level;
pub(crate) mod many;
pub(crate) mod metadata;
pub(crate) mod neighbour;
pub(crate) mod pair;
mod remap;
pub(crate) mod select;
pub(crate) mod series;
mod split;
pub(crate) mod statistic;
pub(crate) mod time;
mod units;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

pub(crate) use context::{Context, Outcome, Parameters, Render, open};

use crate::cube::Cube;
use crate::error::CubeError;

/// One row of the table.
pub struct Operator {
    /// As typed, without the dash.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Rules: missing values, metadata, differences from CDO.
    pub details: String,
    /// What follows `mizar cube` in an example.
    pub example: String,
    /// Its parameters.
    pub arguments: Arguments,
    /// Its inputs.
    pub inputs: Inputs,
    /// What it makes.
    pub outputs: Outputs,
    /// Operators of one such group that are named together, as in `-timmean,timmax in out`,
    /// are computed in one pass over the data.
    pub(crate) together: Option<&'static str>,
    /// Whether an output that exists comes before the inputs.
    pub(crate) appends: bool,
    pub(crate) family: Box<dyn Family>,
}

/// What an operator does to the structure of its inputs.
pub(crate) trait Family: Send + Sync {
    /// Gives the cubes whose data the engine computes.
    fn apply(&self, inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError>;
}

impl<F> Family for F
where
    F: Fn(Vec<Cube>, &mut Context<'_>) -> Result<Outcome, CubeError> + Send + Sync,
{
    fn apply(&self, inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
        self(inputs, context)
    }
}

impl Operator {
    /// An operator of one input and one output without parameters; the other methods change
    /// that.
    pub(crate) fn new<F>(name: impl Into<String>, summary: impl Into<String>, family: F) -> Self
    where
        F: Fn(Vec<Cube>, &mut Context<'_>) -> Result<Outcome, CubeError> + Send + Sync + 'static,
    {
        let name = name.into();
        Self {
            example: format!("-{name} in.nc out.nc"),
            name,
            summary: summary.into(),
            details: String::new(),
            arguments: Arguments::NONE,
            inputs: Inputs::Exactly(1),
            outputs: Outputs::Exactly(1),
            together: None,
            appends: false,
            family: Box::new(family),
        }
    }

    /// Sets the rules that its help tells.
    pub(crate) fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Sets what follows `mizar cube` in its example.
    pub(crate) fn example(mut self, example: impl Into<String>) -> Self {
        self.example = example.into();
        self
    }

    /// Sets its parameters.
    pub(crate) fn arguments(mut self, names: &'static str, counts: RangeInclusive<usize>) -> Self {
        self.arguments = Arguments { names, counts };
        self
    }

    /// Sets how many inputs it takes.
    pub(crate) fn inputs(mut self, inputs: Inputs) -> Self {
        self.inputs = inputs;
        self
    }

    /// Sets what it makes.
    pub(crate) fn outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    /// Lets it be named together with others of this group.
    pub(crate) fn together(mut self, group: &'static str) -> Self {
        self.together = Some(group);
        self
    }

    /// Lets an output that exists come before the inputs.
    pub(crate) fn appends(mut self) -> Self {
        self.appends = true;
        self
    }

    /// How it is written, without the dash.
    #[must_use]
    pub fn usage(&self) -> String {
        let names = self.arguments.names;
        let name = match names.strip_prefix('[') {
            // What may be left out has its comma inside.
            Some(rest) => format!("{}[,{rest}", self.name),
            None if names.is_empty() => self.name.clone(),
            None => format!("{},{names}", self.name),
        };
        let words = [name, self.inputs.usage(), self.outputs.usage()];
        let words = words.iter().filter(|word| !word.is_empty());
        words.cloned().collect::<Vec<_>>().join(" ")
    }
}

impl PartialEq for Operator {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The parameters that an operator takes.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// As in its usage: `from[,to]`.
    pub names: &'static str,
    /// How many it takes.
    pub counts: RangeInclusive<usize>,
}

impl Arguments {
    const NONE: Self = Self {
        names: "",
        counts: 0..=0,
    };

    pub(crate) fn count_in_words(&self) -> String {
        match (*self.counts.start(), *self.counts.end()) {
            (0, 0) => "no parameters".to_owned(),
            (1, 1) => "1 parameter".to_owned(),
            (0, 1) => "at most 1 parameter".to_owned(),
            (start, usize::MAX) => format!("{start} or more parameters"),
            (start, end) if start == end => format!("{start} parameters"),
            (start, end) => format!("{start} to {end} parameters"),
        }
    }
}

/// The inputs that an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// So many.
    Exactly(usize),
    /// All that follow, or those in brackets.
    AtLeastOne,
    /// The first number; the second where so many follow or stand in brackets.
    Either(usize, usize),
}

impl Inputs {
    fn usage(self) -> String {
        match self {
            Self::Exactly(1) => "infile".to_owned(),
            Self::Exactly(count) => numbered("infile", count),
            Self::Either(least, most) => {
                let (least, most) = (Self::Exactly(least).usage(), numbered("infile", most));
                format!("{least} | {most}")
            }
            Self::AtLeastOne => "infile...".to_owned(),
        }
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(1) => f.write_str("1 input"),
            Self::Exactly(count) => write!(f, "{count} inputs"),
            Self::Either(least, most) => write!(f, "{least} or {most} inputs"),
            Self::AtLeastOne => f.write_str("at least 1 input"),
        }
    }
}

/// What an operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// So many files.
    Exactly(usize),
    /// Files whose names begin with what is given.
    Prefix,
    /// A text on standard output.
    Text,
}

impl Outputs {
    /// How many words of a command line name them.
    pub(crate) fn words(self) -> usize {
        match self {
            Self::Exactly(count) => count,
            Self::Prefix => 1,
            Self::Text => 0,
        }
    }

    fn usage(self) -> String {
        match self {
            Self::Exactly(1) => "outfile".to_owned(),
            Self::Exactly(count) => numbered("outfile", count),
            Self::Prefix => "outprefix".to_owned(),
            Self::Text => String::new(),
        }
    }
}

/// `infile1 infile2 …`.
fn numbered(word: &str, count: usize) -> String {
    let words = (1..=count).map(|number| format!("{word}{number}"));
    words.collect::<Vec<_>>().join(" ")
}

/// Every operator, in the order in which they are listed.
#[must_use]
pub fn operators() -> &'static [Operator] {
    static OPERATORS: LazyLock<Vec<Operator>> = LazyLock::new(|| {
        let families = [
            select::table(),
            many::table(),
            split::table(),
            info::table(),
            time::table(),
            series::table(),
            index::table(),
            pair::table(),
            level::table(),
            each::table(),
            expression::table(),
            neighbour::table(),
            metadata::table(),
            field::table(),
            remap::table(),
        ];
        families.into_iter().flatten().collect()
    });
    &OPERATORS
}

/// CDO's other names of operators.
const ALIASES: [(&str, &str); 13] = [
    ("anomaly", "ymonsub"),
    ("chvar", "chname"),
    ("delvar", "delname"),
    ("genycon", "gencon"),
    ("globavg", "fldavg"),
    ("infos", "sinfo"),
    ("remapycon", "remapcon"),
    ("selseas", "selseason"),
    ("setvar", "setname"),
    ("showvar", "showname"),
    ("sort", "timsort"),
    ("splitvar", "splitname"),
    ("clone", "copy"),
];

/// The operator called `name`, or whose other name that is.
#[must_use]
pub fn find(name: &str) -> Option<&'static Operator> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, own)| own);
    operators().iter().find(|operator| operator.name == name)
}

/// The operator whose name looks most like `name`, if one does.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    /// A typing error changes few letters; more is another word.
    const DISTANCE_MAX: usize = 3;
    let distances = operators()
        .iter()
        .map(|operator| (distance(name, &operator.name), operator.name.as_str()));
    let (distance, nearest) = distances.min()?;
    (distance <= DISTANCE_MAX && distance < name.len()).then_some(nearest)
}

/// How many letters must be changed, added, taken or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_parses() {
        for operator in operators() {
            let words: Vec<String> = operator.example.split(' ').map(str::to_owned).collect();
            let parsed = crate::command::parse(&words);
            assert!(parsed.is_ok(), "{}: {parsed:?}", operator.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let own = operators().iter().map(|operator| operator.name.as_str());
        let mut names: Vec<&str> = own.chain(ALIASES.map(|(alias, _)| alias)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), operators().len() + ALIASES.len());
    }

    #[test]
    fn other_names_find_operators() {
        for (alias, own) in ALIASES {
            assert_eq!(find(alias).map(|found| found.name.as_str()), Some(own));
        }
    }
}
