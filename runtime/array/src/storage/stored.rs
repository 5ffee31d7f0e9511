//! One variable as it lies in a NetCDF-4 file, and the cells of it that a read wants.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use super::StorageError;
use super::convert::{Conversion, Output};
use super::decode::Pipeline;
use super::index::ChunkIndex;
use super::region::{Place, for_each_run};
use crate::dataset::{DType, Dataset};
use crate::library::{Array, Element, Layout};

/// One variable as it lies in the file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) dtype: DType,
    /// How far it is written: less than its dimensions when others grew further.
    pub(super) extents: Vec<usize>,
    pub(super) plan: Plan,
    pub(super) conversion: Conversion,
    pub(super) index: OnceLock<ChunkIndex>,
    /// Set once the library may read all of it.
    pub(super) checked: OnceLock<()>,
    pub(super) array: Array,
}

/// How it is read.
#[derive(Debug)]
pub(super) enum Plan {
    Contiguous {
        address: Option<u64>,
    },
    Chunked {
        shape: Vec<usize>,
        pipeline: Pipeline,
    },
    Library,
}

/// Which cells are read, and the shape of the buffer that they go to the start of.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) region: &'a [Range<usize>],
    pub(super) shape: &'a [usize],
}

/// The cells of one chunk that are wanted.
pub(super) struct Part {
    pub(super) extent: Vec<usize>,
    pub(super) in_chunk: Vec<usize>,
    pub(super) in_target: Vec<usize>,
}

impl Part {
    pub(super) fn of(place: &[usize], chunk_shape: &[usize], target: Target<'_>) -> Self {
        let rank = place.len();
        let mut part = Self {
            extent: Vec::with_capacity(rank),
            in_chunk: Vec::with_capacity(rank),
            in_target: Vec::with_capacity(rank),
        };
        for (dim, range) in target.region.iter().enumerate() {
            let origin = place[dim] * chunk_shape[dim];
            let start = range.start.max(origin);
            part.extent
                .push(range.end.min(origin + chunk_shape[dim]) - start);
            part.in_chunk.push(start - origin);
            part.in_target.push(start - range.start);
        }
        part
    }

    pub(super) fn for_each_run(
        &self,
        chunk_shape: &[usize],
        target: Target<'_>,
        visit: impl FnMut(usize, usize, usize),
    ) {
        let from = Place {
            shape: chunk_shape,
            start: &self.in_chunk,
        };
        let to = Place {
            shape: target.shape,
            start: &self.in_target,
        };
        for_each_run(&self.extent, from, to, visit);
    }
}

impl Stored {
    pub(super) fn of(
        array: Array,
        dataset: &Dataset,
        variable: usize,
        path: &Path,
    ) -> Result<Self, StorageError> {
        let Array {
            element, layout, ..
        } = &array;
        let dtype = dataset.variables[variable].dtype;
        let name = dataset.variables[variable].name.clone();
        let damaged = |problem: &str| StorageError::Damaged {
            path: path.to_owned(),
            problem: format!("variable `{name}` {problem}"),
        };
        let bytes_of = |shape: &[usize]| {
            shape
                .iter()
                .try_fold(dtype.size_bytes(), |bytes, &len| bytes.checked_mul(len))
        };
        let shape = dataset.shape(variable);
        if bytes_of(&shape).is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(damaged("is larger than memory can ever be"));
        }
        let big_endian = match element {
            Element::Number { big_endian, .. } => *big_endian,
            _ => None,
        };
        let plan = match (layout, big_endian) {
            (_, None) | (Layout::Library, _) => Plan::Library,
            (Layout::Contiguous { address }, _) => Plan::Contiguous { address: *address },
            (Layout::Chunked { shape, filters }, _) => {
                if bytes_of(shape).is_none_or(|bytes| bytes > CHUNK_BYTES_MAX) {
                    return Err(damaged("has chunks larger than HDF5 allows"));
                }
                Pipeline::of(filters).map_or(Plan::Library, |pipeline| Plan::Chunked {
                    shape: shape.clone(),
                    pipeline,
                })
            }
        };
        let attributes = &dataset.variables[variable].attributes;
        let conversion = Conversion::new(dtype, attributes, big_endian.unwrap_or(false));
        let extents = array
            .extents
            .iter()
            .map(|&extent| extent as usize)
            .collect();
        Ok(Self {
            name,
            dtype,
            extents,
            plan,
            conversion,
            index: OnceLock::new(),
            checked: OnceLock::new(),
            array,
        })
    }

    /// The part of a region that was written.
    pub(super) fn clip(&self, region: &[Range<usize>]) -> Vec<Range<usize>> {
        region
            .iter()
            .zip(&self.extents)
            .map(|(range, &extent)| range.start.min(extent)..range.end.min(extent))
            .collect()
    }

    /// What stands in cells that were never written.
    pub(super) fn fill<T: Output>(&self) -> T {
        let mut out = [T::MISSING];
        self.conversion.native().run(&self.array.fill, &mut out);
        out[0]
    }

    pub(super) fn fill_box<T: Output>(&self, target: Target<'_>, out: &mut [T]) {
        let extent: Vec<usize> = target.region.iter().map(ExactSizeIterator::len).collect();
        let origin = vec![0; extent.len()];
        let part = Part {
            in_chunk: origin.clone(),
            in_target: origin,
            extent,
        };
        let shape = part.extent.clone();
        self.fill_runs(&part, &shape, target, out);
    }

    pub(super) fn fill_runs<T: Output>(
        &self,
        part: &Part,
        chunk_shape: &[usize],
        target: Target<'_>,
        out: &mut [T],
    ) {
        let fill = self.fill();
        part.for_each_run(chunk_shape, target, |_, to, length| {
            out[to..to + length].fill(fill)
        });
    }
}

/// HDF5's own limit of a chunk.
const CHUNK_BYTES_MAX: usize = u32::MAX as usize;
