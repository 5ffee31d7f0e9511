//! A JSON web token (RFC 7519) in its three parts, read and not believed: [`super::issuer`] verifies
//! what [`Token::parse`] only takes apart.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// Longest token that is looked at.
const MAX_BYTES: usize = 16 << 10;

/// Kinds of tokens that prove who calls; others, as those for logging out, do not.
const KINDS: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// The algorithms that issuers may sign by.
pub(super) const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// A token of which nothing is verified.
pub(super) struct Token<'a> {
    /// How it says that it is signed.
    pub(super) algorithm: String,
    /// The key that it says to be signed by.
    pub(super) key: Option<String>,
    /// What is signed.
    pub(super) message: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// What it says.
    pub(super) claims: Value,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("it is too long");
        }
        let not_one = "it is no JSON web token";
        let (message, signature) = text.rsplit_once('.').ok_or(not_one)?;
        let (header, payload) = message.split_once('.').ok_or(not_one)?;
        if payload.contains('.') {
            return Err("it is no signed JSON web token");
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| not_one);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| not_one)?;
        if !ALGORITHMS.contains(&header.alg.as_str()) {
            return Err("it is not signed by RS256, ES256 or EdDSA");
        }
        if header.crit.is_some() {
            return Err("it needs what is not understood here");
        }
        let kind = header.typ.unwrap_or_else(|| "JWT".to_owned());
        if !KINDS.contains(&kind.to_ascii_lowercase().as_str()) {
            return Err("it is a token for something else");
        }
        let claims: Value = serde_json::from_slice(&decode(payload)?).map_err(|_| not_one)?;
        if !claims.is_object() {
            return Err(not_one);
        }
        Ok(Self {
            algorithm: header.alg,
            key: header.kid,
            message: message.as_bytes(),
            signature: decode(signature)?,
            claims,
        })
    }

    /// Who says to have issued it.
    pub(super) fn issuer(&self) -> &str {
        self.claims["iss"].as_str().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_told_apart() {
        let part = |value: &str| URL_SAFE_NO_PAD.encode(value);
        let token = |header: &str, claims: &str| format!("{}.{}.AAAA", part(header), part(claims));
        let whole = token(
            r#"{"alg":"RS256","kid":"k","typ":"at+JWT"}"#,
            r#"{"iss":"https://a"}"#,
        );
        let read = Token::parse(&whole).unwrap();
        assert_eq!(
            (read.issuer(), read.key.as_deref()),
            ("https://a", Some("k"))
        );
        assert_eq!(read.message, whole.rsplit_once('.').unwrap().0.as_bytes());
        for odd in [
            String::new(),
            "a.b".to_owned(),
            "....".to_owned(),
            format!("{whole}.x"),
            format!("{whole}="),
            token(r#"{"alg":"none"}"#, "{}"),
            token(r#"{"alg":"None"}"#, "{}"),
            token(r#"{"alg":"HS256"}"#, "{}"),
            token(r#"{"alg":"RS256","crit":["b64"]}"#, "{}"),
            token(r#"{"alg":"RS256","typ":"logout+jwt"}"#, "{}"),
            token(r#"{"kid":"k"}"#, "{}"),
            token(r#"{"alg":"RS256"}"#, "[]"),
            token(r#"{"alg":"RS256"}"#, "no"),
            token(
                r#"{"alg":"RS256"}"#,
                &format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES)),
            ),
        ] {
            assert!(Token::parse(&odd).is_err(), "{odd}");
        }
    }
}
