//! The metadata of version 2: `.zarray` and `.zattrs`, with numcodecs' names for compressors.
//!
//! Source: Zarr storage specification version 2.

use serde_json::Value;

use super::array::{ArrayMeta, Codecs, Element, KeyEncoding};
use super::codec::ByteCodec;
use super::fill;
use super::json;
use super::refusal::{Refusal, lengths};
use crate::dataset::{AttrValue, DType};

/// The attribute in which xarray keeps the names of dimensions.
const DIMENSIONS: &str = "_ARRAY_DIMENSIONS";

/// Reads one array.
pub(super) fn array(
    name: &str,
    array: &Value,
    attributes: Option<&Value>,
    notes: &mut Vec<String>,
) -> Result<ArrayMeta, Refusal> {
    if array["zarr_format"] != 2 {
        return Err(Refusal::damaged("its `.zarray` is not of version 2"));
    }
    let shape = lengths(&array["shape"], "shape")?;
    let chunk_shape = lengths(&array["chunks"], "chunks")?;
    let filters = filters(&array["filters"])?;
    let has_texts = filters.contains(&Filter::VarText);
    let (element, big_endian) = element(&array["dtype"], has_texts)?;
    let mut bytes: Vec<ByteCodec> = filters.into_iter().filter_map(Filter::codec).collect();
    bytes.extend(compressor(&array["compressor"])?);
    let order = match array["order"].as_str() {
        Some("C") => None,
        Some("F") => Some((0..shape.len()).rev().collect()),
        _ => return Err(Refusal::damaged("its `order` is neither C nor F")),
    };
    let separator = match array["dimension_separator"].as_str() {
        None | Some(".") => '.',
        Some("/") => '/',
        Some(other) => {
            return Err(Refusal::damaged(format!(
                "its keys are separated by `{other}`"
            )));
        }
    };
    let owner = format!("variable `{name}`");
    let number = element.number();
    let mut found = json::attributes(attributes, number, &owner, notes);
    let dimension_names = match found.remove(DIMENSIONS) {
        Some(AttrValue::TextList(names)) => names.into_iter().map(Some).collect(),
        Some(AttrValue::Text(name)) => vec![Some(name)],
        _ => vec![None; shape.len()],
    };
    let fill = fill::of(element, big_endian, &array["fill_value"])?;
    // What version 2 calls fill value is what NetCDF calls so: xarray reads and writes it thus.
    if let Some(number) = number
        && found.get("_FillValue").is_none()
        && let Some(value) = fill::attribute(number, &array["fill_value"])
    {
        found.set("_FillValue", value);
    }
    Ok(ArrayMeta {
        name: name.to_owned(),
        element,
        shape,
        chunk_shape,
        dimension_names,
        attributes: found,
        keys: KeyEncoding {
            prefixed: false,
            separator,
        },
        codecs: Codecs {
            order,
            big_endian,
            bytes,
        },
        sharding: None,
        fill,
    })
}

/// The type of elements by NumPy's name for it, and whether the high byte comes first.
fn element(dtype: &Value, has_texts: bool) -> Result<(Element, bool), Refusal> {
    let unknown = || Refusal::Ignored(format!("of type {dtype}"));
    let name = dtype.as_str().ok_or_else(unknown)?;
    if name == "|O" && has_texts {
        return Ok((Element::VarText, false));
    }
    let (order, kind) = name.split_at_checked(1).ok_or_else(unknown)?;
    let big_endian = order == ">";
    let number = match kind {
        "i1" => DType::I8,
        "u1" | "b1" => DType::U8,
        "i2" => DType::I16,
        "u2" => DType::U16,
        "i4" => DType::I32,
        "u4" => DType::U32,
        "i8" => DType::I64,
        "u8" => DType::U64,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => {
            let (letter, length) = kind.split_at_checked(1).ok_or_else(unknown)?;
            let length: usize = length.parse().map_err(|_| unknown())?;
            let element = match letter {
                "S" => Element::FixedBytes(length),
                "U" => Element::FixedUtf32(length.checked_mul(4).ok_or_else(unknown)?),
                _ => return Err(unknown()),
            };
            return Ok((element, big_endian));
        }
    };
    Ok((Element::Number(number), big_endian))
}

/// What may stand before the compressor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Shuffle(usize),
    Compressor(ByteCodec),
    VarText,
}

impl Filter {
    fn codec(self) -> Option<ByteCodec> {
        match self {
            Self::Shuffle(element_bytes) => Some(ByteCodec::Shuffle { element_bytes }),
            Self::Compressor(codec) => Some(codec),
            Self::VarText => None,
        }
    }
}

fn filters(filters: &Value) -> Result<Vec<Filter>, Refusal> {
    let Some(filters) = filters.as_array() else {
        return Ok(Vec::new());
    };
    let one = |filter: &Value| match filter["id"].as_str() {
        Some("shuffle") => {
            let size = filter["elementsize"].as_u64().unwrap_or(4);
            match usize::try_from(size) {
                Ok(size) if size > 0 => Ok(Filter::Shuffle(size)),
                _ => Err(Refusal::damaged(
                    "its filter shuffles elements without bytes",
                )),
            }
        }
        Some("vlen-utf8") => Ok(Filter::VarText),
        _ => compressor(filter)?
            .map(Filter::Compressor)
            .ok_or_else(|| Refusal::damaged("one of its filters has no name")),
    };
    filters.iter().map(one).collect()
}

fn compressor(compressor: &Value) -> Result<Option<ByteCodec>, Refusal> {
    if compressor.is_null() {
        return Ok(None);
    }
    let name = compressor["id"]
        .as_str()
        .ok_or_else(|| Refusal::damaged("its compressor has no name"))?;
    Ok(Some(match name {
        "gzip" => ByteCodec::Gzip,
        "zlib" => ByteCodec::Zlib,
        "zstd" => ByteCodec::Zstd,
        "lz4" => ByteCodec::Lz4,
        "blosc" => ByteCodec::Blosc,
        "crc32c" => ByteCodec::Crc32c,
        other => return Err(Refusal::UnknownCodec(other.to_owned())),
    }))
}
