//! A model on a server, as what a forecast over cubes asks.

use mizar_infer::{ElementType, Model, ModelError, Port, Tensor, Values};
use mizar_models::{Predict, PredictError, Role, Samples};

use crate::tensors::shape;

/// A model elsewhere that takes samples.
pub struct Remote {
    model: Box<dyn Model>,
    inputs: Vec<Port>,
}

/// Why a model elsewhere is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// It takes something else.
    #[error("the server's model takes `{0}`, which is nothing that a model of `mizar train` takes")]
    Input(String),
    /// It does not run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It gives something else.
    #[error("the server's model gives other than single precision")]
    Output,
}

impl Remote {
    /// A model of a server, loaded from a file of `mizar train`.
    ///
    /// # Errors
    /// [`RemoteError::Input`] if it is another kind of model.
    pub fn new(model: Box<dyn Model>) -> Result<Self, RemoteError> {
        let inputs = model.inputs().to_vec();
        match inputs.iter().find(|port| role(port).is_none()) {
            Some(port) => Err(RemoteError::Input(port.name.clone())),
            None => Ok(Self { model, inputs }),
        }
    }

    fn run(&mut self, samples: &Samples) -> Result<Vec<Vec<f32>>, RemoteError> {
        let mut values = samples.values.iter();
        let mut inputs = Vec::new();
        let wide = |months: &[u8]| months.iter().map(|month| i64::from(*month)).collect();
        for port in &self.inputs {
            let numbers = match role(port) {
                Some(Role::Months) => Values::I64(wide(&samples.months)),
                Some(Role::TargetMonths) => Values::I64(wide(&samples.target_months)),
                Some(Role::Places) => {
                    #[allow(clippy::cast_possible_wrap, reason = "what fits in memory")]
                    let places = samples.places.iter().map(|place| *place as i64);
                    Values::I64(places.collect())
                }
                _ => Values::F32(values.next().cloned().unwrap_or_default()),
            };
            inputs.push(Tensor::new(shape(port, samples), numbers)?);
        }
        let outputs = self.model.run(&inputs)?.into_iter();
        let numbers = |output: Tensor| match output.into_values() {
            Values::F32(values) => Ok(values),
            _ => Err(RemoteError::Output),
        };
        outputs.map(numbers).collect()
    }
}

/// What the numbers of a port are, by its name and type.
fn role(port: &Port) -> Option<Role> {
    match port.element_type {
        ElementType::F32 => Some(Role::Values),
        ElementType::I64 => Role::of_name(&port.name),
        _ => None,
    }
}

impl Predict for Remote {
    fn predict(&mut self, samples: &Samples) -> Result<Vec<Vec<f32>>, PredictError> {
        let said = self.run(samples);
        said.map_err(|error| PredictError::Elsewhere(Box::new(error)))
    }
}
