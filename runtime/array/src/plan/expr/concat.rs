//! Arrays one after the other along a dimension: which of them a region needs.

use std::ops::Range;

use super::{Expr, Readable};
use crate::error::CubeError;

/// Several arrays, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Concat {
    /// They differ at most in the length of the dimension `axis`.
    pub(crate) children: Vec<Expr>,
    pub(crate) axis: usize,
}

/// A part of a child of a [`Concat`].
pub(super) struct ConcatPart<'a> {
    pub(super) child: &'a Expr,
    /// Its range of the axis.
    pub(super) source: Range<usize>,
    /// Where that begins in what was asked for.
    pub(super) offset: usize,
}

impl Concat {
    pub(super) fn shape(&self) -> Vec<usize> {
        let mut shape = self.children[0].shape();
        shape[self.axis] = self.lens().sum();
        shape
    }

    pub(super) fn lens(&self) -> impl Iterator<Item = usize> {
        self.children.iter().map(|child| child.shape()[self.axis])
    }

    pub(super) fn cuts(&self, dim: usize) -> Vec<usize> {
        if dim != self.axis {
            return self.children[0].cuts(dim);
        }
        let mut cuts = vec![0];
        let mut start = 0;
        for child in &self.children {
            cuts.extend(child.cuts(dim).into_iter().skip(1).map(|cut| start + cut));
            start = cuts.last().copied().unwrap_or(0);
        }
        cuts
    }

    pub(super) fn parts(&self, range: &Range<usize>) -> Vec<ConcatPart<'_>> {
        let mut parts = Vec::new();
        let mut start = 0;
        for (child, len) in self.children.iter().zip(self.lens()) {
            let (low, high) = (range.start.max(start), range.end.min(start + len));
            if low < high {
                parts.push(ConcatPart {
                    child,
                    source: low - start..high - start,
                    offset: low - range.start,
                });
            }
            start += len;
        }
        parts
    }

    pub(super) fn fill<T: Readable>(
        &self,
        region: &[Range<usize>],
        out: &mut [T],
    ) -> Result<(), CubeError> {
        let inner: usize = region[self.axis + 1..].iter().map(Range::len).product();
        let outer: usize = region[..self.axis].iter().map(Range::len).product();
        let block = region[self.axis].len() * inner;
        let mut buffer = Vec::new();
        for part in self.parts(&region[self.axis]) {
            let (len, start) = (part.source.len() * inner, part.offset * inner);
            let mut region = region.to_vec();
            region[self.axis] = part.source;
            if outer == 1 {
                part.child.fill(&region, &mut out[start..start + len])?;
                continue;
            }
            buffer.clear();
            buffer.resize(outer * len, T::default());
            part.child.fill(&region, &mut buffer)?;
            for (out, values) in out.chunks_mut(block).zip(buffer.chunks(len)) {
                out[start..start + len].copy_from_slice(values);
            }
        }
        Ok(())
    }
}
