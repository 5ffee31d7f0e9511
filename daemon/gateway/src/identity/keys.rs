//! The public keys of an issuer (RFC 7517), and the signatures that they verify: RS256, ES256 and
//! EdDSA with Ed25519. A key verifies by one algorithm; `none` and those with a shared secret do not
//! exist here, so that a public key can never be taken for one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

/// Most keys of one issuer.
const MAX_KEYS: usize = 64;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// A key as it is written; what is not among these does not change how it verifies.
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a JWK set. Keys of other kinds, for other uses and without sense are passed over, since
    /// issuers have such beside those that sign.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let set: Set =
            serde_json::from_slice(bytes).map_err(|error| format!("is no JWK set: {error}"))?;
        let keys: Vec<Key> = set
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|value| key(serde_json::from_value(value).ok()?))
            .collect();
        match keys.is_empty() {
            true => Err("holds no key for RS256, ES256 or EdDSA".to_owned()),
            false => Ok(Self(keys)),
        }
    }

    /// Whether there is a key that a token may mean.
    pub(super) fn knows(&self, algorithm: &str, id: Option<&str>) -> bool {
        self.meant(algorithm, id).next().is_some()
    }

    /// Whether one of the keys that a token may mean has signed it.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.meant(algorithm, id)
            .any(|key| key.public.verify(message, signature))
    }

    fn meant<'a>(
        &'a self,
        algorithm: &'a str,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> {
        let keys = self.0.iter();
        keys.filter(move |key| {
            key.public.algorithm() == algorithm && (id.is_none() || key.id.as_deref() == id)
        })
    }
}

fn key(written: Written) -> Option<Key> {
    let decode = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    let public = match (written.kty.as_str(), written.crv.as_deref()) {
        ("RSA", _) => Public::Rsa {
            modulus: without_zeros(decode(&written.n)?),
            exponent: without_zeros(decode(&written.e)?),
        },
        ("EC", Some("P-256")) => {
            let (x, y) = (decode(&written.x)?, decode(&written.y)?);
            if (x.len(), y.len()) != (32, 32) {
                return None;
            }
            // An uncompressed point, as the verifier takes it.
            Public::P256([vec![4], x, y].concat())
        }
        ("OKP", Some("Ed25519")) => Public::Ed25519(decode(&written.x)?),
        _ => return None,
    };
    let is_other = written.alg.is_some_and(|alg| alg != public.algorithm())
        || written.r#use.is_some_and(|wanted| wanted != "sig");
    (!is_other).then_some(Key {
        id: written.kid,
        public,
    })
}

/// A number without the zeros that some issuers put in front.
fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

impl Public {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A: a key and the signature of a message that others made.
    #[test]
    fn the_example_of_the_standard_is_verified() {
        let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let keys = Keys::parse(set).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();
        let verify = |algorithm: &str, id, message: &[u8], signature: &[u8]| {
            keys.verify(algorithm, id, message, signature)
        };
        assert!(verify("EdDSA", Some("a"), message, &signature));
        assert!(verify("EdDSA", None, message, &signature));
        assert!(!verify("EdDSA", Some("b"), message, &signature));
        assert!(!verify("RS256", Some("a"), message, &signature));
        assert!(!verify("EdDSA", Some("a"), &message[1..], &signature));
        assert!(!verify("EdDSA", Some("a"), message, &signature[1..]));
        assert!(!verify("EdDSA", Some("a"), message, &[]));
    }

    #[test]
    fn keys_for_other_things_are_passed_over() {
        let parse = |keys: &str| Keys::parse(format!("{{\"keys\":[{keys}]}}").as_bytes());
        let good =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        assert!(parse(&format!("{good}}}")).is_ok());
        for odd in [
            format!(r#"{good},"use":"enc"}}"#),
            format!(r#"{good},"alg":"ES256"}}"#),
            r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"RSA","n":"!","e":"AQAB"}"#.to_owned(),
            "5".to_owned(),
        ] {
            assert!(parse(&odd).is_err(), "{odd}");
            assert!(parse(&format!("{odd},{good}}}")).is_ok(), "{odd}");
        }
        assert!(Keys::parse(b"{}").is_err() && Keys::parse(b"<html>").is_err());
    }
}
