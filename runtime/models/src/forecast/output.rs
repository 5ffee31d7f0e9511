//! The file that comes out: the input's coordinates at the times that are forecast.

use std::ops::Range;

use mizar_array::dataset::{AttrValue, Attributes, Axis, DType, Dataset, Variable};
use mizar_array::write::Writer;

use super::axis::later;
use super::plan::Plan;
use super::{ForecastError, Options};
use crate::Model;
use crate::predictor::Group;

/// Stands for missing values, as in files of CDO and CMIP6.
const FILL: f32 = 1e20;

/// The structure of the output.
pub(super) struct Target {
    pub(super) dataset: Dataset,
    /// As many as outputs of the model.
    pub(super) fields: Vec<Field>,
    /// Variables that are kept: which they are in the output, and their names.
    kept: Vec<(usize, String)>,
}

/// A variable that is forecast.
pub(super) struct Field {
    /// In the dataset of the output.
    pub(super) variable: usize,
    /// Lengths of all dimensions but time.
    lens: Vec<usize>,
}

impl Field {
    /// Where some rows lie.
    pub(super) fn region(&self, rows: &Range<usize>) -> Vec<Range<usize>> {
        let others = self.lens.iter().map(|&len| 0..len);
        std::iter::once(rows.clone()).chain(others).collect()
    }
}

impl Target {
    pub(super) fn new(plan: &Plan, model: &Model, options: &Options) -> Self {
        let input = plan.structure.dataset();
        let shown = |group: &Group| input.variable_index(&group.name);
        // A variable that the input lacks lies as one that it has.
        let like = plan.outputs.iter().find_map(shown);
        let like = like.or_else(|| shown(&plan.inputs[0])).unwrap_or_default();
        let mut dataset = input.clone();
        let time = input.variables[like].dims[0];
        dataset.dimensions[time].len = plan.rows;
        dataset.attributes = attributes(&input.attributes, plan, model, options);
        let data: Vec<usize> = input.data_variables();
        let is_kept = |&index: &usize| {
            let variable = &input.variables[index];
            let is_of_time = variable.dims.contains(&time);
            !data.contains(&index) && (!is_of_time || is_time(plan, index))
        };
        let kept: Vec<usize> = (0..input.variables.len()).filter(is_kept).collect();
        dataset.variables = kept.iter().map(|&i| input.variables[i].clone()).collect();
        let names = kept.iter().enumerate();
        let kept = names.map(|(place, &index)| (place, input.variables[index].name.clone()));
        let kept = kept.collect();
        let mut fields = Vec::new();
        for group in &plan.outputs {
            let own = shown(group);
            let from = &input.variables[own.unwrap_or(like)];
            let extent = plan.extent.len();
            let dims = match own {
                Some(_) => from.dims.clone(),
                None => {
                    let space = &from.dims[from.dims.len() - extent..];
                    std::iter::once(&time).chain(space).copied().collect()
                }
            };
            let mut attributes = match own {
                Some(_) => from.attributes.clone(),
                None => Attributes::default(),
            };
            attributes.drop_storage();
            if !group.channels[0].units.is_empty() {
                attributes.set("units", group.channels[0].units.clone());
            }
            attributes.set("_FillValue", FILL);
            fields.push(Field {
                variable: dataset.variables.len(),
                lens: dims[1..]
                    .iter()
                    .map(|&dim: &usize| input.dimensions[dim].len)
                    .collect(),
            });
            dataset.variables.push(Variable {
                name: group.name.clone(),
                dtype: DType::F32,
                dims,
                attributes,
            });
        }
        Self {
            dataset,
            fields,
            kept,
        }
    }

    /// Writes coordinates and what else is kept, with the times of the forecasts.
    pub(super) fn write_kept(&self, plan: &Plan, writer: &mut Writer) -> Result<(), ForecastError> {
        let failed = |error| ForecastError::Cube(mizar_array::CubeError::Write(error));
        for (place, name) in &self.kept {
            if let Some(texts) = plan.structure.texts(name) {
                writer.write_text(*place, texts).map_err(failed)?;
                continue;
            }
            let Some(found) = plan.structure.values(name) else {
                continue;
            };
            let whole = self.dataset.whole(*place);
            let index = plan.structure.dataset().variable_index(name);
            let values = match index.is_some_and(|index| is_time(plan, index)) {
                true => times(plan, found.values, found.shape[1..].iter().product())?,
                false => found.values.to_vec(),
            };
            writer.write_f64(*place, &whole, &values).map_err(failed)?;
        }
        Ok(())
    }
}

/// Whether a variable is the time of the steps or its bounds.
fn is_time(plan: &Plan, index: usize) -> bool {
    let dataset = plan.structure.dataset();
    let data = dataset.data_variables();
    let times = data
        .first()
        .and_then(|&first| dataset.coordinate(first, Axis::Time));
    times.is_some_and(|time| index == time || dataset.bounds(time) == Some(index))
}

/// The bounds of steps, if each step's time is the middle of its own, as those of means are.
fn bounds_around(plan: &Plan, times: &[f64]) -> Option<Vec<f64>> {
    let dataset = plan.structure.dataset();
    let first = *dataset.data_variables().first()?;
    let bounds = dataset.bounds(dataset.coordinate(first, Axis::Time)?)?;
    let bounds = plan.structure.values(&dataset.variables[bounds].name)?;
    let (pairs, _) = bounds.values.as_chunks::<2>();
    let is_middle = |(pair, time): (&[f64; 2], &f64)| {
        ((pair[0] + pair[1]) / 2.0 - time).abs() <= 1e-6 * (pair[1] - pair[0]).abs()
    };
    let are_middles = pairs.len() == times.len() && pairs.iter().zip(times).all(is_middle);
    are_middles.then(|| bounds.values.to_vec())
}

/// Values of the time axis, or of its bounds (`width` of a step), at the forecasts.
fn times(plan: &Plan, values: &[f64], width: usize) -> Result<Vec<f64>, ForecastError> {
    let mut out = Vec::with_capacity(plan.rows * width);
    let last = plan.steps - 1;
    if width == 1
        && let Some(bounds) = bounds_around(plan, values)
    {
        let bounds = times(plan, &bounds, 2)?;
        let (pairs, _) = bounds.as_chunks::<2>();
        return Ok(pairs.iter().map(|pair| (pair[0] + pair[1]) / 2.0).collect());
    }
    for row in 0..plan.rows {
        let step = plan.target_step(row);
        let known = &values[step.min(last) * width..(step.min(last) + 1) * width];
        match &plan.axis {
            Some((axis, Some(pace))) if step > last => {
                for value in known {
                    let value = later(axis, *pace, *value, step - last);
                    let origin = || plan.origin.clone();
                    out.push(value.map_err(|source| crate::source::DataError::Time {
                        origin: origin(),
                        source,
                    })?);
                }
            }
            _ => out.extend_from_slice(known),
        }
    }
    Ok(out)
}

/// The input's, and what was done with it.
fn attributes(input: &Attributes, plan: &Plan, model: &Model, options: &Options) -> Attributes {
    let mut attributes = input.clone();
    attributes.begin_history(&options.history);
    let mut set = |name: &str, value: String| attributes.set(name, AttrValue::from(value));
    set("mizar_model", options.model_name.clone());
    set("mizar_model_sha256", model.header.digest.clone());
    let steps = |count: usize| match count {
        1 => "1 step".to_owned(),
        count => format!("{count} steps"),
    };
    set(
        "mizar_window",
        format!("{} ahead from {}", steps(plan.lead), steps(plan.history)),
    );
    attributes
}
