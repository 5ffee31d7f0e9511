//! Arrays through a model, some rows of their first dimension at a time.

use crate::{Model, ModelError, Tensor, batch_of};

/// Rows of a run if neither the model nor the caller says.
const ROWS: usize = 256;

/// Runs a model over all rows of arrays, one for each of its inputs; all its outputs come back.
/// Rows that a batch of fixed size lacks at the end are repeated and dropped again.
///
/// # Errors
/// [`ModelError`] if the arrays do not fit, or a run fails.
pub fn run_rows(
    model: &mut dyn Model,
    arrays: Vec<Tensor>,
    batch: Option<usize>,
) -> Result<Vec<Tensor>, ModelError> {
    let ports = model.inputs().to_vec();
    if ports.len() != arrays.len() {
        return Err(ModelError::InputCount {
            expected: ports.len(),
            found: arrays.len(),
        });
    }
    let rows = arrays
        .first()
        .and_then(|array| array.shape().first().copied());
    let rows = rows.unwrap_or(0);
    let mut inputs = Vec::new();
    for (port, array) in ports.iter().zip(arrays) {
        let odd = |reason: String| ModelError::Input {
            name: port.name.clone(),
            reason,
        };
        let found = array.shape().first().copied().unwrap_or(0);
        if found == 0 {
            return Err(odd(
                "the array is empty: it needs at least one row".to_owned()
            ));
        }
        if found != rows {
            let first = &ports[0].name;
            return Err(odd(format!("{found} rows, but `{first}` has {rows}")));
        }
        let shape = array.shape().to_vec();
        inputs.push(Tensor::new(
            shape,
            array.into_values().cast(port.element_type),
        )?);
    }
    let fixed = batch_of(&ports).flatten();
    let batch = fixed.or(batch).unwrap_or(ROWS).max(1);
    let mut parts: Vec<Vec<Tensor>> = vec![Vec::new(); model.outputs().len()];
    for start in (0..rows).step_by(batch) {
        let end = (start + batch).min(rows);
        let padding = fixed.map_or(0, |fixed| fixed - (end - start));
        let part = |input: &Tensor| part(input, start, end, padding);
        let part: Option<Vec<Tensor>> = inputs.iter().map(part).collect();
        let missing = |reason: &str| ModelError::Output {
            name: "of the arrays".to_owned(),
            found: "cut short".to_owned(),
            expected: reason.to_owned(),
        };
        let part = part.ok_or_else(|| missing("they need all their rows"))?;
        let outputs = model.run(&part)?;
        for ((parts, output), port) in parts.iter_mut().zip(outputs).zip(model.outputs()) {
            let own = output.rows(0..end - start);
            parts.push(own.ok_or_else(|| ModelError::Output {
                name: port.name.clone(),
                found: format!("of shape {:?}", output.shape()),
                expected: "it must have a row for each of the input".to_owned(),
            })?);
        }
    }
    let whole = |(parts, port): (Vec<Tensor>, &crate::Port)| {
        let parts: Vec<&Tensor> = parts.iter().collect();
        Tensor::stack(&parts).ok_or_else(|| ModelError::Output {
            name: port.name.clone(),
            found: "of several shapes".to_owned(),
            expected: "its rows must be alike".to_owned(),
        })
    };
    parts.into_iter().zip(model.outputs()).map(whole).collect()
}

/// Some rows, the last of them repeated.
fn part(input: &Tensor, start: usize, end: usize, padding: usize) -> Option<Tensor> {
    let part = input.rows(start..end)?;
    if padding == 0 {
        return Some(part);
    }
    let last = input.rows(end - 1..end)?;
    let all: Vec<&Tensor> = std::iter::once(&part)
        .chain(std::iter::repeat_n(&last, padding))
        .collect();
    Tensor::stack(&all)
}
