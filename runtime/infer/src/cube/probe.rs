//! What a model gives: seen by a run on zeros before the first field is read.

use super::feed::agreed;
use super::layout::{Layout, Role};
use super::margin::{Cells, margin};
use super::plan::{OutputPort, Plan};
use super::steps::Windows;
use super::{InferError, Options};
use crate::{Model, ModelError, Tensor, Values};

/// What the user or the model says of outputs.
struct Asked {
    layout: Option<Layout>,
    margin: Option<Cells>,
}

impl Asked {
    fn new(model: &dyn Model, options: &Options) -> Result<Self, InferError> {
        let of_model = |key: &str| model.metadata().get(key);
        let layout = match (&options.output_layout, of_model("mizar.output_layout")) {
            (Some(layout), _) => Some(layout.clone()),
            (None, Some(text)) => Some(Layout::parse(text)?),
            (None, None) => None,
        };
        let margin = match (options.margin, of_model("mizar.margin")) {
            (Some((rows, columns)), _) => Some([rows, columns]),
            (None, Some(text)) => Some(cells(text)?),
            (None, None) => None,
        };
        Ok(Self { layout, margin })
    }
}

impl Plan {
    /// A batch of zeros goes in: what comes out has the shapes of all that will.
    pub(super) fn probe(
        &mut self,
        model: &mut dyn Model,
        options: &Options,
    ) -> Result<(), InferError> {
        let items = if self.is_batch_fixed { self.batch } else { 1 };
        let outputs = self.run_zeros(model, items, [self.rows.tile, self.columns.tile])?;
        let asked = Asked::new(model, options)?;
        let mut first: Option<(usize, Cells)> = None;
        for (index, output) in outputs.iter().enumerate() {
            let (port, steps, margin) = self.look_at(model, &asked, items, index, output)?;
            let (all_steps, all_margins) = *first.get_or_insert((steps, margin));
            if all_steps != steps {
                return Err(odd(&port.name, output, "all outputs must have as many steps").into());
            }
            if all_margins != margin {
                let expected = "all outputs must be of the same cells of a tile";
                return Err(odd(&port.name, output, expected).into());
            }
            self.outputs.push(port);
        }
        let (steps_out, margins) = first.unwrap_or((1, [0, 0]));
        self.cut(margins)?;
        let length = self.fields.steps;
        let (steps_in, stride) = (self.windows.steps_in, options.stride.unwrap_or(steps_out));
        let windows = Windows::new(length, steps_in, steps_out, stride, options.align);
        self.windows = windows.ok_or_else(|| {
            InferError::Unfit(format!(
                "the model makes {steps_out} steps of {steps_in}: as many or fewer are needed"
            ))
        })?;
        self.scale_outputs(model, options)
    }

    /// What an output is, how many steps it has, and which margin it lacks.
    fn look_at(
        &self,
        model: &mut dyn Model,
        asked: &Asked,
        items: usize,
        index: usize,
        output: &Tensor,
    ) -> Result<(OutputPort, usize, Cells), InferError> {
        let name = model.outputs().get(index).map(|port| port.name.clone());
        let name = name.unwrap_or_default();
        let shape = output.shape();
        let usual = || self.main_layout().of_output(shape.len());
        let layout = asked.layout.clone().or_else(usual);
        let layout = layout.filter(|layout| layout.len() == shape.len());
        let unknown = "say what its dimensions are with --output-layout";
        let layout = layout.ok_or_else(|| odd(&name, output, unknown))?;
        let length = |role: Role| layout.length(role, shape).unwrap_or(1);
        if length(Role::Items) != items {
            let expected = format!("as {layout} it must keep the {items} items that go in");
            return Err(odd(&name, output, &expected).into());
        }
        let tile = [self.rows.tile, self.columns.tile];
        let found = [Role::Rows, Role::Columns].map(length);
        let larger = |more| self.run_larger(model, items, (index, &layout), more);
        let margin = margin(tile, found, asked.margin, larger);
        let margin =
            margin.map_err(|wrong| odd(&name, output, &format!("as {layout}, {wrong}")))?;
        let port = OutputPort {
            name,
            channels: length(Role::Channels),
            layout: layout.clone(),
            scales: Vec::new(),
        };
        Ok((port, length(Role::Steps), margin))
    }

    /// What comes out of a batch of zeros.
    fn run_zeros(
        &self,
        model: &mut dyn Model,
        items: usize,
        tile: Cells,
    ) -> Result<Vec<Tensor>, ModelError> {
        let inputs = self.inputs.iter().map(|port| {
            let shape = self.input_shape_of(port, items, tile);
            let zeros = Values::F32(vec![0.0; shape.iter().product()]);
            Tensor::new(shape, zeros.cast(port.element_type))
        });
        model.run(&inputs.collect::<Result<Vec<_>, _>>()?)
    }

    /// What comes out of a tile of so many cells more, where the model leaves its size free.
    fn run_larger(
        &self,
        model: &mut dyn Model,
        items: usize,
        output: (usize, &Layout),
        more: Cells,
    ) -> Option<(Cells, Cells)> {
        let is_free = |role| {
            let fixed = agreed(self.inputs.iter(), role, "cells");
            fixed.is_ok_and(|fixed| fixed.is_none())
        };
        if !is_free(Role::Rows) || !is_free(Role::Columns) {
            return None;
        }
        let tile = [self.rows.tile + more[0], self.columns.tile + more[1]];
        let outputs = self.run_zeros(model, items, tile).ok()?;
        let shape = outputs.get(output.0)?.shape();
        let length = |role| output.1.length(role, shape);
        Some((tile, [length(Role::Rows)?, length(Role::Columns)?]))
    }

    /// Tiles of which these cells are seen but do not come out.
    fn cut(&mut self, margins: Cells) -> Result<(), InferError> {
        let nothing = || {
            InferError::Unfit(format!(
                "tiles of {}x{} cells have nothing left between halos and the {}x{} cells at each \
                 edge that the model does not give: take less halo or larger tiles",
                self.rows.tile, self.columns.tile, margins[0], margins[1]
            ))
        };
        let rows = self.rows.with_margin(margins[0]).ok_or_else(nothing)?;
        let columns = self.columns.with_margin(margins[1]).ok_or_else(nothing)?;
        (self.rows, self.columns) = (rows, columns);
        Ok(())
    }
}

fn odd(name: &str, output: &Tensor, expected: &str) -> ModelError {
    ModelError::Output {
        name: name.to_owned(),
        found: format!("of shape {:?}", output.shape()),
        expected: expected.to_owned(),
    }
}

/// `CELLS` or `ROWSxCOLUMNS` of the model.
fn cells(text: &str) -> Result<Cells, InferError> {
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let cells = match text.split_once('x') {
        Some((rows, columns)) => number(rows).zip(number(columns)),
        None => number(text).map(|both| (both, both)),
    };
    let (rows, columns) = cells.ok_or_else(|| {
        InferError::Unfit(format!(
            "`mizar.margin` in the model: `{text}` is not CELLS or ROWSxCOLUMNS"
        ))
    })?;
    Ok([rows, columns])
}
