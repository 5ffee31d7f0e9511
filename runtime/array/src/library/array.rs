//! Arrays opened for reading: type, extents, how the bytes lie, and slow reads of any kind.

use std::ffi::c_uint;
use std::ops::Range;

use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5d::{
    H5D_fill_value_t, H5D_layout_t, H5Dget_chunk_info, H5Dget_create_plist, H5Dget_num_chunks,
    H5Dget_offset, H5Dget_space, H5Dget_type, H5Dread,
};
use hdf5_sys::h5p::{
    H5P_DEFAULT, H5Pfill_value_defined, H5Pget_chunk, H5Pget_external_count, H5Pget_fill_value,
    H5Pget_filter2, H5Pget_layout, H5Pget_nfilters,
};
use hdf5_sys::h5s::{
    H5S_ALL, H5S_UNLIMITED, H5S_class_t, H5S_seloper_t, H5Screate, H5Screate_simple,
    H5Sget_simple_extent_dims, H5Sget_simple_extent_ndims, H5Sselect_hyperslab,
};
use hdf5_sys::h5t::H5Tget_size;

use super::attribute::{self, RawAttribute};
use super::element::{Element, memory_type};
use super::reference::{self, HeapReference};
use super::{Failure, Handle, Outcome, locked, status};
use crate::dataset::DType;

/// HDF5's own limit (`H5S_MAX_RANK`).
const RANK_MAX: usize = 32;

/// HDF5's own limit (`H5Z_MAX_NFILTERS`).
const FILTER_COUNT_MAX: i32 = 32;

/// More parameters than any known filter has.
const FILTER_PARAMETERS_MAX: usize = 32;

/// One step of what was done to chunks when they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// As registered with the HDF Group: 1 deflate, 2 shuffle, 3 Fletcher-32.
    pub(crate) id: i32,
    pub(crate) parameters: Vec<u32>,
}

/// How the bytes of an array lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In one piece at an address, or nowhere when nothing was ever written.
    Contiguous { address: Option<u64> },
    /// In pieces of one shape.
    Chunked {
        shape: Vec<usize>,
        filters: Vec<Filter>,
    },
    /// In a way that only the library follows.
    Library,
}

impl Layout {
    /// Whether chunks were changed before they were written.
    pub(crate) fn is_filtered(&self) -> bool {
        matches!(self, Self::Chunked { filters, .. } if !filters.is_empty())
    }
}

/// Where one chunk lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredChunk {
    /// Its first cell.
    pub(crate) offset: Vec<u64>,
    /// Bit i: filter i was not applied.
    pub(crate) filter_mask: u32,
    /// As the library counts: from the start of the file, or of the HDF5 part of it.
    pub(crate) address: u64,
    pub(crate) size_bytes: u64,
}

/// An array opened for reading.
#[derive(Debug)]
pub(crate) struct Array {
    handle: Handle,
    pub(crate) name: String,
    /// By which references name it.
    pub(crate) address: u64,
    pub(crate) element: Element,
    /// The bytes of one element in the file.
    pub(crate) element_bytes: usize,
    /// The extent of each dimension; empty for a scalar.
    pub(crate) extents: Vec<u64>,
    /// How far each dimension may grow; `u64::MAX` without limit.
    pub(crate) extents_max: Vec<u64>,
    /// Whether each dimension may grow without limit.
    pub(crate) unlimited: Vec<bool>,
    pub(crate) layout: Layout,
    /// The bytes of one element where nothing was written, as memory holds it; empty for text.
    pub(crate) fill: Vec<u8>,
    /// A space without any element.
    pub(crate) is_empty: bool,
}

impl Array {
    /// Looks at an open array. Called under the lock.
    pub(super) fn of(handle: Handle, name: &str, address: u64) -> Outcome<Self> {
        let operation = format!("read the structure of `{name}`");
        // SAFETY: the array is open; the handles own what is returned.
        let (type_id, space) = unsafe {
            (
                Handle::of(H5Dget_type(handle.0), &operation)?,
                Handle::of(H5Dget_space(handle.0), &operation)?,
            )
        };
        let element = Element::of(&type_id)?;
        let element_bytes = match element {
            Element::VarText => reference::REFERENCE_BYTES,
            // SAFETY: an open datatype.
            _ => unsafe { H5Tget_size(type_id.0) },
        };
        let (extents, extents_max, is_empty) = extents(&space, &operation)?;
        let unlimited = extents_max
            .iter()
            .map(|&max| max == H5S_UNLIMITED)
            .collect();
        let (layout, fill) = match element {
            // The property list has the fill value, and the library would follow that of a text
            // into the global heap.
            Element::VarText | Element::Other(_) => (Layout::Library, Vec::new()),
            _ => {
                // SAFETY: the array is open; the handle owns what is returned.
                let plist = unsafe { H5Dget_create_plist(handle.0) };
                let plist = Handle::of(plist, &operation)?;
                let layout = layout(&handle, &plist, extents.len(), &operation)?;
                let fill = match element {
                    Element::Number { dtype, .. } => fill_value(&plist, dtype, &operation)?,
                    _ => Vec::new(),
                };
                (layout, fill)
            }
        };
        let name = name.to_owned();
        Ok(Self {
            handle,
            name,
            address,
            element,
            element_bytes,
            extents,
            extents_max,
            unlimited,
            layout,
            fill,
            is_empty,
        })
    }

    /// Its attributes.
    pub(crate) fn attributes(&self) -> Outcome<Vec<RawAttribute>> {
        locked(|| attribute::read_all(&self.handle))
    }

    /// Where the lists of its dimension scales lie; empty when it has none attached.
    pub(crate) fn dimension_lists(&self) -> Outcome<Vec<HeapReference>> {
        locked(|| attribute::dimension_lists(&self.handle, self.extents.len()))
    }

    /// Where its chunks lie, in no particular order.
    pub(crate) fn chunks(&self) -> Outcome<Vec<StoredChunk>> {
        let operation = format!("find the chunks of `{}`", self.name);
        locked(|| {
            let mut count = 0;
            // SAFETY: the array is open and gives a space of its own; `count` is written
            // before it is read.
            let space = unsafe {
                // Releases before 1.10.10 do not know `H5S_ALL` here.
                let space = Handle::of(H5Dget_space(self.handle.0), &operation)?;
                status(
                    H5Dget_num_chunks(self.handle.0, space.0, &raw mut count),
                    &operation,
                )?;
                space
            };
            (0..count)
                .map(|index| self.chunk(&space, index, &operation))
                .collect()
        })
    }

    fn chunk(&self, space: &Handle, index: hsize_t, operation: &str) -> Outcome<StoredChunk> {
        let mut offset = vec![0; self.extents.len()];
        let (mut filter_mask, mut address, mut size_bytes) = (0, 0, 0);
        // SAFETY: the array is open and chunked; `offset` has one place per dimension.
        let code = unsafe {
            H5Dget_chunk_info(
                self.handle.0,
                space.0,
                index,
                offset.as_mut_ptr(),
                &raw mut filter_mask,
                &raw mut address,
                &raw mut size_bytes,
            )
        };
        status(code, operation)?;
        Ok(StoredChunk {
            offset,
            filter_mask,
            address,
            size_bytes,
        })
    }

    /// Reads a region through the library, as numbers in the machine's own byte order.
    pub(crate) fn read(
        &self,
        dtype: DType,
        region: &[Range<usize>],
        out: &mut [u8],
    ) -> Outcome<()> {
        let count: usize = region.iter().map(ExactSizeIterator::len).product();
        assert_eq!(
            out.len(),
            count * dtype.size_bytes(),
            "the buffer has the region's size"
        );
        let operation = format!("read `{}`", self.name);
        locked(|| {
            let (file_space, memory_space) = self.spaces(region, &operation)?;
            // SAFETY: the buffer holds as many elements of the memory type as are selected.
            let code = unsafe {
                H5Dread(
                    self.handle.0,
                    memory_type(dtype),
                    memory_space.0,
                    file_space.0,
                    H5P_DEFAULT,
                    out.as_mut_ptr().cast(),
                )
            };
            status(code, &operation)
        })
    }

    /// Reads all texts of a fixed size, as many bytes for each.
    pub(crate) fn read_fixed_texts(&self, size_bytes: usize) -> Outcome<Vec<u8>> {
        let operation = format!("read `{}`", self.name);
        let length = self.count().saturating_mul(size_bytes);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| {
            Failure::new(&operation, format!("there are no {length} bytes of memory"))
        })?;
        bytes.resize(length, 0_u8);
        if bytes.is_empty() {
            return Ok(bytes);
        }
        locked(|| {
            // SAFETY: the array is open; the buffer holds all elements of its own type.
            let code = unsafe {
                let type_id = Handle::of(H5Dget_type(self.handle.0), &operation)?;
                if H5Tget_size(type_id.0) != size_bytes {
                    return Err(Failure::new(&operation, "its texts have another size"));
                }
                let out = bytes.as_mut_ptr().cast();
                H5Dread(self.handle.0, type_id.0, H5S_ALL, H5S_ALL, H5P_DEFAULT, out)
            };
            status(code, &operation)
        })?;
        Ok(bytes)
    }

    /// Where the texts of any length lie in the global heap.
    pub(crate) fn read_references(&self) -> Outcome<Vec<HeapReference>> {
        let operation = format!("read `{}`", self.name);
        locked(|| {
            reference::read(self.count(), &operation, |memory, out| {
                // SAFETY: the array is open; the buffer holds all elements of the memory type.
                unsafe { H5Dread(self.handle.0, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) }
            })
        })
    }

    /// How many elements it has.
    fn count(&self) -> usize {
        let lens = self.extents.iter().map(|&len| len as usize);
        match self.is_empty {
            true => 0,
            false => lens.fold(1, usize::saturating_mul),
        }
    }

    /// The selection of a region in the file, and the space that holds it in memory.
    fn spaces(&self, region: &[Range<usize>], operation: &str) -> Outcome<(Handle, Handle)> {
        select(&self.handle, region, operation)
    }
}

/// The selection of a region of an array, and the space that holds it in memory. Called under
/// the lock.
pub(super) fn select(
    array: &Handle,
    region: &[Range<usize>],
    operation: &str,
) -> Outcome<(Handle, Handle)> {
    let start: Vec<hsize_t> = region.iter().map(|range| range.start as hsize_t).collect();
    let count: Vec<hsize_t> = region.iter().map(|range| range.len() as hsize_t).collect();
    // SAFETY: the array is open; `start` and `count` have one entry per dimension, as the
    // caller checked; null stands for a stride and a block of one.
    unsafe {
        let file = Handle::of(H5Dget_space(array.0), operation)?;
        if region.is_empty() {
            let memory = Handle::of(H5Screate(H5S_class_t::H5S_SCALAR), operation)?;
            return Ok((file, memory));
        }
        if H5Sget_simple_extent_ndims(file.0) != region.len() as i32 {
            return Err(Failure::new(operation, "the region has another rank"));
        }
        let code = H5Sselect_hyperslab(
            file.0,
            H5S_seloper_t::H5S_SELECT_SET,
            start.as_ptr(),
            std::ptr::null(),
            count.as_ptr(),
            std::ptr::null(),
        );
        status(code, operation)?;
        let rank = region.len() as i32;
        let memory = H5Screate_simple(rank, count.as_ptr(), std::ptr::null());
        Ok((file, Handle::of(memory, operation)?))
    }
}

fn extents(space: &Handle, operation: &str) -> Outcome<(Vec<u64>, Vec<u64>, bool)> {
    use hdf5_sys::h5s::H5Sget_simple_extent_type;
    // SAFETY: an open space.
    let (rank, class) = unsafe {
        (
            H5Sget_simple_extent_ndims(space.0),
            H5Sget_simple_extent_type(space.0),
        )
    };
    let rank = usize::try_from(rank)
        .ok()
        .filter(|&rank| rank <= RANK_MAX)
        .ok_or_else(|| Failure::of_last_call(operation))?;
    let (mut now, mut max) = (vec![0; rank], vec![0; rank]);
    if rank > 0 {
        // SAFETY: both buffers have one place per dimension.
        let code =
            unsafe { H5Sget_simple_extent_dims(space.0, now.as_mut_ptr(), max.as_mut_ptr()) };
        status(code, operation)?;
    }
    Ok((now, max, class == H5S_class_t::H5S_NULL))
}

fn layout(array: &Handle, plist: &Handle, rank: usize, operation: &str) -> Outcome<Layout> {
    // SAFETY: the property list of an open array; the answers are plain numbers.
    let (layout, external) = unsafe { (H5Pget_layout(plist.0), H5Pget_external_count(plist.0)) };
    match layout {
        H5D_layout_t::H5D_CONTIGUOUS if external == 0 => {
            // SAFETY: an open array; an undefined address is all ones.
            let address = unsafe { H5Dget_offset(array.0) };
            Ok(Layout::Contiguous {
                address: (address != u64::MAX).then_some(address),
            })
        }
        H5D_layout_t::H5D_CHUNKED => {
            let mut shape = vec![0; rank];
            // SAFETY: the buffer has one place per dimension.
            let found = unsafe { H5Pget_chunk(plist.0, rank as i32, shape.as_mut_ptr()) };
            if found != rank as i32 || shape.contains(&0) {
                return Err(Failure::new(operation, "the chunk shape is broken"));
            }
            let shape = shape.into_iter().map(|len| len as usize).collect();
            Ok(Layout::Chunked {
                shape,
                filters: filters(plist, operation)?,
            })
        }
        H5D_layout_t::H5D_LAYOUT_ERROR => Err(Failure::of_last_call(operation)),
        _ => Ok(Layout::Library),
    }
}

fn filters(plist: &Handle, operation: &str) -> Outcome<Vec<Filter>> {
    // SAFETY: an open property list.
    let count = unsafe { H5Pget_nfilters(plist.0) };
    if !(0..=FILTER_COUNT_MAX).contains(&count) {
        return Err(Failure::of_last_call(operation));
    }
    (0..count.unsigned_abs())
        .map(|index| {
            let mut parameters = vec![0 as c_uint; FILTER_PARAMETERS_MAX];
            let mut parameter_count = parameters.len();
            let (mut flags, mut config) = (0, 0);
            // SAFETY: the buffer has `parameter_count` places; no name is asked for.
            let id = unsafe {
                H5Pget_filter2(
                    plist.0,
                    index,
                    &raw mut flags,
                    &raw mut parameter_count,
                    parameters.as_mut_ptr(),
                    0,
                    std::ptr::null_mut(),
                    &raw mut config,
                )
            };
            status(id, operation)?;
            parameters.truncate(parameter_count);
            Ok(Filter { id, parameters })
        })
        .collect()
}

/// What stands where nothing was written; zero when the file does not say.
fn fill_value(plist: &Handle, dtype: DType, operation: &str) -> Outcome<Vec<u8>> {
    let mut fill = vec![0_u8; dtype.size_bytes()];
    let mut state = H5D_fill_value_t::H5D_FILL_VALUE_UNDEFINED;
    // SAFETY: the buffer holds one element of the memory type; `state` is written first.
    unsafe {
        status(H5Pfill_value_defined(plist.0, &raw mut state), operation)?;
        if state == H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED {
            let out = fill.as_mut_ptr().cast();
            status(
                H5Pget_fill_value(plist.0, memory_type(dtype), out),
                operation,
            )?;
        }
    }
    Ok(fill)
}
