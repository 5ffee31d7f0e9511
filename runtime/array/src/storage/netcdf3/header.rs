//! The header of a NetCDF-3 file: bytes in, structure out, nothing believed.
//!
//! Source: NetCDF classic format specification (CDF-1, CDF-2) and its CDF-5 extension.

use std::collections::HashSet;

use super::cursor::{Cursor, HeaderError};
use crate::dataset::{AttrValue, Attributes, DType};
use crate::library::text_of;

const DIMENSION_TAG: u64 = 0x0a;
const VARIABLE_TAG: u64 = 0x0b;
const ATTRIBUTE_TAG: u64 = 0x0c;

/// More objects than this is a damaged file, not a climate file.
const OBJECT_COUNT_MAX: u64 = 1 << 20;

/// As many as NetCDF's own limit used to be (`NC_MAX_ATTRS`).
const ATTRIBUTE_COUNT_MAX: u64 = 8192;

/// NetCDF's own limit (`NC_MAX_VAR_DIMS`).
const RANK_MAX: u64 = 1024;

/// What a header says, not yet compared with the size of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// `None` when the writer did not know it.
    pub(super) record_count: Option<u64>,
    pub(super) dimensions: Vec<HeaderDimension>,
    pub(super) attributes: Attributes,
    pub(super) variables: Vec<HeaderVariable>,
    /// Where it ends: no data lies before.
    pub(super) end: u64,
}

#[derive(Debug, PartialEq)]
pub(super) struct HeaderDimension {
    pub(super) name: String,
    /// `None` of the record dimension.
    pub(super) len: Option<usize>,
}

#[derive(Debug, PartialEq)]
pub(super) struct HeaderVariable {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) dims: Vec<usize>,
    pub(super) attributes: Attributes,
    /// Where its data begins.
    pub(super) begin: u64,
}

/// Reads a header from the first bytes of a file.
///
/// # Errors
/// [`HeaderError::CutShort`] when more bytes are needed.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    let mut start = Cursor::new(bytes, 4, 4);
    let magic = start.take(4)?;
    let (count_bytes, offset_bytes) = match magic {
        b"CDF\x01" => (4, 4),
        b"CDF\x02" => (4, 8),
        b"CDF\x05" => (8, 8),
        _ => return start.damaged(0, "it is not of NetCDF-3"),
    };
    let mut cursor = Cursor::new(bytes, count_bytes, offset_bytes);
    cursor.take(4)?;
    let record_count = cursor.record_count()?;
    let dimensions = dimensions(&mut cursor)?;
    let attributes = attributes(&mut cursor)?;
    let variables = variables(&mut cursor, &dimensions, count_bytes as u64)?;
    Ok(Header {
        record_count,
        dimensions,
        attributes,
        variables,
        end: cursor.position(),
    })
}

fn dimensions(cursor: &mut Cursor<'_>) -> Result<Vec<HeaderDimension>, HeaderError> {
    let count = cursor.list(DIMENSION_TAG, 12, OBJECT_COUNT_MAX, "dimensions")?;
    let mut dimensions = Vec::with_capacity(count as usize);
    let mut names = HashSet::new();
    let mut has_records = false;
    for _ in 0..count {
        let start = cursor.position();
        let name = cursor.name()?;
        let len = cursor.count()?;
        let Ok(len) = usize::try_from(len) else {
            return cursor.damaged(start, format!("dimension `{name}` claims {len} steps"));
        };
        if !names.insert(name.clone()) {
            return cursor.damaged(start, format!("there are two dimensions `{name}`"));
        }
        if len == 0 && std::mem::replace(&mut has_records, true) {
            return cursor.damaged(start, format!("`{name}` is a second record dimension"));
        }
        let len = Some(len).filter(|&len| len > 0);
        dimensions.push(HeaderDimension { name, len });
    }
    Ok(dimensions)
}

fn variables(
    cursor: &mut Cursor<'_>,
    dimensions: &[HeaderDimension],
    count_bytes: u64,
) -> Result<Vec<HeaderVariable>, HeaderError> {
    let count = cursor.list(VARIABLE_TAG, 32, OBJECT_COUNT_MAX, "variables")?;
    let mut variables = Vec::with_capacity(count as usize);
    let mut names = HashSet::new();
    for _ in 0..count {
        let start = cursor.position();
        let name = cursor.name()?;
        if !names.insert(name.clone()) {
            return cursor.damaged(start, format!("there are two variables `{name}`"));
        }
        let rank = cursor.count()?;
        if rank > RANK_MAX {
            let problem = format!("variable `{name}` claims {rank} dimensions");
            return cursor.damaged(start, problem);
        }
        // All of them at once, so that no more is allocated than is there.
        let ids = cursor.take(rank * count_bytes)?;
        let mut dims = Vec::with_capacity(rank as usize);
        for (place, id) in ids.chunks_exact(count_bytes as usize).enumerate() {
            let id = id
                .iter()
                .fold(0_u64, |id, &byte| (id << 8) | u64::from(byte));
            let dimension = usize::try_from(id).ok().filter(|&id| id < dimensions.len());
            let Some(id) = dimension else {
                let problem = format!("variable `{name}` has dimension {id}, which is not there");
                return cursor.damaged(start, problem);
            };
            if dimensions[id].len.is_none() && place > 0 {
                let problem = format!("variable `{name}` has the record dimension in the middle");
                return cursor.damaged(start, problem);
            }
            dims.push(id);
        }
        let attributes = attributes(cursor)?;
        let dtype = dtype(cursor)?;
        // Its size, which follows from its dimensions, and does not fit here when it is large.
        cursor.count()?;
        let begin = cursor.offset()?;
        variables.push(HeaderVariable {
            name,
            dtype,
            dims,
            attributes,
            begin,
        });
    }
    Ok(variables)
}

fn attributes(cursor: &mut Cursor<'_>) -> Result<Attributes, HeaderError> {
    let count = cursor.list(ATTRIBUTE_TAG, 16, ATTRIBUTE_COUNT_MAX, "attributes")?;
    let mut attributes = Attributes::default();
    for _ in 0..count {
        let name = cursor.name()?;
        let dtype = dtype(cursor)?;
        let length = cursor.count()?;
        let bytes = cursor.padded(length.saturating_mul(dtype.size_bytes() as u64))?;
        attributes.set(&name, attribute(dtype, bytes));
    }
    Ok(attributes)
}

fn attribute(dtype: DType, bytes: &[u8]) -> AttrValue {
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            let (numbers, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
            let numbers = numbers.iter().map(|number| <$type>::from_be_bytes(*number));
            AttrValue::$variant(numbers.collect())
        }};
    }
    match dtype {
        DType::Char | DType::Text => AttrValue::Text(text_of(super::cut(bytes))),
        DType::I8 => numbers!(I8, i8),
        DType::U8 => numbers!(U8, u8),
        DType::I16 => numbers!(I16, i16),
        DType::U16 => numbers!(U16, u16),
        DType::I32 => numbers!(I32, i32),
        DType::U32 => numbers!(U32, u32),
        DType::I64 => numbers!(I64, i64),
        DType::U64 => numbers!(U64, u64),
        DType::F32 => numbers!(F32, f32),
        DType::F64 => numbers!(F64, f64),
    }
}

/// The types by their numbers; those from 7 on belong to CDF-5, but stand for nothing else.
fn dtype(cursor: &mut Cursor<'_>) -> Result<DType, HeaderError> {
    let start = cursor.position();
    Ok(match cursor.code()? {
        1 => DType::I8,
        2 => DType::Char,
        3 => DType::I16,
        4 => DType::I32,
        5 => DType::F32,
        6 => DType::F64,
        7 => DType::U8,
        8 => DType::U16,
        9 => DType::U32,
        10 => DType::I64,
        11 => DType::U64,
        other => return cursor.damaged(start, format!("there is no type {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of one record dimension, one fixed one, an attribute and a variable.
    fn small() -> Vec<u8> {
        let mut bytes = b"CDF\x01".to_vec();
        let mut word = |number: u32| bytes.extend(number.to_be_bytes());
        word(2);
        word(0x0a);
        word(2);
        word(4);
        word(u32::from_be_bytes(*b"time"));
        word(0);
        word(1);
        word(u32::from_be_bytes(*b"x\0\0\0"));
        word(3);
        word(0x0c);
        word(1);
        word(1);
        word(u32::from_be_bytes(*b"a\0\0\0"));
        word(3);
        word(1);
        word(0x0007_0000);
        word(0x0b);
        word(1);
        word(1);
        word(u32::from_be_bytes(*b"v\0\0\0"));
        word(2);
        word(0);
        word(1);
        word(0);
        word(0);
        word(5);
        word(12);
        word(200);
        bytes
    }

    #[test]
    fn a_header_is_read_from_its_bytes() {
        let bytes = small();
        let header = parse(&bytes).unwrap();
        assert_eq!(header.record_count, Some(2));
        assert_eq!(header.dimensions[0].len, None);
        assert_eq!(header.dimensions[1].len, Some(3));
        assert_eq!(header.attributes.get("a"), Some(&AttrValue::I16(vec![7])));
        let variable = &header.variables[0];
        assert_eq!((variable.dtype, variable.begin), (DType::F32, 200));
        assert_eq!(variable.dims, [0, 1]);
        assert_eq!(header.end, bytes.len() as u64);
    }

    #[test]
    fn a_header_cut_anywhere_asks_for_more() {
        let bytes = small();
        for length in 0..bytes.len() {
            let Err(HeaderError::CutShort(wanted)) = parse(&bytes[..length]) else {
                panic!("cut at {length}");
            };
            assert!(wanted.end > length as u64 && wanted.end <= bytes.len() as u64);
        }
    }

    #[test]
    fn counts_are_not_believed() {
        for (place, problem) in [
            (8, "no list of dimensions"),
            (12, "it claims 4294967295 dimensions"),
            (16, "a name claims 4294967295 bytes"),
            (56, "there is no type"),
            (84, "claims 4294967295 dimensions"),
            (92, "which is not there"),
        ] {
            let mut bytes = small();
            bytes[place..place + 4].fill(0xff);
            let Err(HeaderError::Damaged(damage)) = parse(&bytes) else {
                panic!("at {place}");
            };
            let found = damage.to_string();
            assert!(found.contains(problem), "`{problem}` is not in `{found}`");
            assert!(found.starts_with("header, bytes "), "{found}");
        }
    }
}
