//! Statistics over the members of an ensemble, cell by cell: `ensmean`, `enspctl` and their kind.

use std::ops::Range;
use std::sync::Arc;

use super::{check_variable, label};
use crate::cube::{Content, Cube};
use crate::error::CubeError;
use crate::ops::Context;
use crate::ops::series::percentile::Method;
use crate::ops::statistic::{Partial, Statistic, Steps};
use crate::ops::time::add_cell_method;
use crate::ops::units::Change;
use crate::plan::expr::{Expr, Operation};
use crate::plan::picks::Picks;
use crate::plan::region;

/// What is computed of the values of all members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum EnsembleStatistic {
    /// Member after member.
    Of(Statistic),
    /// The middle value, or the mean of the two in the middle.
    Median,
    /// The third moment over the cube of the standard deviation by n - 1.
    Skewness,
    /// In excess of that of a normal distribution.
    Kurtosis,
    /// The value that this fraction of the values does not exceed.
    Quantile(Method, f64),
}

impl EnsembleStatistic {
    /// The word of CF's `cell_methods`, where there is one.
    fn cell_method(self) -> Option<&'static str> {
        match self {
            Self::Of(statistic) => statistic.cell_method(),
            Self::Median => Some("median"),
            Self::Skewness | Self::Kurtosis | Self::Quantile(..) => None,
        }
    }

    /// The statistic of the valid values of one cell; NaN where it is missing.
    fn of(self, values: &mut [f64]) -> f64 {
        let n = values.len();
        if n == 0 {
            return f64::NAN;
        }
        let moment = |power: i32| {
            let mean = values.iter().sum::<f64>() / n as f64;
            values
                .iter()
                .map(|value| (value - mean).powi(power))
                .sum::<f64>()
                / n as f64
        };
        match self {
            // The moment coefficient b1: the spread is that of n - 1.
            Self::Skewness => {
                let spread = moment(2) * n as f64 / (n as f64 - 1.0);
                moment(3) / spread.powf(1.5)
            }
            Self::Kurtosis => moment(4) / moment(2).powi(2) - 3.0,
            Self::Median => Method::Linear.of(values, 0.5),
            Self::Quantile(method, fraction) => method.of(values, fraction),
            Self::Of(_) => f64::NAN,
        }
    }
}

/// A statistic over arrays of one shape.
#[derive(Clone, Debug)]
struct Ensemble {
    members: Vec<Expr>,
    statistic: EnsembleStatistic,
}

impl Operation for Ensemble {
    fn shape(&self) -> Vec<usize> {
        self.members[0].shape()
    }

    fn children(&self) -> Vec<&Expr> {
        self.members.iter().collect()
    }

    fn with_children(&self, members: Vec<Expr>) -> Arc<dyn Operation> {
        Arc::new(Self {
            members,
            statistic: self.statistic,
        })
    }

    fn cuts(&self, dim: usize) -> Vec<usize> {
        self.members[0].cuts(dim)
    }

    fn pulled_per_cell(&self) -> usize {
        self.members.iter().map(Expr::pulled_per_cell).sum()
    }

    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        let members = self.members.iter();
        members.map(|member| member.stored_bytes(region)).sum()
    }

    fn pick(&self, dim: usize, picks: &Picks) -> Option<Arc<dyn Operation>> {
        let members = self.members.iter().map(|member| member.pick(dim, picks));
        Some(self.with_children(members.collect()))
    }

    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        match self.statistic {
            EnsembleStatistic::Of(statistic) => self.add_up(statistic, region, out),
            _ => self.gather(region, out),
        }
    }
}

impl Ensemble {
    /// Adds member after member, so that one is in memory at a time.
    fn add_up(
        &self,
        statistic: Statistic,
        region: &[Range<usize>],
        out: &mut [f64],
    ) -> Result<(), CubeError> {
        let accumulators = statistic.accumulators().iter();
        let mut partials: Vec<Partial> = accumulators
            .map(|&accumulator| Partial::new(accumulator, out.len()))
            .collect();
        let mut singles: Vec<f32> = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            let number = |_: usize| number as f64;
            if member.is_single() {
                singles.resize(out.len(), 0.0);
                member.fill(region, &mut singles)?;
                partials.iter_mut().for_each(|partial| {
                    partial.add(0, Steps::new(&singles, singles.len()), number)
                });
            } else {
                // Nothing is kept in `out` before the end.
                member.fill(region, out)?;
                partials
                    .iter_mut()
                    .for_each(|partial| partial.add(0, Steps::new(&*out, out.len()), number));
            }
        }
        let all = vec![0..self.members.len()];
        let partials: Vec<&Partial> = partials.iter().collect();
        out.copy_from_slice(&statistic.finish(&partials, &all));
        Ok(())
    }

    fn gather(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let cells = region::cells(region);
        let mut values = vec![0.0_f64; cells * self.members.len()];
        for (member, values) in self.members.iter().zip(values.chunks_mut(cells.max(1))) {
            member.fill(region, values)?;
        }
        let mut of_cell = Vec::with_capacity(self.members.len());
        for (cell, out) in out.iter_mut().enumerate() {
            let members = values.iter().skip(cell).step_by(cells);
            of_cell.clear();
            of_cell.extend(members.copied().filter(|value| !value.is_nan()));
            *out = self.statistic.of(&mut of_cell);
        }
        Ok(())
    }
}

/// Reduces inputs of one structure to one; dates and attributes are those of the first.
pub(super) fn reduce(
    inputs: Vec<Cube>,
    context: &Context<'_>,
    statistic: EnsembleStatistic,
) -> Result<Cube, CubeError> {
    let operator = context.name();
    let mut result = inputs[0].clone();
    for variable in inputs[0].dataset.data_variables() {
        let name = &inputs[0].dataset.variables[variable].name;
        let Content::Lazy(first) = &inputs[0].contents[variable] else {
            continue;
        };
        let mut members = vec![first.clone()];
        for (index, input) in inputs.iter().enumerate().skip(1) {
            let found = input.dataset.variable_index(name);
            let found = found.and_then(|found| Some((found, input.lazy(found)?)));
            let (found, expr) = found.ok_or_else(|| CubeError::Mismatch {
                operator,
                problem: format!(
                    "{} has no `{name}`, which the first has",
                    label(input, index)
                ),
            })?;
            check_variable(
                operator,
                (&inputs[0], variable),
                (input, found),
                None,
                &|| label(input, index),
            )?;
            members.push(expr.clone());
        }
        result.contents[variable] =
            Content::Lazy(Expr::Operation(Arc::new(Ensemble { members, statistic })));
        let attributes = &mut result.dataset.variables[variable].attributes;
        use Statistic::{Variance, Variance1};
        if let EnsembleStatistic::Of(Variance | Variance1) = statistic
            && !context.options.cdo
        {
            Change::Variance.apply(attributes);
        }
        if let Some(method) = statistic.cell_method() {
            add_cell_method(attributes, &format!("realization: {method}"));
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::EnsembleStatistic::{Kurtosis, Median, Quantile, Skewness};
    use super::Method;

    #[test]
    fn statistics_of_few_values() {
        for (statistic, values, expected) in [
            (Median, vec![3.0, 1.0, 2.0], 2.0),
            (Median, vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (
                Quantile(Method::NearestRank, 0.5),
                vec![4.0, 1.0, 2.0, 3.0],
                2.0,
            ),
            (Quantile(Method::NearestRank, 0.0), vec![4.0, 1.0], 1.0),
            (Quantile(Method::NearestRank, 1.0), vec![4.0, 1.0], 4.0),
            (Quantile(Method::Linear, 0.5), vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (Skewness, vec![1.0, 2.0, 3.0], 0.0),
            (Kurtosis, vec![1.0, 1.0, -1.0, -1.0], -2.0),
        ] {
            let found = statistic.of(&mut values.clone());
            assert_eq!(found, expected, "{statistic:?} of {values:?}");
        }
        assert!(Median.of(&mut []).is_nan());
    }
}
