//! The global heap of an HDF5 file: where texts of any length and lists of references lie.
//!
//! Called for attributes, dimensions and text variables. Nothing that a collection or a
//! reference says is believed before it fits.
//!
//! Source: HDF5 file format specification 3.0, III.E (global heap).

use std::collections::HashMap;

use super::chunks::{Bytes, Cursor};
use super::damage::Damage;
use crate::library::{HeapReference, text_of};

/// Signature, version, three bytes for later use, and the size.
const HEADER_BYTES: usize = 16;

/// Index, count of references, four bytes for later use, and the size.
const OBJECT_HEADER_BYTES: usize = 16;

/// Objects begin at multiples of this.
const ALIGNMENT: usize = 8;

/// Collections that are kept until they have so many bytes.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// The heap, with the collections that were read.
pub(super) struct GlobalHeap<'a> {
    bytes: Bytes<'a>,
    collections: HashMap<u64, Collection>,
    kept_bytes: usize,
}

/// Some objects that lie together.
struct Collection {
    bytes: Vec<u8>,
    /// By index: where the object starts, and its size.
    objects: HashMap<u64, (usize, usize)>,
}

impl<'a> GlobalHeap<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        Self {
            bytes,
            collections: HashMap::new(),
            kept_bytes: 0,
        }
    }

    /// The file's bytes.
    pub(super) fn bytes(&self) -> Bytes<'a> {
        self.bytes
    }

    /// The texts that references lead to; empty where a reference leads nowhere.
    pub(super) fn texts(&mut self, references: &[HeapReference]) -> Result<Vec<String>, Damage> {
        let texts = references.iter().map(|reference| {
            let length = reference.length as usize;
            let bytes = self.object(*reference, length)?.unwrap_or_default();
            // A C string ends at its first zero.
            let end = bytes.iter().position(|&byte| byte == 0);
            Ok(text_of(&bytes[..end.unwrap_or(bytes.len())]))
        });
        texts.collect()
    }

    /// The first address of the list that a reference leads to.
    pub(super) fn address(&mut self, reference: HeapReference) -> Result<Option<u64>, Damage> {
        let object = self.object(reference, size_of::<u64>())?;
        Ok(object.and_then(|bytes| Cursor(bytes).number(size_of::<u64>())))
    }

    /// The first bytes of an object; `None` for a reference that leads nowhere.
    fn object(&mut self, reference: HeapReference, length: usize) -> Result<Option<&[u8]>, Damage> {
        let address = reference.collection;
        if reference.length == 0 || address == 0 {
            return Ok(None);
        }
        if !self.collections.contains_key(&address) {
            if self.kept_bytes > KEPT_BYTES_MAX {
                self.collections.clear();
                self.kept_bytes = 0;
            }
            let collection = Collection::read(self.bytes, address)?;
            self.kept_bytes += collection.bytes.len();
            self.collections.insert(address, collection);
        }
        let Some(collection) = self.collections.get(&address) else {
            return Ok(None);
        };
        let damaged = |problem: String| {
            let length = collection.bytes.len() as u64;
            Err(self.bytes.damage(address, length, problem))
        };
        let index = u64::from(reference.index);
        let Some(&(start, size)) = collection.objects.get(&index) else {
            return damaged(format!("the global heap has no object {index} there"));
        };
        if length > size {
            return damaged(format!(
                "object {index} of the global heap has {size} bytes, not the {length} that are \
                 referred to"
            ));
        }
        Ok(Some(&collection.bytes[start..start + length]))
    }
}

impl Collection {
    fn read(bytes: Bytes<'_>, address: u64) -> Result<Self, Damage> {
        let header = bytes.read(address, HEADER_BYTES as u64)?;
        let damaged = |length: u64, problem: &str| bytes.damage(address, length, problem);
        if bytes.has_wide_addresses() != Some(true) {
            let problem = "in files whose addresses have other than eight bytes no texts are read";
            return Err(damaged(HEADER_BYTES as u64, problem));
        }
        let mut cursor = Cursor(&header);
        let signature = cursor.take(4);
        // The version, and bytes for later use.
        let version = cursor.number(4).map(|four| four & 0xff);
        let size = cursor.number(8).unwrap_or(0);
        if signature != Some(b"GCOL") || version != Some(1) {
            let problem = "no collection of the global heap lies there";
            return Err(damaged(HEADER_BYTES as u64, problem));
        }
        let content = bytes.read(address, size)?;
        let objects = objects(&content)
            .ok_or_else(|| damaged(size, "the objects of the global heap do not fit into it"))?;
        Ok(Self {
            bytes: content,
            objects,
        })
    }
}

/// Start and size of each object by its index.
fn objects(collection: &[u8]) -> Option<HashMap<u64, (usize, usize)>> {
    let mut objects = HashMap::new();
    let mut place = HEADER_BYTES;
    // What is too short for an object is free.
    while let Some(header) = collection.get(place..place.checked_add(OBJECT_HEADER_BYTES)?) {
        let mut cursor = Cursor(header);
        let index = cursor.number(2)?;
        // How many refer to it, and bytes for later use.
        cursor.take(6)?;
        let size = usize::try_from(cursor.number(8)?).ok()?;
        // The free space counts its own header and is the last.
        if index == 0 {
            break;
        }
        let start = place + OBJECT_HEADER_BYTES;
        let end = start.checked_add(size)?;
        if end > collection.len() {
            return None;
        }
        objects.insert(index, (start, size));
        place = end.checked_next_multiple_of(ALIGNMENT)?;
    }
    Some(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(index: u16, size: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = index.to_le_bytes().to_vec();
        bytes.extend([1, 0, 0, 0, 0, 0]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(content);
        bytes
    }

    fn collection(objects: &[Vec<u8>]) -> Vec<u8> {
        let content = objects.concat();
        let mut bytes = b"GCOL\x01\0\0\0".to_vec();
        bytes.extend((HEADER_BYTES as u64 + content.len() as u64).to_le_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn objects_are_found_and_lies_are_not_believed() {
        let padded = b"abcde\0\0\0";
        let valid = collection(&[
            object(2, 5, padded),
            object(1, 8, &[7; 8]),
            object(0, 0, b""),
        ]);
        let found = objects(&valid).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[&2], (32, 5));
        assert_eq!(found[&1], (56, 8));
        for size in [9, 1 << 40, u64::MAX, u64::MAX - 7] {
            assert_eq!(objects(&collection(&[object(1, size, padded)])), None);
        }
        // An object of no bytes is no reason to go round for ever.
        let empty = collection(&[object(3, 0, b""), object(4, 0, b"")]);
        assert_eq!(objects(&empty).unwrap().len(), 2);
    }
}
