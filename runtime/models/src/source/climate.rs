//! What a forecast is worth that takes no model: persistence and climatology.

use mizar_array::Computed;
use mizar_array::dataset::Axis;
use mizar_array::time_axis::{Calendar, TimeAxis, TimeError, TimeUnits};

use super::cube::{Cube, interleaved};
use super::series::Series;
use super::windows::{Fields, Windows};
use super::{Baseline, Data, DataError};
use crate::header::{Channel, Reference};

/// The month of each step. Without a time axis that can be understood all are one, unless
/// anomalies need them.
pub(crate) fn months(
    origin: &str,
    computed: &Computed,
    variable: &str,
    steps: usize,
    are_needed: bool,
) -> Result<Vec<u8>, DataError> {
    match axis(computed, variable).and_then(|axis| axis.map_or(Ok(Vec::new()), |axis| axis.dates()))
    {
        Ok(dates) if dates.len() == steps => Ok(dates.iter().map(|date| date.month).collect()),
        Err(source) if are_needed => Err(DataError::Time {
            origin: origin.to_owned(),
            source,
        }),
        _ => Ok(vec![1; steps]),
    }
}

/// The time axis of a variable; `None` if it has no coordinate.
pub(crate) fn axis(computed: &Computed, variable: &str) -> Result<Option<TimeAxis>, TimeError> {
    let dataset = computed.dataset();
    let time = dataset
        .variable_index(variable)
        .and_then(|index| dataset.coordinate(index, Axis::Time))
        .map(|index| dataset.variables[index].name.clone())
        .unwrap_or_default();
    let Some(time) = computed.values(&time) else {
        return Ok(None);
    };
    let text = |name: &str| time.attributes.get_text(name).unwrap_or_default();
    let calendar = match text("calendar") {
        "" => Calendar::Standard,
        name => name.parse()?,
    };
    let units: TimeUnits = text("units").parse()?;
    Ok(Some(TimeAxis {
        values: time.values.to_vec(),
        units,
        calendar,
    }))
}

/// What came and what the baselines say of all steps, `(step, channel, cell)` in the units of
/// the loss.
pub(super) struct Truths {
    truth: Vec<f32>,
    persistence: Option<Vec<f32>>,
    climatology: Vec<f32>,
}

/// `climatology` gives that of a variable; `None` if it is zero.
pub(super) fn truths(
    data: &Data,
    cube: &Cube,
    outputs: &[Channel],
    climatology: &dyn Fn(&str) -> Option<Vec<f32>>,
) -> Truths {
    let (mut now, mut before, mut usual) = (Vec::new(), Vec::new(), Vec::new());
    let mut channels = outputs.iter();
    for name in &data.targets {
        let series = &cube.series[name];
        let change = series.change(data.lead());
        let mut persisted = series.clone();
        for (value, change) in persisted.values.iter_mut().zip(&change.values) {
            *value -= change;
        }
        let mut mean = Series {
            values: vec![0.0; series.values.len()],
            ..series.clone()
        };
        if let Some(climatology) = climatology(name) {
            mean.subtract(&climatology, &cube.months);
            mean.values.iter_mut().for_each(|value| *value = -*value);
        }
        let mut series = series.clone();
        for (channel, output) in channels.by_ref().take(series.channels).enumerate() {
            // Errors count in units of `std`, whatever they are relative to.
            let offset = match data.relative_to {
                Reference::None => output.mean,
                Reference::Persistence => 0.0,
            };
            for series in [&mut series, &mut persisted, &mut mean] {
                series.normalise(channel, offset, output.std);
            }
        }
        now.push(series);
        before.push(persisted);
        usual.push(mean);
    }
    let is_forecast = data.lead() > 0;
    Truths {
        truth: interleaved(&now),
        persistence: is_forecast.then(|| interleaved(&before)),
        climatology: interleaved(&usual),
    }
}

/// The baselines' forecasts of the samples of a part.
pub(super) fn baselines(windows: &Windows, truths: &Truths) -> Vec<Baseline> {
    let picked = |values: &[f32]| {
        let fields = Fields {
            inputs: Vec::new(),
            targets: values.to_vec(),
            shapes: windows.fields.shapes.clone(),
            identity: String::new(),
            ..*windows.fields
        };
        let view = Windows {
            fields: std::sync::Arc::new(fields),
            places: Vec::new(),
            part: windows.part,
        };
        let mut out = Vec::new();
        for place in &windows.places {
            view.push_target(*place, &mut out);
        }
        out
    };
    let truth = picked(&truths.truth);
    let all = [
        ("persistence", truths.persistence.as_ref()),
        ("climatology", Some(&truths.climatology)),
    ];
    let baseline = |(name, values): (&'static str, Option<&Vec<f32>>)| {
        let forecast = picked(values?);
        let mut truth = truth.clone();
        for (truth, forecast) in truth.iter_mut().zip(&forecast) {
            if forecast.is_nan() {
                *truth = f32::NAN;
            }
        }
        Some(Baseline {
            name,
            forecast,
            truth,
            samples: windows.places.len(),
        })
    };
    all.into_iter().filter_map(baseline).collect()
}
