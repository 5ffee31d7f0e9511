//! Between tensors, as `mizar_infer` has them, and samples, as a predictor takes them.

use mizar_infer::{ElementType, ModelError, Port, Tensor, Values};
use mizar_models::{Role, Samples};

/// What becomes of an input.
pub(crate) struct Taken {
    pub(crate) role: Role,
}

impl Taken {
    pub(crate) fn new(port: &mizar_models::Port) -> Self {
        Self { role: port.role }
    }
}

/// Numbers of variables are in single precision, counts are whole.
pub(crate) fn port(port: &mizar_models::Port) -> Port {
    Port {
        name: port.name.clone(),
        element_type: match port.role {
            Role::Values => ElementType::F32,
            _ => ElementType::I64,
        },
        shape: Some(port.shape.clone()),
    }
}

/// The lengths that a port leaves free, but for the first: rows and columns.
fn free(port: &Port, found: &[usize]) -> Vec<usize> {
    let lengths = port.shape.iter().flatten().zip(found).skip(1);
    let free = lengths.filter(|(expected, _)| expected.is_none());
    free.map(|(_, found)| *found).collect()
}

/// Samples of tensors that fit the ports.
pub(crate) fn samples(
    ports: &[Port],
    taken: &[Taken],
    inputs: &[Tensor],
) -> Result<Samples, ModelError> {
    let mut samples = Samples::default();
    let mut shape: Option<(&str, usize, Vec<usize>)> = None;
    for ((port, taken), input) in ports.iter().zip(taken).zip(inputs) {
        let odd = |reason: String| ModelError::Input {
            name: port.name.clone(),
            reason,
        };
        let count = input.shape().first().copied().unwrap_or(0);
        let extent = free(port, input.shape());
        let (first, known, fields) =
            shape.get_or_insert_with(|| (port.name.as_str(), count, extent.clone()));
        if count != *known {
            return Err(odd(format!(
                "{count} samples, but `{first}` has {known}: give as many"
            )));
        }
        match (taken.role, input.values()) {
            (Role::Values, Values::F32(values)) => {
                if extent != *fields {
                    return Err(odd(format!(
                        "fields of {extent:?}, but `{first}` of {fields:?}"
                    )));
                }
                samples.values.push(values.clone());
            }
            (Role::Months, Values::I64(months)) => samples.months = of_year(months, &odd)?,
            (Role::TargetMonths, Values::I64(months)) => {
                samples.target_months = of_year(months, &odd)?;
            }
            (Role::Places, Values::I64(places)) => {
                let place = |place: &i64| {
                    usize::try_from(*place).map_err(|_| odd(format!("{place} is no cell")))
                };
                samples.places = places.iter().map(place).collect::<Result<_, _>>()?;
            }
            (_, values) => return Err(odd(format!("it is {}", values.element_type().name()))),
        }
    }
    if let Some((_, count, extent)) = shape {
        (samples.count, samples.extent) = (count, extent);
    }
    Ok(samples)
}

fn of_year(months: &[i64], odd: &dyn Fn(String) -> ModelError) -> Result<Vec<u8>, ModelError> {
    let month = |month: &i64| {
        u8::try_from(*month).map_err(|_| odd(format!("{month} is no month: give 1 to 12")))
    };
    months.iter().map(month).collect()
}

/// The shape that a port has of these samples.
pub(crate) fn shape(port: &Port, samples: &Samples) -> Vec<usize> {
    let mut free = samples.extent.iter();
    let of_sample = port.shape.iter().flatten().skip(1);
    let lengths = of_sample.map(|len| len.unwrap_or_else(|| free.next().copied().unwrap_or(0)));
    std::iter::once(samples.count).chain(lengths).collect()
}

/// What came out as a tensor.
pub(crate) fn tensor(
    port: &Port,
    samples: &Samples,
    values: Vec<f32>,
) -> Result<Tensor, ModelError> {
    Tensor::new(shape(port, samples), Values::F32(values))
}
