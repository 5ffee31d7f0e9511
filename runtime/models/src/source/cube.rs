//! From files by way of the array engine to windows: read, joined, operated upon, normalised and
//! cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use mizar_array::dataset::{Axis, Dataset};
use mizar_array::{Computed, Datacube};
use sha2::{Digest as _, Sha256};

use super::climate::{self, months};
use super::series::Series;
use super::windows::{Fields, Windows};
use super::{Data, DataError, Describe, Prepared};
use crate::header::{Channel, Missing, Reference, Sample};

/// The cube as it was read.
pub(super) struct Cube {
    pub(super) origin: String,
    pub(super) series: BTreeMap<String, Series>,
    pub(super) extent: Vec<usize>,
    pub(super) steps: usize,
    pub(super) months: Vec<u8>,
}

/// Where time is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    /// The first step that can be a target.
    pub(super) first: usize,
    /// The first target of validation; the training period is all before.
    pub(super) at: usize,
    /// How many steps there are.
    pub(super) steps: usize,
}

pub(super) fn prepare(data: &Data) -> Result<Prepared, DataError> {
    let mut cube = read(data)?;
    let split = split(data, &cube)?;
    if data.missing == Missing::Refuse {
        cube.series
            .values()
            .try_for_each(|series| refuse_missing(&cube.origin, series))?;
    }
    let mut climatology = BTreeMap::new();
    for series in cube.series.values_mut() {
        let mean = series.climatology(&cube.months, 0..split.at);
        if data.anomalies {
            series.subtract(&mean, &cube.months);
        }
        climatology.insert(series.name.clone(), mean);
    }
    // With anomalies, the climatology of what is left is zero.
    let forecast = |name: &str| match data.anomalies {
        true => None,
        false => climatology.get(name).cloned(),
    };
    let (targets, outputs) = targets(data, &cube, split);
    let truths = climate::truths(data, &cube, &outputs, &forecast);
    let (inputs, channels) = inputs(data, cube.series, split);

    let fields = Arc::new(fields(data, &cube.origin, &cube.extent, inputs, targets));
    let train = windows(&fields, data, "training", split.first..split.at);
    let validation = windows(&fields, data, "validation", split.at..split.steps);
    let baselines = climate::baselines(&validation, &truths);
    let describe = Describe {
        inputs: channels,
        outputs,
        input_shape: fields.shapes[0].clone(),
        target_shape: fields.shapes[1].clone(),
    };
    let size = |mean: &Vec<f32>| vec![12, mean.len() / 12 / fields.cells.max(1), fields.cells];
    let kept = climatology.into_iter().filter(|_| data.anomalies);
    Ok(Prepared {
        train: Arc::new(train),
        validation: (data.validation_share() > 0.0).then(|| Arc::new(validation)),
        describe,
        climatology: kept
            .map(|(name, mean)| (name, (size(&mean), mean)))
            .collect(),
        baselines,
    })
}

/// One pass over the files: the operators are lazy, and what is not asked for is not read.
fn read(data: &Data) -> Result<Cube, DataError> {
    let names = data.files.iter().map(|path| path.display().to_string());
    let origin = names.collect::<Vec<_>>().join(", ");
    let failed = |error: mizar_array::CubeError| DataError::Cube {
        origin: origin.clone(),
        reason: error.chain(),
    };
    let mut files = data.files.iter().map(Datacube::open);
    let mut cube = match (files.next(), &data.join) {
        (Some(first), Some(join)) => first.operator_with(join, files).map_err(failed)?,
        (Some(first), None) => first,
        (None, _) => Datacube::open(""),
    };
    for operator in &data.operators {
        cube = cube.operator(operator).map_err(failed)?;
    }
    let mut wanted: Vec<&str> = data.inputs.iter().map(String::as_str).collect();
    wanted.extend(data.targets.iter().map(String::as_str));
    wanted.sort_unstable();
    wanted.dedup();
    let select = format!("selname,{}", wanted.join(","));
    let computed = cube.operator(&select).and_then(|cube| cube.compute());
    let computed = computed.map_err(failed)?;

    let mut all = BTreeMap::new();
    let mut shape: Option<(String, usize, Vec<usize>)> = None;
    for name in wanted {
        let (series, extent) = series(&origin, &computed, name, data.sample)?;
        let other = shape.get_or_insert_with(|| (name.to_owned(), series.steps, extent.clone()));
        if other.1 != series.steps || other.2 != extent {
            return Err(DataError::Shape {
                origin: origin.clone(),
                name: name.to_owned(),
                found: format!("{} x {extent:?}", series.steps),
                expected: format!("those of `{}`, {} x {:?}", other.0, other.1, other.2),
            });
        }
        all.insert(name.to_owned(), series);
    }
    let (name, steps, extent) = shape.unwrap_or_default();
    let months = months(&origin, &computed, &name, steps, data.anomalies)?;
    Ok(Cube {
        origin,
        series: all,
        extent,
        steps,
        months,
    })
}

/// How a variable is steps, channels and cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) steps: usize,
    pub(crate) channels: usize,
    /// Of a field.
    pub(crate) extent: Vec<usize>,
    pub(crate) units: String,
}

/// Tells the shape of a variable by its dimensions.
pub(crate) fn shape(
    origin: &str,
    dataset: &Dataset,
    name: &str,
    sample: Sample,
) -> Result<Shape, DataError> {
    let index = dataset.variable_index(name);
    let index = index.filter(|&index| !dataset.variables[index].dtype.is_text());
    let index = index.ok_or_else(|| {
        let known = dataset.data_variables().into_iter();
        let known = known.map(|index| dataset.variables[index].name.as_str());
        DataError::NoVariable {
            origin: origin.to_owned(),
            name: name.to_owned(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    })?;
    let (variable, lens) = (&dataset.variables[index], dataset.shape(index));
    let time = dataset.axis_position(index, Axis::Time);
    let (least, expected) = match sample {
        Sample::Field => (3, "(time, levels if any, y, x)"),
        Sample::Cell => (1, "(time, levels if any, cells as one or two dimensions)"),
    };
    if time != Some(0) || lens.len() < least {
        let dimension = |&dim: &usize| dataset.dimensions[dim].name.as_str();
        let dimensions: Vec<&str> = variable.dims.iter().map(dimension).collect();
        return Err(DataError::Shape {
            origin: origin.to_owned(),
            name: name.to_owned(),
            found: format!("{dimensions:?} of {lens:?}"),
            expected: expected.to_owned(),
        });
    }
    let vertical = dataset.axis_position(index, Axis::Level);
    // What is neither time nor level is space; more dimensions before it are channels too.
    let after = vertical.map_or(1, |position| position + 1);
    let begin = after.max(lens.len().saturating_sub(2)).min(lens.len());
    let (before, extent) = lens.split_at(begin);
    let units = variable.attributes.get_text("units");
    Ok(Shape {
        steps: lens[0],
        channels: before[1..].iter().product(),
        extent: extent.to_vec(),
        units: units.unwrap_or_default().to_owned(),
    })
}

/// A variable as steps, channels and cells, and the extent of its fields.
pub(crate) fn series(
    origin: &str,
    computed: &Computed,
    name: &str,
    sample: Sample,
) -> Result<(Series, Vec<usize>), DataError> {
    let shape = shape(origin, computed.dataset(), name, sample)?;
    let values = computed.values(name).map_or(&[] as &[f64], |v| v.values);
    #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
    let series = Series {
        name: name.to_owned(),
        units: shape.units,
        steps: shape.steps,
        channels: shape.channels,
        cells: shape.extent.iter().product(),
        values: values.iter().map(|value| *value as f32).collect(),
    };
    Ok((series, shape.extent))
}

pub(crate) fn refuse_missing(origin: &str, series: &Series) -> Result<(), DataError> {
    let missing = series.values.iter().filter(|value| value.is_nan()).count();
    let Some(first) = series.values.iter().position(|value| value.is_nan()) else {
        return Ok(());
    };
    Err(DataError::Missing {
        origin: origin.to_owned(),
        name: series.name.clone(),
        missing,
        values: series.values.len(),
        step: first / (series.channels * series.cells).max(1),
    })
}

fn split(data: &Data, cube: &Cube) -> Result<Split, DataError> {
    let first = data.lead() + data.history() - 1;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count"
    )]
    let kept = (cube.steps as f64 * data.validation_share()).ceil() as usize;
    let at = cube.steps.saturating_sub(kept);
    if first >= at {
        return Err(DataError::TooFew {
            origin: cube.origin.clone(),
            steps: cube.steps,
            history: data.history(),
            lead: data.lead(),
        });
    }
    Ok(Split {
        first,
        at,
        steps: cube.steps,
    })
}

/// Channels of all steps, normalised.
fn inputs(
    data: &Data,
    mut all: BTreeMap<String, Series>,
    split: Split,
) -> (Vec<Series>, Vec<Channel>) {
    let mut channels = Vec::new();
    let mut list = Vec::new();
    for name in &data.inputs {
        let Some(mut series) = all.remove(name) else {
            continue;
        };
        channels.extend(normalise(&mut series, 0..split.at));
        for value in &mut series.values {
            // Missing values are at the mean.
            *value = if value.is_nan() { 0.0 } else { *value };
        }
        list.push(series);
    }
    (list, channels)
}

fn targets(data: &Data, cube: &Cube, split: Split) -> (Vec<Series>, Vec<Channel>) {
    let mut channels = Vec::new();
    let mut list = Vec::new();
    for name in &data.targets {
        let mut series = match data.relative_to {
            Reference::None => cube.series[name].clone(),
            Reference::Persistence => cube.series[name].change(data.lead()),
        };
        channels.extend(normalise(&mut series, split.first..split.at));
        list.push(series);
    }
    (list, channels)
}

fn normalise(series: &mut Series, steps: std::ops::Range<usize>) -> Vec<Channel> {
    let mut channels = Vec::new();
    for channel in 0..series.channels {
        let (mean, std) = series.moments(channel, steps.clone());
        series.normalise(channel, mean, std);
        channels.push(Channel {
            variable: series.name.clone(),
            channel,
            units: series.units.clone(),
            mean,
            std,
        });
    }
    channels
}

/// All channels of a step beside each other.
pub(crate) fn interleaved(list: &[Series]) -> Vec<f32> {
    let steps = list.first().map_or(0, |series| series.steps);
    let mut values = Vec::with_capacity(list.iter().map(|series| series.values.len()).sum());
    for step in 0..steps {
        for series in list {
            let size = series.channels * series.cells;
            values.extend_from_slice(&series.values[step * size..(step + 1) * size]);
        }
    }
    values
}

fn fields(
    data: &Data,
    origin: &str,
    extent: &[usize],
    inputs: Vec<Series>,
    targets: Vec<Series>,
) -> Fields {
    let count = |list: &[Series]| list.iter().map(|series| series.channels).sum::<usize>();
    let (input_channels, target_channels) = (count(&inputs), count(&targets));
    let (inputs, targets) = (interleaved(&inputs), interleaved(&targets));
    let mut hash = Sha256::new();
    for value in inputs.iter().chain(&targets) {
        hash.update(value.to_le_bytes());
    }
    let digest = mizar_core::hex(hash.finalize());
    let history = data.history();
    let shapes = match data.sample {
        Sample::Field => [input_channels * history, target_channels]
            .map(|channels| std::iter::once(&channels).chain(extent).copied().collect()),
        Sample::Cell => [vec![history, input_channels], vec![target_channels]],
    };
    Fields {
        inputs,
        targets,
        input_channels,
        target_channels,
        cells: extent.iter().product(),
        sample: data.sample,
        history,
        lead: data.lead(),
        shapes,
        identity: format!("{origin} sha256:{digest}"),
    }
}

/// The samples of some target steps; those without any target are left out.
fn windows(
    fields: &Arc<Fields>,
    data: &Data,
    part: &'static str,
    steps: std::ops::Range<usize>,
) -> Windows {
    let mut windows = Windows {
        fields: Arc::clone(fields),
        places: Vec::new(),
        part,
    };
    let cells = match data.sample {
        Sample::Field => 1,
        Sample::Cell => fields.cells,
    };
    let mut target = Vec::new();
    for step in steps {
        for cell in 0..cells {
            #[allow(clippy::cast_possible_truncation, reason = "what fits in memory")]
            let place = (step as u32, cell as u32);
            target.clear();
            windows.push_target(place, &mut target);
            if target.iter().any(|value| !value.is_nan()) {
                windows.places.push(place);
            }
        }
    }
    windows
}
