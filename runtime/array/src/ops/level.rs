//! Interpolation between levels: `intlevel`.
//!
//! Along the vertical dimension each new level is a weighted sum of its two neighbours. What a
//! level means (pressure, height, depth) does not matter; the order of levels may rise or fall.

use std::ops::Range;
use std::sync::Arc;

use super::{Context, Operator};
use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation};
use crate::plan::region;

/// Coordinates this close, relative to their size, are the same level.
const SAME_LEVEL: f64 = 1e-9;

/// The least weight with which a neighbour stands for both when the other is missing.
const ALONE_WEIGHT_MIN: f64 = 0.5;

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let operator = Operator::new(
        "intlevel",
        "Interpolate linearly between levels",
        |mut inputs, context| Ok(interpolate(inputs.remove(0), context)?.into()),
    );
    vec![
        operator
            .arguments("level[,level...]", 1..=usize::MAX)
            .details(
                "Levels are in the units of the vertical coordinate. Outside of its levels the \
                 result is missing; where\none of the two neighbours is, the other is taken if its \
                 weight is at least 0.5, else the result is missing.",
            )
            .example("-intlevel,92500,85000,70000 in.nc out.nc"),
    ]
}

/// Where a new level lies between those there are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between {
    lower: usize,
    upper: usize,
    /// Of `upper`; `lower` has the rest.
    weight: f64,
}

/// New levels of a child.
#[derive(Clone, Debug)]
struct Interpolation {
    child: Expr,
    axis: usize,
    /// `None` outside of the child's levels.
    levels: Arc<Vec<Option<Between>>>,
}

impl Between {
    /// Where `level` lies among levels that rise or fall.
    fn of(level: f64, levels: &[f64]) -> Option<Self> {
        let scale = levels
            .iter()
            .fold(level.abs(), |scale, value| scale.max(value.abs()));
        let is_same = |value: &f64| (value - level).abs() <= SAME_LEVEL * scale;
        if let Some(same) = levels.iter().position(is_same) {
            return Some(Self {
                lower: same,
                upper: same,
                weight: 0.0,
            });
        }
        let holds = |pair: &[f64]| (pair[0] < level) == (level < pair[1]);
        let lower = levels.windows(2).position(holds)?;
        Some(Self {
            lower,
            upper: lower + 1,
            weight: (level - levels[lower]) / (levels[lower + 1] - levels[lower]),
        })
    }

    fn value(&self, lower: f64, upper: f64) -> f64 {
        match (lower.is_nan(), upper.is_nan()) {
            (false, false) if self.weight == 0.0 => lower,
            (false, false) => lower * (1.0 - self.weight) + upper * self.weight,
            (false, true) if 1.0 - self.weight >= ALONE_WEIGHT_MIN => lower,
            (true, false) if self.weight >= ALONE_WEIGHT_MIN => upper,
            _ => f64::NAN,
        }
    }
}

impl Operation for Interpolation {
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.child.shape();
        shape[self.axis] = self.levels.len();
        shape
    }

    fn children(&self) -> Vec<&Expr> {
        vec![&self.child]
    }

    fn with_children(&self, mut children: Vec<Expr>) -> Arc<dyn Operation> {
        Arc::new(Self {
            child: children.remove(0),
            ..self.clone()
        })
    }

    fn cuts(&self, dim: usize) -> Vec<usize> {
        match dim == self.axis {
            true => vec![0, self.levels.len()],
            false => self.child.cuts(dim),
        }
    }

    fn pulled_per_cell(&self) -> usize {
        let levels = self.child.shape()[self.axis];
        levels.div_ceil(self.levels.len().max(1)) * self.child.pulled_per_cell()
    }

    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let wanted = &self.levels[region[self.axis].clone()];
        let neighbours = || wanted.iter().flatten().flat_map(|b| [b.lower, b.upper]);
        let (Some(first), Some(last)) = (neighbours().min(), neighbours().max()) else {
            out.fill(f64::NAN);
            return Ok(());
        };
        let mut source = region.to_vec();
        source[self.axis] = first..last + 1;
        let mut values = vec![0.0; region::cells(&source)];
        self.child.fill(&source, &mut values)?;
        let inner: usize = region[self.axis + 1..].iter().map(Range::len).product();
        let (levels, out_levels) = (last + 1 - first, wanted.len());
        let columns = values
            .chunks(levels * inner)
            .zip(out.chunks_mut(out_levels * inner));
        for (values, out) in columns {
            let row = |level: usize| &values[(level - first) * inner..][..inner];
            for (between, out) in wanted.iter().zip(out.chunks_mut(inner.max(1))) {
                let Some(between) = between else {
                    out.fill(f64::NAN);
                    continue;
                };
                let pairs = row(between.lower).iter().zip(row(between.upper));
                for (out, (&lower, &upper)) in out.iter_mut().zip(pairs) {
                    *out = between.value(lower, upper);
                }
            }
        }
        Ok(())
    }
}

/// Replaces the levels of every variable that has them.
fn interpolate(mut cube: Cube, context: &mut Context<'_>) -> Result<Cube, CubeError> {
    let parameters = context.parameters();
    let wanted = (0..parameters.values.len())
        .map(|index| parameters.number(index, "a level"))
        .collect::<Result<Vec<f64>, _>>()?;
    let no_axis = CubeError::NoAxis {
        operator: context.name(),
        axis: Axis::Level,
    };
    let vertical = cube
        .dataset
        .data_variables()
        .into_iter()
        .find_map(|variable| {
            let level = cube.dataset.coordinate(variable, Axis::Level)?;
            let &[dim] = cube.dataset.variables[level].dims.as_slice() else {
                return None;
            };
            Some((level, dim))
        });
    let Some((level, dim)) = vertical else {
        return Err(no_axis);
    };
    let Some(levels) = cube.numbers(level).map(<[f64]>::to_vec) else {
        return Err(no_axis);
    };
    let between = wanted.iter().map(|&level| Between::of(level, &levels));
    let between: Arc<Vec<_>> = Arc::new(between.collect());
    if between.iter().all(Option::is_none) {
        context.warn("no level lies between those of the input: all values are missing");
    }
    let bounds = cube.dataset.bounds(level);
    let mut drops = vec![false; cube.contents.len()];
    for (index, drop) in drops.iter_mut().enumerate() {
        let dims = &cube.dataset.variables[index].dims;
        let Some(axis) = dims.iter().position(|&own| own == dim) else {
            continue;
        };
        match &cube.contents[index] {
            Content::Lazy(child) if Some(index) != bounds => {
                let interpolation = Interpolation {
                    child: child.clone(),
                    axis,
                    levels: Arc::clone(&between),
                };
                cube.contents[index] = Content::Lazy(Expr::Operation(Arc::new(interpolation)));
            }
            // Bounds and coefficients of the old levels say nothing of the new.
            _ => *drop = index != level,
        }
    }
    cube.contents[level] = Content::Numbers(Arc::new(wanted));
    cube.dataset.dimensions[dim].len = between.len();
    for name in ["bounds", "formula_terms"] {
        cube.dataset.variables[level].attributes.remove(name);
    }
    cube.retain(|index| !drops[index]);
    Ok(cube)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_lies_between_its_neighbours_whatever_their_order() {
        let between = |lower, upper, weight| {
            Some(Between {
                lower,
                upper,
                weight,
            })
        };
        for (level, expected) in [
            (900.0, between(0, 1, 0.5)),
            (800.0, between(1, 1, 0.0)),
            (500.0, None),
            (1100.0, None),
        ] {
            assert_eq!(
                Between::of(level, &[1000.0, 800.0, 600.0]),
                expected,
                "{level}"
            );
        }
        assert_eq!(Between::of(15.0, &[0.0, 10.0, 20.0]), between(1, 2, 0.5));
    }

    #[test]
    fn the_nearer_neighbour_stands_for_both() {
        let at = |weight| Between {
            lower: 0,
            upper: 1,
            weight,
        };
        assert_eq!(at(0.25).value(8.0, 4.0), 7.0);
        assert_eq!(at(0.25).value(8.0, f64::NAN), 8.0);
        assert!(at(0.25).value(f64::NAN, 4.0).is_nan());
        assert!(at(0.5).value(f64::NAN, f64::NAN).is_nan());
    }
}
