//! Files opened for reading, and the objects in their groups.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use hdf5_sys::h5::{H5_index_t, H5_iter_order_t};
use hdf5_sys::h5f::{H5F_ACC_RDONLY, H5Fget_create_plist, H5Fopen};
use hdf5_sys::h5g::{H5G_info_t, H5Gget_info};
use hdf5_sys::h5i::{H5I_type_t, H5Iget_type};
use hdf5_sys::h5l::H5Lget_name_by_idx;
use hdf5_sys::h5o::H5Oopen;
use hdf5_sys::h5p::{H5P_DEFAULT, H5Pget_userblock};

use super::attribute::{self, RawAttribute};
use super::{Array, Failure, Handle, Outcome, c_name, driver, locked, status, text_of};
use crate::storage::ReadAt;

/// A name longer than this is a damaged file, not a name.
const NAME_BYTES_MAX: usize = 64 << 10;

/// More objects than this in one group is a damaged file, not a climate file.
const OBJECT_COUNT_MAX: u64 = 1 << 20;

/// A file opened for reading.
#[derive(Debug)]
pub(crate) struct H5File {
    handle: Handle,
}

/// What stands under a name of a group.
#[derive(Debug)]
pub(crate) enum Member {
    /// An array.
    Array(Box<Array>),
    /// A group of further members.
    Group,
    /// A named type, or something that cannot be opened.
    Other,
}

impl H5File {
    /// Opens for reading.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let operation = "open the file";
        let name = std::ffi::CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Failure::new(operation, "its name holds a zero byte"))?;
        locked(|| {
            // SAFETY: `name` is a C string that outlives the call.
            let id = unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, H5P_DEFAULT) };
            Ok(Self {
                handle: Handle::of(id, operation)?,
            })
        })
    }

    /// Opens an input that is no file of this machine, of so many bytes.
    pub(crate) fn open_input(input: Arc<dyn ReadAt>, size_bytes: u64) -> Outcome<Self> {
        Ok(Self {
            handle: driver::open(input, size_bytes)?,
        })
    }

    /// The bytes before the HDF5 file begins: addresses count from their end.
    pub(crate) fn user_block_bytes(&self) -> Outcome<u64> {
        let operation = "read the size of the user block";
        locked(|| {
            let mut size = 0;
            // SAFETY: the file is open; `size` is written before it is read.
            unsafe {
                let plist = Handle::of(H5Fget_create_plist(self.handle.0), operation)?;
                status(H5Pget_userblock(plist.0, &raw mut size), operation)?;
            }
            Ok(size)
        })
    }

    /// The names in a group, which is named by its path: in the order of creation where the file
    /// keeps it.
    pub(crate) fn names(&self, group: &str) -> Outcome<Vec<String>> {
        let operation = format!("list the group `{group}`");
        let c_group = c_name(group)?;
        locked(|| {
            let object = self.open_object(&c_group, &operation)?;
            let mut info = std::mem::MaybeUninit::<H5G_info_t>::zeroed();
            // SAFETY: the group is open; a plain C struct of numbers may be all zero.
            let info = unsafe {
                status(H5Gget_info(object.0, info.as_mut_ptr()), &operation)?;
                info.assume_init()
            };
            if info.nlinks > OBJECT_COUNT_MAX {
                let problem = format!("it claims {} objects", info.nlinks);
                return Err(Failure::new(&operation, problem));
            }
            let name = |index| name_of(&object, index, &operation);
            (0..info.nlinks).map(name).collect()
        })
    }

    /// Called under the lock.
    fn open_object(&self, path: &CStr, operation: &str) -> Outcome<Handle> {
        // SAFETY: the file is open and the path outlives the call.
        let id = unsafe { H5Oopen(self.handle.0, path.as_ptr(), H5P_DEFAULT) };
        Handle::of(id, operation)
    }

    /// The address of a group's header.
    pub(crate) fn address_of(&self, group: &str) -> Outcome<u64> {
        let name = c_name(group)?;
        locked(|| attribute::address_of(&self.handle, &name))
    }

    /// Opens a member of a group by its path.
    pub(crate) fn member(&self, name: &str) -> Outcome<Member> {
        let operation = format!("open `{name}`");
        let c_name = c_name(name)?;
        locked(|| {
            let failures = driver::failure_count();
            // SAFETY: the file is open and `c_name` outlives the call.
            let id = unsafe { H5Oopen(self.handle.0, c_name.as_ptr(), H5P_DEFAULT) };
            let object = match Handle::of(id, &operation) {
                Ok(object) => object,
                // What could not be read may be there.
                Err(failure) if driver::failure_count() != failures => return Err(failure),
                // A dangling soft or external link is not an error of this file; an object that
                // is there and does not open is.
                Err(failure) => {
                    return match attribute::address_of(&self.handle, &c_name) {
                        Ok(_) => Err(failure),
                        Err(_) => Ok(Member::Other),
                    };
                }
            };
            // SAFETY: an open identifier has a type.
            let kind = unsafe { H5Iget_type(object.0) };
            match kind {
                H5I_type_t::H5I_DATASET => {
                    let address = attribute::address_of(&self.handle, &c_name)?;
                    Ok(Member::Array(Box::new(Array::of(object, name, address)?)))
                }
                H5I_type_t::H5I_GROUP => Ok(Member::Group),
                _ => Ok(Member::Other),
            }
        })
    }

    /// The attributes of a group.
    pub(crate) fn attributes(&self, group: &str) -> Outcome<Vec<RawAttribute>> {
        let operation = format!("open the group `{group}`");
        let name = c_name(group)?;
        locked(|| attribute::read_all(&self.open_object(&name, &operation)?))
    }
}

/// The name of a member of an open group. Called under the lock.
fn name_of(group: &Handle, index: u64, operation: &str) -> Outcome<String> {
    let by_creation = name_in(group, H5_index_t::H5_INDEX_CRT_ORDER, index, operation);
    by_creation.or_else(|_| name_in(group, H5_index_t::H5_INDEX_NAME, index, operation))
}

fn name_in(group: &Handle, order: H5_index_t, index: u64, operation: &str) -> Outcome<String> {
    let ask = |buffer: *mut libc::c_char, size: usize| {
        // SAFETY: the group is open, `.` is the group itself, and `buffer` holds `size` bytes
        // (null with size 0 asks for the length).
        let length = unsafe {
            H5Lget_name_by_idx(
                group.0,
                c".".as_ptr(),
                order,
                H5_iter_order_t::H5_ITER_INC,
                index,
                buffer,
                size,
                H5P_DEFAULT,
            )
        };
        usize::try_from(length).map_err(|_| Failure::of_last_call(operation))
    };
    let length = ask(std::ptr::null_mut(), 0)?;
    if length > NAME_BYTES_MAX {
        return Err(Failure::new(operation, "a name is too long"));
    }
    let mut bytes = vec![0_u8; length + 1];
    ask(bytes.as_mut_ptr().cast(), length + 1)?;
    bytes.truncate(length);
    Ok(text_of(&bytes))
}
