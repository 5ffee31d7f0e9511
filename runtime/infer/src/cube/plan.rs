//! How a model is moved over fields: everything that is known before the first field is read.

use std::ops::Range;
use std::path::Path;

use mizar_array::storage::Source;

use super::field::Fields;
use super::layout::{Layout, Role};
use super::steps::Windows;
use super::tiling::Tiling;
use super::{InferError, Options};
use crate::{ElementType, Model, ModelError, Scaling, Tensor, Values};

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
    pub(crate) layout: Layout,
    pub(crate) element_type: ElementType,
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
        let [port] = model.inputs() else {
            return Err(InferError::Unfit(format!(
                "the model has {} inputs; over cubes it may have one, whose channels are the \
                 variables",
                model.inputs().len()
            )));
        };
        let (element_type, port_name) = (port.element_type, port.name.clone());
        let shape = port.shape.clone().unwrap_or_default();
        let layout = input_layout(model, &shape, &port_name, options)?;
        let names = match options.variables.as_slice() {
            [] => words(model.metadata().get("mizar.variables")),
            names => names.to_vec(),
        };
        let fields = Fields::new(source, &names, layout.has(Role::Rows))?;
        let steps_in = steps_in(&layout, &shape, &fields, options)?;
        let tile = |role, len, asked| tile(role, &layout, &shape, len, asked);
        let (tile_rows, tile_columns) = (
            tile(Role::Rows, fields.height, options.tile.map(|tile| tile.0))?,
            tile(Role::Columns, fields.width, options.tile.map(|tile| tile.1))?,
        );
        let has_tiles = layout.has(Role::Rows);
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
        let fixed = layout.length(Role::Items, &shape).flatten();
        let (batch, is_batch_fixed) = match (layout.has(Role::Items), fixed) {
            (false, _) => (1, true),
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
            layout,
            element_type,
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

    /// The shape of a batch of inputs.
    pub(crate) fn input_shape(&self, items: usize) -> Vec<usize> {
        let channels = self.fields.channels();
        let steps = self.windows.steps_in;
        self.layout.shape(|role| match role {
            Role::Items => items,
            Role::Steps => steps,
            Role::Channels if self.layout.has(Role::Steps) => channels,
            Role::Channels => steps * channels,
            Role::Rows => self.rows.tile,
            Role::Columns => self.columns.tile,
        })
    }

    /// The shape of an output for a batch.
    pub(crate) fn output_shape(&self, output: &OutputPort, items: usize) -> Vec<usize> {
        output.layout.shape(|role| match role {
            Role::Items => items,
            Role::Steps => self.windows.steps_out,
            Role::Channels => output.channels,
            Role::Rows => self.rows.tile,
            Role::Columns => self.columns.tile,
        })
    }

    /// A batch of zeros goes in: what comes out has the shapes of all that will.
    fn probe(&mut self, model: &mut dyn Model, options: &Options) -> Result<(), InferError> {
        let items = if self.is_batch_fixed { self.batch } else { 1 };
        let shape = self.input_shape(items);
        let zeros = Values::F32(vec![0.0; shape.iter().product()]).cast(self.element_type);
        let outputs = model.run(&[Tensor::new(shape, zeros)?])?;
        let asked = match &options.output_layout {
            Some(layout) => Some(layout.clone()),
            None => {
                let text = model.metadata().get("mizar.output_layout");
                text.map(|text| Layout::parse(text)).transpose()?
            }
        };
        let mut steps_out = None;
        for (port, output) in model.outputs().iter().zip(&outputs) {
            let shape = output.shape();
            let odd = |expected: String| ModelError::Output {
                name: port.name.clone(),
                found: format!("of shape {shape:?}"),
                expected,
            };
            let usual = || self.layout.of_output(shape.len());
            let layout = asked.clone().or_else(usual);
            let layout = layout
                .filter(|layout| layout.len() == shape.len())
                .ok_or_else(
                    || odd("say what its dimensions are with --output-layout".to_owned()),
                )?;
            let length = |role: Role| layout.length(role, shape);
            let steps = length(Role::Steps).unwrap_or(1);
            if *steps_out.get_or_insert(steps) != steps {
                return Err(odd("all outputs must have as many steps".to_owned()).into());
            }
            let tile = [
                (Role::Rows, self.rows.tile),
                (Role::Columns, self.columns.tile),
            ];
            let fits = |(role, tile): (Role, usize)| length(role).unwrap_or(1) == tile;
            let keeps_items = length(Role::Items).unwrap_or(1) == items;
            if !tile.into_iter().all(fits) || !keeps_items {
                let (rows, columns) = (self.rows.tile, self.columns.tile);
                let expected = format!(
                    "as {layout} it must keep the {items} items and the tiles of {rows} rows and \
                     {columns} columns that go in"
                );
                return Err(odd(expected).into());
            }
            self.outputs.push(OutputPort {
                name: port.name.clone(),
                channels: length(Role::Channels).unwrap_or(1),
                layout,
                scales: Vec::new(),
            });
        }
        let steps_out = steps_out.unwrap_or(1);
        let steps_in = self.windows.steps_in;
        let stride = options.stride.unwrap_or(steps_out);
        self.windows = Windows::new(
            self.fields.steps,
            steps_in,
            steps_out,
            stride,
            options.align,
        )
        .ok_or_else(|| {
            InferError::Unfit(format!(
                "the model makes {steps_out} steps of {steps_in}: as many or fewer are needed"
            ))
        })?;
        self.scale_outputs(model, options)
    }

    fn scale_outputs(&mut self, model: &dyn Model, options: &Options) -> Result<(), InferError> {
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
        let mut text = format!("{} of {}", self.layout, self.windows.steps_in);
        text.push_str(if self.windows.steps_in == 1 {
            " step"
        } else {
            " steps"
        });
        if self.layout.has(Role::Rows) {
            let (rows, columns) = (self.rows.tile, self.columns.tile);
            text.push_str(&format!(", tiles of {rows} x {columns} cells"));
        }
        text
    }
}

fn too_short(found: usize, steps: usize) -> InferError {
    InferError::Unfit(format!(
        "the input has {found} steps, but a window of the model has {steps}"
    ))
}

fn input_layout(
    model: &dyn Model,
    shape: &[Option<usize>],
    port: &str,
    options: &Options,
) -> Result<Layout, InferError> {
    let layout = match (&options.layout, model.metadata().get("mizar.layout")) {
        (Some(layout), _) => Some(layout.clone()),
        (None, Some(text)) => Some(Layout::parse(text)?),
        (None, None) => Layout::usual(shape.len()),
    };
    let layout = layout.ok_or_else(|| {
        InferError::Unfit(format!(
            "input `{port}` has {} dimensions: say what they are with --layout",
            shape.len()
        ))
    })?;
    if layout.len() != shape.len() {
        return Err(InferError::Unfit(format!(
            "layout {layout} has {} letters, but input `{port}` has {} dimensions",
            layout.len(),
            shape.len()
        )));
    }
    Ok(layout)
}

/// Steps of a window: as the model or the user says.
fn steps_in(
    layout: &Layout,
    shape: &[Option<usize>],
    fields: &Fields,
    options: &Options,
) -> Result<usize, InferError> {
    let channels = fields.channels();
    let wanted = layout.length(Role::Channels, shape).unwrap_or(Some(1));
    // Channels that are too many are not taken for steps: that would be a guess.
    let of_model = layout.length(Role::Steps, shape).flatten();
    let steps = match (of_model, options.steps) {
        (Some(own), Some(asked)) if own != asked => {
            return Err(InferError::Unfit(format!(
                "--steps {asked}, but the model takes {own}"
            )));
        }
        (Some(steps), _) | (None, Some(steps)) => steps,
        (None, None) if layout.has(Role::Steps) => {
            return Err(InferError::Unfit(
                "the model takes any number of steps: say how many with --steps".to_owned(),
            ));
        }
        (None, None) => 1,
    };
    let found = if layout.has(Role::Steps) {
        channels
    } else {
        steps * channels
    };
    if wanted.is_some_and(|wanted| wanted != found) || steps == 0 {
        let names: Vec<&str> = fields.variables.iter().map(|f| f.name.as_str()).collect();
        return Err(InferError::Unfit(format!(
            "the model takes {} channels, but {} with all levels make {found}: choose with \
             --variables and --steps",
            wanted.unwrap_or(0),
            names.join(", ")
        )));
    }
    if steps > fields.steps {
        return Err(too_short(fields.steps, steps));
    }
    Ok(steps)
}

fn tile(
    role: Role,
    layout: &Layout,
    shape: &[Option<usize>],
    length: usize,
    asked: Option<usize>,
) -> Result<usize, InferError> {
    let Some(of_model) = layout.length(role, shape) else {
        return Ok(1);
    };
    match (of_model, asked) {
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
