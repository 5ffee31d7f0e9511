//! Blocks of an HDF5 file: bounded reads, little-endian numbers, checksums.

use std::collections::HashSet;
use std::ops::Range;

use super::super::damage::Damage;
use super::super::input::ReadAt;

/// An address that stands for none.
pub(super) const UNDEFINED: u64 = u64::MAX;

/// No block is larger: messages of a header have at most 64 KiB, nodes and pages a few.
const BLOCK_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a signature, a version and a type, with which the newer blocks begin.
const PREFIX_BYTES: usize = 6;

const CHECKSUM_BYTES: usize = 4;

/// A file whose addresses count from `base`.
#[derive(Clone, Copy)]
pub(in super::super) struct Bytes<'a> {
    pub(in super::super) file: &'a dyn ReadAt,
    pub(in super::super) base: u64,
    pub(in super::super) file_bytes: u64,
}

impl Bytes<'_> {
    /// Reads a block that must be there.
    pub(in super::super) fn read(&self, address: u64, length: u64) -> Result<Vec<u8>, Damage> {
        let (start, end) = (
            address.saturating_add(self.base),
            address.saturating_add(self.base).saturating_add(length),
        );
        if end > self.file_bytes {
            let problem = "it goes on beyond the end of the file: it is cut short";
            return Err(self.damage(address, length, problem));
        }
        if length > BLOCK_BYTES_MAX {
            return Err(self.damage(
                address,
                length,
                "no block of a file's structure is so large",
            ));
        }
        let mut buffer = vec![0; length as usize];
        match self.file.read_exact_at(&mut buffer, start) {
            Ok(()) => Ok(buffer),
            Err(error) => Err(self.damage(address, length, format!("it cannot be read: {error}"))),
        }
    }

    /// Reads a block of the newer kind, verifies signature and checksum, and gives its type and
    /// what stands between.
    pub(super) fn block(
        &self,
        address: u64,
        length: u64,
        signature: &[u8; 4],
    ) -> Result<(u8, Vec<u8>), Damage> {
        let mut block = self.read(address, length)?;
        if !block.starts_with(signature) || block.len() < PREFIX_BYTES + CHECKSUM_BYTES {
            let name = String::from_utf8_lossy(signature);
            return Err(self.damage(address, length, format!("no block `{name}` lies there")));
        }
        if block[4] != 0 {
            let problem = format!("there is no version {} of such a block", block[4]);
            return Err(self.damage(address, length, problem));
        }
        self.verify(&block, address)?;
        let kind = block[5];
        block.truncate(block.len() - CHECKSUM_BYTES);
        block.drain(..PREFIX_BYTES);
        Ok((kind, block))
    }

    /// Compares the last four bytes with the checksum of the others.
    pub(super) fn verify(&self, block: &[u8], address: u64) -> Result<(), Damage> {
        let is_right = block
            .split_last_chunk::<CHECKSUM_BYTES>()
            .is_some_and(|(bytes, stored)| u32::from_le_bytes(*stored) == lookup3(bytes));
        match is_right {
            true => Ok(()),
            false => {
                let problem = "the checksum of the chunk index is wrong";
                Err(self.damage(address, block.len() as u64, problem))
            }
        }
    }

    /// Damage of a block; what is reported counts from the start of the file.
    pub(in super::super) fn damage(
        &self,
        address: u64,
        length: u64,
        problem: impl Into<String>,
    ) -> Damage {
        let start = address.saturating_add(self.base);
        let range: Range<u64> = start..start.saturating_add(length);
        Damage::of_header(range, problem)
    }

    /// Whether addresses and lengths have eight bytes, as the superblock says.
    pub(in super::super) fn has_wide_addresses(&self) -> Option<bool> {
        let superblock = self.read(0, 16).ok()?;
        let sizes = match superblock[8] {
            0 | 1 => &superblock[13..15],
            2 | 3 => &superblock[9..11],
            _ => return None,
        };
        Some(sizes == [8, 8])
    }
}

/// The blocks of one structure that were read so far.
#[derive(Debug, Default)]
pub(in super::super) struct Visited {
    addresses: HashSet<u64>,
    bytes: u64,
}

impl Visited {
    /// Notes a block. One that comes again is damage and could go on for ever; so are blocks
    /// that overlap so much that they have more bytes than the file.
    pub(in super::super) fn enter(
        &mut self,
        bytes: Bytes<'_>,
        address: u64,
        length: u64,
    ) -> Result<(), Damage> {
        self.bytes = self.bytes.saturating_add(length);
        if !self.addresses.insert(address) {
            return Err(bytes.damage(address, length, "a block is its own descendant"));
        }
        if self.bytes > bytes.file_bytes {
            return Err(bytes.damage(address, length, "more blocks lead here than there can be"));
        }
        Ok(())
    }
}

/// Takes little-endian numbers off the front of some bytes.
pub(in super::super) struct Cursor<'a>(pub(in super::super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(in super::super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(in super::super) fn number(&mut self, size_bytes: usize) -> Option<u64> {
        if size_bytes > 8 {
            return None;
        }
        let bytes = self.take(size_bytes)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, &byte| (number << 8) | u64::from(byte)),
        )
    }
}

/// Whether the bit of a page is set: the first page has the highest bit of the first byte.
pub(super) fn has_bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8)
        .is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
}

/// The checksum of all newer blocks of HDF5.
///
/// Source: Bob Jenkins, `lookup3`, `hashlittle` with a seed of 0 (public domain algorithm).
pub(super) fn lookup3(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0xdead_beef;
    let start = SEED.wrapping_add(bytes.len() as u32);
    let mut state = [start; 3];
    let whole = bytes.len().saturating_sub(1) / 12 * 12;
    for block in bytes[..whole].chunks_exact(12) {
        add(&mut state, block);
        mix(&mut state);
    }
    if !bytes.is_empty() {
        let mut last = [0; 12];
        last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        add(&mut state, &last);
        finish(&mut state);
    }
    state[2]
}

fn add(state: &mut [u32; 3], block: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = word.wrapping_add(u32::from_le_bytes(*bytes));
    }
}

fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    *state = [a, b, c];
}

fn finish(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    *state = [a, b, c];
}
