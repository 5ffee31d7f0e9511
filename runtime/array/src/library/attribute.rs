//! Attributes: reading them all, and writing one.

use std::ffi::{CStr, c_char, c_int, c_void};

use hdf5_sys::h5::{H5_index_t, H5_iter_order_t, hsize_t};
use hdf5_sys::h5a::{
    H5Acreate2, H5Aget_name, H5Aget_space, H5Aget_type, H5Aopen, H5Aopen_by_idx, H5Aread, H5Awrite,
};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_class_t, H5Screate, H5Screate_simple, H5Sget_simple_extent_npoints};
use hdf5_sys::h5t::{
    H5T_STD_REF_OBJ, H5T_class_t, H5Tequal, H5Tget_class, H5Tget_size, H5Tget_super,
};

use super::element::{Element, file_type, memory_type, text_type};
use super::reference::{self, HeapReference};
use super::{Failure, Handle, Outcome, c_name, status, text_of};
use crate::dataset::{AttrValue, DType};

/// An attribute larger than this is a damaged file, not metadata.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 20;

/// More attributes than this on one object is a damaged file.
const ATTRIBUTE_COUNT_MAX: i32 = 1 << 16;

/// One attribute as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawAttribute {
    pub(crate) name: String,
    pub(crate) value: RawValue,
}

/// What an attribute holds, as far as the library is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawValue {
    Value(AttrValue),
    /// Texts, each of which lies in the global heap.
    HeapTexts(Vec<HeapReference>),
    /// What it is, when NetCDF has no such type.
    Foreign(&'static str),
}

unsafe extern "C" {
    // The binding's type of `kind` differs between releases of the library; in all of them 0 is
    // a reference to an object, which holds the object's address.
    fn H5Rcreate(
        reference: *mut c_void,
        location: hid_t,
        name: *const c_char,
        kind: c_int,
        space: hid_t,
    ) -> c_int;
}

/// The address of an object, by which references name it. Called under the lock.
pub(super) fn address_of(location: &Handle, name: &CStr) -> Outcome<u64> {
    const OBJECT: c_int = 0;
    let mut address = 0_u64;
    // SAFETY: the location is open, the name a C string, and a reference to an object is one
    // 64-bit address.
    let code = unsafe {
        H5Rcreate(
            (&raw mut address).cast(),
            location.0,
            name.as_ptr(),
            OBJECT,
            -1,
        )
    };
    status(code, "find an object")?;
    Ok(address)
}

/// All attributes of an object, in the order of creation where the file keeps it. Called under
/// the lock.
pub(super) fn read_all(object: &Handle) -> Outcome<Vec<RawAttribute>> {
    #[allow(deprecated, reason = "its successor differs between releases")]
    // SAFETY: the object is open.
    let count = unsafe { hdf5_sys::h5a::H5Aget_num_attrs(object.0) };
    if !(0..=ATTRIBUTE_COUNT_MAX).contains(&count) {
        return Err(Failure::of_last_call("count attributes"));
    }
    (0..count.unsigned_abs().into())
        .map(|index| {
            let attribute = open_by_index(object, index)?;
            Ok(RawAttribute {
                name: name_of(&attribute)?,
                value: read(&attribute)?,
            })
        })
        .collect()
}

fn open_by_index(object: &Handle, index: hsize_t) -> Outcome<Handle> {
    let open = |order| {
        // SAFETY: the object is open and `.` is the object itself.
        let id = unsafe {
            H5Aopen_by_idx(
                object.0,
                c".".as_ptr(),
                order,
                H5_iter_order_t::H5_ITER_INC,
                index,
                H5P_DEFAULT,
                H5P_DEFAULT,
            )
        };
        Handle::of(id, "open an attribute")
    };
    open(H5_index_t::H5_INDEX_CRT_ORDER).or_else(|_| open(H5_index_t::H5_INDEX_NAME))
}

fn name_of(attribute: &Handle) -> Outcome<String> {
    // SAFETY: the attribute is open; size 0 asks for the length only.
    let length = unsafe { H5Aget_name(attribute.0, 0, std::ptr::null_mut()) };
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length <= ATTRIBUTE_BYTES_MAX)
        .ok_or_else(|| Failure::of_last_call("read the name of an attribute"))?;
    let mut bytes = vec![0_u8; length + 1];
    // SAFETY: the buffer holds the name and its closing zero.
    unsafe { H5Aget_name(attribute.0, length + 1, bytes.as_mut_ptr().cast()) };
    bytes.truncate(length);
    Ok(text_of(&bytes))
}

fn read(attribute: &Handle) -> Outcome<RawValue> {
    let operation = "read an attribute";
    // SAFETY: the attribute is open; the handles own what is returned.
    let (type_id, count) = unsafe {
        let type_id = Handle::of(H5Aget_type(attribute.0), operation)?;
        let space = Handle::of(H5Aget_space(attribute.0), operation)?;
        (type_id, H5Sget_simple_extent_npoints(space.0))
    };
    let count = usize::try_from(count).map_err(|_| Failure::of_last_call(operation))?;
    // SAFETY: an open datatype.
    let size = unsafe { H5Tget_size(type_id.0) }.max(8);
    if count
        .checked_mul(size)
        .is_none_or(|bytes| bytes > ATTRIBUTE_BYTES_MAX)
    {
        return Err(Failure::new(
            operation,
            format!("it claims {count} elements of {size} bytes"),
        ));
    }
    Ok(match Element::of(&type_id)? {
        Element::Other(what) => RawValue::Foreign(what),
        Element::VarText => RawValue::HeapTexts(references(attribute, count, operation)?),
        Element::FixedText { size_bytes } => RawValue::Value(texts(read_fixed_texts(
            attribute, &type_id, size_bytes, count,
        )?)),
        Element::Number { dtype, .. } => RawValue::Value(read_numbers(attribute, dtype, count)?),
    })
}

fn references(attribute: &Handle, count: usize, operation: &str) -> Outcome<Vec<HeapReference>> {
    reference::read(count, operation, |memory, out| {
        // SAFETY: the buffer holds `count` elements of the memory type.
        unsafe { H5Aread(attribute.0, memory, out) }
    })
}

/// The value that texts are: one, or a list.
pub(crate) fn texts(mut texts: Vec<String>) -> AttrValue {
    match texts.len() {
        0 => AttrValue::Text(String::new()),
        1 => AttrValue::Text(texts.remove(0)),
        _ => AttrValue::TextList(texts),
    }
}

fn read_fixed_texts(
    attribute: &Handle,
    type_id: &Handle,
    size_bytes: usize,
    count: usize,
) -> Outcome<Vec<String>> {
    if count == 0 || size_bytes == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0_u8; count * size_bytes];
    // SAFETY: the buffer holds `count` elements of the attribute's own type.
    let code = unsafe { H5Aread(attribute.0, type_id.0, bytes.as_mut_ptr().cast()) };
    status(code, "read a text attribute")?;
    Ok(bytes.chunks_exact(size_bytes).map(fixed_text).collect())
}

/// A text of a fixed size, without the zero bytes that only fill up its end.
pub(crate) fn fixed_text(bytes: &[u8]) -> String {
    let length = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    text_of(&bytes[..length])
}

fn read_numbers(attribute: &Handle, dtype: DType, count: usize) -> Outcome<AttrValue> {
    macro_rules! read_as {
        ($variant:ident, $zero:expr) => {{
            let mut values = vec![$zero; count];
            if count > 0 {
                let memory = memory_type(dtype);
                // SAFETY: the buffer holds `count` elements of the memory type.
                let code = unsafe { H5Aread(attribute.0, memory, values.as_mut_ptr().cast()) };
                status(code, "read a numeric attribute")?;
            }
            AttrValue::$variant(values)
        }};
    }
    Ok(match dtype {
        DType::I8 => read_as!(I8, 0_i8),
        DType::U8 | DType::Char => read_as!(U8, 0_u8),
        DType::I16 => read_as!(I16, 0_i16),
        DType::U16 => read_as!(U16, 0_u16),
        DType::I32 => read_as!(I32, 0_i32),
        DType::U32 => read_as!(U32, 0_u32),
        DType::I64 | DType::Text => read_as!(I64, 0_i64),
        DType::U64 => read_as!(U64, 0_u64),
        DType::F32 => read_as!(F32, 0_f32),
        DType::F64 => read_as!(F64, 0_f64),
    })
}

/// Where the lists of scales lie that `DIMENSION_LIST` names, one per dimension; empty without
/// that attribute. Called under the lock.
pub(super) fn dimension_lists(object: &Handle, rank: usize) -> Outcome<Vec<HeapReference>> {
    let operation = "read DIMENSION_LIST";
    // SAFETY: the object is open, the name a C string.
    let id = unsafe { H5Aopen(object.0, c"DIMENSION_LIST".as_ptr(), H5P_DEFAULT) };
    let Ok(attribute) = Handle::of(id, operation) else {
        return Ok(Vec::new());
    };
    // SAFETY: the attribute is open; the handles own what is returned; a type of lists has a
    // base type.
    let count = unsafe {
        let type_id = Handle::of(H5Aget_type(attribute.0), operation)?;
        let is_list = H5Tget_class(type_id.0) == H5T_class_t::H5T_VLEN;
        if !is_list {
            return Err(Failure::new(operation, "it is not a list"));
        }
        let base = Handle::of(H5Tget_super(type_id.0), operation)?;
        if H5Tequal(base.0, *H5T_STD_REF_OBJ) <= 0 {
            return Err(Failure::new(operation, "it is not a list of references"));
        }
        let space = Handle::of(H5Aget_space(attribute.0), operation)?;
        H5Sget_simple_extent_npoints(space.0)
    };
    if usize::try_from(count) != Ok(rank) {
        return Err(Failure::new(
            operation,
            format!("{count} entries for {rank} dimensions"),
        ));
    }
    references(&attribute, rank, operation)
}

/// Writes one attribute as NetCDF does: one text as fixed-size characters, several as texts of
/// any length, numbers as a list. Called under the lock.
pub(super) fn write(object: &Handle, name: &str, value: &AttrValue) -> Outcome<()> {
    macro_rules! write_as {
        ($values:expr, $dtype:expr) => {
            write_numbers(
                object,
                name,
                file_type($dtype),
                memory_type($dtype),
                $values,
            )
        };
    }
    match value {
        AttrValue::Text(text) => write_text(object, name, text),
        AttrValue::TextList(texts) => write_texts(object, name, texts),
        AttrValue::I8(values) => write_as!(values, DType::I8),
        AttrValue::U8(values) => write_as!(values, DType::U8),
        AttrValue::I16(values) => write_as!(values, DType::I16),
        AttrValue::U16(values) => write_as!(values, DType::U16),
        AttrValue::I32(values) => write_as!(values, DType::I32),
        AttrValue::U32(values) => write_as!(values, DType::U32),
        AttrValue::I64(values) => write_as!(values, DType::I64),
        AttrValue::U64(values) => write_as!(values, DType::U64),
        AttrValue::F32(values) => write_as!(values, DType::F32),
        AttrValue::F64(values) => write_as!(values, DType::F64),
    }
}

pub(super) fn write_numbers<T>(
    object: &Handle,
    name: &str,
    file_type: hid_t,
    memory_type: hid_t,
    values: &[T],
) -> Outcome<()> {
    let space = list_space(values.len())?;
    // SAFETY: the values are as many as the space holds, of the memory type.
    unsafe {
        write_raw(
            object,
            name,
            file_type,
            memory_type,
            &space,
            values.as_ptr().cast(),
        )
    }
}

fn write_text(object: &Handle, name: &str, text: &str) -> Outcome<()> {
    let type_id = text_type(Some(text.len()), !text.is_ascii())?;
    // SAFETY: a scalar and an empty space need nothing.
    let space = unsafe {
        let class = if text.is_empty() {
            H5S_class_t::H5S_NULL
        } else {
            H5S_class_t::H5S_SCALAR
        };
        Handle::of(H5Screate(class), "make a space")?
    };
    // SAFETY: the text has the size of its type, and an empty one is not read.
    unsafe {
        write_raw(
            object,
            name,
            type_id.0,
            type_id.0,
            &space,
            text.as_ptr().cast(),
        )
    }
}

fn write_texts(object: &Handle, name: &str, texts: &[String]) -> Outcome<()> {
    let type_id = text_type(None, true)?;
    let owned = texts
        .iter()
        .map(|text| c_name(text))
        .collect::<Outcome<Vec<_>>>()?;
    let pointers: Vec<*const c_char> = owned.iter().map(|text| text.as_ptr()).collect();
    let space = list_space(texts.len())?;
    // SAFETY: as many C strings as the space holds, alive until after the call.
    unsafe {
        write_raw(
            object,
            name,
            type_id.0,
            type_id.0,
            &space,
            pointers.as_ptr().cast(),
        )
    }
}

/// A space of one dimension, or of none for an empty list.
pub(super) fn list_space(len: usize) -> Outcome<Handle> {
    let len = len as hsize_t;
    // SAFETY: one dimension is read from `len`.
    let id = unsafe {
        if len == 0 {
            H5Screate(H5S_class_t::H5S_NULL)
        } else {
            H5Screate_simple(1, &raw const len, std::ptr::null())
        }
    };
    Handle::of(id, "make a space")
}

/// # Safety
/// `values` holds what `space` and `memory_type` say, unless the space is empty.
pub(super) unsafe fn write_raw(
    object: &Handle,
    name: &str,
    file_type: hid_t,
    memory_type: hid_t,
    space: &Handle,
    values: *const c_void,
) -> Outcome<()> {
    let operation = format!("write the attribute `{name}`");
    let c_name = c_name(name)?;
    // SAFETY: all identifiers are open; the values are as the caller promised. Writing to an
    // empty space does nothing.
    unsafe {
        let id = H5Acreate2(
            object.0,
            c_name.as_ptr(),
            file_type,
            space.0,
            H5P_DEFAULT,
            H5P_DEFAULT,
        );
        let attribute = Handle::of(id, &operation)?;
        status(H5Awrite(attribute.0, memory_type, values), &operation)
    }
}
