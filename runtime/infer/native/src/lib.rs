//! Models of `mizar train` (safetensors) as a back end of inference: over arrays, and on the server.
//!
//! A crate of its own, so that `mizar-infer` knows nothing of Burn. [`Native`] makes an
//! `mizar_infer::Model` of a file by way of `mizar_models::Predictor`, which forecasts over cubes use
//! too; [`Remote`] is the way back: such a model on a server, as what a forecast over cubes asks.
//!
//! Physical units go in and come out; inputs are called as the variables, and where the model has a
//! climatology there are `month`, `forecast_month` and, for cells, `cell` besides.

mod describe;
mod remote;
mod tensors;

use std::collections::BTreeMap;

use mizar_infer::{Backend, Model, ModelError, OpenError, Port, Provider, Source, Tensor};
use mizar_models::{Predict as _, PredictError, Predictor};

pub use remote::{Remote, RemoteError};
use tensors::{Taken, samples, tensor};

/// The back end's name on the command line.
pub const NAME: &str = "burn";

/// How the names of its files end.
pub const SUFFIX: &str = "safetensors";

/// The version of Burn is the workspace's.
const BACKEND: &str = "burn 0.21, cpu";

/// The back end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Backend for Native {
    fn name(&self) -> &'static str {
        NAME
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[SUFFIX]
    }

    fn open(&self, source: Source<'_>) -> Result<Box<dyn Model>, OpenError> {
        if source.provider != Provider::Cpu {
            return Err(OpenError::Provider {
                provider: source.provider.name(),
                reason: "models of `mizar train` run on processors: leave out --provider"
                    .to_owned(),
            });
        }
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| OpenError::Unusable {
            path: source.path.to_owned(),
            source: error,
        };
        let model = mizar_models::Model::of_bytes(source.path, source.bytes)
            .map_err(|error| refused(Box::new(error)))?;
        let predictor = Predictor::new(&model).map_err(|error| refused(Box::new(error)))?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(source.threads)
            .build()
            .map_err(|error| refused(Box::new(error)))?;
        let inputs = predictor.inputs();
        Ok(Box::new(NativeModel {
            taken: inputs.iter().map(Taken::new).collect(),
            inputs: inputs.iter().map(tensors::port).collect(),
            outputs: predictor.outputs().iter().map(tensors::port).collect(),
            metadata: describe::metadata(&predictor),
            notes: describe::notes(&predictor),
            predictor,
            pool,
        }))
    }
}

struct NativeModel {
    predictor: Predictor,
    /// Its threads; Burn takes those of the pool that it is called in.
    pool: rayon::ThreadPool,
    taken: Vec<Taken>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    metadata: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Model for NativeModel {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn backend(&self) -> &str {
        BACKEND
    }

    fn platform(&self) -> &str {
        "mizar_safetensors"
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError> {
        mizar_infer::check_inputs(&self.inputs, inputs)?;
        let samples = samples(&self.inputs, &self.taken, inputs)?;
        let predictor = &mut self.predictor;
        let said = self.pool.install(|| predictor.predict(&samples));
        let said = said.map_err(|error| told(&self.inputs[0].name, error))?;
        let outputs = self.outputs.iter().zip(said);
        outputs
            .map(|(port, values)| tensor(port, &samples, values))
            .collect()
    }
}

/// Whose fault it is: that of what goes in, or the model's. What the network says of a shape is of
/// its first input.
fn told(first: &str, error: PredictError) -> ModelError {
    match error {
        PredictError::Input { name, reason } => ModelError::Input { name, reason },
        PredictError::Run(error) => ModelError::Input {
            name: first.to_owned(),
            reason: mizar_core::chain(&error),
        },
        other => ModelError::Run {
            backend: BACKEND.to_owned(),
            message: mizar_core::chain(&other),
        },
    }
}
