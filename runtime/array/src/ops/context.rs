//! What a family of operators is given beside its inputs, and what it gives back.
//!
//! [`crate::plan`] makes a [`Context`] for each operator of a command.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::Operator;
use crate::command::{CommandError, Options};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::storage::Source;

/// What an operator works with beside its inputs.
pub(crate) struct Context<'a> {
    pub(crate) operator: &'static Operator,
    pub(crate) arguments: &'a [String],
    pub(crate) options: &'a Options,
    /// What the user should know although it can be done.
    pub(crate) warnings: &'a mut Vec<String>,
    /// Every file that is open, those of inputs and those that parameters name.
    pub(crate) sources: &'a mut Vec<Arc<Source>>,
}

impl<'a> Context<'a> {
    /// The operator's name, for errors.
    pub(crate) fn name(&self) -> &'static str {
        &self.operator.name
    }

    /// The parameters.
    pub(crate) fn parameters(&self) -> Parameters<'a> {
        Parameters {
            operator: &self.operator.name,
            values: self.arguments,
        }
    }

    /// Tells the user something; the operator's name comes before it.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        let text = format!("operator `{}`: {}", self.operator.name, text.as_ref());
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// What is wrong with the inputs.
    pub(crate) fn refused(&self, problem: String) -> CubeError {
        let operator = self.name();
        CubeError::Unfit { operator, problem }
    }

    /// Opens a file, once however often it is named.
    pub(crate) fn open(&mut self, path: &Path) -> Result<Arc<Source>, CubeError> {
        open(self.sources, path)
    }
}

/// Opens a file unless it is open.
pub(crate) fn open(sources: &mut Vec<Arc<Source>>, path: &Path) -> Result<Arc<Source>, CubeError> {
    if let Some(source) = sources.iter().find(|source| source.is_at(path)) {
        return Ok(Arc::clone(source));
    }
    let source = Arc::new(Source::open(path)?);
    sources.push(Arc::clone(&source));
    Ok(source)
}

/// What an operator gives.
pub(crate) enum Outcome {
    /// As many cubes as it has outputs, in their order. What another operator takes is one.
    Cubes(Vec<Cube>),
    /// Cubes, each with what is appended to the prefix of its file's name (without `.nc`).
    Named(Vec<(String, Cube)>),
    /// A text, made from a cube whose data the engine computes first.
    Text(Box<Cube>, Render),
}

/// Makes a text of a cube all of whose contents are in memory.
pub(crate) type Render = Box<dyn Fn(&Cube) -> Result<String, CubeError> + Send + Sync>;

impl From<Cube> for Outcome {
    fn from(cube: Cube) -> Self {
        Self::Cubes(vec![cube])
    }
}

/// An operator's parameters, read with errors that name it.
#[derive(Clone, Copy)]
pub(crate) struct Parameters<'a> {
    pub(crate) operator: &'static str,
    pub(crate) values: &'a [String],
}

impl Parameters<'_> {
    pub(crate) fn wrong(&self, index: usize, expected: &'static str) -> CubeError {
        let found = self.values.get(index).cloned().unwrap_or_default();
        CommandError::Argument {
            operator: self.operator,
            expected,
            found,
        }
        .into()
    }

    /// The parameter as a finite number.
    pub(crate) fn number(&self, index: usize, expected: &'static str) -> Result<f64, CubeError> {
        let parsed = self
            .values
            .get(index)
            .and_then(|text| text.parse::<f64>().ok());
        parsed
            .filter(|value| value.is_finite())
            .ok_or_else(|| self.wrong(index, expected))
    }

    /// The parameter as a whole number from `least` on.
    pub(crate) fn count(
        &self,
        index: usize,
        least: usize,
        expected: &'static str,
    ) -> Result<usize, CubeError> {
        let parsed = self.values.get(index).and_then(|text| text.parse().ok());
        // What is multiplied by sizes later must not overflow.
        parsed
            .filter(|&value| value >= least && value <= u32::MAX as usize)
            .ok_or_else(|| self.wrong(index, expected))
    }

    /// All parameters as whole numbers, `a/b` and `a/b/step` spelled out.
    pub(crate) fn numbers(
        &self,
        allowed: RangeInclusive<i64>,
        expected: &'static str,
    ) -> Result<Vec<i64>, CubeError> {
        let mut numbers = Vec::new();
        for (index, text) in self.values.iter().enumerate() {
            let parts: Option<Vec<i64>> = text.split('/').map(|part| part.parse().ok()).collect();
            let (first, last, step) = match parts.as_deref() {
                Some(&[value]) => (value, value, 1),
                Some(&[first, last]) => (first, last, 1),
                Some(&[first, last, step]) if step > 0 => (first, last, step),
                _ => return Err(self.wrong(index, expected)),
            };
            if first > last || !allowed.contains(&first) || !allowed.contains(&last) {
                return Err(self.wrong(index, expected));
            }
            numbers.extend((first..=last).step_by(step as usize));
        }
        Ok(numbers)
    }
}
