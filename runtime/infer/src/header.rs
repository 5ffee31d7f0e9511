//! What an ONNX file says of itself: inputs, outputs and metadata, without its weights.
//!
//! Read here so that all back ends tell the same, and so that a file that is cut short is named
//! as that. The walk over the protocol buffer follows no length that the file does not hold.
//!
//! Source: `onnx.proto` of ONNX 1.18 (field numbers), protobuf's wire format.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ElementType, Port};

/// Inputs, outputs and metadata of an ONNX file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Without the weights, which old files list among them.
    pub inputs: Vec<Port>,
    /// What the graph gives.
    pub outputs: Vec<Port>,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
}

/// Why a file is no ONNX model that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It ends too early, or is something else.
    #[error("it is damaged, cut short, or no ONNX model ({0})")]
    Damaged(&'static str),
    /// A type that is not supported.
    #[error(
        "`{port}` is of ONNX type {found}; supported are float, double, int32 and int64: export \
         the model with a cast"
    )]
    ElementType {
        /// Of which input or output.
        port: String,
        /// The number in `TensorProto.DataType`, or what stands in its place.
        found: String,
    },
}

impl Header {
    /// Reads it from the bytes of a file.
    ///
    /// # Errors
    /// [`HeaderError`] if the file cannot be understood.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut header = Self::default();
        let mut has_graph = false;
        let mut model = Message(bytes);
        while let Some((field, value)) = model.next()? {
            match (field, value) {
                (7, Field::Bytes(graph)) => {
                    has_graph = true;
                    header.read_graph(graph)?;
                }
                (14, Field::Bytes(entry)) => {
                    let (key, value) = pair(entry)?;
                    header.metadata.insert(key, value);
                }
                _ => {}
            }
        }
        if !has_graph || header.outputs.is_empty() {
            return Err(HeaderError::Damaged("there is no graph with outputs"));
        }
        Ok(header)
    }

    fn read_graph(&mut self, bytes: &[u8]) -> Result<(), HeaderError> {
        let mut weights = BTreeSet::new();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut graph = Message(bytes);
        while let Some((field, value)) = graph.next()? {
            match (field, value) {
                (5, Field::Bytes(tensor)) => {
                    weights.insert(text_in(tensor, 8)?);
                }
                (11, Field::Bytes(info)) => inputs.push(info),
                (12, Field::Bytes(info)) => outputs.push(info),
                _ => {}
            }
        }
        for info in inputs {
            if !weights.contains(&text_in(info, 1)?) {
                self.inputs.push(port(info)?);
            }
        }
        for info in outputs {
            self.outputs.push(port(info)?);
        }
        Ok(())
    }
}

/// A `ValueInfoProto`.
fn port(bytes: &[u8]) -> Result<Port, HeaderError> {
    let name = text_in(bytes, 1)?;
    let refuse = |found: &str| HeaderError::ElementType {
        port: name.clone(),
        found: found.to_owned(),
    };
    let of_type = bytes_in(bytes, 2)?.ok_or_else(|| refuse("unknown"))?;
    let tensor = bytes_in(of_type, 1)?.ok_or_else(|| refuse("other than a tensor"))?;
    let (mut element_type, mut shape) = (None, None);
    let mut fields = Message(tensor);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Number(number)) => {
                element_type = Some(match number {
                    1 => ElementType::F32,
                    6 => ElementType::I32,
                    7 => ElementType::I64,
                    11 => ElementType::F64,
                    other => return Err(refuse(&other.to_string())),
                });
            }
            (2, Field::Bytes(bytes)) => shape = Some(dimensions(bytes)?),
            _ => {}
        }
    }
    let element_type = element_type.ok_or_else(|| refuse("unknown"))?;
    Ok(Port {
        name,
        element_type,
        shape,
    })
}

/// A `TensorShapeProto`.
fn dimensions(bytes: &[u8]) -> Result<Vec<Option<usize>>, HeaderError> {
    let mut dimensions = Vec::new();
    let mut fields = Message(bytes);
    while let Some((field, value)) = fields.next()? {
        let (1, Field::Bytes(dimension)) = (field, value) else {
            continue;
        };
        let mut length = None;
        let mut fields = Message(dimension);
        while let Some((field, value)) = fields.next()? {
            if let (1, Field::Number(number)) = (field, value) {
                // Some exporters write -1 or 0 for a length that is free.
                length = usize::try_from(number.cast_signed())
                    .ok()
                    .filter(|&len| len > 0);
            }
        }
        dimensions.push(length);
    }
    Ok(dimensions)
}

/// A `StringStringEntryProto`.
fn pair(bytes: &[u8]) -> Result<(String, String), HeaderError> {
    Ok((text_in(bytes, 1)?, text_in(bytes, 2)?))
}

fn bytes_in(bytes: &[u8], wanted: u64) -> Result<Option<&[u8]>, HeaderError> {
    let mut found = None;
    let mut fields = Message(bytes);
    while let Some((field, value)) = fields.next()? {
        if let Field::Bytes(bytes) = value
            && field == wanted
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn text_in(bytes: &[u8], wanted: u64) -> Result<String, HeaderError> {
    let bytes = bytes_in(bytes, wanted)?.unwrap_or_default();
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned)
        .map_err(|_| HeaderError::Damaged("a name is no text"))
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed width, which nothing here asks for.
    Fixed,
}

/// The fields of a message that are left.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, HeaderError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return Err(HeaderError::Damaged("a field of unknown kind")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, HeaderError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self
                .0
                .split_first()
                .ok_or(HeaderError::Damaged("it ends within a number"))?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(HeaderError::Damaged("a number is too long"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], HeaderError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(HeaderError::Damaged("it ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> &'static [u8] {
        include_bytes!("../tests/models/identity.onnx")
    }

    #[test]
    fn ports_and_metadata_are_read() {
        let header = Header::read(model()).unwrap();
        assert_eq!(header.inputs.len(), 1);
        assert_eq!(header.inputs[0].to_string(), "x FP32 [?, 1, ?, ?]");
        assert_eq!(header.outputs[0].to_string(), "y FP32 [?, 1, ?, ?]");
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error_or_has_a_graph() {
        for length in 0..model().len() {
            let read = Header::read(&model()[..length]);
            assert!(
                read.is_err() || !read.unwrap().outputs.is_empty(),
                "{length}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Header::read(&bytes);
        }
    }
}
