//! Members of a `.npz` file as `numpy.savez` writes it: a ZIP archive that compresses nothing.
//!
//! Source: PKWARE's APPNOTE, sections 4.3.7 and 4.5.3.

/// The beginning of each member.
const MEMBER: &[u8] = b"PK\x03\x04";

/// The number of the extra field that holds sizes of 64 bits.
const ZIP64: u16 = 1;

/// The bytes of the member `NAME.npy`; what is wrong otherwise.
pub(super) fn member<'a>(archive: &'a [u8], name: &str) -> Result<&'a [u8], String> {
    let wanted = format!("{name}.npy");
    let mut names = Vec::new();
    let mut rest = archive;
    while let Some(member) = rest.strip_prefix(MEMBER) {
        let (head, body) = member.split_at_checked(26).ok_or("it ends in a header")?;
        let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (flags, method) = (short(2), short(4));
        let packed = u32::from_le_bytes([head[14], head[15], head[16], head[17]]);
        let name_len = usize::from(short(22));
        let extra_len = usize::from(short(24));
        let (own, body) = body.split_at_checked(name_len).ok_or("it ends in a name")?;
        let (extra, body) = body
            .split_at_checked(extra_len)
            .ok_or("it ends in a header")?;
        if flags & 8 != 0 {
            return Err("it was written as a stream, its members have no sizes".to_owned());
        }
        let size = match packed {
            u32::MAX => long_size(extra).ok_or("a member has no size")?,
            size => size as usize,
        };
        let (content, after) = body.split_at_checked(size).ok_or("it ends in a member")?;
        let own = String::from_utf8_lossy(own).into_owned();
        if own == wanted {
            return match method {
                0 => Ok(content),
                _ => Err("it is compressed: write it with numpy.savez".to_owned()),
            };
        }
        names.push(own);
        rest = after;
    }
    Err(format!(
        "expected arrays `inputs` and `targets`, found {names:?}"
    ))
}

/// The packed size in a field of 64-bit sizes: the second of them, where both are there.
fn long_size(mut extra: &[u8]) -> Option<usize> {
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (content, after) = rest.split_at_checked(len)?;
        if kind == ZIP64 {
            let size = content.get(8..16)?.first_chunk::<8>()?;
            return usize::try_from(u64::from_le_bytes(*size)).ok();
        }
        extra = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.savez(file, inputs=numpy.arange(3, dtype='<f4'), targets=numpy.ones(2, '<f8'))`
    /// of NumPy 2.4.
    const ARCHIVE: &[u8] = include_bytes!("golden.npz");

    #[test]
    fn members_are_found_and_cut_archives_refused() {
        let inputs = member(ARCHIVE, "inputs").unwrap();
        assert!(inputs.starts_with(b"\x93NUMPY"));
        assert_eq!(inputs.len(), 128 + 12);
        assert_eq!(member(ARCHIVE, "targets").unwrap().len(), 128 + 16);
        let error = member(ARCHIVE, "other").unwrap_err();
        assert!(
            error.contains("inputs.npy") && error.contains("targets.npy"),
            "{error}"
        );
        let end = ARCHIVE.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        for len in 0..end {
            assert!(member(&ARCHIVE[..len], "targets").is_err(), "{len}");
        }
    }
}
