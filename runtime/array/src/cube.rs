//! What one node of the plan yields: the structure of a file, and how each variable's values
//! come to be.
//!
//! Coordinates, bounds and texts are in memory from the start, because operators decide by
//! them; data is an [`Expr`] that the engine pulls.

use std::collections::HashSet;
use std::sync::Arc;

use crate::dataset::{Axis, DType, Dataset, Dimension, Variable, split_path};
use crate::error::CubeError;
use crate::plan::expr::{Expr, SourceVariable};
use crate::plan::picks::Picks;
use crate::plan::region;
use crate::storage::Source;
use crate::time_axis::{DateTime, TimeAxis};

/// The values of one variable.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// In memory: coordinates and what goes with them.
    Numbers(Arc<Vec<f64>>),
    /// Texts; one per row where the last dimension is their length.
    Texts(Arc<Vec<String>>),
    /// Computed when asked for.
    Lazy(Expr),
}

/// A dataset with its values.
#[derive(Clone, Debug)]
pub(crate) struct Cube {
    pub(crate) dataset: Dataset,
    /// As many as the dataset's variables.
    pub(crate) contents: Vec<Content>,
}

/// The time axis of a cube.
#[derive(Clone, Debug)]
pub(crate) struct TimeCoordinate {
    /// The dimension.
    pub(crate) dim: usize,
    /// Its coordinate variable.
    pub(crate) variable: usize,
    pub(crate) axis: TimeAxis,
    /// The variable of the bounds (or climatology bounds) and their values.
    pub(crate) bounds: Option<(usize, Vec<[f64; 2]>)>,
    pub(crate) is_climatology: bool,
}

/// The groups in which a variable lies, itself or in a group there; that of the file always.
fn groups_with_variables(dataset: &Dataset) -> HashSet<String> {
    let mut found = HashSet::from([String::new()]);
    for variable in &dataset.variables {
        let mut group = split_path(&variable.name).0;
        while found.insert(group.to_owned()) {
            group = split_path(group).0;
        }
    }
    found
}

impl Cube {
    /// All of a file. Reads coordinates, bounds and texts.
    pub(crate) fn from_source(source: &Arc<Source>) -> Result<Self, CubeError> {
        let dataset = source.dataset().clone();
        let data = dataset.data_variables();
        let time_dims: Vec<usize> = (0..dataset.dimensions.len())
            .filter(|&dim| {
                let coordinate = dataset.dimension_coordinate(dim);
                coordinate.is_some_and(|variable| dataset.axis(variable) == Some(Axis::Time))
            })
            .collect();
        let times: Vec<usize> = time_dims
            .iter()
            .filter_map(|&dim| dataset.dimension_coordinate(dim))
            .flat_map(|variable| [Some(variable), dataset.bounds(variable)])
            .flatten()
            .collect();
        let mut contents = Vec::with_capacity(dataset.variables.len());
        for (index, variable) in dataset.variables.iter().enumerate() {
            let varies = variable.dims.iter().any(|dim| time_dims.contains(dim));
            let shape = dataset.shape(index);
            contents.push(if variable.dtype.is_text() {
                Content::Texts(Arc::new(source.read_text(index)?))
            } else if data.contains(&index) || (varies && !times.contains(&index)) {
                let source = Arc::clone(source);
                Content::Lazy(Expr::Source(SourceVariable {
                    source,
                    variable: index,
                    shape,
                }))
            } else {
                Content::Numbers(Arc::new(source.read_whole(index)?))
            });
        }
        let mut cube = Self { dataset, contents };
        cube.drop_packing_of_coordinates();
        Ok(cube)
    }

    /// Coordinates are unpacked by reading them; say so.
    fn drop_packing_of_coordinates(&mut self) {
        for (variable, content) in self.dataset.variables.iter_mut().zip(&self.contents) {
            let packed = variable.attributes.get("scale_factor").is_some()
                || variable.attributes.get("add_offset").is_some();
            if packed && matches!(content, Content::Numbers(_)) {
                variable.attributes.drop_packing();
                variable.dtype = DType::F64;
                variable.attributes.remove("_FillValue");
                variable.attributes.remove("missing_value");
            }
        }
    }

    /// The variables whose values are computed, of which some merely serve data.
    pub(crate) fn lazy(&self, variable: usize) -> Option<&Expr> {
        match &self.contents[variable] {
            Content::Lazy(expr) => Some(expr),
            _ => None,
        }
    }

    /// Values in memory.
    pub(crate) fn numbers(&self, variable: usize) -> Option<&[f64]> {
        match &self.contents[variable] {
            Content::Numbers(values) => Some(values),
            _ => None,
        }
    }

    /// The time axis, or an error that names who needs it.
    pub(crate) fn time(&self, operator: &'static str) -> Result<TimeCoordinate, CubeError> {
        self.time_if_any(operator)?.ok_or(CubeError::NoAxis {
            operator,
            axis: Axis::Time,
        })
    }

    /// The time axis, if there is one: that of the first data variable that has one.
    pub(crate) fn time_if_any(
        &self,
        operator: &'static str,
    ) -> Result<Option<TimeCoordinate>, CubeError> {
        let dataset = &self.dataset;
        let is_time = |dim: usize| {
            let variable = dataset.dimension_coordinate(dim)?;
            (dataset.axis(variable) == Some(Axis::Time)).then_some((dim, variable))
        };
        let of_data = dataset
            .data_variables()
            .into_iter()
            .flat_map(|variable| dataset.variables[variable].dims.clone());
        let found = of_data.chain(0..dataset.dimensions.len()).find_map(is_time);
        let Some((dim, variable)) = found else {
            return Ok(None);
        };
        let Some(values) = self.numbers(variable) else {
            return Ok(None);
        };
        let attributes = &dataset.variables[variable].attributes;
        let wrong = |source| CubeError::Time { operator, source };
        let units = attributes.get_text("units").unwrap_or_default();
        let calendar = attributes.get_text("calendar").unwrap_or_default();
        let axis = TimeAxis {
            values: values.to_vec(),
            units: units.parse().map_err(wrong)?,
            calendar: calendar.parse().map_err(wrong)?,
        };
        let bounds = dataset.bounds(variable).and_then(|index| {
            let pairs = self.numbers(index)?.as_chunks::<2>().0.to_vec();
            (pairs.len() == axis.values.len()).then_some((index, pairs))
        });
        let is_climatology = attributes.get("bounds").is_none();
        Ok(Some(TimeCoordinate {
            dim,
            variable,
            axis,
            bounds,
            is_climatology,
        }))
    }

    /// Takes some indices of one dimension, in every variable that has it.
    pub(crate) fn pick(&mut self, dim: usize, picks: &Picks) {
        if picks.is_all(self.dataset.dimensions[dim].len) {
            return;
        }
        for index in 0..self.dataset.variables.len() {
            let variable = &self.dataset.variables[index];
            let Some(position) = variable.dims.iter().position(|&d| d == dim) else {
                continue;
            };
            let mut shape = self.dataset.shape(index);
            self.contents[index] = match &self.contents[index] {
                Content::Lazy(expr) => Content::Lazy(expr.pick(position, picks)),
                Content::Numbers(values) => {
                    Content::Numbers(Arc::new(pick_values(values, &shape, position, picks)))
                }
                Content::Texts(texts) => {
                    if variable.dtype == DType::Char {
                        // The last dimension is inside the texts.
                        shape.pop();
                    }
                    let picked = match position < shape.len() {
                        true => pick_values(texts, &shape, position, picks),
                        false => texts.to_vec(),
                    };
                    Content::Texts(Arc::new(picked))
                }
            };
        }
        self.dataset.dimensions[dim].len = picks.len();
    }

    /// Keeps the variables for which `keep` holds, the dimensions that they use, and the groups
    /// that they do not leave empty.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let before = groups_with_variables(&self.dataset);
        let old = std::mem::take(&mut self.dataset.variables);
        let contents = std::mem::take(&mut self.contents);
        let kept = old
            .into_iter()
            .zip(contents)
            .enumerate()
            .filter(|(index, _)| keep(*index));
        (self.dataset.variables, self.contents) = kept.map(|(_, pair)| pair).unzip();
        self.drop_unused_dimensions();
        let now = groups_with_variables(&self.dataset);
        let attributes = std::mem::take(&mut self.dataset.attributes);
        let stays = |path: &str| {
            let group = split_path(path).0;
            now.contains(group) || !before.contains(group)
        };
        let kept = attributes.iter().filter(|(path, _)| stays(path));
        let kept = kept.map(|(path, value)| (path.to_owned(), value.clone()));
        self.dataset.attributes = kept.collect();
    }

    fn drop_unused_dimensions(&mut self) {
        let used = |dim: &usize| {
            self.dataset
                .variables
                .iter()
                .any(|variable| variable.dims.contains(dim))
        };
        let kept: Vec<usize> = (0..self.dataset.dimensions.len()).filter(used).collect();
        for variable in &mut self.dataset.variables {
            for dim in &mut variable.dims {
                *dim = kept.iter().position(|kept| kept == dim).unwrap_or(0);
            }
        }
        let dimensions = std::mem::take(&mut self.dataset.dimensions);
        let kept = dimensions
            .into_iter()
            .enumerate()
            .filter(|(dim, _)| kept.contains(dim));
        self.dataset.dimensions = kept.map(|(_, dimension)| dimension).collect();
    }

    /// Adds a variable; its name must be new.
    pub(crate) fn push(&mut self, variable: Variable, content: Content) {
        self.dataset.variables.push(variable);
        self.contents.push(content);
    }

    /// Puts `_suffix` after the name of every data variable.
    pub(crate) fn append_to_names(&mut self, suffix: &str) {
        for variable in self.dataset.data_variables() {
            let name = &mut self.dataset.variables[variable].name;
            *name = format!("{name}_{suffix}");
        }
    }

    /// Takes the variables of another that this has not, by name, and their dimensions; what
    /// has the name of a dimension or variable here is taken to be that.
    pub(crate) fn absorb(&mut self, other: Self) {
        let dims: Vec<usize> = other
            .dataset
            .dimensions
            .iter()
            .map(|dimension| {
                let known = self.dataset.dimension_index(&dimension.name);
                known.unwrap_or_else(|| {
                    self.dataset.dimensions.push(dimension.clone());
                    self.dataset.dimensions.len() - 1
                })
            })
            .collect();
        for (mut variable, content) in other.dataset.variables.into_iter().zip(other.contents) {
            if self.dataset.variable_index(&variable.name).is_none() {
                variable.dims.iter_mut().for_each(|dim| *dim = dims[*dim]);
                self.push(variable, content);
            }
        }
    }

    /// The dimension called `name` of this length, made if need be. A taken name gets a
    /// number, so that the length always fits.
    pub(crate) fn dimension(&mut self, name: &str, len: usize) -> usize {
        let same = |d: &Dimension| d.name == name && d.len == len && !d.unlimited;
        if let Some(dim) = self.dataset.dimensions.iter().position(same) {
            return dim;
        }
        let name = self.free_name(name);
        self.dataset.dimensions.push(Dimension {
            name,
            len,
            unlimited: false,
        });
        self.dataset.dimensions.len() - 1
    }

    /// `name`, with a number after it if a dimension or variable has it.
    pub(crate) fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| {
            self.dataset.dimension_index(name).is_some()
                || self.dataset.variable_index(name).is_some()
        };
        let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names
            .find(|name| !taken(name))
            .unwrap_or_else(|| name.to_owned())
    }
}

impl TimeCoordinate {
    /// The moment by which a step is grouped: the middle of its bounds, else its time. The
    /// bounds of a climatology span years and say nothing of it.
    pub(crate) fn moments(&self) -> Vec<f64> {
        match &self.bounds {
            Some((_, bounds)) if !self.is_climatology => bounds
                .iter()
                .map(|[from, to]| from + (to - from) / 2.0)
                .collect(),
            _ => self.axis.values.clone(),
        }
    }

    /// The dates of [`moments`](Self::moments).
    pub(crate) fn dates(&self, operator: &'static str) -> Result<Vec<DateTime>, CubeError> {
        let axis = TimeAxis {
            values: self.moments(),
            ..self.axis.clone()
        };
        axis.dates()
            .map_err(|source| CubeError::Time { operator, source })
    }
}

fn pick_values<T: Clone>(values: &[T], shape: &[usize], dim: usize, picks: &Picks) -> Vec<T> {
    let inner: usize = region::strides(shape)[dim];
    let block = inner * shape[dim];
    let mut picked = Vec::new();
    for outer in values.chunks(block.max(1)) {
        for index in picks.indices() {
            picked.extend_from_slice(&outer[index * inner..(index + 1) * inner]);
        }
    }
    picked
}
