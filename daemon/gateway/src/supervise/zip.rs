//! A ZIP archive without compression: several output files as one answer, as OSCAR's clients
//! expect it.
//!
//! Source: PKWARE APPNOTE 6.3.10, the fields that stored entries need; names are UTF-8.

use std::io;
use std::path::PathBuf;

/// An archive of `files`, each under its name. Below 4 GiB, as the answer to a call has to be.
///
/// # Errors
/// If a file cannot be read, or the archive would be too large.
pub(crate) fn archive(files: &[(String, PathBuf)]) -> io::Result<Vec<u8>> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, path) in files {
        let data = std::fs::read(path)?;
        let offset = size(out.len())?;
        let header = header(name, &data)?;
        out.extend(0x0403_4b50_u32.to_le_bytes());
        out.extend(&header);
        out.extend(name.as_bytes());
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend(20_u16.to_le_bytes());
        directory.extend(&header);
        // Comment, disk, two kinds of attributes: none.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(data);
    }
    let (start, length) = (size(out.len())?, size(directory.len())?);
    let count = u16::try_from(files.len()).map_err(|_| too_large())?;
    out.extend(directory);
    out.extend(0x0605_4b50_u32.to_le_bytes());
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    Ok(out)
}

/// What the local and the central header have in common.
fn header(name: &str, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    header.extend(20_u16.to_le_bytes());
    // Bit 11: the name is UTF-8.
    header.extend(0x0800_u16.to_le_bytes());
    // Stored; no time, and the first day that the format knows.
    header.extend([0, 0, 0, 0, 0x21, 0]);
    header.extend(crc32(data).to_le_bytes());
    header.extend(size(data.len())?.to_le_bytes());
    header.extend(size(data.len())?.to_le_bytes());
    header.extend(
        u16::try_from(name.len())
            .map_err(|_| too_large())?
            .to_le_bytes(),
    );
    header.extend([0; 2]);
    Ok(header)
}

fn size(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| too_large())
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        "the output is too large for one answer",
    )
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
