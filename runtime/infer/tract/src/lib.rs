//! ONNX models in pure Rust, by tract: where no ONNX Runtime is installed.
//!
//! A crate of its own, because tract takes minutes to compile; the command adds it as the last
//! [`Backend`]. Slower than ONNX Runtime by a factor of two and more, on processors only.
//!
//! tract wants to know every length before it optimises: a plan is made for each shape of inputs
//! and kept, so callers do well to use few.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mizar_infer::{
    Backend, Header, Model, ModelError, OpenError, Port, Provider, Source, Tensor, Values,
    check_inputs,
};
use tract_onnx::prelude::{
    Datum, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _,
    IntoRunnable as _, IntoTValue as _, TValue, TractResult, TypedRunnableModel,
};

const NAME: &str = "tract";

/// Plans that are kept, of the shapes used last.
const PLANS: usize = 8;

/// The back end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Backend for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &["onnx"]
    }

    fn open(&self, source: Source<'_>) -> Result<Box<dyn Model>, OpenError> {
        if source.provider != Provider::Cpu {
            let reason = format!(
                "runs on processors only, not with provider {}",
                source.provider.name()
            );
            let backend = NAME;
            return Err(OpenError::Absent { backend, reason });
        }
        let header = Header::read(source.bytes).map_err(|error| OpenError::Header {
            path: source.path.to_owned(),
            source: error,
        })?;
        let read = || -> TractResult<InferenceModel> {
            let graph = tract_onnx::onnx().model_for_read(&mut &*source.bytes)?;
            let names: Vec<&str> = header.outputs.iter().map(|port| &*port.name).collect();
            // The outputs of the file, in its order, whatever tract makes of them.
            let inputs: Vec<&str> = header.inputs.iter().map(|port| &*port.name).collect();
            let mut graph = graph;
            if graph.input_outlets()?.len() == inputs.len() {
                graph.select_outputs_by_name(names)?;
            }
            Ok(graph)
        };
        let graph = guarded(read).map_err(|message| OpenError::Refused {
            path: source.path.to_owned(),
            backend: backend(),
            message,
        })?;
        Ok(Box::new(TractModel {
            graph,
            header,
            backend: backend(),
            plans: Vec::new(),
        }))
    }
}

fn backend() -> String {
    "tract 0.23, cpu".to_owned()
}

/// Some models make tract panic: that is its error, not the end of the program.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}").replace('\n', " ")),
        Err(_) => Err("it panicked".to_owned()),
    }
}

/// Shapes of the inputs, and what runs them.
type Plan = (Vec<Vec<usize>>, Arc<TypedRunnableModel>);

struct TractModel {
    graph: InferenceModel,
    header: Header,
    backend: String,
    /// The one used last is the last.
    plans: Vec<Plan>,
}

impl TractModel {
    fn plan(&mut self, inputs: &[Tensor]) -> Result<Arc<TypedRunnableModel>, String> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape().to_vec()).collect();
        if let Some(index) = self.plans.iter().position(|(known, _)| *known == shapes) {
            let plan = self.plans.remove(index);
            let runnable = Arc::clone(&plan.1);
            self.plans.push(plan);
            return Ok(runnable);
        }
        let graph = &self.graph;
        let runnable = guarded(|| {
            let mut graph = graph.clone();
            for (index, input) in inputs.iter().enumerate() {
                let datum = match input.values() {
                    Values::F32(_) => f32::datum_type(),
                    Values::F64(_) => f64::datum_type(),
                    Values::I32(_) => i32::datum_type(),
                    Values::I64(_) => i64::datum_type(),
                };
                let fact = InferenceFact::dt_shape(datum, input.shape());
                graph.set_input_fact(index, fact)?;
            }
            // What the file says of outputs may hold names of free lengths.
            for index in 0..graph.output_outlets()?.len() {
                graph.set_output_fact(index, InferenceFact::default())?;
            }
            graph.into_optimized()?.into_runnable()
        })?;
        if self.plans.len() == PLANS {
            self.plans.remove(0);
        }
        self.plans.push((shapes, Arc::clone(&runnable)));
        Ok(runnable)
    }
}

impl Model for TractModel {
    fn inputs(&self) -> &[Port] {
        &self.header.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.header.outputs
    }

    fn backend(&self) -> &str {
        &self.backend
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError> {
        check_inputs(&self.header.inputs, inputs)?;
        let run = self.plan(inputs).and_then(|plan| {
            guarded(|| {
                let values: TractResult<_> = inputs.iter().map(value).collect();
                plan.run(values?)
            })
        });
        let outputs = run.map_err(|message| ModelError::Run {
            backend: self.backend.clone(),
            message,
        })?;
        let ports = self.header.outputs.iter();
        ports
            .zip(&outputs)
            .map(|(port, output)| {
                let odd = |found: String| ModelError::Output {
                    name: port.name.clone(),
                    found,
                    expected: "the model file says another type".to_owned(),
                };
                let values = numbers(output).map_err(|error| odd(error.to_string()))?;
                Tensor::new(output.shape().to_vec(), values.cast(port.element_type))
            })
            .collect()
    }
}

fn value(tensor: &Tensor) -> TractResult<TValue> {
    use tract_onnx::prelude::Tensor as Array;
    let shape = tensor.shape();
    let array = match tensor.values() {
        Values::F32(values) => Array::from_shape(shape, values)?,
        Values::F64(values) => Array::from_shape(shape, values)?,
        Values::I32(values) => Array::from_shape(shape, values)?,
        Values::I64(values) => Array::from_shape(shape, values)?,
    };
    Ok(array.into_tvalue())
}

fn numbers(output: &TValue) -> TractResult<Values> {
    let datum = output.datum_type();
    macro_rules! of {
        ($number:ty, $variant:ident) => {{
            let array = output.to_plain_array_view::<$number>()?;
            return Ok(Values::$variant(array.iter().copied().collect()));
        }};
    }
    if datum == f64::datum_type() {
        of!(f64, F64);
    }
    if datum == i32::datum_type() {
        of!(i32, I32);
    }
    if datum == i64::datum_type() {
        of!(i64, I64);
    }
    let cast = output.cast_to::<f32>()?;
    let array = cast.to_plain_array_view::<f32>()?;
    Ok(Values::F32(array.iter().copied().collect()))
}
