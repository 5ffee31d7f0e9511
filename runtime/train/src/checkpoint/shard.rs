//! One rank's file of a checkpoint: arrays in the format safetensors, each with the ranges of
//! the flat array that its numbers are of.
//!
//! Source: <https://github.com/huggingface/safetensors>, the section "Format".

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::path::Path;

use mizar_core::durable::PendingFile;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::CheckpointError;

/// No header of ours is longer; one that says so is not read.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// Bytes that are written at a time.
const BUFFER_BYTES: usize = 1 << 20;

const METADATA: &str = "__metadata__";

/// Numbers with their places in the flat array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) ranges: Vec<Range<usize>>,
    pub(crate) values: Vec<f32>,
}

/// What a file is, for the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// Counts and hashes what goes through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a file that is whole or absent.
pub(crate) fn write(path: &Path, arrays: &[Array]) -> Result<Facts, CheckpointError> {
    let failed = |source| CheckpointError::File {
        path: path.to_owned(),
        action: "written",
        source,
    };
    let go = || -> io::Result<Facts> {
        let mut file = PendingFile::create(path)?;
        let facts = write_to(&mut file, arrays)?;
        file.commit()?;
        Ok(facts)
    };
    go().map_err(failed)
}

fn write_to(file: impl Write, arrays: &[Array]) -> io::Result<Facts> {
    let header = header(arrays);
    let mut out = Hashing {
        inner: BufWriter::with_capacity(BUFFER_BYTES, file),
        hash: Sha256::new(),
        bytes: 0,
    };
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for array in arrays {
        for values in array.values.chunks(BUFFER_BYTES) {
            out.write_all(&to_bytes(values))?;
        }
    }
    out.flush()?;
    Ok(Facts {
        bytes: out.bytes,
        sha256: out.hash.finalize().into(),
    })
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    if cfg!(target_endian = "little") {
        return bytemuck::cast_slice(values).to_vec();
    }
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn header(arrays: &[Array]) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    let mut metadata = serde_json::Map::new();
    let mut at = 0;
    for array in arrays {
        let end = at + 4 * array.values.len();
        let entry = json!({
            "dtype": "F32",
            "shape": [array.values.len()],
            "data_offsets": [at, end],
        });
        entries.insert(array.name.clone(), entry);
        let ranges: Vec<String> = array
            .ranges
            .iter()
            .map(|range| format!("{}:{}", range.start, range.len()))
            .collect();
        metadata.insert(array.name.clone(), Value::String(ranges.join(" ")));
        at = end;
    }
    entries.insert(METADATA.to_owned(), Value::Object(metadata));
    let mut bytes = Value::Object(entries).to_string().into_bytes();
    // Numbers begin at a multiple of their size.
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

/// Reads a file whose manifest says these facts.
pub(crate) fn read(path: &Path, facts: &Facts) -> Result<Vec<Array>, CheckpointError> {
    let damaged = |what: String| CheckpointError::Damaged {
        path: path.to_owned(),
        what,
    };
    let failed = |source| CheckpointError::File {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length != facts.bytes {
        let expected = facts.bytes;
        return Err(damaged(format!(
            "it has {length} bytes, its manifest says {expected}"
        )));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let found: [u8; 32] = Sha256::digest(&bytes).into();
    if found != facts.sha256 {
        return Err(damaged(
            "its SHA-256 is not that of its manifest".to_owned(),
        ));
    }
    parse(&bytes).ok_or_else(|| damaged("its header does not describe its numbers".to_owned()))
}

fn parse(bytes: &[u8]) -> Option<Vec<Array>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX || length > rest.len() as u64 {
        return None;
    }
    let (header, data) = rest.split_at(length as usize);
    let entries: BTreeMap<String, Value> = serde_json::from_slice(header).ok()?;
    let metadata = entries.get(METADATA)?.as_object()?;
    let array = |(name, entry): (&String, &Value)| {
        if entry.get("dtype")?.as_str()? != "F32" {
            return None;
        }
        let offsets = entry.get("data_offsets")?.as_array()?;
        let offset = |index: usize| offsets.get(index)?.as_u64().map(|offset| offset as usize);
        let numbers = data.get(offset(0)?..offset(1)?)?;
        let (numbers, rest) = numbers.as_chunks::<4>();
        let values: Vec<f32> = numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        let ranges = parse_ranges(metadata.get(name)?.as_str()?)?;
        let covered: usize = ranges.iter().map(Range::len).sum();
        (rest.is_empty() && covered == values.len()).then(|| Array {
            name: name.clone(),
            ranges,
            values,
        })
    };
    let arrays = entries.iter().filter(|(name, _)| *name != METADATA);
    arrays.map(array).collect()
}

fn parse_ranges(text: &str) -> Option<Vec<Range<usize>>> {
    let range = |text: &str| {
        let (start, len) = text.split_once(':')?;
        let (start, len): (usize, usize) = (start.parse().ok()?, len.parse().ok()?);
        Some(start..start.checked_add(len)?)
    };
    text.split_whitespace().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> Vec<Array> {
        vec![
            Array {
                name: "exp_avg".to_owned(),
                ranges: vec![0..2, 7..8],
                values: vec![1.0, -0.0, f32::MIN_POSITIVE / 4.0],
            },
            Array {
                name: "parameters".to_owned(),
                ranges: vec![],
                values: vec![],
            },
        ]
    }

    #[test]
    fn arrays_come_back_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard.safetensors");
        let facts = write(&path, &arrays()).unwrap();
        let found = read(&path, &facts).unwrap();
        assert_eq!(found, arrays());
        assert!(found[0].values[1].is_sign_negative());

        let good = std::fs::read(&path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            let error = read(&path, &facts).unwrap_err().to_string();
            assert!(error.contains("SHA-256"), "{error}");
            // Even if the sum were right, nothing is believed.
            let sha256 = Sha256::digest(&bad).into();
            let _ = read(&path, &Facts { sha256, ..facts });
        }
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            let error = read(&path, &facts).unwrap_err().to_string();
            assert!(error.contains("bytes, its manifest says"), "{error}");
            assert!(parse(&good[..length]).is_none_or(|arrays| arrays.len() == 2));
        }
    }
}
