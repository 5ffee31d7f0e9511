//! From the objects of an HDF5 file to dimensions and variables, by the rules of NetCDF-4.
//!
//! What lies in a group is named by its path (`ocean/thetao`): dimensions, variables, and the
//! group's attributes among those of the file.
//!
//! Dimensions are arrays that are dimension scales; variables name theirs by references in
//! `DIMENSION_LIST`. Files that were not made by NetCDF have none: their dimensions get the
//! names that NetCDF gives (`phony_dim_0`).

use std::collections::{HashMap, HashSet};

use super::chunks::Bytes;
use super::damage::Damage;
use super::groups;
use super::heap::GlobalHeap;
use crate::dataset::{
    AttrValue, Attributes, DType, Dataset, Dimension, Variable, in_group, split_path,
};
use crate::library::{Array, Element, Failure, H5File, Member, RawAttribute, RawValue, texts};

/// Attributes that only hold the file together.
const HIDDEN: [&str; 7] = [
    "_NCProperties",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "DIMENSION_LABELS",
];

/// Further ones, on dimension scales alone.
const HIDDEN_ON_SCALES: [&str; 2] = ["CLASS", "NAME"];

/// How `NAME` of a dimension without variable begins: NetCDF ends it with a full stop and the
/// length, early files of ours lacked the stop.
const NO_VARIABLE: &str = "This is a netCDF dimension but not a netCDF variable";

/// How the name of an array begins that is named as a dimension and does not belong to it.
pub(crate) const NOT_A_COORDINATE: &str = "_nc4_non_coord_";

/// What a file holds: its structure, and the array of each variable.
pub(super) struct Structure {
    pub(super) dataset: Dataset,
    /// In the order of `dataset.variables`.
    pub(super) arrays: Vec<Array>,
    /// What was left out, in words.
    pub(super) notes: Vec<String>,
}

/// Why the structure cannot be read.
pub(super) enum Broken {
    /// The library refused.
    Library(Failure),
    Damaged(Damage),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Library(failure)
    }
}

impl From<Damage> for Broken {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// An attribute, or what it is when NetCDF has no such type.
struct FoundAttribute {
    name: String,
    value: Result<AttrValue, &'static str>,
}

/// An array with what its internal attributes say.
struct Found {
    array: Array,
    attributes: Vec<FoundAttribute>,
    is_scale: bool,
    has_variable: bool,
    dimension_id: Option<i64>,
    coordinate_ids: Vec<i64>,
}

/// Groups within groups beyond this are a damaged file.
const GROUP_DEPTH_MAX: usize = 32;

/// More groups than this in one file are a damaged file.
const GROUP_COUNT_MAX: usize = 1 << 16;

/// Reads the structure of the file.
pub(super) fn read(file: &H5File, bytes: Bytes<'_>) -> Result<Structure, Broken> {
    let heap = &mut GlobalHeap::new(bytes);
    let mut notes = Vec::new();
    let mut attributes = Attributes::default();
    let mut found = Vec::new();
    let mut known = HashSet::new();
    // Those still to be looked at, the next one last.
    let mut groups = vec![String::new()];
    while let Some(group) = groups.pop() {
        // A hard link may lead back to a group that holds it.
        if !known.insert(file.address_of(&absolute(&group))?) {
            notes.push(format!(
                "group `{group}` is another one again and is ignored"
            ));
            continue;
        }
        if known.len() > GROUP_COUNT_MAX || group.split('/').count() > GROUP_DEPTH_MAX {
            let problem = format!("it has too many groups, or too deep ones: `{group}`");
            return Err(Failure::new("list the groups", problem).into());
        }
        let mut inner = members(file, &group, heap, &mut found)?;
        inner.reverse();
        groups.extend(inner);
        let owner = match group.as_str() {
            "" => "the file".to_owned(),
            group => format!("group `{group}`"),
        };
        let own = followed(file.attributes(&absolute(&group))?, heap)?;
        for (name, value) in visible(&own, false, &owner, &mut notes).iter() {
            attributes.set(&in_group(&group, name), value.clone());
        }
    }
    let mut dimensions = Dimensions::of(&found);
    let mut variables = Vec::new();
    let mut arrays = Vec::new();
    for item in found {
        if !item.has_variable {
            continue;
        }
        let (group, last) = split_path(&item.array.name);
        let name = in_group(group, last.strip_prefix(NOT_A_COORDINATE).unwrap_or(last));
        let Some(dtype) = dtype(item.array.element) else {
            if let Element::Other(what) = item.array.element {
                notes.push(format!("variable `{name}` is {what} and is ignored"));
            }
            continue;
        };
        let attributes = visible(&item.attributes, item.is_scale, &name, &mut notes);
        let dims = dimensions.of_variable(&item, heap)?;
        variables.push(Variable {
            name,
            dtype,
            dims,
            attributes,
        });
        arrays.push(item.array);
    }
    let dataset = Dataset {
        dimensions: dimensions.list,
        variables,
        attributes,
    };
    Ok(Structure {
        dataset,
        arrays,
        notes,
    })
}

/// Collects the arrays of a group and gives the paths of the groups in it.
fn members(
    file: &H5File,
    group: &str,
    heap: &mut GlobalHeap<'_>,
    found: &mut Vec<Found>,
) -> Result<Vec<String>, Broken> {
    let mut groups = Vec::new();
    for name in file.names(&absolute(group))? {
        let path = in_group(group, &name);
        match file.member(&path)? {
            Member::Array(array) => found.push(Found::of(*array, heap)?),
            Member::Group => {
                // As the root was, before the library follows what it holds.
                groups::check_at(heap.bytes(), file.address_of(&path)?)?;
                groups.push(path);
            }
            Member::Other => {}
        }
    }
    Ok(groups)
}

/// The path of a group from the root of the file.
fn absolute(group: &str) -> String {
    format!("/{group}")
}

fn dtype(element: Element) -> Option<DType> {
    match element {
        Element::Number { dtype, .. } => Some(dtype),
        Element::FixedText { size_bytes: 1 } => Some(DType::Char),
        Element::FixedText { .. } | Element::VarText => Some(DType::Text),
        Element::Other(_) => None,
    }
}

/// Attributes with the texts that they refer to.
fn followed(
    raw: Vec<RawAttribute>,
    heap: &mut GlobalHeap<'_>,
) -> Result<Vec<FoundAttribute>, Damage> {
    raw.into_iter()
        .map(|RawAttribute { name, value }| {
            let value = match value {
                RawValue::Value(value) => Ok(value),
                RawValue::HeapTexts(references) => Ok(texts(heap.texts(&references)?)),
                RawValue::Foreign(what) => Err(what),
            };
            Ok(FoundAttribute { name, value })
        })
        .collect()
}

fn visible(
    found: &[FoundAttribute],
    is_scale: bool,
    owner: &str,
    notes: &mut Vec<String>,
) -> Attributes {
    found
        .iter()
        .filter(|attribute| {
            let name = attribute.name.as_str();
            !(HIDDEN.contains(&name) || is_scale && HIDDEN_ON_SCALES.contains(&name))
        })
        .filter_map(|attribute| match &attribute.value {
            Ok(value) => Some((attribute.name.clone(), value.clone())),
            Err(what) => {
                let name = &attribute.name;
                notes.push(format!(
                    "attribute `{name}` of {owner} is {what} and is ignored"
                ));
                None
            }
        })
        .collect()
}

impl Found {
    fn of(array: Array, heap: &mut GlobalHeap<'_>) -> Result<Self, Broken> {
        let name = array.name.as_str();
        let attributes = array.attributes().map_err(|failure| failure.of(name))?;
        let attributes = followed(attributes, heap).map_err(|damage| damage.in_variable(name))?;
        let value = |name: &str| {
            attributes
                .iter()
                .find(|attribute| attribute.name == name)
                .and_then(|attribute| attribute.value.as_ref().ok())
        };
        let text = |name: &str| value(name).and_then(AttrValue::as_text);
        let ids = |name: &str| -> Vec<i64> {
            let numbers = value(name).and_then(AttrValue::to_f64s).unwrap_or_default();
            numbers.into_iter().map(|id| id as i64).collect()
        };
        let is_scale = text("CLASS") == Some("DIMENSION_SCALE") && !array.extents.is_empty();
        let is_bare = is_scale && text("NAME").is_some_and(|name| name.starts_with(NO_VARIABLE));
        let dimension_id = ids("_Netcdf4Dimid").first().copied();
        let coordinate_ids = ids("_Netcdf4Coordinates");
        Ok(Self {
            array,
            is_scale,
            has_variable: !is_bare,
            dimension_id,
            coordinate_ids,
            attributes,
        })
    }
}

/// The dimensions found so far, by their ways of being named.
struct Dimensions {
    list: Vec<Dimension>,
    by_address: HashMap<u64, usize>,
    by_id: HashMap<i64, usize>,
    /// Those that were made up here.
    phony: Vec<usize>,
}

impl Dimensions {
    fn of(found: &[Found]) -> Self {
        let mut scales: Vec<&Found> = found.iter().filter(|item| item.is_scale).collect();
        scales.sort_by_key(|item| item.dimension_id.unwrap_or(i64::MAX));
        let mut dimensions = Self {
            list: Vec::new(),
            by_address: HashMap::new(),
            by_id: HashMap::new(),
            phony: Vec::new(),
        };
        for (index, item) in scales.into_iter().enumerate() {
            dimensions.list.push(Dimension {
                name: item.array.name.clone(),
                len: item.array.extents[0] as usize,
                unlimited: item.array.unlimited[0],
            });
            dimensions.by_address.insert(item.array.address, index);
            if let Some(id) = item.dimension_id {
                dimensions.by_id.insert(id, index);
            }
        }
        dimensions
    }

    /// The dimensions of one variable; lengths grow to what the variable has.
    fn of_variable(
        &mut self,
        item: &Found,
        heap: &mut GlobalHeap<'_>,
    ) -> Result<Vec<usize>, Broken> {
        let array = &item.array;
        let rank = array.extents.len();
        let mut dims: Vec<Option<usize>> = vec![None; rank];
        if item.is_scale {
            dims[0] = self.by_address.get(&array.address).copied();
        }
        if item.coordinate_ids.len() == rank {
            for (dim, id) in dims.iter_mut().zip(&item.coordinate_ids) {
                *dim = dim.or_else(|| self.by_id.get(id).copied());
            }
        }
        if dims.contains(&None) {
            let lists = array.dimension_lists();
            let lists = lists.map_err(|failure| failure.of(&array.name))?;
            for (dim, list) in dims.iter_mut().zip(lists) {
                let scale = heap.address(list);
                let scale = scale.map_err(|damage| damage.in_variable(&array.name))?;
                *dim = dim.or_else(|| self.by_address.get(&scale?).copied());
            }
        }
        let mut named = Vec::with_capacity(rank);
        for (position, dim) in dims.into_iter().enumerate() {
            let (len, unlimited) = (array.extents[position] as usize, array.unlimited[position]);
            let index = dim.unwrap_or_else(|| self.phony(len, unlimited, &named));
            self.list[index].len = self.list[index].len.max(len);
            named.push(index);
        }
        Ok(named)
    }

    fn phony(&mut self, len: usize, unlimited: bool, taken: &[usize]) -> usize {
        let fits = |index: &&usize| {
            let known = &self.list[**index];
            known.len == len && known.unlimited == unlimited && !taken.contains(*index)
        };
        if let Some(&index) = self.phony.iter().find(fits) {
            return index;
        }
        let name = format!("phony_dim_{}", self.phony.len());
        self.list.push(Dimension {
            name,
            len,
            unlimited,
        });
        self.phony.push(self.list.len() - 1);
        self.list.len() - 1
    }
}
