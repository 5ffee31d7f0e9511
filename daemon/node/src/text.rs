//! The small grammars of /proc, /sys and cgroup files, without allocation.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most of a kernel file that is looked at.
pub(crate) const MAX_FILE_BYTES: usize = 64 << 10;

/// Reads a whole small file into `buffer`; `None` if that is not possible.
pub(crate) fn read_into<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    buffer.clear();
    File::open(path)
        .ok()?
        .take(MAX_FILE_BYTES as u64)
        .read_to_end(buffer)
        .ok()?;
    Some(buffer)
}

/// Reads a file that grows with what is mounted, up to 4 MiB.
pub(crate) fn read_long<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    const MAX_BYTES: u64 = 4 << 20;
    buffer.clear();
    File::open(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_end(buffer)
        .ok()?;
    Some(buffer)
}

/// Reads an open file from its beginning: one system call for what fits in `buffer`.
pub(crate) fn reread<'b>(file: &File, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    match file.read_at(buffer, 0) {
        Ok(0) | Err(_) => None,
        Ok(count) => Some(&buffer[..count]),
    }
}

/// A file that holds one number.
pub(crate) fn read_number(path: &Path, buffer: &mut Vec<u8>) -> Option<u64> {
    number(read_into(path, buffer)?.trim_ascii())
}

/// A whole decimal number, all of `digits`.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Words between blanks.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// Lines of a file.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The number after `key` in a file of `key value` or `key: value kB` lines.
pub(crate) fn keyed(text: &[u8], key: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| {
        let mut words = words(line);
        let name = words.next()?;
        let name = name.strip_suffix(b":").unwrap_or(name);
        if name == key {
            number(words.next()?)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_whole_or_nothing() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "1 ", "18446744073709551616", "0x10", "1.5"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn keys_are_whole_words() {
        let text = b"anon_thp 5\nanon 7\nMemTotal:   12 kB\n";
        assert_eq!(keyed(text, b"anon"), Some(7));
        assert_eq!(keyed(text, b"MemTotal"), Some(12));
        assert_eq!(keyed(text, b"shmem"), None);
    }

    proptest! {
        #[test]
        fn any_number_reads_as_it_was_written(value: u64) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, key: Vec<u8>) {
            let _ = (number(&bytes), keyed(&bytes, &key));
        }
    }
}
