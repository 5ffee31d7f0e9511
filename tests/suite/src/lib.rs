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
