//! Users of the OSCAR API with their passwords, compared in constant time and never printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Shortest password that is accepted in the file.
pub(crate) const MIN_PASSWORD_BYTES: usize = 8;

/// Who may use the API; the passwords themselves are not kept.
pub struct Users(Vec<(String, [u8; 32])>);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({} hidden)", self.0.len())
    }
}

impl Users {
    /// Reads one `user:password` per line; empty lines and lines with `#` first are skipped.
    ///
    /// # Errors
    /// What is wrong, without the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut users = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((name, password))
                    if !name.is_empty() && password.len() >= MIN_PASSWORD_BYTES =>
                {
                    users.push((name.to_owned(), digest(line)));
                }
                _ => {
                    return Err(format!(
                        "line {} is not `user:password` with a password of at least {MIN_PASSWORD_BYTES} characters",
                        index + 1
                    ));
                }
            }
        }
        if users.is_empty() {
            Err("holds no user".to_owned())
        } else {
            Ok(Self(users))
        }
    }

    /// The user that an `Authorization: Basic` proves.
    #[must_use]
    pub fn accept(&self, authorization: Option<&str>) -> Option<&str> {
        let (scheme, word) = authorization?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let given = digest(&String::from_utf8(STANDARD.decode(word.trim()).ok()?).ok()?);
        // Every user is compared, whichever fits.
        self.0.iter().fold(None, |found, (name, known)| {
            if same(known, &given) {
                Some(name.as_str())
            } else {
                found
            }
        })
    }
}

/// Whether two texts are equal, in a time that does not tell where they differ.
#[must_use]
pub(crate) fn same_text(known: &str, given: &str) -> bool {
    same(&digest(known), &digest(given))
}

fn same(known: &[u8; 32], given: &[u8; 32]) -> bool {
    known
        .iter()
        .zip(given)
        .fold(0_u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)))
        == 0
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_and_passwords_are_accepted() {
        let users = Users::parse("# us\nann:correct horse\nbob:battery:staple\n").unwrap();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(users.accept(Some(&basic("ann:correct horse"))), Some("ann"));
        assert_eq!(
            users.accept(Some(&basic("bob:battery:staple"))),
            Some("bob")
        );
        for wrong in [
            "ann:correct",
            "bob:correct horse",
            "ann",
            ":",
            "ann:battery:staple",
        ] {
            assert_eq!(users.accept(Some(&basic(wrong))), None, "{wrong}");
        }
        assert_eq!(users.accept(Some("Bearer x")), None);
        assert_eq!(users.accept(Some("Basic ===")), None);
        assert_eq!(users.accept(None), None);
        assert_eq!(format!("{users:?}"), "Users(2 hidden)");
        assert!(Users::parse("ann:short").is_err() && Users::parse("").is_err());
    }
}
