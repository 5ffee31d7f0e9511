//! From the metadata of a Zarr store to dimensions and variables.
//!
//! Consolidated metadata is taken where there is some; else every name under the root is asked.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::array::ArrayMeta;
use super::refusal::{self, Refusal};
use super::store::{Part, Store, is_plain};
use super::variable::Stored;
use super::{NEXT_ID, Zarr, json, v2, v3};
use crate::dataset::{Attributes, Dataset, Dimension, Variable};
use crate::storage::StorageError;
use crate::storage::backend::Opened;
use crate::storage::stamp::Stamp;

/// Metadata of more bytes is not read.
const METADATA_BYTES_MAX: usize = 64 << 20;

/// More arrays than this in one group is not a climate file.
const ARRAY_COUNT_MAX: usize = 1 << 16;

/// What the metadata of a store says.
#[derive(Default)]
struct Found {
    attributes: Attributes,
    arrays: Vec<ArrayMeta>,
    notes: Vec<String>,
}

/// Reads metadata, for errors that name the store.
struct Opening<'a> {
    path: &'a Path,
    store: &'a Store,
}

/// Opens a store.
pub(super) fn open(path: &Path, store: Store, stamp: Stamp) -> Result<Opened, StorageError> {
    let opening = Opening {
        path,
        store: &store,
    };
    let found = opening.read()?;
    let mut notes = found.notes;
    let dataset = dataset_of(found.attributes, &found.arrays).map_err(|p| opening.damaged(p))?;
    let mut variables = Vec::new();
    for meta in found.arrays {
        variables.push(Stored::new(meta).map_err(|problem| opening.damaged(problem))?);
    }
    notes.dedup();
    let backend = Box::new(Zarr {
        path: path.to_owned(),
        stamp,
        store,
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        variables,
    });
    Ok(Opened {
        backend,
        dataset,
        notes,
    })
}

impl Opening<'_> {
    fn read(&self) -> Result<Found, StorageError> {
        if let Some(root) = self.json("zarr.json")? {
            return self.version_3(&root);
        }
        if let Some(consolidated) = self.json(".zmetadata")? {
            return self.version_2(&consolidated["metadata"]);
        }
        if self.json(".zgroup")?.is_some() {
            let collected = self.collect_version_2()?;
            return self.version_2(&collected);
        }
        let found = match self.json(".zarray")? {
            Some(_) => "a single Zarr array: name the group (the folder or prefix) that holds it",
            None => "not a Zarr group: it has neither `zarr.json` nor `.zgroup`",
        };
        Err(self.not_readable(found.to_owned()))
    }

    fn version_3(&self, root: &Value) -> Result<Found, StorageError> {
        if root["node_type"] != "group" {
            let found = "a single Zarr array: name the group (the folder or prefix) that holds it";
            return Err(self.not_readable(found.to_owned()));
        }
        let mut found = Found::default();
        found.attributes =
            json::attributes(root.get("attributes"), None, "the store", &mut found.notes);
        if let Some(members) = root["consolidated_metadata"]["metadata"].as_object() {
            for (name, node) in members {
                self.add_version_3(name, node, &mut found)?;
            }
            return Ok(found);
        }
        for name in self.names()? {
            if let Some(node) = self.json(&format!("{name}/zarr.json"))? {
                self.add_version_3(&name, &node, &mut found)?;
            }
        }
        Ok(found)
    }

    fn add_version_3(
        &self,
        name: &str,
        node: &Value,
        found: &mut Found,
    ) -> Result<(), StorageError> {
        if name.contains('/') {
            return Ok(()); // In a group, of which there is a note already.
        }
        if node["node_type"] != "array" {
            found.notes.push(format!("group `{name}` is ignored"));
            return Ok(());
        }
        let array = v3::array(name, node, &mut found.notes);
        self.add(name, array, found)
    }

    /// `.zarray` and `.zattrs` of every array, as consolidated metadata has them.
    fn collect_version_2(&self) -> Result<Value, StorageError> {
        let mut all = serde_json::Map::new();
        let mut add = |key: String| -> Result<(), StorageError> {
            if let Some(value) = self.json(&key)? {
                all.insert(key, value);
            }
            Ok(())
        };
        add(".zattrs".to_owned())?;
        for name in self.names()? {
            for file in [".zarray", ".zattrs", ".zgroup"] {
                add(format!("{name}/{file}"))?;
            }
        }
        Ok(Value::Object(all))
    }

    fn version_2(&self, metadata: &Value) -> Result<Found, StorageError> {
        let mut found = Found::default();
        found.attributes =
            json::attributes(metadata.get(".zattrs"), None, "the store", &mut found.notes);
        let members = metadata
            .as_object()
            .ok_or_else(|| self.damaged("`.zmetadata` holds no metadata".to_owned()))?;
        for (key, value) in members {
            if let Some(group) = key.strip_suffix("/.zgroup")
                && !group.contains('/')
            {
                found.notes.push(format!("group `{group}` is ignored"));
            }
            let Some(name) = key.strip_suffix("/.zarray") else {
                continue;
            };
            if name.contains('/') {
                continue;
            }
            let attributes = metadata.get(format!("{name}/.zattrs"));
            let array = v2::array(name, value, attributes, &mut found.notes);
            self.add(name, array, &mut found)?;
        }
        Ok(found)
    }

    fn add(
        &self,
        name: &str,
        array: Result<ArrayMeta, Refusal>,
        found: &mut Found,
    ) -> Result<(), StorageError> {
        if !is_plain(name) {
            return Err(self.damaged(format!("{name:?} cannot be the name of a variable")));
        }
        if found.arrays.len() >= ARRAY_COUNT_MAX {
            return Err(self.damaged(format!("it has more than {ARRAY_COUNT_MAX} arrays")));
        }
        let in_variable = |problem| self.damaged(format!("variable `{name}`: {problem}"));
        match array {
            Ok(meta) => {
                meta.check()
                    .map_err(|problem| self.damaged(format!("variable `{name}` {problem}")))?;
                found.arrays.push(meta);
                Ok(())
            }
            Err(Refusal::Ignored(what)) => {
                found
                    .notes
                    .push(format!("variable `{name}` is {what} and is ignored"));
                Ok(())
            }
            Err(Refusal::Damaged(problem)) => Err(in_variable(problem)),
            Err(Refusal::UnknownCodec(codec)) => {
                Err(self.not_readable(refusal::remedy(&format!("`{codec}`"), name)))
            }
        }
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        let names = self.store.names().map_err(|source| match source.kind() {
            io::ErrorKind::Unsupported => self.not_readable(
                "a Zarr store without consolidated metadata on a server that cannot list it: \
                 consolidate it (`zarr.consolidate_metadata`)"
                    .to_owned(),
            ),
            _ => self.io(source),
        })?;
        Ok(names.into_iter().filter(|name| is_plain(name)).collect())
    }

    fn json(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let bytes = self
            .store
            .read(key, Part::Whole, METADATA_BYTES_MAX)
            .map_err(|source| match source.kind() {
                io::ErrorKind::InvalidData => self.damaged(format!("`{key}`: {source}")),
                _ => self.io(source),
            })?;
        let Some(bytes) = bytes else { return Ok(None) };
        let value = json::parse(&bytes);
        value
            .map(Some)
            .map_err(|problem| self.damaged(format!("`{key}` is {problem}")))
    }

    fn damaged(&self, problem: String) -> StorageError {
        StorageError::Damaged {
            path: self.path.to_owned(),
            problem,
        }
    }

    fn not_readable(&self, found: String) -> StorageError {
        StorageError::NotReadable {
            path: self.path.to_owned(),
            found,
        }
    }

    fn io(&self, source: io::Error) -> StorageError {
        StorageError::io(self.path, "read", source)
    }
}

/// Dimensions by their names; those without one are shared by length, as NetCDF does it.
fn dataset_of(attributes: Attributes, arrays: &[ArrayMeta]) -> Result<Dataset, String> {
    let mut dataset = Dataset {
        attributes,
        ..Dataset::default()
    };
    for meta in arrays {
        let mut dims = Vec::with_capacity(meta.shape.len());
        for (&len, name) in meta.shape.iter().zip(&meta.dimension_names) {
            let dim = match name {
                Some(name) => dataset.dimension_index(name),
                None => dataset
                    .dimensions
                    .iter()
                    .enumerate()
                    .position(|(index, known)| {
                        known.name.starts_with(PHONY) && known.len == len && !dims.contains(&index)
                    }),
            };
            let dim = dim.unwrap_or_else(|| {
                let count = dataset
                    .dimensions
                    .iter()
                    .filter(|d| d.name.starts_with(PHONY))
                    .count();
                let name = name.clone().unwrap_or_else(|| format!("{PHONY}{count}"));
                dataset.dimensions.push(Dimension {
                    name,
                    len,
                    unlimited: false,
                });
                dataset.dimensions.len() - 1
            });
            let known = &dataset.dimensions[dim];
            if known.len != len {
                return Err(format!(
                    "dimension `{}` has {} steps, and {len} in variable `{}`",
                    known.name, known.len, meta.name
                ));
            }
            dims.push(dim);
        }
        dataset.variables.push(Variable {
            name: meta.name.clone(),
            dtype: meta.element.dtype(),
            dims,
            attributes: meta.attributes.clone(),
        });
    }
    Ok(dataset)
}

/// How dimensions without a name begin.
const PHONY: &str = "phony_dim_";
