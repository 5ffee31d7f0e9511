//! The programs that a lab starts: where they are, and which Debian package has them.

use crate::LabError;
use std::path::{Path, PathBuf};

/// Program and package, for every lab.
const SLURM: &[(&str, &str)] = &[
    ("munged", "munge"),
    ("slurmctld", "slurmctld"),
    ("slurmd", "slurmd"),
    ("srun", "slurm-client"),
    ("sbatch", "slurm-client"),
    ("squeue", "slurm-client"),
    ("sinfo", "slurm-client"),
    ("scontrol", "slurm-client"),
    ("scancel", "slurm-client"),
];

/// Program and package, for a lab with accounting. The last package has no program: it holds
/// the plugin that slurmdbd needs.
const ACCOUNTING: &[(&str, &str)] = &[
    ("slurmdbd", "slurmdbd"),
    ("sacctmgr", "slurm-client"),
    ("mariadbd", "mariadb-server"),
    ("mariadb-install-db", "mariadb-server"),
];

/// Program and package, for a lab with slurmrestd.
const REST: &[(&str, &str)] = &[("slurmrestd", "slurmrestd")];

/// What no program shows the absence of, but Slurm cannot do without.
const PLUGINS: &str = "slurm-wlm-basic-plugins";
const ACCOUNTING_PLUGINS: &str = "slurm-wlm-mysql-plugin";
const REST_PLUGINS: &str = "slurm-wlm-jwt-plugin";

/// Where programs are looked for: `PATH`, then the folders of daemons.
pub(crate) fn default_search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for folder in ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"] {
        if !folders.iter().any(|known| known == Path::new(folder)) {
            folders.push(folder.into());
        }
    }
    folders
}

/// Returns the first executable called `program`, or nothing.
pub(crate) fn locate(program: &str, search_path: &[PathBuf]) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    search_path
        .iter()
        .map(|folder| folder.join(program))
        .find(|path| {
            path.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// Checks that everything a lab starts is installed.
pub(crate) fn require(
    accounting: bool,
    rest: bool,
    search_path: &[PathBuf],
) -> Result<(), LabError> {
    let wanted = SLURM
        .iter()
        .chain(accounting.then_some(ACCOUNTING).into_iter().flatten())
        .chain(rest.then_some(REST).into_iter().flatten());
    let (mut programs, mut packages) = (Vec::new(), Vec::<String>::new());
    for (program, package) in wanted {
        if locate(program, search_path).is_none() {
            programs.push((*program).to_owned());
            if !packages.iter().any(|known| known == package) {
                packages.push((*package).to_owned());
            }
        }
    }
    if programs.is_empty() {
        return Ok(());
    }
    packages.push(PLUGINS.to_owned());
    if accounting {
        packages.push(ACCOUNTING_PLUGINS.to_owned());
    }
    if rest {
        packages.push(REST_PLUGINS.to_owned());
    }
    Err(LabError::MissingPrograms { programs, packages })
}
