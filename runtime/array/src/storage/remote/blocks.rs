//! Blocks of an object that were read already: the headers and indexes of a file are read in
//! many small pieces, few of them far apart.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::RemoteError;

/// The bytes of a block, aligned to as many.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;

/// Blocks that are kept: 16 MiB.
const KEPT_BLOCKS_MAX: usize = 256;

/// Blocks that are read at once when one is wanted after the other: 1 MiB.
const AHEAD_MAX: u64 = 16;

/// The blocks of one object, the least used of which go when there are too many.
#[derive(Debug)]
pub(super) struct Blocks {
    size_bytes: u64,
    kept: HashMap<u64, Kept>,
    clock: u64,
    /// The block after those read last, and how many they were.
    next: u64,
    ahead: u64,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    bytes: Arc<[u8]>,
}

impl Blocks {
    pub(super) fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            kept: HashMap::new(),
            clock: 0,
            next: 0,
            ahead: 1,
        }
    }

    /// Copies bytes that lie within the object; what is missing is fetched by
    /// `fetch(bytes of the object)`.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        position: u64,
        fetch: impl FnMut(Range<u64>) -> Result<Vec<u8>, RemoteError>,
    ) -> Result<(), RemoteError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let end = position + buffer.len() as u64;
        self.complete(position / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES), fetch)?;
        self.copy(buffer, position);
        self.trim();
        Ok(())
    }

    /// Copies bytes if all of them are kept.
    pub(super) fn find(&mut self, buffer: &mut [u8], position: u64) -> bool {
        let end = position + buffer.len() as u64;
        let mut blocks = position / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
        let is_kept = blocks.all(|block| self.kept.contains_key(&block));
        if is_kept {
            self.copy(buffer, position);
        }
        is_kept
    }

    /// Keeps what was read from the start of the object.
    pub(super) fn keep(&mut self, first: u64, bytes: &[u8]) {
        for (number, bytes) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
            let block = first + number as u64;
            // A part of a block would be taken for the whole.
            if (block * BLOCK_BYTES + bytes.len() as u64) < self.end_of(block) {
                continue;
            }
            self.clock += 1;
            let used = self.clock;
            let bytes = Arc::from(bytes);
            self.kept.insert(block, Kept { used, bytes });
        }
    }

    fn end_of(&self, block: u64) -> u64 {
        ((block + 1) * BLOCK_BYTES).min(self.size_bytes)
    }

    fn complete(
        &mut self,
        blocks: Range<u64>,
        mut fetch: impl FnMut(Range<u64>) -> Result<Vec<u8>, RemoteError>,
    ) -> Result<(), RemoteError> {
        let last = self.size_bytes.div_ceil(BLOCK_BYTES);
        let mut block = blocks.start;
        while block < blocks.end {
            if self.kept.contains_key(&block) {
                block += 1;
                continue;
            }
            // A scan doubles what it reads; a jump begins again with one block.
            self.ahead = match block == self.next {
                true => (2 * self.ahead).min(AHEAD_MAX),
                false => 1,
            };
            let wanted = (block + self.ahead).max(blocks.end).min(last);
            let missing = (block..wanted).find(|block| self.kept.contains_key(block));
            let end = missing.unwrap_or(wanted);
            let bytes = fetch(block * BLOCK_BYTES..self.end_of(end - 1))?;
            self.keep(block, &bytes);
            self.next = end;
            block = end;
        }
        Ok(())
    }

    fn copy(&mut self, buffer: &mut [u8], position: u64) {
        let end = position + buffer.len() as u64;
        for block in position / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            let start = block * BLOCK_BYTES;
            let (from, to) = (position.max(start), end.min(start + BLOCK_BYTES));
            self.clock += 1;
            if let Some(kept) = self.kept.get_mut(&block) {
                kept.used = self.clock;
                buffer[(from - position) as usize..(to - position) as usize]
                    .copy_from_slice(&kept.bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
    }

    fn trim(&mut self) {
        if self.kept.len() <= KEPT_BLOCKS_MAX {
            return;
        }
        let mut used: Vec<u64> = self.kept.values().map(|kept| kept.used).collect();
        used.sort_unstable();
        let oldest = used[used.len() - KEPT_BLOCKS_MAX / 2];
        self.kept.retain(|_, kept| kept.used >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: u64) -> Vec<u8> {
        (0..size).map(|byte| (byte * 31 / 7) as u8).collect()
    }

    #[test]
    fn any_bytes_are_those_of_the_object() {
        let size = 5 * BLOCK_BYTES + 123;
        let all = content(size);
        let mut blocks = Blocks::new(size);
        let mut fetched = 0;
        for (position, length) in [
            (0, 8),
            (size - 5, 5),
            (BLOCK_BYTES - 3, 6),
            (10, 0),
            (3 * BLOCK_BYTES + 1, 2 * BLOCK_BYTES),
            (0, size),
        ] {
            let mut buffer = vec![0; length as usize];
            blocks
                .read(&mut buffer, position, |range| {
                    fetched += range.end - range.start;
                    Ok(all[range.start as usize..range.end as usize].to_vec())
                })
                .unwrap();
            let expected = &all[position as usize..(position + length) as usize];
            assert!(buffer == expected, "{position} {length}");
        }
        assert_eq!(fetched, size, "every block is fetched once");
        let mut buffer = [0; 4];
        assert!(blocks.find(&mut buffer, 7) && buffer == all[7..11]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_scan_reads_ahead() {
        let size = 4 * KEPT_BLOCKS_MAX as u64 * BLOCK_BYTES;
        let mut blocks = Blocks::new(size);
        let mut requests = 0;
        for position in (0..size).step_by(BLOCK_BYTES as usize) {
            let mut buffer = [0; 16];
            blocks
                .read(&mut buffer, position, |range| {
                    requests += 1;
                    Ok(vec![1; (range.end - range.start) as usize])
                })
                .unwrap();
            assert_eq!(buffer, [1; 16]);
            assert!(blocks.kept.len() <= KEPT_BLOCKS_MAX + AHEAD_MAX as usize);
        }
        assert!(requests < size / BLOCK_BYTES / 8, "{requests} requests");
        let error = RemoteError::CutShort;
        let failed = blocks.read(&mut [0; 4], 0, |_| Err(error.clone()));
        assert_eq!(failed, Err(error));
    }
}
