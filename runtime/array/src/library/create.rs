//! Files being made: arrays, attributes, references, and writes of regions and whole chunks.

use std::ffi::{CStr, CString, c_char, c_uint};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hdf5_sys::h5::{herr_t, hsize_t};
use hdf5_sys::h5d::{H5Dcreate2, H5Dread_chunk, H5Dwrite, H5Dwrite_chunk};
use hdf5_sys::h5f::{H5F_ACC_TRUNC, H5F_libver_t, H5F_scope_t, H5Fcreate, H5Fflush};
use hdf5_sys::h5g::H5Gcreate2;
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5o::H5Oopen;
use hdf5_sys::h5p::{
    H5P_CLS_DATASET_CREATE, H5P_CLS_FILE_ACCESS, H5P_CLS_FILE_CREATE, H5P_CLS_GROUP_CREATE,
    H5P_CRT_ORDER_INDEXED, H5P_CRT_ORDER_TRACKED, H5P_DEFAULT, H5Pcreate,
    H5Pset_attr_creation_order, H5Pset_chunk, H5Pset_deflate, H5Pset_fill_value, H5Pset_filter,
    H5Pset_libver_bounds, H5Pset_link_creation_order, H5Pset_obj_track_times, H5Pset_shuffle,
};
use hdf5_sys::h5s::{H5S_ALL, H5S_UNLIMITED, H5S_class_t, H5Screate, H5Screate_simple};
use hdf5_sys::h5t::{
    H5T_IEEE_F32BE, H5T_NATIVE_INT32, H5T_STD_I32LE, H5T_STD_REF_OBJ, H5T_class_t, H5Tcreate,
    H5Tinsert, H5Tvlen_create, hvl_t,
};

use hdf5_sys::h5z::{H5Z_FLAG_OPTIONAL, H5Z_filter_t};

use super::array::select;
use super::attribute::{self, list_space, write_raw};
use super::element::{file_type, memory_type, text_type};
use super::{Failure, Handle, Outcome, c_name, locked, status};
use crate::dataset::{AttrValue, DType};

// What `hdf5-sys` does not declare.
unsafe extern "C" {
    fn H5Dget_chunk_storage_size(
        array: hid_t,
        offset: *const hsize_t,
        chunk_bytes: *mut hsize_t,
    ) -> herr_t;
}

/// Objects and attributes are listed in the order in which they were made, as NetCDF wants.
const IN_ORDER: u32 = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;

/// A file being made.
#[derive(Debug)]
pub(crate) struct NewFile {
    handle: Handle,
}

/// An array being made.
#[derive(Debug)]
pub(crate) struct NewArray {
    handle: Handle,
    name: String,
}

/// What an array shall be.
#[derive(Clone, Debug)]
pub(crate) struct ArrayPlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) extents: &'a [usize],
    pub(crate) unlimited: &'a [bool],
    /// The shape of its chunks; `None` stores it in one piece.
    pub(crate) chunk_shape: Option<&'a [usize]>,
    /// In the order in which they are applied; only to chunks.
    pub(crate) filters: &'a [NewFilter],
    /// One element in the machine's own byte order, for cells that are never written.
    pub(crate) fill: Option<&'a [u8]>,
}

/// A filter of a new array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewFilter {
    Shuffle,
    /// With its level.
    Deflate(u8),
    /// With its level. The library itself need not have it, since chunks are written as they
    /// shall lie in the file.
    Zstd(u8),
}

/// The number of the filter Zstandard in the registry of HDF5.
const ZSTD: H5Z_filter_t = 32015;

/// The elements of a new array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data(DType),
    /// What NetCDF makes of a dimension without variable.
    BareDimension,
}

/// One use of a dimension scale: the address of the array, and which of its dimensions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScaleUse {
    pub(crate) address: u64,
    pub(crate) dimension: i32,
    pub(crate) padding: i32,
}

impl NewFile {
    /// Makes an empty file in place of what is at `path`.
    pub(crate) fn create(path: &Path) -> Outcome<Self> {
        let operation = "create the file";
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Failure::new(operation, "its name holds a zero byte"))?;
        // SAFETY: the property list is open until the file is made; the name outlives the call.
        locked(|| unsafe {
            let plist = Handle::of(H5Pcreate(*H5P_CLS_FILE_CREATE), operation)?;
            status(H5Pset_link_creation_order(plist.0, IN_ORDER), operation)?;
            status(H5Pset_attr_creation_order(plist.0, IN_ORDER), operation)?;
            // Older formats cannot hold an attribute above 64 KiB, which a long history is;
            // newer ones many programs cannot read.
            let access = Handle::of(H5Pcreate(*H5P_CLS_FILE_ACCESS), operation)?;
            let version = H5F_libver_t::H5F_LIBVER_V18;
            status(H5Pset_libver_bounds(access.0, version, version), operation)?;
            let id = H5Fcreate(name.as_ptr(), H5F_ACC_TRUNC, plist.0, access.0);
            Ok(Self {
                handle: Handle::of(id, operation)?,
            })
        })
    }

    /// Makes an array; the group of its path is there.
    pub(crate) fn array(&self, plan: &ArrayPlan<'_>) -> Outcome<NewArray> {
        let operation = format!("create `{}`", plan.name);
        let name = c_name(plan.name)?;
        locked(|| {
            let (type_id, _text) = plan.kind.file_type()?;
            let space = space_of(plan, &operation)?;
            let plist = creation_list(plan, &operation)?;
            // SAFETY: all identifiers are open and the name outlives the call.
            let id = unsafe {
                H5Dcreate2(
                    self.handle.0,
                    name.as_ptr(),
                    type_id,
                    space.0,
                    H5P_DEFAULT,
                    plist.0,
                    H5P_DEFAULT,
                )
            };
            Ok(NewArray {
                handle: Handle::of(id, &operation)?,
                name: plan.name.to_owned(),
            })
        })
    }

    /// Makes a group; the one around it is there.
    pub(crate) fn group(&self, path: &str) -> Outcome<()> {
        let operation = format!("create the group `{path}`");
        let name = c_name(path)?;
        // SAFETY: the property list is open until the group is made; the name outlives the call.
        locked(|| unsafe {
            let plist = Handle::of(H5Pcreate(*H5P_CLS_GROUP_CREATE), &operation)?;
            status(H5Pset_link_creation_order(plist.0, IN_ORDER), &operation)?;
            status(H5Pset_attr_creation_order(plist.0, IN_ORDER), &operation)?;
            status(H5Pset_obj_track_times(plist.0, 0), &operation)?;
            let id = H5Gcreate2(
                self.handle.0,
                name.as_ptr(),
                H5P_DEFAULT,
                plist.0,
                H5P_DEFAULT,
            );
            Handle::of(id, &operation).map(drop)
        })
    }

    /// Writes an attribute of a group; `/` is the file's own.
    pub(crate) fn write_attribute(
        &self,
        group: &str,
        name: &str,
        value: &AttrValue,
    ) -> Outcome<()> {
        let operation = format!("open the group `{group}`");
        let group = c_name(group)?;
        locked(|| {
            // SAFETY: the file is open and the name outlives the call.
            let id = unsafe { H5Oopen(self.handle.0, group.as_ptr(), H5P_DEFAULT) };
            attribute::write(&Handle::of(id, &operation)?, name, value)
        })
    }

    /// The address by which references name an array.
    pub(crate) fn address_of(&self, name: &str) -> Outcome<u64> {
        let name = c_name(name)?;
        locked(|| attribute::address_of(&self.handle, &name))
    }

    /// Hands everything to the system and closes.
    pub(crate) fn close(self) -> Outcome<()> {
        let operation = "finish the file";
        locked(|| {
            let scope = H5F_scope_t::H5F_SCOPE_LOCAL;
            // SAFETY: the file is open.
            status(unsafe { H5Fflush(self.handle.0, scope) }, operation)
        })?;
        self.handle.close(operation)
    }
}

impl Kind {
    /// The type in the file, and its owner when it is not a constant.
    fn file_type(self) -> Outcome<(hid_t, Option<Handle>)> {
        let text = match self {
            Self::BareDimension => return Ok((*H5T_IEEE_F32BE, None)),
            Self::Data(DType::Char) => text_type(Some(1), false)?,
            Self::Data(DType::Text) => text_type(None, true)?,
            Self::Data(dtype) => return Ok((file_type(dtype), None)),
        };
        Ok((text.0, Some(text)))
    }
}

fn space_of(plan: &ArrayPlan<'_>, operation: &str) -> Outcome<Handle> {
    let now: Vec<hsize_t> = plan.extents.iter().map(|&len| len as hsize_t).collect();
    let max: Vec<hsize_t> = now
        .iter()
        .zip(plan.unlimited)
        .map(|(&len, &unlimited)| if unlimited { H5S_UNLIMITED } else { len })
        .collect();
    // SAFETY: both lists have one entry per dimension.
    let id = unsafe {
        if now.is_empty() {
            H5Screate(H5S_class_t::H5S_SCALAR)
        } else {
            H5Screate_simple(now.len() as i32, now.as_ptr(), max.as_ptr())
        }
    };
    Handle::of(id, operation)
}

fn creation_list(plan: &ArrayPlan<'_>, operation: &str) -> Outcome<Handle> {
    // SAFETY: the new list is open in all calls; the chunk shape has one entry per dimension;
    // the fill value is one element of its type.
    unsafe {
        let plist = Handle::of(H5Pcreate(*H5P_CLS_DATASET_CREATE), operation)?;
        status(H5Pset_attr_creation_order(plist.0, IN_ORDER), operation)?;
        // The same data gives the same bytes at any time, and so the same digest.
        status(H5Pset_obj_track_times(plist.0, 0), operation)?;
        if let Some(shape) = plan.chunk_shape {
            let shape: Vec<hsize_t> = shape.iter().map(|&len| len as hsize_t).collect();
            status(
                H5Pset_chunk(plist.0, shape.len() as i32, shape.as_ptr()),
                operation,
            )?;
            for filter in plan.filters {
                let code = match *filter {
                    NewFilter::Shuffle => H5Pset_shuffle(plist.0),
                    NewFilter::Deflate(level) => H5Pset_deflate(plist.0, level.into()),
                    NewFilter::Zstd(level) => {
                        let level = c_uint::from(level);
                        H5Pset_filter(plist.0, ZSTD, H5Z_FLAG_OPTIONAL, 1, &raw const level)
                    }
                };
                status(code, operation)?;
            }
        }
        if let (Some(fill), Kind::Data(dtype)) = (plan.fill, plan.kind) {
            assert_eq!(
                fill.len(),
                dtype.size_bytes(),
                "a fill value is one element"
            );
            let code = H5Pset_fill_value(plist.0, memory_type(dtype), fill.as_ptr().cast());
            status(code, operation)?;
        }
        Ok(plist)
    }
}

impl NewArray {
    /// Writes an attribute.
    pub(crate) fn write_attribute(&self, name: &str, value: &AttrValue) -> Outcome<()> {
        locked(|| attribute::write(&self.handle, name, value))
    }

    /// Writes a text attribute with a zero byte at its end, as the dimension scale library does.
    pub(crate) fn write_terminated(&self, name: &str, text: &CStr) -> Outcome<()> {
        locked(|| {
            let bytes = text.to_bytes_with_nul();
            let type_id = text_type(Some(bytes.len()), false)?;
            // SAFETY: a scalar space; the text has the size of its type.
            unsafe {
                let space = Handle::of(H5Screate(H5S_class_t::H5S_SCALAR), "make a space")?;
                let values = bytes.as_ptr().cast();
                write_raw(&self.handle, name, type_id.0, type_id.0, &space, values)
            }
        })
    }

    /// Names the scale of each dimension.
    pub(crate) fn write_scales(&self, scales: &[u64]) -> Outcome<()> {
        let lists: Vec<hvl_t> = scales
            .iter()
            .map(|address| hvl_t {
                len: 1,
                p: std::ptr::from_ref(address).cast_mut().cast(),
            })
            .collect();
        locked(|| {
            // SAFETY: a list of references is a length and a pointer to addresses, which are
            // only read, and outlive the call.
            unsafe {
                let type_id = H5Tvlen_create(*H5T_STD_REF_OBJ);
                let type_id = Handle::of(type_id, "make a type of lists")?;
                let space = list_space(lists.len())?;
                let values = lists.as_ptr().cast();
                write_raw(
                    &self.handle,
                    "DIMENSION_LIST",
                    type_id.0,
                    type_id.0,
                    &space,
                    values,
                )
            }
        })
    }

    /// Names the arrays that use this one as a scale.
    pub(crate) fn write_uses(&self, uses: &[ScaleUse]) -> Outcome<()> {
        let operation = "make a type of references";
        locked(|| {
            let space = list_space(uses.len())?;
            let compound = |dimension_type: hid_t| {
                // SAFETY: both members lie inside the size, where `ScaleUse` has them.
                unsafe {
                    let size = size_of::<ScaleUse>();
                    let id = H5Tcreate(H5T_class_t::H5T_COMPOUND, size);
                    let id = Handle::of(id, operation)?;
                    let dataset = c"dataset".as_ptr();
                    status(H5Tinsert(id.0, dataset, 0, *H5T_STD_REF_OBJ), operation)?;
                    let offset = std::mem::offset_of!(ScaleUse, dimension);
                    let dimension = c"dimension".as_ptr();
                    status(
                        H5Tinsert(id.0, dimension, offset, dimension_type),
                        operation,
                    )?;
                    Ok(id)
                }
            };
            let in_file = compound(*H5T_STD_I32LE)?;
            let in_memory = compound(*H5T_NATIVE_INT32)?;
            let values = uses.as_ptr().cast();
            // SAFETY: the values are laid out as the type in memory says.
            unsafe {
                write_raw(
                    &self.handle,
                    "REFERENCE_LIST",
                    in_file.0,
                    in_memory.0,
                    &space,
                    values,
                )
            }
        })
    }

    /// Writes a region through the library, from numbers in the machine's own byte order.
    pub(crate) fn write(&self, dtype: DType, region: &[Range<usize>], bytes: &[u8]) -> Outcome<()> {
        let count: usize = region.iter().map(ExactSizeIterator::len).product();
        assert_eq!(
            bytes.len(),
            count * dtype.size_bytes(),
            "the buffer has the region's size"
        );
        let operation = format!("write `{}`", self.name);
        locked(|| {
            let (file_space, memory_space) = select(&self.handle, region, &operation)?;
            let (text, memory) = match dtype {
                DType::Char => {
                    let text = text_type(Some(1), false)?;
                    let id = text.0;
                    (Some(text), id)
                }
                _ => (None, memory_type(dtype)),
            };
            // SAFETY: the buffer holds as many elements of the memory type as are selected.
            let code = unsafe {
                H5Dwrite(
                    self.handle.0,
                    memory,
                    memory_space.0,
                    file_space.0,
                    H5P_DEFAULT,
                    bytes.as_ptr().cast(),
                )
            };
            drop(text);
            status(code, &operation)
        })
    }

    /// Writes one chunk as it shall lie in the file, all filters applied.
    pub(crate) fn write_chunk(&self, offset: &[usize], bytes: &[u8]) -> Outcome<()> {
        let operation = format!("write a chunk of `{}`", self.name);
        let offset: Vec<hsize_t> = offset.iter().map(|&start| start as hsize_t).collect();
        locked(|| {
            // SAFETY: the array is open; the offset has one entry per dimension, as the caller
            // made it from the shape; the bytes outlive the call.
            let code = unsafe {
                let values = bytes.as_ptr().cast();
                H5Dwrite_chunk(
                    self.handle.0,
                    H5P_DEFAULT,
                    0,
                    offset.as_ptr(),
                    bytes.len(),
                    values,
                )
            };
            status(code, &operation)
        })
    }

    /// Reads one chunk as it lies in the file; `None` if it was never written.
    pub(crate) fn read_chunk(&self, offset: &[usize]) -> Outcome<Option<Vec<u8>>> {
        let operation = format!("read back a chunk of `{}`", self.name);
        let offset: Vec<hsize_t> = offset.iter().map(|&start| start as hsize_t).collect();
        locked(|| {
            let mut size: hsize_t = 0;
            // SAFETY: the array is open; the offset has one entry per dimension.
            let code =
                unsafe { H5Dget_chunk_storage_size(self.handle.0, offset.as_ptr(), &raw mut size) };
            // The library calls it an error if there is none.
            if code < 0 || size == 0 {
                return Ok(None);
            }
            let mut bytes = vec![0_u8; usize::try_from(size).unwrap_or(usize::MAX)];
            let mut mask = 0;
            // SAFETY: as above; the buffer has the size that the library told.
            let code = unsafe {
                let values = bytes.as_mut_ptr().cast();
                let offset = offset.as_ptr();
                H5Dread_chunk(self.handle.0, H5P_DEFAULT, offset, &raw mut mask, values)
            };
            status(code, &operation)?;
            Ok(Some(bytes))
        })
    }

    /// Writes all elements of an array of texts.
    pub(crate) fn write_texts(&self, texts: &[String]) -> Outcome<()> {
        let operation = format!("write `{}`", self.name);
        let owned = texts
            .iter()
            .map(|text| c_name(text))
            .collect::<Outcome<Vec<_>>>()?;
        let pointers: Vec<*const c_char> = owned.iter().map(|text| text.as_ptr()).collect();
        locked(|| {
            let memory = text_type(None, true)?;
            // SAFETY: one C string per element, as the caller checked, alive until after the
            // call.
            let code = unsafe {
                let values = pointers.as_ptr().cast();
                H5Dwrite(
                    self.handle.0,
                    memory.0,
                    H5S_ALL,
                    H5S_ALL,
                    H5P_DEFAULT,
                    values,
                )
            };
            status(code, &operation)
        })
    }
}
