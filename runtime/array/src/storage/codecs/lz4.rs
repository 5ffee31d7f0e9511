//! The HDF5 filter LZ4: blocks in a frame; those that LZ4 would not shrink are plain.

use super::framed::Frame;
use super::{Bad, Tools};

/// Decompresses into a buffer; gives how many bytes it wrote.
pub(in super::super) fn decompress(
    from: &[u8],
    to: &mut [u8],
    tools: &mut Tools,
) -> Result<usize, Bad> {
    let mut frame = Frame::of(from, to.len())?;
    let plain = &mut to[..frame.plain_bytes];
    if plain.is_empty() {
        return Ok(0);
    }
    for block in plain.chunks_mut(frame.block_bytes) {
        let stored = frame.block()?;
        if stored.len() == block.len() {
            block.copy_from_slice(stored);
        } else if tools.lz4(stored, block)? != block.len() {
            return Err(Bad::damaged("a block is shorter than its header says"));
        }
    }
    Ok(frame.plain_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_lies_is_an_error() {
        let mut tools = Tools::new();
        let mut out = [0; 8];
        // Two plain blocks of four bytes.
        let mut frame = vec![0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4];
        for block in [b"abcd", b"efgh"] {
            frame.extend([0, 0, 0, 4]);
            frame.extend(block);
        }
        assert_eq!(decompress(&frame, &mut out, &mut tools), Ok(8));
        assert_eq!(&out, b"abcdefgh");
        for length in 0..frame.len() {
            assert!(decompress(&frame[..length], &mut out, &mut tools).is_err());
        }
        for (place, byte) in [(0, 0x7f), (7, 9), (11, 0), (12, 0x7f), (15, 3)] {
            let mut lying = frame.clone();
            lying[place] = byte;
            assert!(decompress(&lying, &mut out, &mut tools).is_err(), "{place}");
        }
    }
}
