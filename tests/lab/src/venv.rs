//! The cache folder, and what `tests/tools` put there: the Python environment with the readers that
//! tests compare with and the sample files that come as packages, and those of MLflow and PyTorch.
//! What is not there is `None`, after a line that says so.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A variable that is set to something.
fn set(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Mizar's folder in the user's cache; `None` where there is no home.
#[must_use]
pub fn cache() -> Option<PathBuf> {
    let user = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Some(user?.join("mizar"))
}

/// An environment: what the variable names, else a folder of the cache.
fn environment(variable: &str, name: &str) -> Option<PathBuf> {
    set(variable).or_else(|| Some(cache()?.join(name)))
}

fn folder() -> Option<PathBuf> {
    environment("MIZAR_VENV", "venv")
}

/// A program of MLflow's environment, which `make mlflow` makes.
#[must_use]
pub fn mlflow(program: &str) -> Option<PathBuf> {
    program_of("MIZAR_MLFLOW_VENV", "mlflow-venv", program, "make mlflow")
}

/// The interpreter with PyTorch, which `make torch` makes.
#[must_use]
pub fn torch() -> Option<PathBuf> {
    program_of("MIZAR_TORCH_VENV", "torch-venv", "python", "make torch")
}

fn program_of(variable: &str, name: &str, program: &str, target: &str) -> Option<PathBuf> {
    let program = environment(variable, name)?.join("bin").join(program);
    let found = program.exists().then_some(program);
    if found.is_none() {
        println!("SKIP: no {name} ({target} makes it)");
    }
    found
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
