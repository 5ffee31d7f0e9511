//! What every back end offers: a model with named inputs and outputs that runs batches.

use std::collections::BTreeMap;
use std::fmt;

use crate::{ElementType, Tensor};

/// A model that is ready to run.
pub trait Model: Send {
    /// What it takes, in its order.
    fn inputs(&self) -> &[Port];

    /// What it gives, in its order.
    fn outputs(&self) -> &[Port];

    /// What runs it, with its version and device, for logs and attributes.
    fn backend(&self) -> &str;

    /// The kind of model file, in KServe's sense.
    fn platform(&self) -> &str {
        "onnx"
    }

    /// What the model file says of itself.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// What whoever uses it should be told.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// Runs the model once on a tensor for each of [`inputs`](Self::inputs).
    ///
    /// # Errors
    /// [`ModelError`] if the tensors do not fit, or the back end fails.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError>;
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// As the model file calls it.
    pub name: String,
    /// The type of its numbers.
    pub element_type: ElementType,
    /// `None` where the length is the caller's choice. Nothing at all where the file does not
    /// say; only outputs may be so.
    pub shape: Option<Vec<Option<usize>>>,
}

impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} ", self.name, self.element_type.name())?;
        match &self.shape {
            None => out.write_str("of a shape that the file does not tell"),
            Some(shape) => out.write_str(&dims(shape)),
        }
    }
}

fn dims(shape: &[Option<usize>]) -> String {
    let text = |len: &Option<usize>| len.map_or_else(|| "?".to_owned(), |len| len.to_string());
    format!(
        "[{}]",
        shape.iter().map(text).collect::<Vec<_>>().join(", ")
    )
}

/// Why a model did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Too few or too many numbers for the shape.
    #[error("{found} numbers do not fill the shape {shape:?}")]
    Length {
        /// As given.
        shape: Vec<usize>,
        /// How many there are.
        found: usize,
    },
    /// Too few or too many inputs.
    #[error("the model takes {expected} inputs, not {found}")]
    InputCount {
        /// As the model says.
        expected: usize,
        /// As given.
        found: usize,
    },
    /// An input has another type.
    #[error("input `{name}` takes {}, not {}", expected.name(), found.name())]
    InputType {
        /// Which.
        name: String,
        /// As the model says.
        expected: ElementType,
        /// As given.
        found: ElementType,
    },
    /// An input has another shape.
    #[error("input `{name}` takes the shape {}, not {found:?}", dims(expected))]
    InputShape {
        /// Which.
        name: String,
        /// As the model says.
        expected: Vec<Option<usize>>,
        /// As given.
        found: Vec<usize>,
    },
    /// The numbers of an input are not such as the model takes.
    #[error("input `{name}`: {reason}")]
    Input {
        /// Which.
        name: String,
        /// What is wrong, and what would do.
        reason: String,
    },
    /// The back end failed.
    #[error("{backend} cannot run the model: {message}")]
    Run {
        /// Which.
        backend: String,
        /// What it says.
        message: String,
    },
    /// An output is not what can be used.
    #[error("output `{name}` is {found}: {expected}")]
    Output {
        /// Which.
        name: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
}

/// Compares tensors with what a model takes, for back ends.
///
/// # Errors
/// [`ModelError`] for the first that does not fit.
pub fn check_inputs(ports: &[Port], inputs: &[Tensor]) -> Result<(), ModelError> {
    if ports.len() != inputs.len() {
        return Err(ModelError::InputCount {
            expected: ports.len(),
            found: inputs.len(),
        });
    }
    for (port, input) in ports.iter().zip(inputs) {
        let found = input.values().element_type();
        if found != port.element_type {
            return Err(ModelError::InputType {
                name: port.name.clone(),
                expected: port.element_type,
                found,
            });
        }
        let Some(expected) = &port.shape else {
            continue;
        };
        let fits = |(expected, found): (&Option<usize>, &usize)| {
            expected.is_none_or(|expected| expected == *found)
        };
        let found = input.shape();
        if expected.len() != found.len() || !expected.iter().zip(found).all(fits) {
            return Err(ModelError::InputShape {
                name: port.name.clone(),
                expected: expected.clone(),
                found: found.to_vec(),
            });
        }
    }
    Ok(())
}

/// How many items a model takes at once along the first dimension of its inputs: `Some(None)`
/// any number, `Some(Some(n))` just so many, `None` where its inputs do not agree.
#[must_use]
pub fn batch_of(inputs: &[Port]) -> Option<Option<usize>> {
    let first = |port: &Port| port.shape.as_ref()?.first().copied();
    let batch = first(inputs.first()?)?;
    let same = inputs.iter().all(|port| first(port) == Some(batch));
    same.then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told() {
        let port = Port {
            name: "x".to_owned(),
            element_type: ElementType::F32,
            shape: Some(vec![None, Some(3)]),
        };
        let ports = [port];
        let check = |shape: &[usize]| {
            let tensor = Tensor::zeros(shape.to_vec());
            check_inputs(&ports, &[tensor]).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[7, 3]), Ok(()));
        let wrong = "input `x` takes the shape [?, 3], not [7, 2]";
        assert_eq!(check(&[7, 2]), Err(wrong.to_owned()));
        assert_eq!(batch_of(&ports), Some(None));
        let none = check_inputs(&ports, &[]).unwrap_err().to_string();
        assert_eq!(none, "the model takes 1 inputs, not 0");
    }
}
