//! Bearer tokens, compared in constant time and never printed.

use std::fmt;

use sha2::{Digest, Sha256};

/// Shortest token that is accepted in the file.
pub const MIN_TOKEN_BYTES: usize = 16;

/// Digests of the accepted tokens, with their lines; the tokens themselves are not kept.
pub struct Tokens(Vec<(usize, [u8; 32])>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} hidden)", self.0.len())
    }
}

impl Tokens {
    /// Reads one token per line; empty lines and lines with `#` first are skipped.
    ///
    /// # Errors
    /// What is wrong, without the token.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut digests = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            if line.len() < MIN_TOKEN_BYTES {
                return Err(format!(
                    "holds a token of fewer than {MIN_TOKEN_BYTES} characters in line {number}; \
                     make one with: openssl rand -hex 32"
                ));
            }
            digests.push((number, digest(line)));
        }
        if digests.is_empty() {
            Err("holds no token".to_owned())
        } else {
            Ok(Self(digests))
        }
    }

    /// The line of `token`, if it is accepted. Takes the same time for every token of one length.
    #[must_use]
    pub fn accept(&self, token: &str) -> Option<usize> {
        let given = digest(token);
        // Every token is compared, whichever fits.
        self.0.iter().fold(None, |found, (line, known)| {
            let difference = known
                .iter()
                .zip(&given)
                .fold(0_u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
            if difference == 0 { Some(*line) } else { found }
        })
    }
}

/// What a request brings to prove who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// A bearer token.
    Token(String),
    /// Something else.
    Other,
}

/// The token of a request: `Authorization: Bearer`, or the query's `access_token` as the webhook
/// specification has it.
#[must_use]
pub fn given(authorization: Option<&str>, query: Option<&str>) -> Given {
    if let Some(value) = authorization {
        return match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Given::Token(token.trim().to_owned())
            }
            _ => Given::Other,
        };
    }
    let pairs = query.unwrap_or_default().split('&');
    let mut tokens = pairs.filter_map(|pair| pair.strip_prefix("access_token="));
    match (tokens.next(), tokens.next()) {
        (None, _) => Given::Nothing,
        (Some(token), None) => crate::cloudevents::percent_decode(token.as_bytes(), true)
            .map_or(Given::Other, Given::Token),
        _ => Given::Other,
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_of_the_file_are_accepted() {
        let tokens =
            Tokens::parse("# comment\n\nfirst-token-0123456\nsecond-token-012345\n").unwrap();
        for (authorization, query, expected) in [
            (Some("Bearer first-token-0123456"), None, true),
            (Some("bearer second-token-012345"), None, true),
            (Some("Bearer first-token-012345"), None, false),
            (Some("Bearer "), None, false),
            (Some("Basic first-token-0123456"), None, false),
            (Some("first-token-0123456"), None, false),
            (None, Some("a=b&access_token=first%2Dtoken-0123456"), true),
            (None, Some("access_token=x"), false),
            (
                Some("Bearer x"),
                Some("access_token=first-token-0123456"),
                false,
            ),
            (None, None, false),
        ] {
            let accepted = match given(authorization, query) {
                Given::Token(token) => tokens.accept(&token).is_some(),
                _ => false,
            };
            assert_eq!(accepted, expected, "{authorization:?} {query:?}");
        }
        assert_eq!(tokens.accept("second-token-012345"), Some(4));
        assert_eq!(format!("{tokens:?}"), "Tokens(2 hidden)");
    }

    #[test]
    fn weak_files_are_refused() {
        assert!(Tokens::parse("").is_err());
        assert!(Tokens::parse("short").is_err());
    }
}
