//! What a path is, before any library sees it: so that a wrong file is called what it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::StorageError;
use super::stamp::Stamp;

/// The first bytes of every HDF5 file, at byte 0 or after a user block.
const HDF5: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// The smallest user block; the others are it doubled, again and again.
const USER_BLOCK_MIN: u64 = 512;

/// Files by their first bytes, and what to say about them.
const KNOWN: [(&[u8], &str); 5] = [
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
];

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
    /// The root of a Zarr store.
    Zarr(Stamp),
}

/// A file that is of a kind that is read, by its signature.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) kind: Kind,
    pub(super) stamp: Stamp,
    pub(super) file: File,
    pub(super) size_bytes: u64,
    /// Where the signature lies: after a user block.
    pub(super) start: u64,
}

/// Opens a path if it is a file that is read, and says what it is otherwise.
pub(super) fn open(path: &Path) -> Result<Found, StorageError> {
    let io = |operation| {
        move |source| StorageError::Io {
            path: path.to_owned(),
            operation,
            source,
        }
    };
    let not_readable = |found: &str| StorageError::NotReadable {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let metadata = std::fs::metadata(path).map_err(io("open"))?;
    if metadata.is_dir() {
        let marker = ZARR.iter().find(|name| path.join(name).exists());
        return match marker {
            Some(marker) => Ok(Found::Zarr(Stamp::of(&path.join(marker))?)),
            None => Err(not_readable(
                "a folder, neither a NetCDF file nor a Zarr store",
            )),
        };
    }
    if !metadata.is_file() {
        return Err(not_readable("not a regular file"));
    }
    let stamp = Stamp::of(path)?;
    let size_bytes = metadata.len();
    if size_bytes == 0 {
        return Err(not_readable("empty"));
    }
    let file = File::open(path).map_err(io("open"))?;
    let mut start = [0_u8; 8];
    let length = file.read_at(&mut start, 0).map_err(io("read"))?;
    let start = &start[..length];
    let found = if NETCDF3.iter().any(|magic| start.starts_with(magic)) {
        Some((Kind::Netcdf3, 0))
    } else {
        let start = signature(&file, size_bytes).map_err(io("read"))?;
        start.map(|start| (Kind::Hdf5, start))
    };
    if let Some((kind, start)) = found {
        return Ok(Found::File(Candidate {
            kind,
            stamp,
            file,
            size_bytes,
            start,
        }));
    }
    let known = KNOWN.iter().find(|(magic, _)| start.starts_with(magic));
    Err(not_readable(
        known.map_or("not a NetCDF file", |(_, what)| what),
    ))
}

/// Where the signature of HDF5 lies.
fn signature(file: &File, size_bytes: u64) -> io::Result<Option<u64>> {
    let mut start = 0;
    let mut found = [0_u8; 8];
    while start + found.len() as u64 <= size_bytes {
        file.read_exact_at(&mut found, start)?;
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
