//! What an input is, before any library sees it: so that a wrong file is called what it is.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StorageError;
use super::input::{Input, ReadAt};
use super::remote::{self, Address, Client, Object, Prefix, RemoteError};
use super::stamp::Stamp;

/// The first bytes of every HDF5 file, at byte 0 or after a user block.
const HDF5: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// The smallest user block; the others are it doubled, again and again.
const USER_BLOCK_MIN: u64 = 512;

/// Files by their first bytes, and what to say about them.
const KNOWN: [(&[u8], &str); 8] = [
    (
        b"\x0e\x03\x13\x01",
        "HDF4, which is not read: convert it with `h4toh5`",
    ),
    (
        b"GRIB",
        "GRIB, which is not read: convert it with `cdo -f nc4 copy`",
    ),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"<!DOCTYPE", WEB_PAGE),
    (b"<!doctype", WEB_PAGE),
    (b"<html", WEB_PAGE),
];

const WEB_PAGE: &str = "a web page: the address of the file itself is needed";

/// Files that make a folder a Zarr store.
const ZARR: [&str; 4] = ["zarr.json", ".zmetadata", ".zgroup", ".zarray"];

/// NetCDF-3 files by their first bytes: classic, 64-bit offset, 64-bit data.
const NETCDF3: [&[u8]; 3] = [b"CDF\x01", b"CDF\x02", b"CDF\x05"];

/// The kinds of files that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hdf5,
    Netcdf3,
}

/// What is read at a path.
#[derive(Debug)]
pub(super) enum Found {
    File(Candidate),
    /// The root of a Zarr store, in a folder or below an address.
    Zarr(Stamp, Option<Prefix>),
}

impl Found {
    /// The size of the file, or of what describes the store.
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::File(candidate) => candidate.size_bytes,
            Self::Zarr(stamp, _) => stamp.size_bytes(),
        }
    }
}

/// A file that is of a kind that is read, by its signature.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) kind: Kind,
    pub(super) stamp: Stamp,
    pub(super) input: Input,
    pub(super) size_bytes: u64,
    /// Where the signature lies: after a user block.
    pub(super) start: u64,
}

/// Opens a path if it is a file that is read, and says what it is otherwise.
pub(super) fn open(path: &Path) -> Result<Found, StorageError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| StorageError::io(path, "open", source))?;
    if metadata.is_dir() {
        let marker = ZARR.iter().find(|name| path.join(name).exists());
        return match marker {
            Some(marker) => Ok(Found::Zarr(Stamp::of(&path.join(marker))?, None)),
            None => Err(not_readable(
                path,
                "a folder, neither a NetCDF file nor a Zarr store",
            )),
        };
    }
    if !metadata.is_file() {
        return Err(not_readable(path, "not a regular file"));
    }
    let stamp = Stamp::of(path)?;
    let file = File::open(path).map_err(|source| StorageError::io(path, "open", source))?;
    candidate(path, stamp, Input::Local(file))
}

/// As [`open`], of an address; `shown` is how it is called in errors.
pub(super) fn open_remote(path: &Path, shown: &Path) -> Result<Found, StorageError> {
    let failed = |error: RemoteError| StorageError::io(shown, "open", error.into());
    let (address, client) = remote::connect(path).map_err(failed)?;
    let as_store = || store(&address, &client, shown).map_err(failed);
    if address.is_prefix()
        && let Some(found) = as_store()?
    {
        return Ok(found);
    }
    let object = match Object::open(address.clone(), Arc::clone(&client)) {
        Ok(object) => Arc::new(object),
        Err(error) if address.is_prefix() => {
            let found = "not a Zarr store: it has neither `zarr.json` nor `.zgroup`";
            return Err(match error {
                RemoteError::Absent { .. } => not_readable(shown, found),
                error => failed(error),
            });
        }
        Err(error @ RemoteError::Absent { .. }) => {
            return as_store()?.ok_or_else(|| failed(error));
        }
        Err(error) => return Err(failed(error)),
    };
    let stamp = Stamp::of_object(shown, Arc::clone(&object));
    let found = candidate(shown, stamp, Input::Remote(object));
    match found {
        // A server may answer with a page where a store lies.
        Err(StorageError::NotReadable { .. }) => as_store()?.map_or(found, Ok),
        found => found,
    }
}

/// The Zarr store below an address, if one is there.
fn store(
    address: &Address,
    client: &Arc<Client>,
    shown: &Path,
) -> Result<Option<Found>, RemoteError> {
    for name in ZARR {
        match Object::open(address.child(name), Arc::clone(client)) {
            Ok(marker) => {
                let stamp = Stamp::of_object(&shown.join(name), Arc::new(marker));
                let prefix = Prefix::new(address.clone(), Arc::clone(client));
                return Ok(Some(Found::Zarr(stamp, Some(prefix))));
            }
            Err(RemoteError::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Looks at the first bytes.
fn candidate(path: &Path, stamp: Stamp, input: Input) -> Result<Found, StorageError> {
    let read = |source| StorageError::io(path, "read", source);
    let size_bytes = stamp.size_bytes();
    if size_bytes == 0 {
        return Err(not_readable(path, "empty"));
    }
    let mut start = [0_u8; 9];
    let start = &mut start[..size_bytes.min(9) as usize];
    input.read_exact_at(start, 0).map_err(read)?;
    let found = if NETCDF3.iter().any(|magic| start.starts_with(magic)) {
        Some((Kind::Netcdf3, 0))
    } else {
        let start = signature(&input, size_bytes).map_err(read)?;
        start.map(|start| (Kind::Hdf5, start))
    };
    if let Some((kind, start)) = found {
        return Ok(Found::File(Candidate {
            kind,
            stamp,
            input,
            size_bytes,
            start,
        }));
    }
    let known = KNOWN.iter().find(|(magic, _)| start.starts_with(magic));
    Err(not_readable(
        path,
        known.map_or("not a NetCDF file", |(_, what)| what),
    ))
}

fn not_readable(path: &Path, found: &str) -> StorageError {
    StorageError::NotReadable {
        path: path.to_owned(),
        found: found.to_owned(),
    }
}

/// Where the signature of HDF5 lies.
fn signature(input: &Input, size_bytes: u64) -> io::Result<Option<u64>> {
    let mut start = 0;
    let mut found = [0_u8; 8];
    while start + found.len() as u64 <= size_bytes {
        input.read_exact_at(&mut found, start)?;
        if found == *HDF5 {
            return Ok(Some(start));
        }
        start = if start == 0 {
            USER_BLOCK_MIN
        } else {
            start * 2
        };
    }
    Ok(None)
}
