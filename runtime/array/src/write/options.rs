//! What the user chooses of a new file: its format, its compression, its chunks.

use std::collections::BTreeMap;
use std::path::Path;

/// The formats that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// CF NetCDF-4: one file.
    #[default]
    NetCdf4,
    /// Zarr version 3: a folder with a file for each chunk.
    Zarr3,
}

impl Format {
    /// The format that a name asks for: Zarr if it ends in `.zarr`.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension == Self::Zarr3.extension() => Self::Zarr3,
            _ => Self::NetCdf4,
        }
    }

    /// How names of such files end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::NetCdf4 => "nc",
            Self::Zarr3 => "zarr",
        }
    }

    /// What is fast and small enough for most.
    pub(super) fn default_compression(self) -> Compression {
        match self {
            Self::NetCdf4 => Compression::Deflate(1),
            Self::Zarr3 => Compression::Zstd(3),
        }
    }
}

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Deflate, which every program reads; 1 (fast) to 9 (small).
    Deflate(u8),
    /// Zstandard: faster for the same size; 1 (fast) to 22 (small).
    Zstd(u8),
}

impl Compression {
    /// What [`from_str`](std::str::FromStr) understands.
    pub const EXPECTED: &str = "none, zip, zip_0 to zip_9, zstd or zstd_1 to zstd_22";
}

/// CDO's words for it, and `zstd`.
impl std::str::FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, level) = match text.split_once('_') {
            Some((kind, level)) => (kind, level.parse().ok().map(Some)),
            None => (text, Some(None)),
        };
        match (kind, level) {
            ("none", Some(None)) | ("zip", Some(Some(0))) => Ok(Self::None),
            ("zip", Some(None)) => Ok(Self::Deflate(1)),
            ("zip", Some(Some(level @ 1..=9))) => Ok(Self::Deflate(level)),
            ("zstd", Some(None)) => Ok(Self::Zstd(3)),
            ("zstd", Some(Some(level @ 1..=22))) => Ok(Self::Zstd(level)),
            _ => Err(format!("`{text}` is not {}", Self::EXPECTED)),
        }
    }
}

/// How the data is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// NetCDF-4 or Zarr.
    pub format: Format,
    /// `None` takes what suits the format: deflate 1 for NetCDF-4, Zstandard 3 for Zarr.
    pub compression: Option<Compression>,
    /// Whether bytes are sorted by significance before they are compressed: smaller and faster
    /// for nearly all fields. Zarr has no such codec that all its readers know: it is ignored.
    pub shuffle: bool,
    /// Chunk shapes of variables, by index, where those that would be chosen are slow.
    pub chunks: BTreeMap<usize, Vec<usize>>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            format: Format::default(),
            compression: None,
            shuffle: true,
            chunks: BTreeMap::new(),
        }
    }
}

impl WriteOptions {
    pub(super) fn compression(&self) -> Compression {
        self.compression
            .unwrap_or_else(|| self.format.default_compression())
    }
}
