//! Where two inputs describe the same cells.

use std::sync::Arc;

use super::Times;
use crate::cube::Cube;
use crate::ops::cellwise::Lookup;

/// How far apart two coordinates of one cell may be, relative to their size: files round them
/// to single precision.
const COORDINATE_TOLERANCE: f64 = 1e-5;

/// Two inputs whose dimensions are matched.
pub(super) struct Match<'a> {
    pub(super) left: &'a Cube,
    pub(super) right: &'a Cube,
    pub(super) times: &'a Times,
}

impl Match<'_> {
    /// How the cells of a variable `r` of the second are found for those of a variable `l` of
    /// the first. Where the first has one step and the second many, `shape` grows.
    pub(super) fn lookups(
        &self,
        l: usize,
        r: usize,
        shape: &mut [usize],
    ) -> Result<Vec<Lookup>, String> {
        let left_dims = &self.left.dataset.variables[l].dims;
        let mut lookups = Vec::new();
        for &dim in &self.right.dataset.variables[r].dims {
            let dimension = &self.right.dataset.dimensions[dim];
            let mut own = left_dims.iter();
            let Some(position) = own.position(|&own| self.is_same_axis(own, dim)) else {
                if dimension.len != 1 {
                    return Err(format!("the first has no dimension `{}`", dimension.name));
                }
                lookups.push(Lookup::At(0));
                continue;
            };
            let is_time = self.is_right_time(dim);
            let len = shape[position];
            lookups.push(match &self.times.table {
                Some(table) if is_time => Lookup::Table(position, Arc::clone(table)),
                _ if dimension.len == len => {
                    self.check_coordinates(left_dims[position], dim)?;
                    Lookup::Same(position)
                }
                _ if dimension.len == 1 => Lookup::At(0),
                _ if len == 1 && is_time => {
                    shape[position] = dimension.len;
                    Lookup::Same(position)
                }
                _ if is_time => {
                    return Err(format!("{len} time steps against {}", dimension.len));
                }
                _ => {
                    let name = &dimension.name;
                    return Err(format!(
                        "dimension `{name}` is {len} long against {}",
                        dimension.len
                    ));
                }
            });
        }
        Ok(lookups)
    }

    fn is_right_time(&self, dim: usize) -> bool {
        self.times
            .right
            .as_ref()
            .is_some_and(|time| time.dim == dim)
    }

    /// Whether dimensions of the two inputs mean the same: both time, the same name, or
    /// coordinates of the same axis.
    fn is_same_axis(&self, left: usize, right: usize) -> bool {
        let axis = |cube: &Cube, dim| {
            cube.dataset
                .dimension_coordinate(dim)
                .and_then(|variable| cube.dataset.axis(variable))
        };
        let (left_axis, right_axis) = (axis(self.left, left), axis(self.right, right));
        let names = (
            &self.left.dataset.dimensions[left].name,
            &self.right.dataset.dimensions[right].name,
        );
        names.0 == names.1 || (left_axis.is_some() && left_axis == right_axis)
    }

    /// Refuses coordinates of other places: a flipped or shifted grid. Times may differ.
    fn check_coordinates(&self, left: usize, right: usize) -> Result<(), String> {
        if self.is_right_time(right) {
            return Ok(());
        }
        let values = |cube: &Cube, dim| {
            let variable = cube.dataset.dimension_coordinate(dim)?;
            cube.numbers(variable).map(<[f64]>::to_vec)
        };
        let (Some(ours), Some(theirs)) = (values(self.left, left), values(self.right, right))
        else {
            return Ok(());
        };
        let scale = ours
            .iter()
            .fold(1.0_f64, |scale, value| scale.max(value.abs()));
        let differs = |(a, b): (&f64, &f64)| (a - b).abs() > COORDINATE_TOLERANCE * scale;
        let name = &self.left.dataset.dimensions[left].name;
        match ours.iter().zip(&theirs).position(differs) {
            None => Ok(()),
            Some(_)
                if ours
                    .iter()
                    .zip(theirs.iter().rev())
                    .all(|pair| !differs(pair)) =>
            {
                Err(format!("coordinate `{name}` runs the other way"))
            }
            Some(index) => {
                let (a, b) = (ours[index], theirs[index]);
                Err(format!(
                    "coordinate `{name}` differs at index {}: {a} against {b}",
                    index + 1
                ))
            }
        }
    }
}
