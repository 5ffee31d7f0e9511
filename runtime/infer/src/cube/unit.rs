//! One unit of work: boxes of the input are read, cut into items, run and blended.

use std::ops::Range;

use mizar_array::storage::Source;
use serde::{Deserialize, Serialize};

use super::blend::Blend;
use super::feed::InputPort;
use super::field::Block;
use super::plan::{OutputPort, Plan, Unit};
use super::{InferError, Missing};
use crate::{Model, ModelError, Tensor, Values};

/// Failures that a rank remembers; all are counted.
pub(crate) const FAILURES_KEPT: usize = 100;

/// An item that gave no sound output. Its cells are missing.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Steps of the input, from 0.
    pub steps: Range<usize>,
    /// Rows.
    pub rows: Range<usize>,
    /// The first column and, if the grid wraps, one past the last modulo its width.
    pub columns: (usize, usize),
    /// What went wrong.
    pub reason: String,
}

/// A window along time and a tile.
#[derive(Clone, Copy, Debug)]
struct Item {
    window: usize,
    row: usize,
    column: usize,
}

/// What a unit comes to.
pub(crate) struct Computed {
    /// By output and channel: values by step, row and column.
    pub(crate) values: Vec<Vec<Vec<f32>>>,
    pub(crate) items: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<Failure>,
}

/// Computes a unit.
pub(crate) fn compute(
    plan: &Plan,
    source: &Source,
    model: &mut dyn Model,
    missing: Missing,
    unit: &Unit,
) -> Result<Computed, InferError> {
    let windows = plan.windows.touching(&unit.steps);
    let tile_rows = plan.rows.touching(&unit.rows);
    let block = read(plan, source, &windows, &tile_rows, missing)?;
    let cells = unit.steps.len() * unit.rows.len() * plan.fields.width;
    let sums = plan
        .outputs
        .iter()
        .map(|output| vec![Blend::new(cells, plan.is_disjoint); output.channels]);
    let mut work = Work {
        plan,
        unit,
        mask: Mask::new(plan, &block, missing, &windows),
        has_missing: missing != Missing::Refuse && block.first_missing().is_some(),
        block,
        sums: sums.collect(),
        batches: vec![Vec::new(); plan.inputs.len()],
        items: 0,
        failed: 0,
        failures: Vec::new(),
    };
    let mut batch = Vec::with_capacity(plan.batch);
    for window in windows {
        for &row in &tile_rows {
            for column in 0..plan.columns.count() {
                let item = Item {
                    window,
                    row,
                    column,
                };
                // Nothing is known of it: the model is not asked.
                if work.mask.covers(plan, item) {
                    work.add_missing(item);
                    continue;
                }
                batch.push(item);
                if batch.len() == plan.batch {
                    work.run(model, &batch)?;
                    batch.clear();
                }
            }
        }
    }
    if !batch.is_empty() {
        work.run(model, &batch)?;
    }
    Ok(work.finish())
}

/// Steps and rows that some windows and tiles see.
fn read(
    plan: &Plan,
    source: &Source,
    windows: &Range<usize>,
    tile_rows: &[usize],
    missing: Missing,
) -> Result<Block, InferError> {
    let last = plan.windows.start(windows.end - 1) + plan.windows.steps_in;
    let steps = plan.windows.start(windows.start)..last;
    let spans = tile_rows.iter().map(|&tile| plan.rows.seen(tile));
    let rows = spans.reduce(|all, span| all.start.min(span.start)..all.end.max(span.end));
    let rows = rows.unwrap_or(0..plan.fields.height);
    let mut block = plan.fields.read(source, steps, rows)?;
    match missing {
        Missing::Fill(value) => block.fill(value as f32),
        Missing::Mask => {}
        Missing::Refuse => {
            if let Some((variable, step, row, column)) = block.first_missing() {
                return Err(InferError::Missing {
                    variable: plan.fields.variables[variable].name.clone(),
                    step,
                    row,
                    column,
                });
            }
        }
    }
    Ok(block)
}

/// Cells of windows at which something of the input is missing.
struct Mask {
    first_window: usize,
    rows: Range<usize>,
    width: usize,
    /// By window, row and column; nothing where nothing is missing.
    missing: Vec<bool>,
}

impl Mask {
    fn new(plan: &Plan, block: &Block, missing: Missing, windows: &Range<usize>) -> Self {
        let mut mask = Self {
            first_window: windows.start,
            rows: block.rows.clone(),
            width: plan.fields.width,
            missing: Vec::new(),
        };
        if missing != Missing::Mask || block.first_missing().is_none() {
            return mask;
        }
        mask.missing = vec![false; windows.len() * mask.rows.len() * mask.width];
        for window in windows.clone() {
            let start = plan.windows.start(window);
            for step in start..start + plan.windows.steps_in {
                for row in mask.rows.clone() {
                    let at = mask.row(window, row);
                    for channel in 0..plan.fields.channels() {
                        let values = block.row(step, channel, row);
                        for (missing, value) in mask.missing[at.clone()].iter_mut().zip(values) {
                            *missing |= value.is_nan();
                        }
                    }
                }
            }
        }
        mask
    }

    fn row(&self, window: usize, row: usize) -> Range<usize> {
        let rows = (window - self.first_window) * self.rows.len() + row - self.rows.start;
        rows * self.width..(rows + 1) * self.width
    }

    /// A row of the grid; nothing where nothing is missing.
    fn of_row(&self, window: usize, row: usize) -> Option<&[bool]> {
        let is_any = !self.missing.is_empty();
        is_any.then(|| &self.missing[self.row(window, row)])
    }

    /// Whether all of an item is missing.
    fn covers(&self, plan: &Plan, item: Item) -> bool {
        if self.missing.is_empty() {
            return false;
        }
        let is_missing = |row: usize| {
            let row = self.of_row(item.window, plan.rows.source(item.row, row));
            let mut columns =
                (0..plan.columns.tile).map(|cell| plan.columns.source(item.column, cell));
            row.is_some_and(|row| columns.all(|column| row[column]))
        };
        (0..plan.rows.tile).all(is_missing)
    }
}

/// A unit while it is computed.
struct Work<'a> {
    plan: &'a Plan,
    unit: &'a Unit,
    block: Block,
    mask: Mask,
    /// Whether the block has missing values still.
    has_missing: bool,
    /// By output and channel.
    sums: Vec<Vec<Blend>>,
    /// By input of the model: the numbers of a batch, kept for the next.
    batches: Vec<Vec<f32>>,
    items: u64,
    failed: u64,
    failures: Vec<Failure>,
}

impl Work<'_> {
    /// Runs a batch. If the model fails on it, each of its items alone, so that the one at fault
    /// is known.
    fn run(&mut self, model: &mut dyn Model, batch: &[Item]) -> Result<(), InferError> {
        match self.outputs(model, batch) {
            Ok(outputs) => self.add_all(batch, outputs),
            Err(ModelError::Run { message, .. }) if batch.len() == 1 => {
                self.fail(batch[0], message);
            }
            Err(ModelError::Run { .. }) => {
                for item in batch {
                    self.run(model, std::slice::from_ref(item))?;
                }
            }
            // It would be the same for all.
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn outputs(
        &mut self,
        model: &mut dyn Model,
        batch: &[Item],
    ) -> Result<Vec<Tensor>, ModelError> {
        let plan = self.plan;
        // What is missing of a batch of fixed size stays zero.
        let items = if plan.is_batch_fixed {
            plan.batch
        } else {
            batch.len()
        };
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for (index, port) in plan.inputs.iter().enumerate() {
            let shape = plan.input_shape(port, items);
            let mut values = std::mem::take(&mut self.batches[index]);
            values.resize(shape.iter().product(), 0.0);
            if batch.len() < items {
                values.fill(0.0);
            }
            for (place, item) in batch.iter().enumerate() {
                self.gather(port, *item, place, &shape, &mut values);
            }
            let values = Values::F32(values).cast(port.element_type);
            inputs.push(Tensor::new(shape, values)?);
        }
        let outputs = model.run(&inputs)?;
        for (kept, input) in self.batches.iter_mut().zip(inputs) {
            if let Values::F32(values) = input.into_values() {
                *kept = values;
            }
        }
        for (port, output) in plan.outputs.iter().zip(&outputs) {
            let expected = plan.output_shape(port, items);
            if output.shape() != expected {
                return Err(ModelError::Output {
                    name: port.name.clone(),
                    found: format!("of shape {:?}", output.shape()),
                    expected: format!("it was to be {expected:?}, as in the first run"),
                });
            }
        }
        Ok(outputs)
    }

    /// Brings an item's part of an input of the model into a batch, scaled.
    fn gather(&self, port: &InputPort, item: Item, place: usize, shape: &[usize], out: &mut [f32]) {
        let plan = self.plan;
        let strides = port.layout.strides(shape);
        let channels = port.channels.len();
        let has_steps = strides.step > 0 || port.steps == 1;
        let start = plan.windows.start(item.window);
        for step in 0..port.steps {
            for (channel, of_fields) in port.channels.clone().enumerate() {
                let (mean, spread) = plan.scales[of_fields];
                let is_plain = mean == 0.0 && spread == 1.0;
                let along = match has_steps {
                    true => step * strides.step + channel * strides.channel,
                    false => (step * channels + channel) * strides.channel,
                };
                for row in 0..plan.rows.tile {
                    let from = plan.rows.source(item.row, row);
                    let from = self.block.row(start + step, of_fields, from);
                    let to = place * strides.item + along + row * strides.row;
                    let scaled = |value: f32| match (value.is_nan(), is_plain) {
                        // Only with a mask: the mean stands for it.
                        (true, _) => 0.0,
                        (false, true) => value,
                        (false, false) => ((f64::from(value) - mean) / spread) as f32,
                    };
                    // Cell by cell only where the tile or the layout is not as the row lies.
                    match plan.columns.unbroken(item.column) {
                        Some(columns) if strides.column == 1 => {
                            let (out, from) = (&mut out[to..to + columns.len()], &from[columns]);
                            if is_plain && !self.has_missing {
                                out.copy_from_slice(from);
                                continue;
                            }
                            let cells = out.iter_mut().zip(from);
                            cells.for_each(|(out, &value)| *out = scaled(value));
                        }
                        _ => {
                            for cell in 0..plan.columns.tile {
                                let value = from[plan.columns.source(item.column, cell)];
                                out[to + cell * strides.column] = scaled(value);
                            }
                        }
                    }
                }
            }
        }
    }

    fn add_all(&mut self, batch: &[Item], outputs: Vec<Tensor>) {
        let singles: Vec<(Vec<usize>, Vec<f32>)> = outputs
            .into_iter()
            .map(|output| (output.shape().to_vec(), output.into_values().into_f32()))
            .collect();
        for (place, &item) in batch.iter().enumerate() {
            self.items += u64::from(self.is_own(item));
            let mut odd = 0;
            for (index, (shape, values)) in singles.iter().enumerate() {
                odd += self.add(item, place, index, shape, values);
            }
            if odd > 0 {
                self.note(item, format!("{odd} values of its output are not finite"));
            }
        }
    }

    /// Adds an item's part of an output to the sums; how many values were not finite.
    fn add(
        &mut self,
        item: Item,
        place: usize,
        index: usize,
        shape: &[usize],
        values: &[f32],
    ) -> usize {
        let (plan, unit) = (self.plan, self.unit);
        let port: &OutputPort = &plan.outputs[index];
        let strides = port.layout.strides(shape);
        let mut odd = 0;
        for row in rows_of(plan, unit, item) {
            let mask = self.mask.of_row(item.window, row.of_grid);
            let first = place * strides.item + row.step * strides.step + row.of_tile * strides.row;
            for (channel, sums) in self.sums[index].iter_mut().enumerate() {
                let from = first + channel * strides.channel;
                match plan.columns.unbroken_given(item.column) {
                    Some(columns) if strides.column == 1 => {
                        let values = &values[from..from + columns.len()];
                        let weights = (row.weight, plan.columns.weights());
                        let mask = mask.map(|mask| &mask[columns.clone()]);
                        odd += sums.add_row(row.start + columns.start, values, weights, mask);
                    }
                    _ => {
                        for cell in 0..plan.columns.given() {
                            let Some(column) = plan.columns.target(item.column, cell) else {
                                continue;
                            };
                            let is_masked = mask.is_some_and(|mask| mask[column]);
                            let weight = row.weight * plan.columns.weight(cell);
                            let value = values[from + cell * strides.column];
                            odd += sums.add(row.start + column, value, weight, is_masked);
                        }
                    }
                }
            }
        }
        odd
    }

    /// An item whose output is not known.
    fn add_missing(&mut self, item: Item) {
        let (plan, unit) = (self.plan, self.unit);
        for row in rows_of(plan, unit, item) {
            for cell in 0..plan.columns.given() {
                let Some(column) = plan.columns.target(item.column, cell) else {
                    continue;
                };
                let all = self.sums.iter_mut().flatten();
                all.for_each(|sums| sums.lose(row.start + column));
            }
        }
    }

    /// Items at the edge of two units are computed in both, and counted in the first.
    fn is_own(&self, item: Item) -> bool {
        let (step, row) = (
            self.plan.windows.row(item.window),
            self.plan.rows.span(item.row).start,
        );
        self.unit.steps.start <= step && self.unit.rows.start <= row
    }

    fn fail(&mut self, item: Item, reason: String) {
        self.items += u64::from(self.is_own(item));
        self.add_missing(item);
        self.note(item, reason);
    }

    fn note(&mut self, item: Item, reason: String) {
        if !self.is_own(item) {
            return;
        }
        self.failed += 1;
        if self.failures.len() == FAILURES_KEPT {
            return;
        }
        let plan = self.plan;
        let start = plan.windows.start(item.window);
        let (first, last) = (0, plan.columns.tile - 1);
        self.failures.push(Failure {
            steps: start..start + plan.windows.steps_in,
            rows: plan.rows.seen(item.row),
            columns: (
                plan.columns.source(item.column, first),
                plan.columns.source(item.column, last) + 1,
            ),
            reason,
        });
    }

    fn finish(self) -> Computed {
        let (plan, unit) = (self.plan, self.unit);
        // By step and row, so that nothing is looked up for each cell.
        let mut weights = Vec::new();
        if !plan.is_disjoint {
            for step in unit.steps.clone() {
                let along_time = plan.windows.sum(step);
                weights.extend(unit.rows.clone().map(|row| along_time * plan.rows.sum(row)));
            }
        }
        let columns = plan.columns.sums();
        let outputs = self.sums.into_iter().zip(&plan.outputs);
        let values = outputs.map(|(channels, port)| {
            let channels = channels.into_iter().zip(&port.scales);
            let finish =
                |(sums, scale): (Blend, &(f64, f64))| sums.finish(&weights, columns, *scale);
            channels.map(finish).collect()
        });
        Computed {
            values: values.collect(),
            items: self.items,
            failed: self.failed,
            failures: self.failures,
        }
    }
}

/// A row of an item that lies in the unit.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Of the item's output.
    step: usize,
    /// Its number in what comes out of the tile, and in the grid.
    of_tile: usize,
    of_grid: usize,
    /// Where the grid's row begins in the sums.
    start: usize,
    /// How much the tile counts there, along rows.
    weight: f64,
}

/// The rows of the unit that an item adds to.
fn rows_of<'a>(plan: &'a Plan, unit: &'a Unit, item: Item) -> impl Iterator<Item = Row> + 'a {
    let first = plan.windows.row(item.window);
    let steps =
        (0..plan.windows.steps_out).filter(move |step| unit.steps.contains(&(first + step)));
    steps.flat_map(move |step| {
        let field = (first + step - unit.steps.start) * unit.rows.len();
        (0..plan.rows.given()).filter_map(move |of_tile| {
            let of_grid = plan.rows.target(item.row, of_tile)?;
            unit.rows.contains(&of_grid).then(|| Row {
                step,
                of_tile,
                of_grid,
                start: (field + of_grid - unit.rows.start) * plan.fields.width,
                weight: plan.rows.weight(of_tile),
            })
        })
    })
}
