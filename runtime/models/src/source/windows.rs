//! Samples as windows in time over fields in memory.

use std::sync::Arc;

use mizar_train::{Array, Batch, Source, SourceError};

use crate::header::Sample;

/// What all windows look into; `(step, channel, cell)` each.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) inputs: Vec<f32>,
    pub(super) targets: Vec<f32>,
    pub(super) input_channels: usize,
    pub(super) target_channels: usize,
    pub(super) cells: usize,
    pub(super) sample: Sample,
    pub(super) history: usize,
    pub(super) lead: usize,
    /// The shape of an input and a target, without the sample.
    pub(super) shapes: [Vec<usize>; 2],
    pub(super) identity: String,
}

/// Some of the samples of a cube.
#[derive(Debug)]
pub struct Windows {
    pub(super) fields: Arc<Fields>,
    /// The step of the target, and with [`Sample::Cell`] the cell.
    pub(super) places: Vec<(u32, u32)>,
    /// Which part of the data.
    pub(super) part: &'static str,
}

impl Windows {
    fn push_input(&self, (step, cell): (u32, u32), out: &mut Vec<f32>) {
        let fields = &*self.fields;
        let size = fields.input_channels * fields.cells;
        let newest = step as usize - fields.lead;
        for step in newest + 1 - fields.history..=newest {
            let values = &fields.inputs[step * size..(step + 1) * size];
            push(values, fields, cell, out);
        }
    }

    pub(super) fn push_target(&self, (step, cell): (u32, u32), out: &mut Vec<f32>) {
        let size = self.fields.target_channels * self.fields.cells;
        let begin = step as usize * size;
        push(
            &self.fields.targets[begin..begin + size],
            &self.fields,
            cell,
            out,
        );
    }
}

/// All of a step, or one cell of each channel.
fn push(values: &[f32], fields: &Fields, cell: u32, out: &mut Vec<f32>) {
    match fields.sample {
        Sample::Field => out.extend_from_slice(values),
        Sample::Cell => out.extend(values.iter().skip(cell as usize).step_by(fields.cells)),
    }
}

impl Source for Windows {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn batch(&self, samples: &[usize]) -> Result<Batch, SourceError> {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for &sample in samples {
            let place = self.places.get(sample).copied();
            let place = place.ok_or_else(|| SourceError {
                sample,
                origin: self.fields.identity.clone(),
                source: format!("there are {} samples", self.places.len()).into(),
            })?;
            self.push_input(place, &mut inputs);
            self.push_target(place, &mut targets);
        }
        let array = |shape: &Vec<usize>, values| Array {
            shape: std::iter::once(&samples.len())
                .chain(shape)
                .copied()
                .collect(),
            values,
        };
        let [input, target] = &self.fields.shapes;
        Ok(Batch {
            inputs: array(input, inputs),
            targets: array(target, targets),
        })
    }

    fn identity(&self) -> String {
        format!("{} {}", self.part, self.fields.identity)
    }
}
