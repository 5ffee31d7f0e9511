//! Element types: what the file says, and what memory holds.

use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5t::{
    H5T_C_S1, H5T_CSET_UTF8, H5T_IEEE_F32BE, H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_IEEE_F64LE,
    H5T_NATIVE_DOUBLE, H5T_NATIVE_FLOAT, H5T_NATIVE_INT8, H5T_NATIVE_INT16, H5T_NATIVE_INT32,
    H5T_NATIVE_INT64, H5T_NATIVE_UINT8, H5T_NATIVE_UINT16, H5T_NATIVE_UINT32, H5T_NATIVE_UINT64,
    H5T_STD_I8BE, H5T_STD_I8LE, H5T_STD_I16BE, H5T_STD_I16LE, H5T_STD_I32BE, H5T_STD_I32LE,
    H5T_STD_I64BE, H5T_STD_I64LE, H5T_STD_U8BE, H5T_STD_U8LE, H5T_STD_U16BE, H5T_STD_U16LE,
    H5T_STD_U32BE, H5T_STD_U32LE, H5T_STD_U64BE, H5T_STD_U64LE, H5T_VARIABLE, H5T_class_t,
    H5T_sign_t, H5Tcopy, H5Tequal, H5Tget_class, H5Tget_sign, H5Tget_size, H5Tget_super,
    H5Tis_variable_str, H5Tset_cset, H5Tset_size,
};

use super::{Handle, Outcome, status};
use crate::dataset::DType;

/// What an element of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// A number. `big_endian` is its byte order when the bytes in the file are a plain number of
    /// that type, `None` when only the library can convert them (odd sizes, half precision).
    Number {
        dtype: DType,
        big_endian: Option<bool>,
    },
    /// Text of a fixed size in bytes; NetCDF's `NC_CHAR` has size one.
    FixedText { size_bytes: usize },
    /// Text of any length.
    VarText,
    /// What NetCDF cannot show as a number or text: compounds, references, opaque bytes.
    Other(&'static str),
}

/// File types whose bytes are plain numbers: `(type, big endian, what it is)`.
fn plain_types() -> [(hid_t, bool, DType); 20] {
    [
        (*H5T_STD_I8LE, false, DType::I8),
        (*H5T_STD_I8BE, false, DType::I8),
        (*H5T_STD_U8LE, false, DType::U8),
        (*H5T_STD_U8BE, false, DType::U8),
        (*H5T_STD_I16LE, false, DType::I16),
        (*H5T_STD_I16BE, true, DType::I16),
        (*H5T_STD_U16LE, false, DType::U16),
        (*H5T_STD_U16BE, true, DType::U16),
        (*H5T_STD_I32LE, false, DType::I32),
        (*H5T_STD_I32BE, true, DType::I32),
        (*H5T_STD_U32LE, false, DType::U32),
        (*H5T_STD_U32BE, true, DType::U32),
        (*H5T_STD_I64LE, false, DType::I64),
        (*H5T_STD_I64BE, true, DType::I64),
        (*H5T_STD_U64LE, false, DType::U64),
        (*H5T_STD_U64BE, true, DType::U64),
        (*H5T_IEEE_F32LE, false, DType::F32),
        (*H5T_IEEE_F32BE, true, DType::F32),
        (*H5T_IEEE_F64LE, false, DType::F64),
        (*H5T_IEEE_F64BE, true, DType::F64),
    ]
}

impl Element {
    /// Looks at a type. Called under the lock.
    pub(super) fn of(type_id: &Handle) -> Outcome<Self> {
        // SAFETY: `type_id` is an open datatype; the calls only look at it.
        let (class, size, is_variable) = unsafe {
            (
                H5Tget_class(type_id.0),
                H5Tget_size(type_id.0),
                H5Tis_variable_str(type_id.0) > 0,
            )
        };
        Ok(match class {
            H5T_class_t::H5T_STRING if is_variable => Self::VarText,
            H5T_class_t::H5T_STRING => Self::FixedText { size_bytes: size },
            H5T_class_t::H5T_INTEGER | H5T_class_t::H5T_FLOAT => number(type_id, class, size),
            H5T_class_t::H5T_ENUM => {
                // SAFETY: an open enumeration has a base type; the handle owns it.
                let base = Handle::of(unsafe { H5Tget_super(type_id.0) }, "read an enumeration")?;
                Self::of(&base)?
            }
            H5T_class_t::H5T_COMPOUND => Self::Other("of a compound type"),
            H5T_class_t::H5T_REFERENCE => Self::Other("of references"),
            H5T_class_t::H5T_VLEN => Self::Other("of lists of varying length"),
            H5T_class_t::H5T_OPAQUE => Self::Other("of opaque bytes"),
            _ => Self::Other("of a type that NetCDF does not have"),
        })
    }
}

fn number(type_id: &Handle, class: H5T_class_t, size: usize) -> Element {
    for (plain, big_endian, dtype) in plain_types() {
        // SAFETY: both are open datatypes.
        if unsafe { H5Tequal(type_id.0, plain) } > 0 {
            return Element::Number {
                dtype,
                big_endian: Some(big_endian),
            };
        }
    }
    // SAFETY: an open integer type has a sign; of a float the answer is not used.
    let is_signed = unsafe { H5Tget_sign(type_id.0) } == H5T_sign_t::H5T_SGN_2;
    let dtype = match (class, size, is_signed) {
        (H5T_class_t::H5T_FLOAT, 0..=4, _) => DType::F32,
        (H5T_class_t::H5T_FLOAT, ..) => DType::F64,
        (_, 0..=1, true) => DType::I8,
        (_, 0..=1, false) => DType::U8,
        (_, 2, true) => DType::I16,
        (_, 2, false) => DType::U16,
        (_, 3..=4, true) => DType::I32,
        (_, 3..=4, false) => DType::U32,
        (_, _, true) => DType::I64,
        (_, _, false) => DType::U64,
    };
    Element::Number {
        dtype,
        big_endian: None,
    }
}

/// The type that memory holds for a numeric `dtype`. A constant of the library: not closed.
pub(super) fn memory_type(dtype: DType) -> hid_t {
    match dtype {
        DType::I8 => *H5T_NATIVE_INT8,
        DType::U8 | DType::Char => *H5T_NATIVE_UINT8,
        DType::I16 => *H5T_NATIVE_INT16,
        DType::U16 => *H5T_NATIVE_UINT16,
        DType::I32 => *H5T_NATIVE_INT32,
        DType::U32 => *H5T_NATIVE_UINT32,
        DType::I64 | DType::Text => *H5T_NATIVE_INT64,
        DType::U64 => *H5T_NATIVE_UINT64,
        DType::F32 => *H5T_NATIVE_FLOAT,
        DType::F64 => *H5T_NATIVE_DOUBLE,
    }
}

/// The little-endian type that a new file holds for a numeric `dtype`. Not closed.
pub(super) fn file_type(dtype: DType) -> hid_t {
    match dtype {
        DType::I8 => *H5T_STD_I8LE,
        DType::U8 | DType::Char => *H5T_STD_U8LE,
        DType::I16 => *H5T_STD_I16LE,
        DType::U16 => *H5T_STD_U16LE,
        DType::I32 => *H5T_STD_I32LE,
        DType::U32 => *H5T_STD_U32LE,
        DType::I64 | DType::Text => *H5T_STD_I64LE,
        DType::U64 => *H5T_STD_U64LE,
        DType::F32 => *H5T_IEEE_F32LE,
        DType::F64 => *H5T_IEEE_F64LE,
    }
}

/// A text type: of a fixed size, or with `None` of any length. Called under the lock.
pub(super) fn text_type(size_bytes: Option<usize>, is_utf8: bool) -> Outcome<Handle> {
    let operation = "make a text type";
    // SAFETY: a copy of a library constant, changed before anyone else sees it; a size is at
    // least one byte.
    unsafe {
        let copy = Handle::of(H5Tcopy(*H5T_C_S1), operation)?;
        let size = size_bytes.map_or(H5T_VARIABLE, |size| size.max(1));
        status(H5Tset_size(copy.0, size), operation)?;
        if is_utf8 {
            status(H5Tset_cset(copy.0, H5T_CSET_UTF8), operation)?;
        }
        Ok(copy)
    }
}
