//! Checks the Spack repository without Spack: its Python compiles, and it names the version,
//! the programs and the Rust release that the workspace has.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_package_is_python() {
    // Compiled in memory: py_compile would leave a cache beside the source.
    let program = "import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])";
    let package = root().join("spack/packages/mizar/package.py");
    let output = match Command::new("python3")
        .args(["-c", program])
        .arg(package)
        .output()
    {
        Ok(output) => output,
        Err(error) => return println!("SKIP: python3 ({error})"),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_package_has_the_workspace_version_and_rust() {
    let manifest: toml::Table = toml::from_str(&text("Cargo.toml")).unwrap();
    let workspace = &manifest["workspace"]["package"];
    let (version, rust) = (
        workspace["version"].as_str().unwrap(),
        workspace["rust-version"].as_str().unwrap(),
    );
    let package = text("spack/packages/mizar/package.py");
    assert!(
        package.contains(&format!("version(\"{version}\"")),
        "version {version}"
    );
    assert!(package.contains(&format!("rust@{rust}:")), "rust {rust}");
    assert!(
        root()
            .join(format!("modulefiles/mizar/{version}.lua"))
            .exists(),
        "Lua modulefile"
    );
    assert!(
        root().join(format!("modulefiles/mizar/{version}")).exists(),
        "Tcl modulefile"
    );
}

#[test]
fn the_package_has_a_variant_for_each_mpi() {
    let package = text("spack/packages/mizar/package.py");
    for mpi in ["openmpi", "mpich", "mvapich-plus", "cray-mpich"] {
        assert!(package.contains(&format!("\"{mpi}\"")), "mpi={mpi}");
    }
}
