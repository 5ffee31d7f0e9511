//! Numbers for names in records: made of the names alone, so that a daemon that was restarted
//! gives each the number that the segment before has for it.

/// A number for names (32-bit FNV-1a of them, joined by slashes).
pub(crate) fn of_names(names: &[&str]) -> u32 {
    let joined = names.join("/");
    joined.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_releases_have_these_numbers() {
        // FNV-1a of nothing and of "a", as its authors publish them.
        assert_eq!(of_names(&[]), 0x811c_9dc5);
        assert_eq!(of_names(&["a"]), 0xe40c_292c);
        assert_eq!(of_names(&["ethernet", "eth0", "received"]), 0x6a2c_f7b0);
    }
}
