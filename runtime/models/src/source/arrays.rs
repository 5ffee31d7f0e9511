//! Samples that are made already: NumPy's files and safetensors.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};

use mizar_array::npz::Archive;
use mizar_train::Array;

use super::windows::{Fields, Windows};
use super::{Data, DataError, Describe, Prepared};
use crate::header::{Channel, Missing, Sample};

/// The beginning of every `.npy` file.
const MAGIC: &[u8] = b"\x93NUMPY";

pub(super) fn prepare(data: &Data) -> Result<Prepared, DataError> {
    let (inputs, targets, bytes) = read(&data.arrays)?;
    let samples = inputs.shape.first().copied().unwrap_or(0);
    let names = data.arrays.iter().map(|path| path.display().to_string());
    let origin = names.collect::<Vec<_>>().join(", ");
    let path = data.arrays[0].clone();
    let refuse = |reason| {
        Err(DataError::Arrays {
            path: path.clone(),
            reason,
        })
    };
    if targets.shape.first() != Some(&samples) || samples == 0 {
        let (inputs, targets) = (&inputs.shape, &targets.shape);
        return refuse(format!(
            "inputs {inputs:?} and targets {targets:?} must have as many samples, and at least one"
        ));
    }
    let missing = |array: &Array| array.values.iter().any(|value| value.is_nan());
    if missing(&inputs) || (data.missing == Missing::Refuse && missing(&targets)) {
        return refuse(
            "there are NaN: inputs may have none, targets with missing: mask".to_owned(),
        );
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count"
    )]
    let kept = (samples as f64 * data.validation_share()).ceil() as usize;
    let at = samples.saturating_sub(kept);
    let shapes = [inputs.shape[1..].to_vec(), targets.shape[1..].to_vec()];
    // A sample is a step of one cell with many channels.
    let fields = Arc::new(Fields {
        inputs: inputs.values,
        targets: targets.values,
        input_channels: shapes[0].iter().product(),
        target_channels: shapes[1].iter().product(),
        cells: 1,
        sample: Sample::Field,
        history: 1,
        lead: 0,
        shapes: shapes.clone(),
        identity: format!("{origin} sha256:{}", mizar_core::hex(&bytes)),
    });
    let part = |part, steps: std::ops::Range<usize>| {
        #[allow(clippy::cast_possible_truncation, reason = "what fits in memory")]
        let places = steps.map(|step| (step as u32, 0)).collect();
        Arc::new(Windows {
            fields: Arc::clone(&fields),
            places,
            part,
        })
    };
    let channel = |name: &str| Channel {
        variable: name.to_owned(),
        channel: 0,
        units: String::new(),
        mean: 0.0,
        std: 1.0,
    };
    Ok(Prepared {
        train: part("training", 0..at),
        validation: (kept > 0).then(|| part("validation", at..samples)),
        describe: Describe {
            inputs: vec![channel("inputs")],
            outputs: vec![channel("targets")],
            input_shape: shapes[0].clone(),
            target_shape: shapes[1].clone(),
        },
        climatology: std::collections::BTreeMap::new(),
        baselines: Vec::new(),
    })
}

/// Inputs, targets, and the digest of their files.
fn read(paths: &[std::path::PathBuf]) -> Result<(Array, Array, Vec<u8>), DataError> {
    let mut hash = Sha256::new();
    let mut load = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|error| DataError::Arrays {
            path: path.to_owned(),
            reason: format!("cannot be read: {error}"),
        })?;
        hash.update(&bytes);
        Ok(bytes)
    };
    let (inputs, targets) = match paths {
        [both] => {
            let bytes = load(both)?;
            let one = |name| match is_npz(both) {
                true => parse_npy(both, &npz_member(both, &bytes, name)?),
                false => tensor(both, &bytes, name),
            };
            (one("inputs")?, one("targets")?)
        }
        [inputs, targets] => (
            parse_npy(inputs, &load(inputs)?)?,
            parse_npy(targets, &load(targets)?)?,
        ),
        [first, ..] => {
            return Err(DataError::Arrays {
                path: first.clone(),
                reason: "expected one safetensors or .npz file, or two .npy files".to_owned(),
            });
        }
        [] => (Array::default(), Array::default()),
    };
    Ok((inputs, targets, hash.finalize().to_vec()))
}

fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}

fn npz_member<'a>(path: &Path, bytes: &'a [u8], name: &str) -> Result<Cow<'a, [u8]>, DataError> {
    let member = Archive::read(bytes).and_then(|archive| archive.member(name));
    member.map_err(|error| DataError::Arrays {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn tensor(path: &Path, bytes: &[u8], name: &str) -> Result<Array, DataError> {
    let wrong = |reason: String| DataError::Arrays {
        path: path.to_owned(),
        reason,
    };
    let all = SafeTensors::deserialize(bytes)
        .map_err(|error| wrong(format!("no whole safetensors file: {error}")))?;
    let view = all.tensor(name).map_err(|_| {
        wrong(format!(
            "expected tensors `inputs` and `targets`, found {:?}",
            all.names()
        ))
    })?;
    let values = numbers(
        view.data(),
        match view.dtype() {
            Dtype::F32 => "f4",
            Dtype::F64 => "f8",
            _ => "",
        },
    );
    let values = values.ok_or_else(|| {
        wrong(format!(
            "`{name}` is {:?}: expected F32 or F64",
            view.dtype()
        ))
    })?;
    Ok(Array {
        shape: view.shape().to_vec(),
        values,
    })
}

/// Little-endian numbers of a type.
fn numbers(bytes: &[u8], kind: &str) -> Option<Vec<f32>> {
    #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
    match kind {
        "f4" => Some(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|w| f32::from_le_bytes(*w))
                .collect(),
        ),
        "f8" => Some(
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|w| f64::from_le_bytes(*w) as f32)
                .collect(),
        ),
        _ => None,
    }
}

/// Reads a `.npy` file of `<f4` or `<f8` in C order.
///
/// # Errors
/// [`DataError::Arrays`] if it is another kind or not whole.
pub fn read_npy(path: &Path) -> Result<Array, DataError> {
    let bytes = std::fs::read(path).map_err(|error| DataError::Arrays {
        path: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    })?;
    parse_npy(path, &bytes)
}

/// Writes a `.npy` file of `<f4`, whole or not at all.
///
/// # Errors
/// What the system says.
pub fn write_npy(path: &Path, array: &Array) -> std::io::Result<()> {
    let shape: String = array.shape.iter().map(|len| format!("{len}, ")).collect();
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
        shape.trim_end()
    );
    while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0]].concat();
    bytes.extend(
        u16::try_from(header.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    bytes.extend(header.as_bytes());
    bytes.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
    mizar_core::durable::write(path, &bytes)
}

fn parse_npy(path: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let wrong = |reason: &str| DataError::Arrays {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| wrong("no .npy file"))?;
    let (len, body) = match rest {
        [1, _, a, b, body @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), body),
        [2 | 3, _, a, b, c, d, body @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, body),
        _ => return Err(wrong("a .npy file of a version that is not known")),
    };
    let header = body
        .get(..len)
        .ok_or_else(|| wrong("the .npy file ends in its header"))?;
    let header = String::from_utf8_lossy(header);
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start());
    if after("'fortran_order':").is_none_or(|rest| !rest.starts_with("False")) {
        return Err(wrong("expected C order (numpy.ascontiguousarray)"));
    }
    let shape = after("'shape':")
        .and_then(|rest| rest.strip_prefix('('))
        .and_then(|rest| rest.split_once(')'))
        .ok_or_else(|| wrong("the .npy file has no shape"))?
        .0;
    let words = shape
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let shape: Option<Vec<usize>> = words.map(|word| word.parse().ok()).collect();
    let shape = shape.ok_or_else(|| wrong("the .npy file has no shape"))?;
    let kind = after("'descr':")
        .and_then(|rest| rest.strip_prefix("'<"))
        .unwrap_or("");
    let values = numbers(&body[len..], kind.get(..2).unwrap_or(""))
        .ok_or_else(|| wrong("expected numbers of `<f4` or `<f8` (array.astype('<f4'))"))?;
    let count = shape
        .iter()
        .try_fold(1_usize, |count, len| count.checked_mul(*len));
    if count != Some(values.len()) {
        return Err(wrong(&format!(
            "{shape:?} numbers were announced, {} came",
            values.len()
        )));
    }
    Ok(Array { shape, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_files_survive_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let array = Array {
            shape: vec![2, 3],
            values: vec![1.0, 2.5, -3.0, 4.0, 5.0, 6.0],
        };
        write_npy(&path, &array).unwrap();
        assert_eq!(read_npy(&path).unwrap(), array);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len() % 64, 24, "NumPy aligns data to 64 bytes");
        for len in 0..whole.len() {
            assert!(parse_npy(&path, &whole[..len]).is_err(), "{len}");
        }
    }
}
