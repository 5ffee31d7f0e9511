//! BloscLZ, the compressor of Blosc's own: FastLZ of level 2.
//!
//! A control byte below 32 is followed by one more literal bytes than it says; of the first one
//! only five bits count. Any other is a copy: three bits of its length, five of its distance. A
//! length of seven goes on in bytes up to the first that is not 255; the low eight bits of the
//! distance come next, and where all its bits are set, sixteen more bits are added to it.
//!
//! Source: the description of FastLZ's block format (Ariya Hidayat, FastLZ, "Level 2").

use super::{Bad, CUT_SHORT, copy_back};

const LITERALS: u8 = 32;

/// The length that goes on in the next bytes.
const LONG: usize = 7;

/// The farthest copy whose distance has thirteen bits.
const DISTANCE_MAX: usize = 0x1fff;

/// Decompresses into a buffer; gives how many bytes it wrote.
pub(super) fn decompress(from: &[u8], to: &mut [u8]) -> Result<usize, Bad> {
    let mut from = from.iter();
    let mut place = 0;
    let mut is_first = true;
    while let Some(&control) = from.next() {
        let control = if is_first { control & 0x1f } else { control };
        is_first = false;
        if control < LITERALS {
            let (literals, rest) = from
                .as_slice()
                .split_at_checked(usize::from(control) + 1)
                .ok_or(CUT_SHORT)?;
            to.get_mut(place..place + literals.len())
                .ok_or(BROKEN)?
                .copy_from_slice(literals);
            place += literals.len();
            from = rest.iter();
            continue;
        }
        let mut next = || from.next().map(|&byte| usize::from(byte)).ok_or(CUT_SHORT);
        let mut length = usize::from(control >> 5);
        if length == LONG {
            loop {
                let more = next()?;
                length = length.saturating_add(more);
                if more != 255 {
                    break;
                }
            }
        }
        let mut distance = (usize::from(control & 0x1f) << 8) + next()?;
        if distance == DISTANCE_MAX {
            distance += (next()? << 8) + next()?;
        }
        length = length.saturating_add(2);
        copy_back(to, place, distance + 1, length).ok_or(BROKEN)?;
        place += length;
    }
    Ok(place)
}

const BROKEN: Bad = Bad::Damaged("it does not decompress (BloscLZ)");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_copies_are_followed() {
        let mut out = vec![0; 600];
        // "ab", then 7 + 255 + 1 + 2 bytes from two back.
        let packed = [0x21, b'a', b'b', 0xe0, 255, 1, 1];
        let written = decompress(&packed, &mut out).unwrap();
        assert_eq!(written, 2 + 265);
        assert!(out[..written].chunks(2).all(|pair| b"ab".starts_with(pair)));
        assert!(decompress(&packed, &mut out[..written - 1]).is_err());
        for length in [1, 2, 4, 5, 6] {
            assert!(decompress(&packed[..length], &mut out).is_err(), "{length}");
        }
    }
}
