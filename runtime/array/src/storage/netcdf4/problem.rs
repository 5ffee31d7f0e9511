//! What is said of a NetCDF-4 file that cannot be read, and what the user can do.

use std::path::Path;

use super::super::StorageError;
use super::super::damage::Damage;
use crate::library::{Failure, Filter};

/// Filters from this number on are not part of the HDF5 library.
const FOREIGN_FILTER_MIN: i32 = 256;

/// The better known ones of those that are not read here.
const FOREIGN_FILTERS: [(i32, &str); 10] = [
    (307, "bzip2"),
    (32_001, "blosc with snappy inside"),
    (32_008, "an unknown kind of bitshuffle"),
    (32_013, "zfp"),
    (32_017, "sz"),
    (32_022, "bitgroom"),
    (32_023, "granular bitround"),
    (32_024, "sz3"),
    (32_026, "blosc2"),
    (32_028, "sperr"),
];

/// What to do about a filter that nothing here undoes.
pub(super) fn filter_refusal(filter: &str, variable: &str, problem: &str) -> String {
    format!(
        "compressed with {filter} in variable `{variable}`, which {problem}: set \
         HDF5_PLUGIN_PATH to a folder with its plugin, or rewrite the variable with deflate or \
         zstd"
    )
}

/// The filter for which the library most likely has no plugin.
pub(super) fn foreign_filter(
    filters: &[Filter],
    variable: &str,
    failure: &Failure,
) -> Option<String> {
    let filter = filters
        .iter()
        .find(|filter| filter.id >= FOREIGN_FILTER_MIN)?;
    let id = filter.id;
    let name = FOREIGN_FILTERS.iter().find(|(known, _)| *known == id);
    let name = name.map_or("an unknown filter", |(_, name)| name);
    let problem = format!("the HDF5 library has no plugin for ({})", failure.detail);
    let filter = format!("{name} (HDF5 filter {id})");
    Some(filter_refusal(&filter, variable, &problem))
}

/// What is damaged, in a file.
pub(super) fn damaged(path: &Path, damage: &Damage) -> StorageError {
    StorageError::Damaged {
        path: path.to_owned(),
        problem: damage.to_string(),
    }
}

/// The library's words for a file that ends too early, and all else.
pub(super) fn opening_failed(path: &Path, size_bytes: u64, failure: Failure) -> StorageError {
    let path = path.to_owned();
    if failure.detail.contains("truncated file") {
        let problem = format!(
            "it is cut short, with {size_bytes} bytes ({})",
            failure.detail
        );
        return StorageError::Damaged { path, problem };
    }
    if failure.detail.contains("bad version number") {
        let found = format!(
            "written in a newer file format than this HDF5 library reads ({}: {}), which is not \
             read: rewrite it with `h5repack` of that newer library and its option `--high=V110`",
            failure.operation, failure.detail
        );
        return StorageError::NotReadable { path, found };
    }
    StorageError::Hdf5 {
        path,
        operation: failure.operation,
        detail: failure.detail,
    }
}
