//! The metadata of version 3: `zarr.json` of an array.
//!
//! Source: Zarr core specification version 3.1 and its codecs.

use serde_json::Value;

use super::array::{ArrayMeta, Codecs, Element, KeyEncoding};
use super::codec::ByteCodec;
use super::fill;
use super::json;
use super::refusal::{Refusal, lengths};
use super::shard::Sharding;
use crate::dataset::DType;

/// Reads one array.
pub(super) fn array(
    name: &str,
    array: &Value,
    notes: &mut Vec<String>,
) -> Result<ArrayMeta, Refusal> {
    if array["zarr_format"] != 3 {
        return Err(Refusal::damaged("its `zarr.json` is not of version 3"));
    }
    let shape = lengths(&array["shape"], "shape")?;
    let grid = &array["chunk_grid"];
    if grid["name"] != "regular" {
        return Err(Refusal::damaged(format!(
            "its chunk grid is {}",
            grid["name"]
        )));
    }
    let stored_shape = lengths(&grid["configuration"]["chunk_shape"], "chunk_shape")?;
    let element = element(&array["data_type"])?;
    let Chain {
        codecs,
        chunk_shape,
        sharding,
    } = Chain::of(&array["codecs"], &stored_shape)?;
    if let Some(transformers) = array["storage_transformers"].as_array()
        && !transformers.is_empty()
    {
        return Err(Refusal::UnknownCodec("a storage transformer".to_owned()));
    }
    let dimension_names = match array["dimension_names"].as_array() {
        Some(names) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect(),
        None => vec![None; shape.len()],
    };
    let owner = format!("variable `{name}`");
    let number = element.number();
    let attributes = json::attributes(array.get("attributes"), number, &owner, notes);
    let fill = fill::of(element, codecs.big_endian, &array["fill_value"])?;
    Ok(ArrayMeta {
        name: name.to_owned(),
        element,
        shape,
        chunk_shape,
        dimension_names,
        attributes,
        keys: keys(&array["chunk_key_encoding"])?,
        codecs,
        sharding,
        fill,
    })
}

fn element(data_type: &Value) -> Result<Element, Refusal> {
    let (name, configuration) = match data_type {
        Value::String(name) => (name.as_str(), &Value::Null),
        other => (
            other["name"].as_str().unwrap_or(""),
            &other["configuration"],
        ),
    };
    let length = || {
        configuration["length_bytes"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
    };
    let number = match name {
        "bool" | "uint8" => DType::U8,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "uint16" => DType::U16,
        "int32" => DType::I32,
        "uint32" => DType::U32,
        "int64" => DType::I64,
        "uint64" => DType::U64,
        "float32" => DType::F32,
        "float64" => DType::F64,
        _ => {
            let element = match (name, length()) {
                ("string", _) => Some(Element::VarText),
                ("fixed_length_utf32", Some(length)) => Some(Element::FixedUtf32(length)),
                ("null_terminated_bytes" | "fixed_length_ascii", Some(length)) => {
                    Some(Element::FixedBytes(length))
                }
                _ => None,
            };
            return element.ok_or_else(|| Refusal::Ignored(format!("of type {data_type}")));
        }
    };
    Ok(Element::Number(number))
}

fn keys(encoding: &Value) -> Result<KeyEncoding, Refusal> {
    let prefixed = match encoding["name"].as_str().or(encoding.as_str()) {
        Some("default") => true,
        Some("v2") => false,
        _ => {
            return Err(Refusal::damaged(format!(
                "its keys are encoded by {encoding}"
            )));
        }
    };
    let separator = match encoding["configuration"]["separator"].as_str() {
        Some("/") => '/',
        Some(".") => '.',
        None if prefixed => '/',
        None => '.',
        Some(other) => {
            return Err(Refusal::damaged(format!(
                "its keys are separated by `{other}`"
            )));
        }
    };
    Ok(KeyEncoding {
        prefixed,
        separator,
    })
}

/// A list of codecs, taken apart.
struct Chain {
    codecs: Codecs,
    chunk_shape: Vec<usize>,
    sharding: Option<Sharding>,
}

impl Chain {
    fn of(list: &Value, shape: &[usize]) -> Result<Self, Refusal> {
        let list = list
            .as_array()
            .ok_or_else(|| Refusal::damaged("it has no list of codecs"))?;
        let mut chain = Self {
            codecs: Codecs::default(),
            chunk_shape: shape.to_vec(),
            sharding: None,
        };
        for codec in list {
            chain.add(codec)?;
        }
        Ok(chain)
    }

    fn add(&mut self, codec: &Value) -> Result<(), Refusal> {
        let name = codec["name"].as_str().or(codec.as_str()).unwrap_or("");
        let configuration = &codec["configuration"];
        if self.sharding.is_some() {
            return Err(Refusal::UnknownCodec(format!("`{name}` around shards")));
        }
        let bytes = match name {
            "bytes" => {
                self.codecs.big_endian = configuration["endian"] == "big";
                return Ok(());
            }
            "vlen-utf8" => return Ok(()),
            "transpose" => return self.transpose(&configuration["order"]),
            "sharding_indexed" => return self.shard(configuration),
            "gzip" => ByteCodec::Gzip,
            "zstd" | "numcodecs.zstd" => ByteCodec::Zstd,
            "blosc" | "numcodecs.blosc" => ByteCodec::Blosc,
            "crc32c" | "numcodecs.crc32c" => ByteCodec::Crc32c,
            "zlib" | "numcodecs.zlib" => ByteCodec::Zlib,
            "numcodecs.gzip" => ByteCodec::Gzip,
            "numcodecs.lz4" => ByteCodec::Lz4,
            "numcodecs.shuffle" => match configuration["elementsize"].as_u64().unwrap_or(4) {
                0 => return Err(Refusal::damaged("a codec shuffles elements without bytes")),
                size => ByteCodec::Shuffle {
                    element_bytes: usize::try_from(size).unwrap_or(usize::MAX),
                },
            },
            other => return Err(Refusal::UnknownCodec(other.to_owned())),
        };
        self.codecs.bytes.push(bytes);
        Ok(())
    }

    /// Transposing again reorders what is stored by then.
    fn transpose(&mut self, order: &Value) -> Result<(), Refusal> {
        let order = lengths(order, "order")?;
        let before = self.codecs.order.take();
        let composed = order.iter().map(|&dim| match &before {
            Some(before) => before.get(dim).copied(),
            None => Some(dim),
        });
        let composed: Option<Vec<usize>> = composed.collect();
        self.codecs.order =
            Some(composed.ok_or_else(|| Refusal::damaged("its transpose is no order"))?);
        Ok(())
    }

    fn shard(&mut self, configuration: &Value) -> Result<(), Refusal> {
        if self.codecs.order.is_some() || !self.codecs.bytes.is_empty() {
            return Err(Refusal::UnknownCodec(
                "a transpose before shards".to_owned(),
            ));
        }
        let inner = lengths(&configuration["chunk_shape"], "chunk_shape")?;
        let chain = Self::of(&configuration["codecs"], &inner)?;
        if chain.sharding.is_some() {
            return Err(Refusal::UnknownCodec("shards within shards".to_owned()));
        }
        let index = Self::of(&configuration["index_codecs"], &inner)?.codecs;
        let index_has_checksum = match index.bytes.as_slice() {
            [] => false,
            [ByteCodec::Crc32c] => true,
            _ => return Err(Refusal::UnknownCodec("a compressed shard index".to_owned())),
        };
        let shape = std::mem::take(&mut self.chunk_shape);
        if shape.len() != inner.len() || inner.contains(&0) {
            return Err(Refusal::damaged(
                "its shards have chunks of another rank or no length",
            ));
        }
        let grid = shape.iter().zip(&inner).map(|(shard, chunk)| shard / chunk);
        self.sharding = Some(Sharding {
            grid: grid.collect(),
            shape,
            index_at_start: configuration["index_location"] == "start",
            index_has_checksum,
            index_big_endian: index.big_endian,
        });
        self.chunk_shape = inner;
        self.codecs = chain.codecs;
        Ok(())
    }
}
