//! Texts of a decoded chunk, in the three forms that Zarr has.

use super::array::{ArrayMeta, Element};
use crate::library::text_of;

/// More bytes than this no chunk of texts has.
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 20;

/// The texts of one chunk, in its order.
pub(super) fn of_chunk(meta: &ArrayMeta, bytes: &[u8]) -> Result<Vec<String>, &'static str> {
    match meta.element {
        Element::VarText => {
            let texts = of_any_length(bytes)?;
            match texts.len() == meta.chunk_shape.iter().product::<usize>() {
                true => Ok(texts),
                false => Err("it has another number of texts than its shape"),
            }
        }
        Element::FixedUtf32(size) => {
            let big_endian = meta.codecs.big_endian;
            Ok(bytes
                .chunks(size)
                .map(|text| of_utf32(text, big_endian))
                .collect())
        }
        Element::FixedBytes(size) => Ok(bytes.chunks(size).map(cut).map(text_of).collect()),
        Element::Number(_) => Err("it has numbers"),
    }
}

/// A row without the zero bytes at its end.
fn cut(row: &[u8]) -> &[u8] {
    let last = row.iter().rposition(|&byte| byte != 0);
    &row[..last.map_or(0, |last| last + 1)]
}

fn of_utf32(bytes: &[u8], big_endian: bool) -> String {
    let (letters, _) = bytes.as_chunks::<4>();
    let text: String = letters
        .iter()
        .map(|letter| match big_endian {
            true => u32::from_be_bytes(*letter),
            false => u32::from_le_bytes(*letter),
        })
        .map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    text.trim_end_matches('\0').to_owned()
}

/// A count, then each text after its length: numcodecs' `vlen-utf8`.
fn of_any_length(bytes: &[u8]) -> Result<Vec<String>, &'static str> {
    const SHORT: &str = "its texts are cut short";
    let mut rest = bytes;
    let number = |rest: &mut &[u8]| -> Result<usize, &'static str> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        *rest = tail;
        Ok(u32::from_le_bytes(*head) as usize)
    };
    let count = number(&mut rest)?;
    // Every text has four bytes at least.
    if count > rest.len() / 4 {
        return Err(SHORT);
    }
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(&mut rest)?;
        let (text, tail) = rest.split_at_checked(length).ok_or(SHORT)?;
        rest = tail;
        texts.push(text_of(text));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_cut_short_are_an_error() {
        let bytes = [2, 0, 0, 0, 1, 0, 0, 0, b'a', 2, 0, 0, 0, b'b', b'c'];
        assert_eq!(of_any_length(&bytes).unwrap(), ["a", "bc"]);
        for length in 0..bytes.len() {
            assert!(of_any_length(&bytes[..length]).is_err());
        }
        assert!(of_any_length(&[0xff; 8]).is_err());
    }

    #[test]
    fn wide_letters_are_read_in_both_orders() {
        let bytes: Vec<u8> = [0x48, 0xe9, 0]
            .iter()
            .flat_map(|c: &u32| c.to_be_bytes())
            .collect();
        assert_eq!(of_utf32(&bytes, true), "Hé");
    }
}
