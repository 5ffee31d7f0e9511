//! How a worker and its gateway prove themselves to each other without sending what they share.
//!
//! The gateway keeps one key for its life. A worker's secret is derived from it and the worker's
//! marker, and lies in a file of the worker's job that its owner alone may read; so a gateway that
//! starts anew knows its workers, and one worker's secret says nothing of another's. Each side
//! signs both random words, the other's and its own.

use std::io;
use std::path::Path;

use ring::hmac;

/// Name of the gateway's key, in its state folder.
const KEY_FILE: &str = "worker.key";

/// Bytes of the key and of a secret.
const KEY_BYTES: usize = 32;

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The gateway.
    Gateway,
    /// A worker.
    Worker,
}

/// The gateway's key.
pub struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl Key {
    /// Reads the key of a state folder, or makes it.
    ///
    /// # Errors
    /// If it cannot be read or made, or is none.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(KEY_FILE);
        let mut bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path)?,
            Err(error) => return Err(error),
        };
        if bytes.len() != KEY_BYTES {
            let text = format!("{} does not hold {KEY_BYTES} bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        bytes.fill(0);
        Ok(Self(key))
    }

    /// The secret of a worker, as hexadecimal digits.
    #[must_use]
    pub fn secret(&self, marker: &str) -> String {
        mizar_core::hex(hmac::sign(&self.0, marker.as_bytes()))
    }
}

fn make(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; KEY_BYTES];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    mizar_slurm::jobfile::write(path, &bytes, 0o600)?;
    Ok(bytes)
}

/// What both sides say before they prove themselves.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// The worker's marker.
    pub marker: &'a str,
    /// The worker's random word.
    pub worker: &'a str,
    /// The gateway's random word.
    pub gateway: &'a str,
}

impl Words<'_> {
    /// Each part with its length, so that no two sets of words give one text.
    fn text(&self, side: Side) -> String {
        let side = match side {
            Side::Gateway => "gateway",
            Side::Worker => "worker",
        };
        [side, self.marker, self.worker, self.gateway]
            .map(|word| format!("{}:{word}", word.len()))
            .join(",")
    }

    /// One side's proof.
    #[must_use]
    pub fn sign(&self, side: Side, secret: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        mizar_core::hex(hmac::sign(&key, self.text(side).as_bytes()))
    }

    /// Whether `proof` is one side's, in a time that does not tell where it differs.
    #[must_use]
    pub fn holds(&self, side: Side, secret: &str, proof: &str) -> bool {
        crate::oscar::users::same_text(&self.sign(side, secret), proof)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_stays_the_same_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let first = Key::load(folder.path()).unwrap();
        let again = Key::load(folder.path()).unwrap();
        assert_eq!(first.secret("a"), again.secret("a"));
        assert_ne!(first.secret("a"), first.secret("b"));
        let path = folder.path().join(KEY_FILE);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "short").unwrap();
        assert!(Key::load(folder.path()).is_err());
        assert_eq!(format!("{first:?}"), "Key(hidden)");
    }

    #[test]
    fn a_proof_is_of_one_side_and_of_these_words() {
        let words = Words {
            marker: "m",
            worker: "12",
            gateway: "3",
        };
        let proof = words.sign(Side::Worker, "secret");
        assert!(words.holds(Side::Worker, "secret", &proof));
        assert!(
            !words.holds(Side::Gateway, "secret", &proof),
            "a proof cannot be sent back"
        );
        assert!(!words.holds(Side::Worker, "other", &proof));
        let moved = Words {
            marker: "m",
            worker: "1",
            gateway: "23",
        };
        assert!(!moved.holds(Side::Worker, "secret", &proof));
    }
}
