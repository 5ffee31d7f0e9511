//! The file that comes out: its variables, the coordinates they keep, and what it says of its
//! making.

use std::borrow::Cow;
use std::ops::Range;

use mizar_array::dataset::{AttrValue, Attributes, DType, Dataset, Variable};
use mizar_array::storage::Source;
use mizar_array::write::Writer;

use super::plan::{Plan, Unit, words};
use super::unit::Computed;
use super::{InferError, Options};
use crate::Loaded;

/// Stands for missing values, as in files of CDO and CMIP6.
const FILL: f32 = 1e20;

/// The structure of the output, and where its values come from.
pub(crate) struct Target {
    pub(crate) dataset: Dataset,
    pub(crate) fields: Vec<TargetField>,
    /// Variables of the input that are kept, and which they are in the output.
    kept: Vec<(usize, usize)>,
}

/// A variable of the output.
pub(crate) struct TargetField {
    /// In the dataset of the output.
    pub(crate) variable: usize,
    /// Which output of the model.
    output: usize,
    /// Which of its channels, as levels.
    channels: Range<usize>,
    /// Lengths of its levels' dimensions.
    levels: Vec<usize>,
}

/// A variable to be, with dimensions of the input.
struct Draft {
    name: String,
    output: usize,
    channels: Range<usize>,
    levels: Vec<usize>,
    attributes: Attributes,
}

impl Target {
    pub(crate) fn new(
        source: &Source,
        plan: &Plan,
        loaded: &Loaded,
        options: &Options,
    ) -> Result<Self, InferError> {
        let input = source.dataset();
        let drafts = drafts(input, plan, loaded, options)?;
        let fields = &plan.fields;
        let outer = [fields.time, fields.rows, fields.columns];
        // One that has all dimensions.
        let first = fields.variables.iter().find(|field| !field.is_static);
        let first = first.unwrap_or(&fields.variables[0]).variable;
        let mut dims: Vec<usize> = outer.iter().flatten().copied().collect();
        dims.extend(drafts.iter().flat_map(|draft| draft.levels.iter().copied()));
        // What describes dimensions that are gone would describe nothing.
        let of_data: Vec<usize> = fields
            .variables
            .iter()
            .flat_map(|field| input.variables[field.variable].dims.clone())
            .collect();
        let is_kept = |&index: &usize| {
            let all = input.variables[index].dims.iter();
            let mut gone = all.filter(|dim| of_data.contains(dim) && !dims.contains(dim));
            gone.next().is_none() && !fields.variables.iter().any(|f| f.variable == index)
        };
        let companions: Vec<usize> = input
            .companions(first)
            .into_iter()
            .filter(is_kept)
            .collect();
        for &index in &companions {
            dims.extend(&input.variables[index].dims);
        }
        dims.sort_unstable();
        dims.dedup();
        let mut dataset = Dataset {
            dimensions: dims
                .iter()
                .map(|&dim| input.dimensions[dim].clone())
                .collect(),
            variables: Vec::new(),
            attributes: attributes(input, plan, loaded, options),
        };
        let place = |dim: usize| dims.iter().position(|&own| own == dim).unwrap_or(0);
        if let Some(time) = fields.time {
            dataset.dimensions[place(time)].len = plan.windows.rows();
        }
        let mut kept = Vec::new();
        for &index in &companions {
            let mut variable = input.variables[index].clone();
            variable.dims = variable.dims.iter().map(|&dim| place(dim)).collect();
            kept.push((index, dataset.variables.len()));
            dataset.variables.push(variable);
        }
        let mut targets = Vec::new();
        for draft in drafts {
            let mut own: Vec<usize> = fields.time.into_iter().collect();
            own.extend(&draft.levels);
            own.extend(fields.rows.into_iter().chain(fields.columns));
            targets.push(TargetField {
                variable: dataset.variables.len(),
                output: draft.output,
                channels: draft.channels,
                levels: draft
                    .levels
                    .iter()
                    .map(|&dim| input.dimensions[dim].len)
                    .collect(),
            });
            dataset.variables.push(Variable {
                name: draft.name,
                dtype: DType::F32,
                dims: own.into_iter().map(place).collect(),
                attributes: draft.attributes,
            });
        }
        Ok(Self {
            dataset,
            fields: targets,
            kept,
        })
    }

    /// Writes coordinates and what else is kept of the input, at the steps of the output.
    pub(crate) fn write_kept(
        &self,
        source: &Source,
        plan: &Plan,
        writer: &mut Writer,
    ) -> Result<(), InferError> {
        let input = source.dataset();
        let failed = |error| InferError::Output(mizar_array::CubeError::Write(error));
        for &(from, to) in &self.kept {
            let variable = &input.variables[from];
            let along_time = variable
                .dims
                .iter()
                .position(|&dim| Some(dim) == plan.fields.time);
            if variable.dtype.is_text() {
                if along_time.is_none() {
                    let texts = source.read_text(from)?;
                    writer.write_text(to, &texts).map_err(failed)?;
                }
                continue;
            }
            let values = source.read_whole(from)?;
            let values = match along_time {
                None => values,
                Some(place) => {
                    let shape = input.shape(from);
                    at_steps(&values, &shape, place, plan)
                }
            };
            let whole = self.dataset.whole(to);
            writer.write_f64(to, &whole, &values).map_err(failed)?;
        }
        Ok(())
    }

    /// The part of a variable that a unit computed: where it lies, and its values.
    pub(crate) fn part<'a>(
        &self,
        field: &TargetField,
        plan: &Plan,
        unit: &Unit,
        computed: &'a Computed,
    ) -> (Vec<Range<usize>>, Cow<'a, [f32]>) {
        let fields = &plan.fields;
        let mut region = Vec::new();
        region.extend(fields.time.map(|_| unit.steps.clone()));
        region.extend(field.levels.iter().map(|&len| 0..len));
        region.extend(fields.rows.map(|_| unit.rows.clone()));
        region.extend(fields.columns.map(|_| 0..fields.width));
        let channels = &computed.values[field.output][field.channels.clone()];
        if let [only] = channels {
            return (region, Cow::Borrowed(only));
        }
        let plane = unit.rows.len() * fields.width;
        let mut values = Vec::with_capacity(channels.len() * unit.steps.len() * plane);
        for step in 0..unit.steps.len() {
            for channel in channels {
                values.extend_from_slice(&channel[step * plane..(step + 1) * plane]);
            }
        }
        (region, Cow::Owned(values))
    }
}

/// The values of a variable at the steps that the output has.
fn at_steps(values: &[f64], shape: &[usize], place: usize, plan: &Plan) -> Vec<f64> {
    let outer: usize = shape[..place].iter().product();
    let inner: usize = shape[place + 1..].iter().product();
    let mut out = Vec::new();
    for block in 0..outer {
        for row in 0..plan.windows.rows() {
            let start = (block * shape[place] + plan.windows.step_of(row)) * inner;
            out.extend_from_slice(&values[start..start + inner]);
        }
    }
    out
}

/// Which variables come out: those that the user or the model names, else those that went in
/// where as many fields come out, else one for each channel.
fn drafts(
    input: &Dataset,
    plan: &Plan,
    loaded: &Loaded,
    options: &Options,
) -> Result<Vec<Draft>, InferError> {
    let channels: Vec<(usize, usize)> = plan
        .outputs
        .iter()
        .enumerate()
        .flat_map(|(output, port)| (0..port.channels).map(move |channel| (output, channel)))
        .collect();
    let names = match options.outputs.as_slice() {
        [] => words(loaded.model.metadata().get("mizar.outputs")),
        names => names.to_vec(),
    };
    let fill = |mut attributes: Attributes| {
        attributes.set("_FillValue", FILL);
        attributes
    };
    let plain = |name: String, units: Option<&str>, (output, channel): (usize, usize)| {
        let mut attributes = Attributes::default();
        if let Some(units) = units {
            attributes.set("units", units);
        }
        Draft {
            name,
            output,
            channels: channel..channel + 1,
            levels: Vec::new(),
            attributes: fill(attributes),
        }
    };
    if !names.is_empty() {
        if names.len() != channels.len() {
            return Err(InferError::Unfit(format!(
                "{} names for outputs, but {} channels come out",
                names.len(),
                channels.len()
            )));
        }
        let named = names
            .iter()
            .zip(channels)
            .map(|(name, channel)| match name.split_once(':') {
                Some((name, units)) => plain(name.to_owned(), Some(units), channel),
                None => plain(name.clone(), None, channel),
            });
        return Ok(named.collect());
    }
    // What several inputs take are seldom the same fields as come out.
    let is_alike = plan.inputs.len() == 1 && channels.len() == plan.fields.channels();
    if plan.outputs.len() == 1 && is_alike {
        let mut next = 0;
        let same = plan.fields.variables.iter().map(|field| {
            let mut attributes = input.variables[field.variable].attributes.clone();
            attributes.drop_storage();
            let channels = next..next + field.level_count;
            next = channels.end;
            Draft {
                name: field.name.clone(),
                output: 0,
                channels,
                levels: field.levels.clone(),
                attributes: fill(attributes),
            }
        });
        return Ok(same.collect());
    }
    let numbered = channels.into_iter().map(|(output, channel)| {
        let port = &plan.outputs[output];
        let name = sound_name(&port.name);
        let name = match port.channels {
            1 => name,
            _ => format!("{name}_{}", channel + 1),
        };
        plain(name, None, (output, channel))
    });
    Ok(numbered.collect())
}

/// Names of outputs may be anything (`model/head:0`); those of variables may not.
fn sound_name(name: &str) -> String {
    let sound = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(sound).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name,
        _ => format!("output_{name}"),
    }
}

/// The input's, and what was done with it.
fn attributes(input: &Dataset, plan: &Plan, loaded: &Loaded, options: &Options) -> Attributes {
    let mut attributes = input.attributes.clone();
    attributes.begin_history(&options.history);
    let mut set = |name: &str, value: String| attributes.set(name, AttrValue::from(value));
    set("mizar_model", loaded.file_name.clone());
    set("mizar_model_sha256", loaded.digest.clone());
    set("mizar_backend", loaded.model.backend().to_owned());
    let (rows, columns) = options.halo;
    let blend = match rows + columns {
        0 => String::new(),
        _ => format!(", halo of {rows} x {columns} cells, blended"),
    };
    set("mizar_window", plan.describe() + &blend);
    attributes
}
