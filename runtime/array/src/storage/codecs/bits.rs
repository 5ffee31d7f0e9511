//! Bits put together again that were sorted by their place in an element.
//!
//! Called for Blosc's bit shuffling and for the filter Bitshuffle, which order bits alike.
//!
//! Source: Masui et al. (2015), "A compression scheme for radio data in high performance
//! computing".

/// Puts the bits of each element together again. Plane by plane, from the first byte's lowest
/// bit on, one byte holds the bit of eight elements. Blocks whose elements are no multiple of
/// eight were left as they were.
pub(super) fn unshuffle_bits(from: &[u8], element_bytes: usize, to: &mut [u8]) {
    let count = from.len() / element_bytes;
    if !count.is_multiple_of(8) {
        to.copy_from_slice(from);
        return;
    }
    let row = count / 8;
    for byte in 0..element_bytes {
        for group in 0..row {
            let planes = std::array::from_fn(|bit| from[(byte * 8 + bit) * row + group]);
            let elements = transposed(u64::from_le_bytes(planes)).to_le_bytes();
            for (index, &value) in elements.iter().enumerate() {
                to[(group * 8 + index) * element_bytes + byte] = value;
            }
        }
    }
    let whole = count * element_bytes;
    to[whole..].copy_from_slice(&from[whole..]);
}

/// Transposes a matrix of 8 by 8 bits, by halves of halves.
///
/// Source: H. S. Warren, Hacker's Delight, 7-3.
fn transposed(mut bits: u64) -> u64 {
    for (mask, shift) in [
        (0x00aa_00aa_00aa_00aa, 7),
        (0x0000_cccc_0000_cccc, 14),
        (0x0000_0000_f0f0_f0f0, 28),
    ] {
        let swap = (bits ^ (bits >> shift)) & mask;
        bits ^= swap ^ (swap << shift);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_transposed() {
        for (row, column) in [(0, 0), (1, 5), (7, 0), (6, 7)] {
            assert_eq!(
                transposed(1 << (8 * row + column)),
                1 << (8 * column + row),
                "{row} {column}"
            );
        }
    }
}
