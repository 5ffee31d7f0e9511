//! Statistics over fields: `fldmean`, `zonmax`, `mervar`, `vertsum` and their kind.
//!
//! A field is read in pieces along its storage chunks and folded in one fixed order, so the
//! bits depend on the file alone. What is kept of the cells is in [`fold`], which dimensions are
//! reduced and what their cells weigh in [`grid`].

mod fold;
mod grid;
mod table;

pub(crate) use table::table;

use std::ops::Range;
use std::sync::Arc;

use crate::error::CubeError;
use crate::ops::series::percentile::Method;
use crate::plan::expr::{Expr, Operation, Readable};
use crate::plan::picks::Picks;
use crate::plan::region::{self, Region};
use fold::Fold;

/// Cells of a field that are in memory at once, unless one storage chunk has more.
const PIECE_CELLS_MAX: usize = 1 << 18;

/// A statistic over some dimensions of a child, which keep the length 1.
#[derive(Clone, Debug)]
pub(crate) struct FieldReduction {
    child: Expr,
    /// For each dimension of the child, whether it is reduced.
    reduced: Vec<bool>,
    weights: Option<Weights>,
    statistic: FieldStatistic,
}

/// What is computed of the cells of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FieldStatistic {
    Minimum,
    Maximum,
    Range,
    Sum,
    /// The sum of value times weight.
    Integral,
    /// The number of valid cells.
    Count,
    Mean,
    /// The mean, missing where any cell is.
    Average,
    Variance,
    /// Divided by W - sum of squared weights / W, which is n - 1 where all weights are 1.
    Variance1,
    StandardDeviation,
    StandardDeviation1,
    Skewness,
    /// In excess of that of a normal distribution.
    Kurtosis,
    /// The value below which a share of the valid cells lie, from 0 to 1.
    Percentile(Method, f64),
    /// The median, missing where any cell is.
    StrictMedian,
}

impl FieldStatistic {
    /// Whether cells count by their size.
    pub(crate) fn is_weighted(self) -> bool {
        matches!(
            self,
            Self::Integral
                | Self::Mean
                | Self::Average
                | Self::Variance
                | Self::Variance1
                | Self::StandardDeviation
                | Self::StandardDeviation1
        )
    }

    /// The word of CF's `cell_methods` (appendix E), where there is one.
    pub(crate) fn cell_method(self) -> Option<&'static str> {
        Some(match self {
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Range => "range",
            Self::Sum | Self::Integral => "sum",
            Self::Mean | Self::Average => "mean",
            Self::Variance | Self::Variance1 => "variance",
            Self::StandardDeviation | Self::StandardDeviation1 => "standard_deviation",
            Self::Percentile(_, 0.5) | Self::StrictMedian => "median",
            Self::Count | Self::Skewness | Self::Kurtosis | Self::Percentile(..) => return None,
        })
    }
}

/// One weight a cell of some dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Dimensions of the child, in its order.
    pub(crate) dims: Vec<usize>,
    pub(crate) values: Arc<Vec<f64>>,
}

/// Cells of a regular grid's row differ by the rounding of their coordinates, not more.
const ROUNDING: f64 = 1e-12;

impl Weights {
    /// Without the last dimension of a child of this shape, where cells of a row weigh the same:
    /// sums over rows are faster then.
    fn of_rows(self, shape: &[usize]) -> Self {
        let Self { mut dims, values } = self;
        let last = shape.len().saturating_sub(1);
        let row_cells = shape.last().copied().unwrap_or(1).max(1);
        let is_even = |row: &[f64]| {
            let difference = |weight: &f64| (weight - row[0]).abs();
            row.iter().all(|w| difference(w) <= ROUNDING * row[0].abs())
        };
        if dims.len() < 2 || dims.last() != Some(&last) || !values.chunks(row_cells).all(is_even) {
            return Self { dims, values };
        }
        dims.pop();
        let first = |row: &[f64]| row[0];
        let values = Arc::new(values.chunks(row_cells).map(first).collect());
        Self { dims, values }
    }
}

impl Operation for FieldReduction {
    fn shape(&self) -> Vec<usize> {
        let shape = self.child.shape();
        let len = |(len, &reduced): (usize, &bool)| if reduced { 1 } else { len };
        shape.into_iter().zip(&self.reduced).map(len).collect()
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
        if self.reduced[dim] {
            vec![0, 1]
        } else {
            self.child.cuts(dim)
        }
    }

    fn pulled_per_cell(&self) -> usize {
        self.reduced_cells() * self.child.pulled_per_cell()
    }

    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        self.child.stored_bytes(&self.child_region(region))
    }

    fn pick(&self, dim: usize, picks: &Picks) -> Option<Arc<dyn Operation>> {
        (!self.reduced[dim]).then(|| {
            let child = self.child.pick(dim, picks);
            self.with_children(vec![child])
        })
    }

    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        use FieldStatistic as S;
        match self.statistic {
            S::Minimum | S::Maximum | S::Range => self.fold::<fold::Extremes>(region, out),
            S::Sum | S::Integral | S::Count | S::Mean => self.fold::<fold::Sums>(region, out),
            S::Average => self.fold::<fold::Strict>(region, out),
            S::Variance | S::Variance1 | S::StandardDeviation | S::StandardDeviation1 => {
                self.fold::<fold::Moments>(region, out)
            }
            S::Skewness | S::Kurtosis => self.fold::<fold::HighMoments>(region, out),
            S::Percentile(..) | S::StrictMedian => self.fold::<fold::Values>(region, out),
        }
    }
}

impl FieldReduction {
    /// `reduced` tells for each dimension of the child whether it is reduced.
    pub(crate) fn new(
        child: Expr,
        reduced: Vec<bool>,
        weights: Option<Weights>,
        statistic: FieldStatistic,
    ) -> Self {
        let weights = weights.map(|weights| weights.of_rows(&child.shape()));
        Self {
            child,
            reduced,
            weights,
            statistic,
        }
    }

    fn fold<F: Fold>(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let mut kept = vec![F::default(); out.len()];
        let whole = self.child_region(region);
        // Only reduced dimensions are split; the caller chose the size of the others.
        let cuts: Vec<Vec<usize>> = (0..whole.len())
            .map(|dim| match self.reduced[dim] {
                true => self.child.cuts(dim),
                false => vec![0, whole[dim].len()],
            })
            .collect();
        let fixed: Vec<usize> = (0..whole.len()).filter(|&dim| !self.reduced[dim]).collect();
        let (mut singles, mut doubles) = (Vec::<f32>::new(), Vec::<f64>::new());
        for piece in region::split(&cuts, PIECE_CELLS_MAX, &fixed) {
            let of_dim = |(dim, range): (usize, Range<usize>)| match self.reduced[dim] {
                true => range,
                false => whole[dim].clone(),
            };
            let piece: Region = piece.into_iter().enumerate().map(of_dim).collect();
            if self.child.is_single() {
                self.add_piece(&piece, &mut singles, &mut kept)?;
            } else {
                self.add_piece(&piece, &mut doubles, &mut kept)?;
            }
        }
        for (out, kept) in out.iter_mut().zip(kept) {
            *out = kept.finish(self.statistic);
        }
        Ok(())
    }

    /// How many cells of the child give one of the result.
    fn reduced_cells(&self) -> usize {
        let shape = self.child.shape();
        shape
            .iter()
            .zip(&self.reduced)
            .filter(|(_, reduced)| **reduced)
            .map(|(len, _)| len)
            .product()
    }

    /// What of the child a region of the result needs.
    fn child_region(&self, region: &[Range<usize>]) -> Region {
        let shape = self.child.shape();
        let range = |dim: usize| {
            if self.reduced[dim] {
                0..shape[dim]
            } else {
                region[dim].clone()
            }
        };
        (0..region.len()).map(range).collect()
    }

    fn add_piece<T: Readable, F: Fold>(
        &self,
        piece: &[Range<usize>],
        values: &mut Vec<T>,
        kept: &mut [F],
    ) -> Result<(), CubeError> {
        values.resize(region::cells(piece), T::default());
        self.child.fill(piece, values)?;
        let lens = region::lens(piece);
        let out_lens: Vec<usize> = lens
            .iter()
            .zip(&self.reduced)
            .map(|(&len, &reduced)| if reduced { 1 } else { len })
            .collect();
        let mut out_strides = region::strides(&out_lens);
        for (stride, &reduced) in out_strides.iter_mut().zip(&self.reduced) {
            if reduced {
                *stride = 0;
            }
        }
        let weight_strides = self.weight_strides();
        let origin: Vec<usize> = piece.iter().map(|range| range.start).collect();
        let start = region::place(&origin, &weight_strides);
        let last = lens.len() - 1;
        let row_reduced = self.reduced[last];
        let mut rows = values.chunks(lens[last].max(1));
        let Ok(()) = region::for_each_index(&lens[..last], |index| {
            let Some(row) = rows.next() else {
                return Ok(());
            };
            let to = region::place(index, &out_strides);
            let from = start + region::place(index, &weight_strides);
            let weight = |i: usize| match &self.weights {
                Some(weights) => weights.values[from + i * weight_strides[last]],
                None => 1.0,
            };
            match &self.weights {
                _ if !row_reduced => {
                    for (i, (kept, value)) in kept[to..].iter_mut().zip(row).enumerate() {
                        kept.add(value.to_f64(), weight(i));
                    }
                }
                Some(weights) if weight_strides[last] == 1 => {
                    kept[to].add_row(row, &weights.values[from..from + row.len()]);
                }
                _ => kept[to].add_evenly(row, weight(0)),
            }
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(())
    }

    /// The step in the weights along each dimension of the child; 0 where they do not vary.
    fn weight_strides(&self) -> Vec<usize> {
        let shape = self.child.shape();
        let mut strides = vec![0; shape.len()];
        if let Some(weights) = &self.weights {
            let mut stride = 1;
            for &dim in weights.dims.iter().rev() {
                strides[dim] = stride;
                stride *= shape[dim];
            }
        }
        strides
    }
}
