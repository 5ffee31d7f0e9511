//! The files that are measured on, made once, and the programs that must be built for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cases::Layout;

/// Makes the files.
const GENERATOR: &str = include_str!("../../../data/arrays.py");

/// The plain loop.
const LOOP: &str = include_str!("../../../c/loop.c");

/// The files of one size.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    folder: PathBuf,
    /// Days, latitudes, longitudes.
    pub(crate) shape: [usize; 3],
}

impl Data {
    /// The files in the cache, made if they are not there: of about a gigabyte each, or small.
    pub(crate) fn in_cache(is_quick: bool) -> anyhow::Result<Self> {
        let (name, shape) = match is_quick {
            true => ("arrays-quick-v1", [730, 60, 120]),
            false => ("arrays-v1", [3650, 180, 360]),
        };
        let folder = cache()?.join("bench").join(name);
        let data = Self { folder, shape };
        let all = [Layout::Slab, Layout::Block, Layout::Raw];
        if all.iter().all(|layout| data.file(*layout).exists()) {
            return Ok(data);
        }
        eprintln!("making {} (once, about a minute)", data.folder.display());
        let status = Command::new(python()?)
            .args(["-c", GENERATOR])
            .arg(&data.folder)
            .args(shape.map(|len| len.to_string()))
            .status()?;
        ensure!(status.success(), "the files could not be made");
        Ok(data)
    }

    /// The file of one layout.
    pub(crate) fn file(&self, layout: Layout) -> PathBuf {
        self.folder.join(format!("{}.nc", layout.name()))
    }

    /// Cells of one day.
    pub(crate) fn plane(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// Unpacked, in megabytes.
    pub(crate) fn size_mb(&self) -> f64 {
        self.shape.iter().product::<usize>() as f64 * 4.0 / 1e6
    }

    /// Reads all files, so that the first program finds them in memory as the last does.
    pub(crate) fn warm(&self) -> anyhow::Result<()> {
        for layout in [Layout::Slab, Layout::Block, Layout::Raw] {
            let mut file = std::fs::File::open(self.file(layout))?;
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
        Ok(())
    }
}

/// Compiles the C loop into a folder, as plainly as Rust compiles `mizar`: for any processor
/// of the family.
pub(crate) fn build_loop(folder: &Path) -> anyhow::Result<PathBuf> {
    let source = folder.join("loop.c");
    std::fs::write(&source, LOOP)?;
    let program = folder.join("loop");
    let status = Command::new("cc")
        .args(["-O3", "-o"])
        .arg(&program)
        .arg(&source)
        .args(["-ldeflate", "-lm"])
        .status()
        .context("cc (Debian package build-essential)")?;
    ensure!(
        status.success(),
        "benches/c/loop.c does not compile (Debian package libdeflate-dev)"
    );
    Ok(program)
}

/// The Python that the readers are installed in.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    mizar_lab::venv::python().context("make venv makes the Python with netCDF4 and xarray")
}

fn cache() -> anyhow::Result<PathBuf> {
    mizar_lab::venv::cache().context("neither XDG_CACHE_HOME nor HOME is set")
}
