//! An array through a model, some rows of its first dimension at a time.

use crate::{Model, ModelError, Tensor, batch_of};

/// Rows of a run if neither the model nor the caller says.
const ROWS: usize = 256;

/// Runs a model with one input over all rows of an array; the first output comes back. Rows that
/// a batch of fixed size lacks at the end are repeated and dropped again.
///
/// # Errors
/// [`ModelError`] if the array does not fit, or a run fails.
pub fn run_rows(
    model: &mut dyn Model,
    array: &Tensor,
    batch: Option<usize>,
) -> Result<Tensor, ModelError> {
    let odd = |found: String, expected: &str| ModelError::Output {
        name: "the array".to_owned(),
        found,
        expected: expected.to_owned(),
    };
    let element_type = match model.inputs() {
        [port] => port.element_type,
        ports => {
            return Err(ModelError::InputCount {
                expected: ports.len(),
                found: 1,
            });
        }
    };
    let values = array.values().clone().cast(element_type);
    let array = Tensor::new(array.shape().to_vec(), values)?;
    let fixed = batch_of(model.inputs()).flatten();
    let rows = array.shape().first().copied().unwrap_or(0);
    if rows == 0 {
        return Err(odd("empty".to_owned(), "it needs at least one row"));
    }
    let batch = fixed.or(batch).unwrap_or(ROWS).max(1);
    let mut parts = Vec::new();
    for start in (0..rows).step_by(batch) {
        let end = (start + batch).min(rows);
        let missing = || odd("cut short".to_owned(), "it needs all its rows");
        let mut part = array.rows(start..end).ok_or_else(missing)?;
        if fixed.is_some() && end - start < batch {
            let last = part.rows(end - start - 1..end - start);
            let last = last.ok_or_else(missing)?;
            let padding = vec![&last; batch - (end - start)];
            let padded: Vec<&Tensor> = std::iter::once(&part).chain(padding).collect();
            part = Tensor::stack(&padded).ok_or_else(missing)?;
        }
        let outputs = model.run(&[part])?;
        let first = outputs.into_iter().next().ok_or_else(missing)?;
        let found = format!("of shape {:?}", first.shape());
        let own = first.rows(0..end - start);
        parts.push(own.ok_or_else(|| odd(found, "the output must have a row for each"))?);
    }
    let parts: Vec<&Tensor> = parts.iter().collect();
    Tensor::stack(&parts)
        .ok_or_else(|| odd("of several shapes".to_owned(), "outputs must be alike"))
}
