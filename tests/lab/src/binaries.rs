//! The project's own binaries, found beside the running executable.

use crate::LabError;
use std::path::{Path, PathBuf};

const PLUGIN_BUILT: &str = "libspank_mizar.so";
const PLUGIN_INSTALLED: &str = "spank_mizar.so";

/// Returns where the built program `name` is: beside the running executable, or in the build
/// profile's folder if that is a test (`target/<profile>/deps`). It need not exist.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    profile_dir().join(name)
}

/// Returns where the Slurm plugin is. It need not exist.
#[must_use]
pub fn plugin_path() -> PathBuf {
    let dir = profile_dir();
    let installed = [
        dir.join("../lib/slurm"),
        dir.join("../lib/mizar"),
        dir.join("../lib"),
    ];
    let mut places = std::iter::once(dir.join(PLUGIN_BUILT))
        .chain(installed.iter().map(|folder| folder.join(PLUGIN_INSTALLED)));
    let found = places.find(|path| path.exists());
    found
        .and_then(|path| path.canonicalize().ok())
        .unwrap_or_else(|| dir.join(PLUGIN_BUILT))
}

/// The folder of the programs of the running executable's build.
pub(crate) fn profile_dir() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let folder = executable.parent().unwrap_or(Path::new("/")).to_owned();
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => folder.parent().map(Path::to_owned).unwrap_or(folder),
        _ => folder,
    }
}

/// Fails if `mizard` or the plugin has not been built.
pub(crate) fn require_built() -> Result<(), LabError> {
    for (path, package) in [
        (binary("mizard"), "mizar-agent"),
        (plugin_path(), "spank-mizar"),
    ] {
        if !path.exists() {
            return Err(LabError::NotBuilt { path, package });
        }
    }
    Ok(())
}

/// plugstack.conf for a lab in `dir`: optional, as on a real site.
pub(crate) fn plugstack(dir: &Path) -> String {
    format!(
        "optional {} socket={}/run/%n/mizard.sock comm_lib={}\n",
        plugin_path().display(),
        dir.display(),
        binary("libmizar_comm.so").display()
    )
}
