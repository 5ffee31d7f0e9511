//! References into the global heap, read as they stand in the file.
//!
//! Called for texts of any length and for lists of references. The library follows such
//! references without looking at them: an index or a length that lies makes it read or write
//! outside of its memory, and an object without bytes makes it go round for ever. So it only
//! hands them out here, by a conversion that changes nothing, and
//! [`heap`](crate::storage) follows them with checks.

use std::ffi::c_void;
use std::sync::OnceLock;

use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5t::{
    H5T_NATIVE_INT8, H5T_bkg_t, H5T_cdata_t, H5T_class_t, H5T_cmd_t, H5T_pers_t, H5Tcreate,
    H5Tregister, H5Tvlen_create,
};

use super::{Failure, Handle, Outcome, status};

/// The bytes of a reference in a file whose addresses have eight bytes.
pub(super) const REFERENCE_BYTES: usize = 16;

/// Where the value of one element lies in the global heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeapReference {
    /// How many elements it has: of a text, bytes.
    pub(crate) length: u32,
    /// Of the collection; 0 for no value.
    pub(crate) collection: u64,
    /// In the collection.
    pub(crate) index: u32,
}

impl HeapReference {
    fn of(bytes: &[u8; REFERENCE_BYTES]) -> Self {
        let [length, low, high, index] =
            std::array::from_fn(|word| u32::from_le_bytes(bytes.as_chunks().0[word]));
        Self {
            length,
            collection: u64::from(high) << 32 | u64::from(low),
            index,
        }
    }
}

/// Reads `count` references by a call that fills a buffer with elements of a type. Called under
/// the lock.
pub(super) fn read(
    count: usize,
    operation: &str,
    fill: impl FnOnce(hid_t, *mut c_void) -> i32,
) -> Outcome<Vec<HeapReference>> {
    let memory = untouched_type(operation)?;
    let mut bytes: Vec<[u8; REFERENCE_BYTES]> = Vec::new();
    bytes.try_reserve_exact(count).map_err(|_| {
        let size_bytes = count.saturating_mul(REFERENCE_BYTES);
        Failure::new(
            operation,
            format!("there are no {size_bytes} bytes of memory"),
        )
    })?;
    bytes.resize(count, [0; REFERENCE_BYTES]);
    if count > 0 {
        status(fill(memory.0, bytes.as_mut_ptr().cast()), operation)?;
    }
    Ok(bytes.iter().map(HeapReference::of).collect())
}

/// A type to which references are converted by leaving them as they are.
fn untouched_type(operation: &str) -> Outcome<Handle> {
    static REGISTERED: OnceLock<Outcome<()>> = OnceLock::new();
    REGISTERED.get_or_init(register).clone()?;
    opaque(operation)
}

fn opaque(operation: &str) -> Outcome<Handle> {
    // SAFETY: a new type of so many bytes.
    let id = unsafe { H5Tcreate(H5T_class_t::H5T_OPAQUE, REFERENCE_BYTES) };
    Handle::of(id, operation)
}

/// Tells the library how lists of any length become opaque bytes.
fn register() -> Outcome<()> {
    let operation = "prepare the reading of texts";
    let to = opaque(operation)?;
    // SAFETY: the types are open and stand for their classes; the function has the signature
    // that the library calls and lives as long as the program.
    unsafe {
        let from = Handle::of(H5Tvlen_create(*H5T_NATIVE_INT8), operation)?;
        let name = c"references as they are".as_ptr();
        let code = H5Tregister(H5T_pers_t::H5T_PERS_SOFT, name, from.0, to.0, Some(leave));
        status(code, operation)
    }
}

/// The conversion: both sides have the same bytes.
extern "C" fn leave(
    _from: hid_t,
    _to: hid_t,
    state: *mut H5T_cdata_t,
    _count: usize,
    _stride: usize,
    _background_stride: usize,
    _values: *mut c_void,
    _background: *mut c_void,
    _plist: hid_t,
) -> i32 {
    // SAFETY: the library passes a state of its own, which is valid for the call.
    if let Some(state) = unsafe { state.as_mut() }
        && state.command == H5T_cmd_t::H5T_CONV_INIT
    {
        state.need_bkg = H5T_bkg_t::H5T_BKG_NO;
    }
    0
}
