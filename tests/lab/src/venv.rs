//! The Python environment that `tests/tools/venv.sh` makes, with the readers that tests compare
//! with and the sample files that come as packages. What is not there is `None`, after a line that
//! says so.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Its folder: `MIZAR_VENV`, else `mizar/venv` in the user's cache.
fn folder() -> Option<PathBuf> {
    let set = |name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("MIZAR_VENV").or_else(|| Some(cache()?.join("mizar/venv")))
}

/// Its interpreter.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let python = folder().map(|folder| folder.join("bin/python"));
    let python = python.filter(|python| python.exists());
    if python.is_none() {
        println!("SKIP: no Python environment (tests/tools/venv.sh makes it)");
    }
    python
}

/// Its interpreter, if it has these modules: `h5py, moto.server`.
#[must_use]
pub fn python_with(modules: &str) -> Option<PathBuf> {
    let python = python()?;
    let import = format!("import {modules}");
    let output = Command::new(&python).args(["-c", &import]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("SKIP: no Python with {modules} (tests/tools/venv.sh installs it)");
    None
}

/// The folder of a package.
#[must_use]
pub fn package(name: &str) -> Option<PathBuf> {
    let versions = folder().map(|folder| std::fs::read_dir(folder.join("lib")));
    let mut versions = versions.into_iter().flatten().flatten().flatten();
    let package = |version: std::fs::DirEntry| {
        let package = version.path().join("site-packages").join(name);
        package.exists().then_some(package)
    };
    let found = versions.find_map(package);
    if found.is_none() {
        println!("SKIP: no Python package {name} (tests/tools/venv.sh installs it)");
    }
    found
}

/// The files of a package whose names begin and end so, in order; `None` if there is none.
#[must_use]
pub fn files(name: &str, prefix: &str, suffix: &str) -> Option<Vec<PathBuf>> {
    let package = package(name)?;
    let mut found = Vec::new();
    find(&package, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(suffix) {
            found.push(path.to_owned());
        }
    });
    found.sort();
    if found.is_empty() {
        println!("SKIP: no {prefix}*{suffix} in the Python package {name}");
        return None;
    }
    Some(found)
}

/// The first CMIP6 file whose name begins so, of the package `esmvaltool-sample-data`.
#[must_use]
pub fn cmip6(prefix: &str) -> Option<PathBuf> {
    files("esmvaltool_sample_data", prefix, ".nc")?
        .into_iter()
        .next()
}

fn find(folder: &Path, tell: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, tell);
        } else {
            tell(&path);
        }
    }
}
