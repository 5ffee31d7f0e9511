//! LibLZF, which h5py has as its filter `lzf`.
//!
//! A control byte below 32 is followed by one more literal bytes than it says. Any other is a
//! copy: three bits of its length, five of its distance; a length of seven goes on in one more
//! byte, and the low eight bits of the distance come last.
//!
//! Source: the description of the format in the manual of Compress::LZF, and files of h5py.

use super::{Bad, CUT_SHORT, copy_back};

/// Control bytes below this are lengths of literals.
const LITERALS: u8 = 32;

/// The length that goes on in the next byte.
const LONG: usize = 7;

/// Decompresses into a buffer; gives how many bytes it wrote.
pub(in super::super) fn decompress(from: &[u8], to: &mut [u8]) -> Result<usize, Bad> {
    let mut from = from.iter().as_slice();
    let mut place = 0;
    while let Some((&control, rest)) = from.split_first() {
        from = rest;
        if control < LITERALS {
            let (literals, rest) = from
                .split_at_checked(usize::from(control) + 1)
                .ok_or(CUT_SHORT)?;
            to.get_mut(place..place + literals.len())
                .ok_or(TOO_LONG)?
                .copy_from_slice(literals);
            place += literals.len();
            from = rest;
            continue;
        }
        let mut next = || {
            let (&byte, rest) = from.split_first().ok_or(CUT_SHORT)?;
            from = rest;
            Ok(usize::from(byte))
        };
        let mut length = usize::from(control >> 5);
        if length == LONG {
            length += next()?;
        }
        let distance = (usize::from(control & 0x1f) << 8) + next()? + 1;
        copy_back(to, place, distance, length + 2).ok_or(TOO_LONG)?;
        place += length + 2;
    }
    Ok(place)
}

const TOO_LONG: Bad = Bad::Damaged("it does not decompress (LZF)");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_copies_are_followed() {
        let mut out = [0; 32];
        // "abc", then nine bytes from three back.
        let packed = [2, b'a', b'b', b'c', 0xe0, 0, 2];
        let written = decompress(&packed, &mut out).unwrap();
        assert_eq!(&out[..written], b"abcabcabcabc");
        for length in 1..packed.len() {
            let cut = decompress(&packed[..length], &mut out);
            assert!(cut.is_err() || length == 4, "{length}");
        }
        assert!(decompress(&packed, &mut out[..11]).is_err());
        assert!(decompress(&[0x20, 0], &mut out).is_err());
    }
}
