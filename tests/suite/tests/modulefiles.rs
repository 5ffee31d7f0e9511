//! Loads the modulefiles as a user would, from an installed tree, with Lmod and with
//! Environment Modules, and unloads them again.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian, Fedora and the Lmod documentation put the program.
const LMOD: [&str; 4] = [
    "/usr/share/lmod/lmod/libexec/lmod",
    "/usr/libexec/lmod/lmod",
    "/opt/apps/lmod/lmod/libexec/lmod",
    "/usr/local/lmod/lmod/libexec/lmod",
];

/// A prefix with the modulefiles where `make install` puts them; `only` drops the other kind.
fn installed(only: &str) -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modulefiles/mizar");
    let prefix = tempfile::tempdir().unwrap();
    let target = prefix.path().join("share/modulefiles/mizar");
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        if (path.extension().is_some_and(|extension| extension == "lua")) == (only == "lua") {
            fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
        }
    }
    prefix
}

/// Loads and unloads through `command`, a shell word that prints shell code for
/// `<command> bash <verb> <module>`, and checks the environment at each point.
fn load_and_unload(command: &str, prefix: &Path) {
    let script = format!(
        r#"set -e
        module() {{ eval "$({command} bash "$@")"; }}
        module use '{folder}'
        module load mizar
        echo "loaded $MIZAR_ROOT|$PATH|${{MANPATH-unset}}"
        module unload mizar
        echo "unloaded ${{MIZAR_ROOT-unset}}|$PATH|${{MANPATH-unset}}"
        export MANPATH=/usr/share/man
        module load mizar
        echo "with MANPATH $MANPATH""#,
        folder = prefix.join("share/modulefiles").display(),
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", prefix)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let root = prefix.display();
    let expected = [
        format!("loaded {root}|{root}/bin:/usr/bin:/bin|unset"),
        "unloaded unset|/usr/bin:/bin|unset".to_owned(),
        format!("with MANPATH {root}/share/man:/usr/share/man"),
    ];
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{errors}");
}

fn lmod() -> Option<PathBuf> {
    LMOD.iter().map(PathBuf::from).find(|path| path.exists())
}

#[test]
fn lmod_loads_the_lua_file() {
    let Some(lmod) = lmod() else {
        return println!("SKIP: lmod");
    };
    load_and_unload(lmod.to_str().unwrap(), installed("lua").path());
}

#[test]
fn lmod_loads_the_tcl_file() {
    let Some(lmod) = lmod() else {
        return println!("SKIP: lmod");
    };
    load_and_unload(lmod.to_str().unwrap(), installed("tcl").path());
}

#[test]
fn environment_modules_load_the_tcl_file() {
    // Not installable beside Lmod on Debian: tests/tools/modules.sh unpacks it here.
    let cache = mizar_lab::venv::cache().unwrap();
    let unpacked = cache.join("environment-modules/modulecmd.tcl");
    let command = if unpacked.exists() {
        format!("tclsh '{}'", unpacked.display())
    } else if Command::new("modulecmd").arg("--version").output().is_ok() {
        "modulecmd".to_owned()
    } else {
        return println!("SKIP: environment-modules");
    };
    load_and_unload(&command, installed("tcl").path());
}
