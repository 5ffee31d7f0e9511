//! Suites that cross crates: the whole loop, the examples, the map of the repository.
//!
//! The suites are in `tests/`; here is only what they all need to find.

use std::path::{Path, PathBuf};

/// Returns the top of the checkout.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Returns the Python of the virtual environment that `tests/tools/venv.sh` makes, or nothing
/// if it has not been made: `MIZAR_VENV`, else `mizar/venv` in the user's cache.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let venv = set("MIZAR_VENV").or_else(|| Some(cache()?.join("mizar/venv")))?;
    Some(venv.join("bin/python")).filter(|python| python.exists())
}
