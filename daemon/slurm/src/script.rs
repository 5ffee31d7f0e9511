//! Where in a batch script sbatch looks for its options.

use std::io::{self, Read};
use std::path::Path;

/// Largest script that is handled here; sbatch gets larger ones as they are.
pub const MAX_BYTES: u64 = 1 << 20;

/// Reads a script; None if it is larger than [`MAX_BYTES`].
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut script = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut script)?;
    Ok((script.len() as u64 <= MAX_BYTES).then_some(script))
}

/// The lines before the first command, without the one that names the shell; None if there is none
/// such.
#[must_use]
pub fn head(script: &[u8]) -> Option<&[u8]> {
    if !script.starts_with(b"#!") {
        return None;
    }
    let mut lines = script.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().map_or(0, <[u8]>::len);
    let is_before = |line: &&[u8]| {
        let words = line.trim_ascii();
        words.is_empty() || words.starts_with(b"#")
    };
    let length: usize = lines.take_while(is_before).map(<[u8]>::len).sum();
    Some(&script[first..first + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_ends_at_the_first_command() {
        let text = |script: &'static str| {
            head(script.as_bytes()).map(|head| std::str::from_utf8(head).unwrap())
        };
        assert_eq!(
            text("#!/bin/sh\n# a\n\n #SBATCH -n 2\n  \necho\n#SBATCH -n 3\n"),
            Some("# a\n\n #SBATCH -n 2\n  \n")
        );
        assert_eq!(text("#!/bin/sh\necho\n"), Some(""));
        assert_eq!(text("#!/bin/sh"), Some(""));
        assert_eq!(text("#!/bin/sh\n# the end"), Some("# the end"));
        assert_eq!(text("echo\n"), None);
    }

    #[test]
    fn a_large_script_is_not_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fits = vec![b'x'; 1 << 20];
        std::fs::write(file.path(), &fits).unwrap();
        assert_eq!(read(file.path()).unwrap(), Some(fits));
        std::fs::write(file.path(), vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(read(file.path()).unwrap(), None);
    }
}
