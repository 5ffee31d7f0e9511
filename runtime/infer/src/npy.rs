//! Arrays in NumPy's formats (`.npy`, and `.npz` for several by name), for files that are no cubes.
//!
//! Source: `numpy.lib.format`, versions 1 to 3 of the format.

use std::path::{Path, PathBuf};

use mizar_array::npz::{self, Archive};
use mizar_core::durable;

use crate::tensor::cells;
use crate::{ElementType, Tensor, Values};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The numbers of a file begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{}: {problem}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// What a file of arrays holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrays {
    /// One array without a name (`.npy`).
    One(Tensor),
    /// Arrays by name (`.npz`), in the order of the file.
    Named(Vec<(String, Tensor)>),
}

/// Whether a name is that of a file of arrays.
#[must_use]
pub fn is_arrays(path: &Path) -> bool {
    is_npz(path) || has_suffix(path, "npy")
}

/// Whether a name is that of a file of several arrays.
#[must_use]
pub fn is_npz(path: &Path) -> bool {
    has_suffix(path, "npz")
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    let own = path.extension();
    own.is_some_and(|own| own.eq_ignore_ascii_case(suffix))
}

/// Reads a file of arrays, as its name says.
///
/// # Errors
/// [`NpyError`] if it cannot be read, is cut short, or holds other than numbers in C order.
pub fn read(path: &Path) -> Result<Arrays, NpyError> {
    match is_npz(path) {
        true => read_named(path).map(Arrays::Named),
        false => read_one(path).map(Arrays::One),
    }
}

/// Reads a `.npy` file.
///
/// # Errors
/// As [`read`].
pub fn read_one(path: &Path) -> Result<Tensor, NpyError> {
    parse(&whole(path)?).map_err(|problem| unfit(path, problem))
}

fn read_named(path: &Path) -> Result<Vec<(String, Tensor)>, NpyError> {
    let bytes = whole(path)?;
    let archive = Archive::read(&bytes).map_err(|error| unfit(path, error.to_string()))?;
    let array = |name: &str| {
        let member = archive.member(name).map_err(|error| error.to_string())?;
        let array = parse(&member).map_err(|problem| format!("`{name}`: {problem}"))?;
        Ok((name.to_owned(), array))
    };
    let arrays: Result<Vec<_>, String> = archive.names().map(array).collect();
    arrays.map_err(|problem| unfit(path, problem))
}

fn whole(path: &Path) -> Result<Vec<u8>, NpyError> {
    std::fs::read(path).map_err(|source| NpyError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn unfit(path: &Path, problem: String) -> NpyError {
    NpyError::Unfit {
        path: path.to_owned(),
        problem,
    }
}

/// Writes a file of arrays, as its name says; it appears whole or not at all.
///
/// # Errors
/// [`NpyError`]: a `.npy` file holds one array.
pub fn write(path: &Path, arrays: &[(&str, &Tensor)]) -> Result<(), NpyError> {
    let unfit = |problem| unfit(path, problem);
    let bytes = match (arrays, is_npz(path)) {
        ([(_, array)], false) => file(array),
        (_, false) => {
            let names: Vec<&str> = arrays.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            return Err(unfit(format!(
                "it holds one array, and there are {names}: write .npz"
            )));
        }
        (_, true) => {
            let members: Vec<_> = arrays.iter().map(|(name, a)| (*name, file(a))).collect();
            npz::write(&members).map_err(|error| unfit(error.to_string()))?
        }
    };
    durable::write(path, &bytes).map_err(|source| NpyError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// A `.npy` file.
fn file(array: &Tensor) -> Vec<u8> {
    let mut bytes = header(array);
    array.values().to_bytes(&mut bytes);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Tensor, String> {
    let no_array = || "it is no NumPy array (.npy), or cut short".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(no_array)?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().ok_or_else(no_array)?;
    let (length, rest) = if major == 1 {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(no_array)?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(no_array)?;
        let length = u32::from_le_bytes(*length);
        (usize::try_from(length).unwrap_or(usize::MAX), rest)
    };
    let (header, numbers) = rest.split_at_checked(length).ok_or_else(no_array)?;
    let header = std::str::from_utf8(header).map_err(|_| no_array())?;
    let descr = entry(header, "descr").ok_or_else(no_array)?;
    let descr = descr.trim_matches(['\'', '"']);
    let element_type = match descr {
        "<f4" => ElementType::F32,
        "<f8" => ElementType::F64,
        "<i4" => ElementType::I32,
        "<i8" => ElementType::I64,
        other => {
            return Err(format!(
                "its numbers are of type {other}; read are <f4, <f8, <i4 and <i8: save it with \
                 .astype('<f4')"
            ));
        }
    };
    if entry(header, "fortran_order") != Some("False") {
        return Err("it is in Fortran order: save np.ascontiguousarray of it".to_owned());
    }
    let shape = shape(header).ok_or_else(no_array)?;
    let size_bytes = cells(&shape).and_then(|count| count.checked_mul(element_type.size_bytes()));
    if size_bytes != Some(numbers.len()) {
        let found = numbers.len();
        return Err(format!(
            "it is damaged: {found} bytes of numbers for shape {shape:?}"
        ));
    }
    let values = Values::from_bytes(element_type, numbers);
    Tensor::new(shape, values).map_err(|error| error.to_string())
}

/// The text of a value in the header, which is a Python dictionary.
fn entry<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    rest.split([',', '}']).next().map(str::trim)
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let (_, rest) = header.split_once("'shape':")?;
    let (inside, _) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
    let words = inside.split(',').map(str::trim);
    let lengths = words.filter(|word| !word.is_empty());
    lengths.map(|word| word.parse().ok()).collect()
}

fn header(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.values().element_type() {
        ElementType::F32 => "<f4",
        ElementType::F64 => "<f8",
        ElementType::I32 => "<i4",
        ElementType::I64 => "<i8",
    };
    let lengths: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    let comma = if lengths.len() == 1 { "," } else { "" };
    let lengths = lengths.join(", ");
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lengths}{comma}), }}");
    let before = MAGIC.len() + 4;
    let whole = (before + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.push_str(&" ".repeat(whole - before - text.len() - 1));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[1, 0]);
    // A header of so many dimensions does not exist.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by NumPy (`tests/models/make.py`).
    const OF_NUMPY: &[u8] = include_bytes!("../tests/models/mlp_in.npy");

    #[test]
    fn what_numpy_wrote_is_read_and_written_as_numpy_does() {
        let tensor = parse(OF_NUMPY).unwrap();
        assert_eq!(tensor.shape(), [5, 4]);
        assert_eq!(tensor.values().to_f64()[..2], [-1.0, -0.25999999046325684]);
        let mut bytes = header(&tensor);
        tensor.values().to_bytes(&mut bytes);
        assert_eq!(parse(&bytes).unwrap(), tensor);
        assert_eq!(bytes.len(), OF_NUMPY.len());
    }

    #[test]
    fn damage_is_told() {
        for length in 0..OF_NUMPY.len() {
            assert!(parse(&OF_NUMPY[..length]).is_err(), "{length}");
        }
        let half = String::from_utf8_lossy(OF_NUMPY).replace("<f4", "<f2");
        assert!(parse(half.as_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_array_survives(rows in 0_usize..4, values: Vec<f64>) {
            let rows = if values.len().is_multiple_of(rows.max(1)) { rows.max(1) } else { 1 };
            let shape = vec![rows, values.len() / rows];
            let tensor = Tensor::new(shape, Values::F64(values)).unwrap();
            let mut bytes = header(&tensor);
            tensor.values().to_bytes(&mut bytes);
            let read = parse(&bytes).unwrap();
            proptest::prop_assert_eq!(read.shape(), tensor.shape());
            let bits = |t: &Tensor| t.values().to_f64().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            proptest::prop_assert_eq!(bits(&read), bits(&tensor));
        }
    }
}
