//! The files that an input stands for: itself, those that match a pattern, or those in a folder.

use std::path::{Component, Path, PathBuf};

use crate::error::CubeError;
use crate::ops::select::matches_pattern;
use crate::storage::{is_remote, remote};

/// What the names of files in a folder end with, to be taken.
const SUFFIXES: [&str; 3] = ["nc", "nc4", "cdf"];

/// What a folder has in it that is one Zarr store.
const OF_STORES: [&str; 4] = ["zarr.json", ".zgroup", ".zattrs", ".zmetadata"];

/// The files of a pattern such as `tas_*.nc`, or of a folder, in the order of their names; any
/// other path, and any address but a pattern of a bucket, is itself.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, CubeError> {
    let none = || CubeError::NoFile {
        pattern: path.display().to_string(),
    };
    if is_remote(path) {
        return match remote::matching(path, &matches_pattern).transpose()? {
            Some(found) if found.is_empty() => Err(none()),
            Some(found) => Ok(found),
            None => Ok(vec![path.to_owned()]),
        };
    }
    if path.is_dir() && !OF_STORES.iter().any(|name| path.join(name).exists()) {
        let mut files = names(path);
        files.retain(|file| {
            let suffix = file.extension().and_then(|suffix| suffix.to_str());
            let name = file.file_name().and_then(|name| name.to_str());
            let is_hidden = name.is_none_or(|name| name.starts_with('.'));
            let is_known = suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix));
            is_known && !is_hidden && file.is_file()
        });
        return match files.is_empty() {
            true => Err(none()),
            false => Ok(files),
        };
    }
    if !is_pattern(path) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![PathBuf::new()];
    for part in path.components() {
        let text = part.as_os_str().to_str();
        let pattern = text.filter(|text| text.contains(['*', '?']));
        let (Component::Normal(_), Some(pattern)) = (part, pattern) else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let matching = |folder: PathBuf| {
            let here = match folder.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => folder.clone(),
            };
            let mut paths = names(&here);
            paths.retain(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                let hides = |name: &str| name.starts_with('.') && !pattern.starts_with('.');
                name.is_some_and(|name| !hides(name) && matches_pattern(pattern, name))
            });
            let in_folder = |path: PathBuf| folder.join(path.file_name().unwrap_or_default());
            paths.into_iter().map(in_folder).collect::<Vec<_>>()
        };
        found = found.into_iter().flat_map(matching).collect();
    }
    found.retain(|path| path.exists());
    match found.is_empty() {
        true => Err(none()),
        false => Ok(found),
    }
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?']))
}

/// What is in a folder, sorted.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_folders_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b")).unwrap();
        for name in ["x_2.nc", "x_1.nc", "y.txt", ".x_0.nc", "b/x_3.nc"] {
            std::fs::write(at(name), "").unwrap();
        }
        let both = vec![at("x_1.nc"), at("x_2.nc")];
        assert_eq!(files(&at("x_*.nc")).unwrap(), both);
        assert_eq!(files(folder.path()).unwrap(), both);
        assert_eq!(files(&at("*/x_?.nc")).unwrap(), [at("b/x_3.nc")]);
        assert_eq!(files(&at("none.nc")).unwrap(), [at("none.nc")]);
        let error = files(&at("none_*.nc")).unwrap_err().to_string();
        assert!(error.starts_with("no file is called "), "{error}");
        std::fs::write(at("b/.zgroup"), "").unwrap();
        assert_eq!(files(&at("b")).unwrap(), [at("b")]);
    }
}
