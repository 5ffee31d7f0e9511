//! Archives of NumPy's arrays (`.npz`): members `NAME.npy` of a ZIP file, stored or deflated, read by
//! its central directory and checked by their sums. What the members hold is the callers' business.
//!
//! Source: PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3.

use std::borrow::Cow;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const LONG_END: &[u8; 4] = b"PK\x06\x06";
const LOCATOR: &[u8; 4] = b"PK\x06\x07";

const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;

/// The number of the extra field that holds sizes of 64 bits.
const ZIP64: u16 = 1;

/// Deflate makes no more of a byte.
const RATIO_MAX: usize = 1032;

/// The suffix of members.
const SUFFIX: &str = ".npy";

/// Why an archive cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpzError {
    /// It is something else.
    #[error("it is no archive of NumPy (.npz), or cut short or damaged ({0})")]
    Damaged(&'static str),
    /// Packed in another way.
    #[error("`{name}` is packed by method {method}: write it with numpy.savez")]
    Method {
        /// The member.
        name: String,
        /// The method's number.
        method: u16,
    },
    /// There is no such member.
    #[error("it has no array `{wanted}`; it has {known}")]
    NoMember {
        /// As asked for.
        wanted: String,
        /// Those that there are.
        known: String,
    },
    /// Sizes here have 32 bits.
    #[error("`{0}` is larger than 4 GB: write it as a .npy file")]
    Large(String),
}

/// An archive in memory.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    method: u16,
    sum: u32,
    packed: usize,
    size: usize,
    /// Of its local header.
    at: usize,
}

impl<'a> Archive<'a> {
    /// Reads what an archive says of itself.
    ///
    /// # Errors
    /// [`NpzError::Damaged`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, NpzError> {
        let (mut at, count) = directory(bytes)?;
        let mut members = Vec::new();
        for _ in 0..count {
            let (member, next) = member(bytes, at)?;
            members.push(member);
            at = next;
        }
        Ok(Self { bytes, members })
    }

    /// The arrays' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| {
            let name = member.name.as_str();
            name.strip_suffix(SUFFIX).unwrap_or(name)
        })
    }

    /// The `.npy` file that a member is.
    ///
    /// # Errors
    /// [`NpzError`] if it is not there, or not whole.
    pub fn member(&self, name: &str) -> Result<Cow<'a, [u8]>, NpzError> {
        let place = self.names().position(|own| own == name);
        let member = place.map(|place| &self.members[place]);
        let member = member.ok_or_else(|| NpzError::NoMember {
            wanted: name.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })?;
        let content = unpack(self.bytes, member)?;
        match libdeflater::crc32(&content) == member.sum {
            true => Ok(content),
            false => Err(NpzError::Damaged("a checksum")),
        }
    }
}

/// Where the central directory begins, and its members.
fn directory(bytes: &[u8]) -> Result<(usize, u64), NpzError> {
    let damaged = || NpzError::Damaged("its end");
    // A comment may follow, of as many bytes as two can count.
    let first = bytes
        .len()
        .saturating_sub(END_BYTES + usize::from(u16::MAX));
    let tail = bytes.get(first..).unwrap_or_default();
    let end = tail.windows(4).rposition(|four| four == END);
    let end = first + end.ok_or_else(damaged)?;
    let (count, at) = (short(bytes, end + 10), word(bytes, end + 16));
    let (count, at) = count.zip(at).ok_or_else(damaged)?;
    let comment = short(bytes, end + 20).ok_or_else(damaged)?;
    if bytes.len() < end + END_BYTES + usize::from(comment) {
        return Err(damaged());
    }
    if count != u16::MAX && at != u32::MAX {
        return Ok((at as usize, u64::from(count)));
    }
    let locator = end.checked_sub(LOCATOR_BYTES).ok_or_else(damaged)?;
    if bytes.get(locator..locator + 4) != Some(LOCATOR) {
        return Err(damaged());
    }
    let long = long(bytes, locator + 8).ok_or_else(damaged)?;
    let long = usize::try_from(long).map_err(|_| damaged())?;
    if bytes.get(long..).and_then(|rest| rest.get(..4)) != Some(LONG_END) {
        return Err(damaged());
    }
    let count = self::long(bytes, long + 32);
    let at = self::long(bytes, long + 48).and_then(|at| usize::try_from(at).ok());
    at.zip(count).ok_or_else(damaged)
}

/// The member that the directory has at a place, and the place of the next.
fn member(bytes: &[u8], at: usize) -> Result<(Member, usize), NpzError> {
    let damaged = || NpzError::Damaged("its directory");
    let head = bytes.get(at..).and_then(|rest| rest.get(..CENTRAL_BYTES));
    let head = head.filter(|head| head.starts_with(CENTRAL));
    let head = head.ok_or_else(damaged)?;
    let two = |place| short(head, place).ok_or_else(damaged);
    let four = |place| word(head, place).ok_or_else(damaged);
    let lengths = [two(28)?, two(30)?, two(32)?].map(usize::from);
    let name_at = at + CENTRAL_BYTES;
    let extra_at = name_at + lengths[0];
    let next = extra_at + lengths[1] + lengths[2];
    let name = bytes.get(name_at..extra_at).ok_or_else(damaged)?;
    let extra = bytes.get(extra_at..extra_at + lengths[1]);
    let mut longs = extra.and_then(zip64).unwrap_or_default();
    // Those that do not fit in 32 bits follow in this order.
    let mut size = |short: u32| -> Result<usize, NpzError> {
        if short != u32::MAX {
            return Ok(short as usize);
        }
        let value = long(longs, 0).ok_or_else(damaged)?;
        longs = &longs[8..];
        usize::try_from(value).map_err(|_| damaged())
    };
    let (unpacked, packed, local) = (size(four(24)?)?, size(four(20)?)?, size(four(42)?)?);
    let member = Member {
        name: String::from_utf8_lossy(name).into_owned(),
        method: two(10)?,
        sum: four(16)?,
        packed,
        size: unpacked,
        at: local,
    };
    Ok((member, next))
}

fn unpack<'a>(bytes: &'a [u8], member: &Member) -> Result<Cow<'a, [u8]>, NpzError> {
    let damaged = || NpzError::Damaged("a member");
    let head = bytes
        .get(member.at..)
        .filter(|rest| rest.starts_with(LOCAL));
    let head = head.ok_or_else(damaged)?;
    let lengths = short(head, 26).zip(short(head, 28)).ok_or_else(damaged)?;
    let begin = LOCAL_BYTES + usize::from(lengths.0) + usize::from(lengths.1);
    let packed = head.get(begin..).and_then(|rest| rest.get(..member.packed));
    let packed = packed.ok_or_else(damaged)?;
    match member.method {
        0 => Ok(Cow::Borrowed(packed)),
        8 if member.size / RATIO_MAX <= packed.len() => {
            let mut content = vec![0; member.size];
            let mut inflate = libdeflater::Decompressor::new();
            match inflate.deflate_decompress(packed, &mut content) {
                Ok(found) if found == member.size => Ok(Cow::Owned(content)),
                _ => Err(damaged()),
            }
        }
        8 => Err(damaged()),
        method => Err(NpzError::Method {
            name: member.name.clone(),
            method,
        }),
    }
}

/// The extra field of 64-bit sizes.
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (content, after) = rest.split_at_checked(len)?;
        if u16::from_le_bytes([head[0], head[1]]) == ZIP64 {
            return Some(content);
        }
        extra = after;
    }
    None
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*two))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*eight))
}

/// An archive of `.npy` files by their arrays' names, stored as they are, as `numpy.savez` does.
///
/// # Errors
/// [`NpzError::Large`] if sizes do not fit.
pub fn write(members: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, NpzError> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let large = || NpzError::Large((*name).to_owned());
        let at = u32::try_from(out.len()).map_err(|_| large())?;
        let size = u32::try_from(content.len()).map_err(|_| large())?;
        let file = format!("{name}{SUFFIX}");
        let name_len = u16::try_from(file.len()).map_err(|_| large())?;
        // Version 2.0, UTF-8 names, stored, 1 January 1980 as NumPy has it.
        let mut head = Vec::new();
        for number in [20_u16, 1 << 11, 0, 0, 33] {
            head.extend(number.to_le_bytes());
        }
        for number in [libdeflater::crc32(content), size, size] {
            head.extend(number.to_le_bytes());
        }
        head.extend(name_len.to_le_bytes());
        out.extend(LOCAL);
        out.extend(&head);
        out.extend([0; 2]);
        out.extend(file.as_bytes());
        out.extend(content);
        directory.extend(CENTRAL);
        directory.extend(20_u16.to_le_bytes());
        directory.extend(&head);
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(file.as_bytes());
    }
    let all = || NpzError::Large("the archive".to_owned());
    let at = u32::try_from(out.len()).map_err(|_| all())?;
    let size = u32::try_from(directory.len()).map_err(|_| all())?;
    let count = u16::try_from(members.len()).map_err(|_| all())?;
    out.extend(directory);
    out.extend(END);
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.savez(file, inputs=numpy.arange(3, dtype='<f4'), targets=numpy.ones(2, '<f8'))`
    /// of NumPy 2.4.
    const ARCHIVE: &[u8] = include_bytes!("golden.npz");

    #[test]
    fn members_are_found_and_damaged_archives_refused() {
        let archive = Archive::read(ARCHIVE).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["inputs", "targets"]);
        let inputs = archive.member("inputs").unwrap();
        assert!(inputs.starts_with(b"\x93NUMPY"));
        assert_eq!(inputs.len(), 128 + 12);
        assert_eq!(archive.member("targets").unwrap().len(), 128 + 16);
        let error = archive.member("other").unwrap_err().to_string();
        assert_eq!(error, "it has no array `other`; it has inputs, targets");
        for len in 0..ARCHIVE.len() {
            assert!(Archive::read(&ARCHIVE[..len]).is_err(), "{len}");
        }
        let mut flipped = ARCHIVE.to_vec();
        flipped[100] ^= 1;
        let archive = Archive::read(&flipped).unwrap();
        assert!(archive.member("inputs").is_err());
        for at in 0..ARCHIVE.len() {
            let mut flipped = ARCHIVE.to_vec();
            flipped[at] ^= 0xff;
            // Whatever it is, nothing panics.
            if let Ok(archive) = Archive::read(&flipped) {
                let _ = archive.member("inputs").map(|bytes| bytes.len());
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let members = [("tas", vec![7_u8; 300]), ("größe", Vec::new())];
        let bytes = write(&members).unwrap();
        let archive = Archive::read(&bytes).unwrap();
        for (name, content) in &members {
            assert_eq!(archive.member(name).unwrap().as_ref(), content.as_slice());
        }
    }
}
