//! Inputs on web servers and object stores, of which only the bytes that are needed travel.
//!
//! [`super::sniff`] opens an [`Object`] for a file, the Zarr reader a [`Prefix`] for a store, and
//! the command line asks [`matching`] what a pattern stands for. Nothing is written to servers.

mod account;
mod address;
mod agent;
mod answer;
mod blocks;
mod client;
mod error;
mod listing;
mod object;
mod prefix;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use address::{Address, shown};
pub use address::{is_remote, without_secrets};
pub(crate) use answer::Part;
pub(crate) use client::Client;
pub use error::RemoteError;
pub(crate) use error::is_changed;
pub(crate) use object::Object;
pub(crate) use prefix::Prefix;

use super::StorageError;

/// The address of a path that [`is_remote`], and who asks for it.
pub(crate) fn connect(path: &Path) -> Result<(Address, Arc<Client>), RemoteError> {
    let address = Address::parse(path.to_str().unwrap_or_default())?;
    let client = Arc::new(Client::of(&address)?);
    Ok((address, client))
}

/// The objects that a pattern such as `s3://bucket/tas_*.nc` stands for, in the order of their
/// names; `None` for an address that is none.
///
/// `is_match` compares one name with one part of the pattern.
pub(crate) fn matching(
    path: &Path,
    is_match: &dyn Fn(&str, &str) -> bool,
) -> Option<Result<Vec<PathBuf>, StorageError>> {
    let text = path.to_str()?;
    let is_bucket = text.get(..5)?.eq_ignore_ascii_case("s3://");
    if !is_bucket || !text.contains(['*', '?']) {
        return None;
    }
    let found = connect(path).and_then(|(address, client)| {
        let found = listing::matching(&client, &address, is_match)?;
        Ok(found.into_iter().map(PathBuf::from).collect())
    });
    Some(found.map_err(|error| StorageError::io(path, "list", error.into())))
}
