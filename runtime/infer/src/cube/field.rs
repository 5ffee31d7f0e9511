//! The variables that go into a model: where their time, levels, rows and columns lie, and how
//! boxes of them are read.

use std::ops::Range;

use mizar_array::dataset::{Axis, Dataset};
use mizar_array::storage::Source;

use super::InferError;

/// Variables of one grid and one time axis.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) variables: Vec<Field>,
    /// Dimensions of the dataset.
    pub(crate) time: Option<usize>,
    pub(crate) rows: Option<usize>,
    pub(crate) columns: Option<usize>,
    /// Their lengths; 1 where there is no such dimension.
    pub(crate) steps: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// One variable.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Its index in the dataset.
    pub(crate) variable: usize,
    pub(crate) name: String,
    /// Dimensions between time and rows.
    pub(crate) levels: Vec<usize>,
    /// How many fields they make of a step.
    pub(crate) level_count: usize,
    /// Whether it is the same at every step: it has no time, and others have.
    pub(crate) is_static: bool,
}

impl Fields {
    /// The variables of these names, or all data variables.
    ///
    /// `with_rows`: models that see tiles need rows and columns.
    pub(crate) fn new(
        source: &Source,
        names: &[String],
        with_rows: bool,
    ) -> Result<Self, InferError> {
        let dataset = source.dataset();
        let data = dataset.data_variables();
        let known: Vec<&str> = data
            .iter()
            .map(|&index| dataset.variables[index].name.as_str())
            .collect();
        let chosen: Vec<usize> = match names {
            [] if data.is_empty() => {
                return Err(InferError::no_variable(
                    source.path(),
                    "of any name",
                    &known,
                ));
            }
            [] => data.clone(),
            names => {
                let find = |name: &String| {
                    let index = dataset.variable_index(name);
                    let index = index.filter(|&index| !dataset.variables[index].dtype.is_text());
                    index.ok_or_else(|| InferError::no_variable(source.path(), name, &known))
                };
                names.iter().map(find).collect::<Result<_, _>>()?
            }
        };
        let each = chosen
            .iter()
            .map(|&variable| Self::of_first(dataset, variable, with_rows));
        Self::join(each.collect::<Result<_, _>>()?)
    }

    /// Variables of one grid: those with time share it, those without are the same at each step.
    fn join(each: Vec<Self>) -> Result<Self, InferError> {
        let first = each.iter().find(|fields| fields.time.is_some());
        let Some(mut joined) = first.or(each.first()).cloned() else {
            return Err(InferError::Unfit("no variable was chosen".to_owned()));
        };
        let name = std::mem::take(&mut joined.variables)[0].name.clone();
        for mut other in each {
            let is_static = joined.time.is_some() && other.time.is_none();
            let is_of_time = is_static || other.time == joined.time;
            if !is_of_time || [other.rows, other.columns] != [joined.rows, joined.columns] {
                return Err(InferError::Dimensions {
                    first: name,
                    other: other.variables.swap_remove(0).name,
                });
            }
            let own = other.variables.into_iter();
            let own = own.map(|field| Field { is_static, ..field });
            joined.variables.extend(own);
        }
        Ok(joined)
    }

    fn of_first(dataset: &Dataset, variable: usize, with_rows: bool) -> Result<Self, InferError> {
        let of = &dataset.variables[variable];
        let is_axis = |dim: usize, axis: Axis| {
            let coordinate = dataset.dimension_coordinate(dim);
            coordinate.is_some_and(|coordinate| dataset.axis(coordinate) == Some(axis))
        };
        let is_time = |dim: usize| {
            is_axis(dim, Axis::Time) || dataset.dimensions[dim].name.eq_ignore_ascii_case("time")
        };
        let time = of.dims.first().copied().filter(|&dim| is_time(dim));
        let mut rest = of.dims[usize::from(time.is_some())..].to_vec();
        if rest.iter().any(|&dim| is_time(dim)) {
            return Err(InferError::Unfit(format!(
                "time is not the first dimension of `{}`: put it there, as CF advises",
                of.name
            )));
        }
        let columns = rest.pop();
        let is_row = |dim: &usize| with_rows || !is_axis(*dim, Axis::Level);
        let rows = match rest.last().copied().filter(is_row) {
            Some(_) => rest.pop(),
            None => None,
        };
        if with_rows && rows.is_none() {
            return Err(InferError::Unfit(format!(
                "`{}` has no rows and columns, which the model sees tiles of",
                of.name
            )));
        }
        let length = |dim: Option<usize>| dim.map_or(1, |dim| dataset.dimensions[dim].len);
        let level_count = rest.iter().map(|&dim| length(Some(dim))).product();
        Ok(Self {
            variables: vec![Field {
                variable,
                name: of.name.clone(),
                levels: rest,
                level_count,
                is_static: false,
            }],
            time,
            rows,
            columns,
            steps: length(time),
            height: length(rows),
            width: length(columns),
        })
    }

    /// Fields of one step: levels of all variables.
    pub(crate) fn channels(&self) -> usize {
        self.variables.iter().map(|field| field.level_count).sum()
    }

    /// The region of a variable that has these steps and rows, and all columns.
    pub(crate) fn region(
        &self,
        dataset: &Dataset,
        field: &Field,
        steps: &Range<usize>,
        rows: &Range<usize>,
    ) -> Vec<Range<usize>> {
        let mut region = Vec::new();
        let time = self.time.filter(|_| !field.is_static);
        region.extend(time.map(|_| steps.clone()));
        region.extend(
            field
                .levels
                .iter()
                .map(|&dim| 0..dataset.dimensions[dim].len),
        );
        region.extend(self.rows.map(|_| rows.clone()));
        region.extend(self.columns.map(|_| 0..self.width));
        region
    }

    /// Reads steps and rows of all variables; missing values are NaN.
    pub(crate) fn read(
        &self,
        source: &Source,
        steps: Range<usize>,
        rows: Range<usize>,
    ) -> Result<Block, InferError> {
        let mut channels = Vec::new();
        for field in &self.variables {
            let region = self.region(source.dataset(), field, &steps, &rows);
            let mut values = vec![0.0; region.iter().map(Range::len).product()];
            source.read_f32(field.variable, &region, &mut values)?;
            channels.push((field.level_count, field.is_static, values));
        }
        Ok(Block {
            channels,
            steps,
            rows,
            width: self.width,
        })
    }
}

/// Numbers that are looked through at once.
const SCANNED: usize = 1024;

/// Some steps and rows of all variables.
#[derive(Debug)]
pub(crate) struct Block {
    /// By variable: how many levels, whether all steps are one, and the values by step, level,
    /// row, column.
    channels: Vec<(usize, bool, Vec<f32>)>,
    pub(crate) steps: Range<usize>,
    pub(crate) rows: Range<usize>,
    width: usize,
}

impl Block {
    /// A row of a channel at a step, all of the input.
    pub(crate) fn row(&self, step: usize, channel: usize, row: usize) -> &[f32] {
        let mut level = channel;
        for (levels, is_static, values) in &self.channels {
            if level < *levels {
                let step = if *is_static {
                    0
                } else {
                    step - self.steps.start
                };
                let field = step * levels + level;
                let start = (field * self.rows.len() + row - self.rows.start) * self.width;
                return &values[start..start + self.width];
            }
            level -= levels;
        }
        &[]
    }

    /// The first missing value: which variable, step, row and column.
    pub(crate) fn first_missing(&self) -> Option<(usize, usize, usize, usize)> {
        // Without a way out in its middle the compiler makes vector instructions of it.
        let has_any = |part: &[f32]| part.iter().fold(false, |any, value| any | value.is_nan());
        for (variable, (levels, _, values)) in self.channels.iter().enumerate() {
            let first = values.chunks(SCANNED).position(has_any);
            let from = first.map_or(values.len(), |part| part * SCANNED);
            let place = values[from..].iter().position(|value| value.is_nan());
            if let Some(place) = place.map(|place| from + place) {
                let (row, column) = (place / self.width, place % self.width);
                let step = row / self.rows.len() / levels;
                let row = row % self.rows.len();
                let (step, row) = (step + self.steps.start, row + self.rows.start);
                return Some((variable, step, row, column));
            }
        }
        None
    }

    /// Puts a value in the place of each missing one.
    pub(crate) fn fill(&mut self, with: f32) {
        for (_, _, values) in &mut self.channels {
            for value in values.iter_mut().filter(|value| value.is_nan()) {
                *value = with;
            }
        }
    }
}
