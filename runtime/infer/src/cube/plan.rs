//! How a model is moved over fields: everything that is known before the first field is read.

use std::ops::Range;
use std::path::Path;

use mizar_array::storage::Source;

use super::feed::{InputPort, Inputs, agreed, too_short};
use super::field::Fields;
use super::layout::{Layout, Role};
use super::margin::Cells;
use super::steps::Windows;
use super::tiling::Tiling;
use super::{InferError, Options};
use crate::{Model, Scaling};

/// Numbers of a batch that is chosen here: what stays in a processor's cache.
const BATCH_NUMBERS: usize = 1 << 16;

/// Items of a batch that is chosen here.
const BATCH_MAX: usize = 4096;

/// Numbers that a unit of work holds of inputs and outputs.
const UNIT_NUMBERS: usize = 1 << 23;

/// Units that a rank computes before it meets the others, which evens out what one takes longer.
const UNITS_TOGETHER_MAX: usize = 8;

/// How often ranks meet if there are enough units.
const MEETINGS_MIN: usize = 8;

/// Units that there should be, so that ranks have something to share.
const UNITS_MIN: usize = 64;

/// How a model is moved over fields. The same on every rank.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) fields: Fields,
    pub(crate) inputs: Vec<InputPort>,
    pub(crate) rows: Tiling,
    pub(crate) columns: Tiling,
    pub(crate) windows: Windows,
    /// Items of a run; always so many if the model says so.
    pub(crate) batch: usize,
    pub(crate) is_batch_fixed: bool,
    /// Mean and spread of each channel.
    pub(crate) scales: Vec<(f64, f64)>,
    pub(crate) outputs: Vec<OutputPort>,
    /// Whether each cell of the output is filled by one item alone.
    pub(crate) is_disjoint: bool,
}

/// An output of the model.
#[derive(Clone, Debug)]
pub(crate) struct OutputPort {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    /// Without steps that lie in the channels.
    pub(crate) channels: usize,
    pub(crate) scales: Vec<(f64, f64)>,
}

/// A part of the output that is computed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Steps of the output.
    pub(crate) steps: Range<usize>,
    /// Rows of the grid.
    pub(crate) rows: Range<usize>,
}

impl Plan {
    /// Compares the model with the file and the options; runs it once on zeros to see what comes
    /// out.
    pub(crate) fn new(
        source: &Source,
        model: &mut dyn Model,
        options: &Options,
    ) -> Result<Self, InferError> {
        let Inputs {
            fields,
            ports: inputs,
            steps: steps_in,
        } = Inputs::new(source, model, options)?;
        let tile = |role, len, asked| tile(role, &inputs, len, asked);
        let (tile_rows, tile_columns) = (
            tile(Role::Rows, fields.height, options.tile.map(|tile| tile.0))?,
            tile(Role::Columns, fields.width, options.tile.map(|tile| tile.1))?,
        );
        let has_tiles = inputs.iter().any(|port| port.layout.has(Role::Rows));
        let (halo_rows, halo_columns) = if has_tiles { options.halo } else { (0, 0) };
        let no_tiles = |tile: usize, halo: usize| {
            move || {
                InferError::Unfit(format!(
                    "tiles of {tile} cells have nothing left between halos of {halo}: the halo \
                     must be less than half of the tile"
                ))
            }
        };
        let rows = Tiling::new(fields.height, tile_rows, halo_rows, false)
            .ok_or_else(no_tiles(tile_rows, halo_rows))?;
        let wraps = options.wrap && has_tiles;
        let columns = Tiling::new(fields.width, tile_columns, halo_columns, wraps)
            .ok_or_else(no_tiles(tile_columns, halo_columns))?;
        let fixed = agreed(inputs.iter(), Role::Items, "items")?;
        let has_items = inputs.iter().all(|port| port.layout.has(Role::Items));
        let (batch, is_batch_fixed) = match (has_items, fixed) {
            (false, None | Some(1)) => (1, true),
            (false, Some(fixed)) => {
                return Err(InferError::Unfit(format!(
                    "an input of the model has items one by one, another takes {fixed} at once"
                )));
            }
            (true, Some(fixed)) => (fixed, true),
            (true, None) => {
                let item = steps_in * fields.channels() * tile_rows * tile_columns;
                let chosen = (BATCH_NUMBERS / item.max(1)).clamp(1, BATCH_MAX);
                (options.batch.unwrap_or(chosen).max(1), false)
            }
        };
        let scaling = match &options.normalise {
            Some(scaling) => Some(scaling.clone()),
            None => Scaling::of_model(model.metadata(), "mizar.normalise")?,
        };
        let channels = fields.channels();
        let scales = match scaling {
            Some(scaling) => scaling.for_channels(channels, "normalisation of the input")?,
            None => vec![(0.0, 1.0); channels],
        };
        let mut plan = Self {
            windows: Windows::new(fields.steps, steps_in, steps_in, steps_in, options.align)
                .ok_or_else(|| too_short(fields.steps, steps_in))?,
            fields,
            inputs,
            rows,
            columns,
            batch,
            is_batch_fixed,
            scales,
            outputs: Vec::new(),
            is_disjoint: false,
        };
        plan.probe(model, options)?;
        plan.is_disjoint =
            plan.windows.is_disjoint() && plan.rows.is_disjoint() && plan.columns.is_disjoint();
        Ok(plan)
    }

    /// The shape of a batch for an input.
    pub(crate) fn input_shape(&self, port: &InputPort, items: usize) -> Vec<usize> {
        self.input_shape_of(port, items, [self.rows.tile, self.columns.tile])
    }

    /// The same for tiles of this size.
    pub(super) fn input_shape_of(&self, port: &InputPort, items: usize, tile: Cells) -> Vec<usize> {
        let channels = port.channels.len();
        port.layout.shape(|role| match role {
            Role::Items => items,
            Role::Steps => port.steps,
            Role::Channels if port.layout.has(Role::Steps) => channels,
            Role::Channels => port.steps * channels,
            Role::Rows => tile[0],
            Role::Columns => tile[1],
        })
    }

    /// The shape of an output for a batch.
    pub(crate) fn output_shape(&self, output: &OutputPort, items: usize) -> Vec<usize> {
        output.layout.shape(|role| match role {
            Role::Items => items,
            Role::Steps => self.windows.steps_out,
            Role::Channels => output.channels,
            Role::Rows => self.rows.given(),
            Role::Columns => self.columns.given(),
        })
    }

    /// That of the input with most dimensions, the first of them.
    pub(super) fn main_layout(&self) -> &Layout {
        let layouts = self.inputs.iter().map(|port| &port.layout);
        let longest = layouts.reduce(|most, layout| match layout.len() > most.len() {
            true => layout,
            false => most,
        });
        // A plan has one input at least.
        longest.unwrap_or(&self.inputs[0].layout)
    }

    pub(super) fn scale_outputs(
        &mut self,
        model: &dyn Model,
        options: &Options,
    ) -> Result<(), InferError> {
        let scaling = match &options.denormalise {
            Some(scaling) => Some(scaling.clone()),
            None => Scaling::of_model(model.metadata(), "mizar.denormalise")?,
        };
        let total = self.outputs.iter().map(|output| output.channels).sum();
        let mut scales = match scaling {
            Some(scaling) => scaling.for_channels(total, "denormalisation of the output")?,
            None => vec![(0.0, 1.0); total],
        };
        for output in &mut self.outputs {
            output.scales = scales.drain(..output.channels).collect();
        }
        Ok(())
    }

    /// All units, in the order of the output. They depend on the file, the model and the options
    /// alone, never on the number of ranks: a batch holds the same items on any number.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let bands = self.bands();
        let in_band = self.rows.touching(&bands[0]).len() * self.columns.count();
        let cells = self.fields.width * bands[0].len();
        let outputs: usize = self.outputs.iter().map(|output| output.channels).sum();
        let in_memory = UNIT_NUMBERS / (cells * (self.fields.channels() + outputs)).max(1);
        let windows = self
            .batch
            .div_ceil(in_band.max(1))
            .min(self.windows.count().div_ceil(UNITS_MIN))
            .min(in_memory)
            .max(1);
        let firsts: Vec<usize> = (0..self.windows.count()).step_by(windows).collect();
        let mut units = Vec::new();
        for (index, &first) in firsts.iter().enumerate() {
            let next = firsts.get(index + 1).map(|&next| self.windows.row(next));
            let steps = self.windows.row(first)..next.unwrap_or(self.windows.rows());
            units.extend(bands.iter().map(|rows| Unit {
                steps: steps.clone(),
                rows: rows.clone(),
            }));
        }
        units
    }

    /// How many of the units a rank computes before it meets the others: what one unit may hold,
    /// and not so many that nobody hears of them for long.
    pub(crate) fn units_together(&self, units: &[Unit], ranks: usize) -> usize {
        let outputs: usize = self.outputs.iter().map(|output| output.channels).sum();
        let numbers =
            |unit: &Unit| unit.steps.len() * unit.rows.len() * self.fields.width * outputs;
        let largest = units.iter().map(numbers).max().unwrap_or(1);
        let in_memory = UNIT_NUMBERS / largest.max(1);
        let meetings = units.len() / (ranks * MEETINGS_MIN);
        in_memory.min(meetings).clamp(1, UNITS_TOGETHER_MAX)
    }

    /// Rows that are computed together: all, unless they are too many.
    fn bands(&self) -> Vec<Range<usize>> {
        let outputs: usize = self.outputs.iter().map(|output| output.channels).sum();
        let (steps_in, steps_out) = (self.windows.steps_in, self.windows.steps_out);
        let row = self.fields.width * (self.fields.channels() * steps_in + outputs * steps_out);
        let most = (UNIT_NUMBERS / row.max(1)).max(1);
        let height = self.fields.height;
        // Whole tiles, of which only those at the edges are computed twice.
        let rows = match most / self.rows.tile {
            0 => self.rows.tile,
            tiles => tiles * self.rows.tile,
        };
        let starts = (0..height).step_by(rows);
        starts
            .map(|start| start..(start + rows).min(height))
            .collect()
    }

    /// The window in words, for the attributes of the output.
    pub(crate) fn describe(&self) -> String {
        let inputs = self.inputs.iter();
        let inputs: Vec<String> = match self.inputs.len() {
            1 => inputs.map(|port| port.layout.to_string()).collect(),
            _ => inputs
                .map(|port| format!("{} {}", port.name, port.layout))
                .collect(),
        };
        let mut text = format!("{} of {}", inputs.join(", "), self.windows.steps_in);
        text.push_str(if self.windows.steps_in == 1 {
            " step"
        } else {
            " steps"
        });
        if self.main_layout().has(Role::Rows) {
            let (rows, columns) = (self.rows.tile, self.columns.tile);
            text.push_str(&format!(", tiles of {rows} x {columns} cells"));
            let (given_rows, given_columns) = (self.rows.given(), self.columns.given());
            if (given_rows, given_columns) != (rows, columns) {
                text.push_str(&format!(" that give {given_rows} x {given_columns}"));
            }
        }
        text
    }
}

fn tile(
    role: Role,
    inputs: &[InputPort],
    length: usize,
    asked: Option<usize>,
) -> Result<usize, InferError> {
    if !inputs.iter().any(|port| port.layout.has(role)) {
        return Ok(1);
    }
    let what = match role {
        Role::Rows => "rows",
        _ => "columns",
    };
    match (agreed(inputs.iter(), role, what)?, asked) {
        (Some(own), Some(asked)) if own != asked => Err(InferError::Unfit(format!(
            "--tile asks for {asked} cells, but the model takes {own}"
        ))),
        (Some(own), _) => Ok(own),
        (None, Some(asked)) => Ok(asked),
        (None, None) => Ok(length),
    }
}

/// Words between commas.
pub(crate) fn words(text: Option<&String>) -> Vec<String> {
    let words = text.into_iter().flat_map(|text| text.split(','));
    let words = words.map(|word| word.trim().to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// Whether two names are of one file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}
