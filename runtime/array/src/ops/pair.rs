//! Two inputs combined cell by cell: `sub`, `ymonsub`.

mod table;

pub(crate) use table::table;

use std::ops::Range;
use std::sync::Arc;

use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation};
use crate::plan::region::{self, Region};

/// How far apart two coordinates of one cell may be, relative to their size: files round them
/// to single precision.
const COORDINATE_TOLERANCE: f64 = 1e-5;

/// Which step of the second input goes with a step of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// The same one; a single step goes with all.
    Step,
    /// That of the same month of the year.
    MonthOfYear,
}

/// What is computed. NaN in either gives NaN, by the rules of IEEE 754.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// First minus second.
    Subtract,
}

impl Arithmetic {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Subtract => left - right,
        }
    }
}

/// Two operands and their result.
#[derive(Clone, Debug)]
struct Pairing {
    left: Operand,
    right: Operand,
    arithmetic: Arithmetic,
    shape: Vec<usize>,
}

/// Values that are looked up for a cell of the result.
#[derive(Clone, Debug)]
struct Operand {
    expr: Expr,
    /// For each dimension of the values, how its index follows.
    lookups: Vec<Lookup>,
}

/// How the index along one dimension of an operand follows from that of the result.
#[derive(Clone, Debug)]
enum Lookup {
    /// The index along this dimension of the result.
    Same(usize),
    /// Always 0: the operand does not vary.
    Fixed,
    /// By a table, from the index along this dimension of the result.
    Table(usize, Arc<Vec<usize>>),
}

impl Lookup {
    /// What of the operand a region of the result needs.
    fn range(&self, region: &[Range<usize>]) -> Range<usize> {
        match self {
            Self::Same(dim) => region[*dim].clone(),
            Self::Fixed => 0..1,
            Self::Table(dim, table) => {
                let used = &table[region[*dim].clone()];
                let low = used.iter().copied().min().unwrap_or(0);
                low..used.iter().copied().max().map_or(low, |high| high + 1)
            }
        }
    }
}

impl Operand {
    /// For each dimension of the result, what each index of the region adds to the place in
    /// the operand's values.
    fn steps(&self, region: &[Range<usize>]) -> (Region, Vec<Vec<usize>>) {
        let own: Region = self
            .lookups
            .iter()
            .map(|lookup| lookup.range(region))
            .collect();
        let strides = region::strides(&region::lens(&own));
        let mut steps: Vec<Vec<usize>> = region.iter().map(|range| vec![0; range.len()]).collect();
        for ((lookup, range), stride) in self.lookups.iter().zip(&own).zip(strides) {
            match lookup {
                Lookup::Same(dim) => {
                    for (index, step) in steps[*dim].iter_mut().enumerate() {
                        *step += index * stride;
                    }
                }
                Lookup::Fixed => {}
                Lookup::Table(dim, table) => {
                    let used = &table[region[*dim].clone()];
                    for (step, index) in steps[*dim].iter_mut().zip(used) {
                        *step += (index - range.start) * stride;
                    }
                }
            }
        }
        (own, steps)
    }
}

impl Pairing {
    fn operands(&self) -> impl Iterator<Item = &Operand> {
        [&self.left, &self.right].into_iter()
    }
}

impl Operation for Pairing {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn children(&self) -> Vec<&Expr> {
        self.operands().map(|operand| &operand.expr).collect()
    }

    fn with_children(&self, children: Vec<Expr>) -> Arc<dyn Operation> {
        let mut pairing = self.clone();
        let operands = [&mut pairing.left, &mut pairing.right];
        for (operand, expr) in operands.into_iter().zip(children) {
            operand.expr = expr;
        }
        Arc::new(pairing)
    }

    fn pulled_per_cell(&self) -> usize {
        let operands = self.operands();
        operands
            .map(|o| o.expr.pulled_per_cell())
            .max()
            .unwrap_or(1)
    }

    /// The cuts of the operand that varies along the dimension; the first, if both do.
    fn cuts(&self, dim: usize) -> Vec<usize> {
        for operand in self.operands() {
            let follows = |lookup: &Lookup| matches!(lookup, Lookup::Same(of) if *of == dim);
            if let Some(own) = operand.lookups.iter().position(follows) {
                return operand.expr.cuts(own);
            }
        }
        (0..=self.shape[dim]).collect()
    }

    /// Computes a region.
    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let mut sides = Vec::with_capacity(2);
        for operand in self.operands() {
            let (own, steps) = operand.steps(region);
            let mut values = vec![0.0; region::cells(&own)];
            operand.expr.fill(&own, &mut values)?;
            sides.push((values, steps));
        }
        let [(left, left_steps), (right, right_steps)] = sides.as_slice() else {
            return Ok(());
        };
        let lens = region::lens(region);
        let Some((&row, outer)) = lens.split_last() else {
            out[0] = self.arithmetic.apply(left[0], right[0]);
            return Ok(());
        };
        let mut rows = out.chunks_mut(row.max(1));
        let base = |steps: &[Vec<usize>], index: &[usize]| -> usize {
            index.iter().zip(steps).map(|(&i, steps)| steps[i]).sum()
        };
        let last = outer.len();
        region::for_each_index(outer, |index| {
            let Some(out) = rows.next() else {
                return Ok(());
            };
            let (left, right) = (
                &left[base(left_steps, index)..],
                &right[base(right_steps, index)..],
            );
            let steps = left_steps[last].iter().zip(&right_steps[last]);
            for (out, (&l, &r)) in out.iter_mut().zip(steps) {
                *out = self.arithmetic.apply(left[l], right[r]);
            }
            Ok(())
        })
    }
}

/// Combines two inputs; structure and attributes are those of the first.
fn combine(
    left: Cube,
    right: &Cube,
    operator: &'static str,
    matching: Matching,
    arithmetic: Arithmetic,
) -> Result<Cube, CubeError> {
    let mismatch = |problem: String| CubeError::Mismatch { operator, problem };
    let pairs = pair_variables(&left, right).map_err(mismatch)?;
    let left_time = left.time_if_any(operator)?;
    let right_time = right.time_if_any(operator)?;
    let table = match matching {
        Matching::Step => None,
        Matching::MonthOfYear => {
            let (Some(left), Some(right)) = (&left_time, &right_time) else {
                return Err(CubeError::NoAxis {
                    operator,
                    axis: Axis::Time,
                });
            };
            Some(Arc::new(months_table(left, right, operator)?))
        }
    };
    let times = Times {
        left: left_time,
        right: right_time,
        table,
    };
    let mut result = left.clone();
    for (l, r) in pairs {
        let (Some(left_expr), Some(right_expr)) = (left.lazy(l), right.lazy(r)) else {
            continue;
        };
        let pairing = Match {
            left: &left,
            right,
            times: &times,
        }
        .pairing((l, left_expr), (r, right_expr), arithmetic)
        .map_err(mismatch)?;
        result.contents[l] = Content::Lazy(Expr::Operation(Arc::new(pairing)));
    }
    if times.takes_right() {
        take_time(&mut result, right, &times);
    }
    Ok(result)
}

/// The data variables that go together: by name, or one with one, or one with all.
fn pair_variables(left: &Cube, right: &Cube) -> Result<Vec<(usize, usize)>, String> {
    let (of_left, of_right) = (
        left.dataset.data_variables(),
        right.dataset.data_variables(),
    );
    if of_left.is_empty() || of_right.is_empty() {
        return Err("one has no data variables".to_owned());
    }
    of_left
        .into_iter()
        .map(|l| {
            let name = &left.dataset.variables[l].name;
            let same = of_right
                .iter()
                .find(|&&r| right.dataset.variables[r].name == *name);
            match (same, of_right.as_slice()) {
                (Some(&r), _) | (None, &[r]) => Ok((l, r)),
                _ => Err(format!("the second has no variable `{name}`")),
            }
        })
        .collect()
}

/// For each step of the first, the step of the second of the same month of the year.
fn months_table(
    left: &TimeCoordinate,
    right: &TimeCoordinate,
    operator: &'static str,
) -> Result<Vec<usize>, CubeError> {
    let mut step_of_month = [None; 12];
    for (step, date) in right.dates(operator)?.iter().enumerate() {
        let place = &mut step_of_month[usize::from(date.month) - 1];
        if let Some(before) = place.replace(step) {
            let problem = format!(
                "the second has month {} twice, at steps {} and {}",
                date.month,
                before + 1,
                step + 1
            );
            return Err(CubeError::Mismatch { operator, problem });
        }
    }
    let find = |date: &crate::time_axis::DateTime| {
        step_of_month[usize::from(date.month) - 1].ok_or_else(|| {
            let problem = format!("the second has no month {}, which {date} needs", date.month);
            CubeError::Mismatch { operator, problem }
        })
    };
    left.dates(operator)?.iter().map(find).collect()
}

/// The time axes of both inputs.
struct Times {
    left: Option<TimeCoordinate>,
    right: Option<TimeCoordinate>,
    table: Option<Arc<Vec<usize>>>,
}

impl Times {
    /// Whether the first has one step that goes with every step of the second.
    fn takes_right(&self) -> bool {
        let count =
            |time: &Option<TimeCoordinate>| time.as_ref().map(|time| time.axis.values.len());
        self.table.is_none() && count(&self.left) == Some(1) && count(&self.right) > Some(1)
    }
}

/// Two inputs whose dimensions are matched.
struct Match<'a> {
    left: &'a Cube,
    right: &'a Cube,
    times: &'a Times,
}

impl Match<'_> {
    fn pairing(
        &self,
        (l, left_expr): (usize, &Expr),
        (r, right_expr): (usize, &Expr),
        arithmetic: Arithmetic,
    ) -> Result<Pairing, String> {
        let left_dims = &self.left.dataset.variables[l].dims;
        let mut shape = self.left.dataset.shape(l);
        let mut left: Vec<Lookup> = (0..shape.len()).map(Lookup::Same).collect();
        let mut right = Vec::new();
        for &dim in &self.right.dataset.variables[r].dims {
            let dimension = &self.right.dataset.dimensions[dim];
            let Some(position) = left_dims
                .iter()
                .position(|&own| self.is_same_axis(own, dim))
            else {
                if dimension.len != 1 {
                    return Err(format!("the first has no dimension `{}`", dimension.name));
                }
                right.push(Lookup::Fixed);
                continue;
            };
            let is_time = self.is_right_time(dim);
            let len = shape[position];
            right.push(match &self.times.table {
                Some(table) if is_time => Lookup::Table(position, Arc::clone(table)),
                _ if dimension.len == len => {
                    self.check_coordinates(left_dims[position], dim)?;
                    Lookup::Same(position)
                }
                _ if dimension.len == 1 => Lookup::Fixed,
                _ if len == 1 && is_time => {
                    shape[position] = dimension.len;
                    left[position] = Lookup::Fixed;
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
        let repeats = |lookups: &[Lookup]| lookups.iter().any(|l| !matches!(l, Lookup::Same(_)));
        let operand = |expr: &Expr, lookups: Vec<Lookup>| Operand {
            // What is used for many steps is read once.
            expr: if repeats(&lookups) {
                Expr::Hold(Arc::new(expr.clone()))
            } else {
                expr.clone()
            },
            lookups,
        };
        let (left, right) = (operand(left_expr, left), operand(right_expr, right));
        Ok(Pairing {
            left,
            right,
            arithmetic,
            shape,
        })
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

/// Gives the result the time axis of the second input.
fn take_time(result: &mut Cube, right: &Cube, times: &Times) {
    let (Some(ours), Some(theirs)) = (&times.left, &times.right) else {
        return;
    };
    result.dataset.dimensions[ours.dim].len = theirs.axis.values.len();
    let mut attributes = right.dataset.variables[theirs.variable].attributes.clone();
    attributes.remove("bounds");
    attributes.remove("climatology");
    let kind = if theirs.is_climatology {
        "climatology"
    } else {
        "bounds"
    };
    let variable = &mut result.dataset.variables[ours.variable];
    variable.dtype = right.dataset.variables[theirs.variable].dtype;
    variable.attributes = attributes;
    result.contents[ours.variable] = Content::Numbers(Arc::new(theirs.axis.values.clone()));
    let bounds = theirs.bounds.as_ref().map(|(index, values)| {
        let content = Content::Numbers(Arc::new(values.as_flattened().to_vec()));
        (right.dataset.variables[*index].clone(), content)
    });
    let old = ours.bounds.as_ref().map(|(index, _)| *index);
    if let Some((mut variable, content)) = bounds {
        variable.name = result.free_name(&variable.name);
        variable.dims = vec![ours.dim, result.dimension("bnds", 2)];
        let name = variable.name.clone();
        result.dataset.variables[ours.variable]
            .attributes
            .set(kind, name);
        result.push(variable, content);
    }
    result.retain(|index| Some(index) != old);
}
