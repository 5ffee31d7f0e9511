//! A few numbers of each field, in one pass over the data: what `info` and `diff` print.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation};
use crate::plan::region::{self, Region};

/// Cells that are in memory at once for each thread, unless one storage chunk has more.
const PIECE_CELLS_MAX: usize = 1 << 18;

/// What is told of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// Of one input: missing cells, minimum, mean, maximum.
    Summary,
    /// Of two: missing cells of the one that has more, cells that differ, whether signs differ, whether one
    /// is zero, the largest absolute and relative difference.
    Difference,
}

impl Scan {
    /// How many numbers a field gives.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Summary => 4,
            Self::Difference => 6,
        }
    }
}

/// The numbers of every field: fields in the order of the dimensions that are not horizontal,
/// and one more dimension for the numbers.
#[derive(Clone, Debug)]
pub(super) struct FieldScan {
    pub(super) children: Vec<Expr>,
    /// For each dimension of the children, whether it is horizontal.
    pub(super) horizontal: Vec<bool>,
    pub(super) scan: Scan,
}

/// What is kept of a field.
#[derive(Clone, Copy, Debug)]
struct Kept {
    missing: f64,
    /// Of the second of two.
    missing_right: f64,
    count: f64,
    sum: f64,
    low: f64,
    high: f64,
    differing: f64,
    other_sign: bool,
    one_is_zero: bool,
    absolute: f64,
    relative: f64,
}

impl Kept {
    const NOTHING: Self = Self {
        missing: 0.0,
        missing_right: 0.0,
        count: 0.0,
        sum: 0.0,
        low: f64::NAN,
        high: f64::NAN,
        differing: 0.0,
        other_sign: false,
        one_is_zero: false,
        absolute: 0.0,
        relative: 0.0,
    };

    fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.missing += 1.0;
            return;
        }
        self.count += 1.0;
        self.sum += value;
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    fn compare(&mut self, left: f64, right: f64) {
        self.missing += f64::from(u8::from(left.is_nan()));
        self.missing_right += f64::from(u8::from(right.is_nan()));
        if left.is_nan() || right.is_nan() {
            if left.is_nan() != right.is_nan() {
                self.differing += 1.0;
                self.relative = self.relative.max(1.0);
            }
            return;
        }
        let distance = (left - right).abs();
        if distance == 0.0 {
            return;
        }
        self.differing += 1.0;
        self.absolute = self.absolute.max(distance);
        if left * right < 0.0 {
            self.other_sign = true;
        } else if left == 0.0 || right == 0.0 {
            self.one_is_zero = true;
        } else {
            let relative = distance / left.abs().max(right.abs());
            self.relative = self.relative.max(relative);
        }
    }

    fn numbers(&self, scan: Scan) -> Vec<f64> {
        match scan {
            // 0 / 0 is NaN: nothing is valid.
            Scan::Summary => vec![self.missing, self.low, self.sum / self.count, self.high],
            Scan::Difference => vec![
                self.missing.max(self.missing_right),
                self.differing,
                f64::from(u8::from(self.other_sign)),
                f64::from(u8::from(self.one_is_zero)),
                self.absolute,
                self.relative,
            ],
        }
    }
}

impl FieldScan {
    fn child(&self) -> &Expr {
        &self.children[0]
    }

    fn kept_dims(&self) -> Vec<usize> {
        (0..self.horizontal.len())
            .filter(|&dim| !self.horizontal[dim])
            .collect()
    }

    /// The numbers of the fields of a region of the children that has whole fields.
    fn scan(&self, fields: &Region) -> Result<Vec<Kept>, CubeError> {
        let kept = self.kept_dims();
        let lens: Vec<usize> = kept.iter().map(|&dim| fields[dim].len()).collect();
        let strides = region::strides(&lens);
        let mut found = vec![Kept::NOTHING; lens.iter().product()];
        let cuts: Vec<Vec<usize>> = (0..fields.len())
            .map(|dim| match self.horizontal[dim] {
                true => self.child().cuts(dim),
                false => vec![0, fields[dim].len()],
            })
            .collect();
        for piece in region::split(&cuts, PIECE_CELLS_MAX, &kept) {
            let mut piece = piece;
            for &dim in &kept {
                piece[dim] = fields[dim].clone();
            }
            let mut sides = Vec::with_capacity(self.children.len());
            for child in &self.children {
                let mut values = vec![0.0_f64; region::cells(&piece)];
                child.fill(&piece, &mut values)?;
                sides.push(values);
            }
            let mut place = 0;
            region::for_each_index(&region::lens(&piece), |index| {
                let field = kept
                    .iter()
                    .zip(&strides)
                    .map(|(&dim, stride)| index[dim] * stride);
                let field = &mut found[field.sum::<usize>()];
                match sides.as_slice() {
                    [values] => field.add(values[place]),
                    [left, right] => field.compare(left[place], right[place]),
                    _ => {}
                }
                place += 1;
                Ok::<(), CubeError>(())
            })?;
        }
        Ok(found)
    }
}

impl Operation for FieldScan {
    fn shape(&self) -> Vec<usize> {
        let shape = self.child().shape();
        let kept = self.kept_dims().into_iter().map(|dim| shape[dim]);
        kept.chain([self.scan.width()]).collect()
    }

    fn children(&self) -> Vec<&Expr> {
        self.children.iter().collect()
    }

    fn with_children(&self, children: Vec<Expr>) -> Arc<dyn Operation> {
        Arc::new(Self {
            children,
            ..self.clone()
        })
    }

    fn pulled_per_cell(&self) -> usize {
        let shape = self.child().shape();
        let field = (0..shape.len())
            .filter(|&dim| self.horizontal[dim])
            .map(|dim| shape[dim]);
        field.product::<usize>().max(1) * self.child().pulled_per_cell()
    }

    /// The whole is asked for at once, so threads share it here.
    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let kept = self.kept_dims();
        let shape = self.child().shape();
        let mut whole: Region = shape.iter().map(|&len| 0..len).collect();
        let mut cuts = Vec::with_capacity(shape.len());
        for dim in 0..shape.len() {
            match kept.iter().position(|&kept| kept == dim) {
                Some(position) => {
                    let range = region[position].clone();
                    let inside = |cut: &usize| range.start < *cut && *cut < range.end;
                    let between = self.child().cuts(dim).into_iter().filter(inside);
                    let ends = std::iter::once(range.start)
                        .chain(between)
                        .chain([range.end]);
                    cuts.push(ends.map(|cut| cut - range.start).collect::<Vec<_>>());
                    whole[dim] = range;
                }
                None => cuts.push(vec![0, shape[dim]]),
            }
        }
        let horizontal: Vec<usize> = (0..shape.len())
            .filter(|&dim| self.horizontal[dim])
            .collect();
        let mut blocks = region::split(&cuts, PIECE_CELLS_MAX, &horizontal);
        for block in &mut blocks {
            for &dim in &kept {
                let start = whole[dim].start;
                block[dim] = block[dim].start + start..block[dim].end + start;
            }
        }
        let scanned: Vec<Vec<Kept>> = blocks
            .par_iter()
            .map(|block| self.scan(block))
            .collect::<Result<_, _>>()?;
        let lens: Vec<usize> = kept.iter().map(|&dim| whole[dim].len()).collect();
        let strides = region::strides(&lens);
        let columns = region.last().cloned().unwrap_or(0..0);
        for (block, fields) in blocks.iter().zip(scanned) {
            let own: Vec<usize> = kept.iter().map(|&dim| block[dim].len()).collect();
            let mut fields = fields.into_iter();
            region::for_each_index(&own, |index| {
                let at = kept
                    .iter()
                    .zip(index)
                    .zip(&strides)
                    .map(|((&dim, i), stride)| (block[dim].start - whole[dim].start + i) * stride);
                let start = at.sum::<usize>() * columns.len();
                if let Some(field) = fields.next() {
                    let numbers = field.numbers(self.scan);
                    out[start..start + columns.len()].copy_from_slice(&numbers[columns.clone()]);
                }
                Ok::<(), CubeError>(())
            })?;
        }
        Ok(())
    }
}
