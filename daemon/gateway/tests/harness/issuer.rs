//! An OIDC issuer: discovery, keys and tokens over real HTTP, with real keys of each algorithm.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

/// What the issuer serves, and how often its keys were asked for.
struct Served {
    keys: Mutex<Option<Vec<Value>>>,
    asked: AtomicUsize,
}

/// The issuer; its thread ends with the test.
pub(crate) struct Issuer {
    pub(crate) url: String,
    served: Arc<Served>,
}

impl Issuer {
    pub(crate) fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/realms/x", listener.local_addr().unwrap());
        let served = Arc::new(Served {
            keys: Mutex::new(None),
            asked: AtomicUsize::new(0),
        });
        let issuer = Self {
            url: url.clone(),
            served: Arc::clone(&served),
        };
        issuer.serve(signers);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &url, &served);
            }
        });
        issuer
    }

    /// Serves the keys of these from now on.
    pub(crate) fn serve(&self, signers: &[&Signer]) {
        let keys = signers.iter().map(|signer| signer.public()).collect();
        *self.served.keys.lock().unwrap() = Some(keys);
    }

    /// Answers 500 from now on.
    pub(crate) fn fail(&self) {
        *self.served.keys.lock().unwrap() = None;
    }

    pub(crate) fn asked(&self) -> usize {
        self.served.asked.load(Ordering::SeqCst)
    }

    /// Claims of somebody that are good for an hour.
    pub(crate) fn claims(&self, subject: &str) -> Value {
        json!({"iss": self.url, "aud": ["account", "mizar"], "sub": subject, "exp": now() + 3600,
            "iat": now(), "nbf": now()})
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    mizar_core::clock::unix_ns() / 1_000_000_000
}

fn answer(mut stream: &TcpStream, url: &str, served: &Served) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let keys = served.keys.lock().unwrap().clone();
    let body = match (path, keys) {
        (_, None) => None,
        ("/realms/x/.well-known/openid-configuration", _) => Some(json!({
            "issuer": url, "jwks_uri": format!("{url}/keys?v=1"), "other": [1],
        })),
        ("/realms/x/keys?v=1", Some(keys)) => {
            served.asked.fetch_add(1, Ordering::SeqCst);
            Some(json!({"keys": keys}))
        }
        _ => None,
    };
    let (status, body) = match body {
        Some(body) => ("200 OK", body.to_string()),
        None => ("500 Internal Server Error", "no".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
}

enum Private {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that signs.
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    private: Private,
}

impl Signer {
    /// A key of 2048 bits that openssl makes.
    pub(crate) fn rsa(id: &'static str) -> Self {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-outform", "DER"])
            .args(["-pkeyopt", "rsa_keygen_bits:2048"])
            .output()
            .unwrap();
        assert!(made.status.success());
        // OpenSSL 3.0 writes PKCS #1 here, later ones PKCS #8.
        let pair = RsaKeyPair::from_pkcs8(&made.stdout);
        let pair = pair.or_else(|_| RsaKeyPair::from_der(&made.stdout));
        let private = Private::Rsa(Box::new(pair.unwrap()));
        Self { id, private }
    }

    pub(crate) fn p256(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap();
        Self {
            id,
            private: Private::P256(pair),
        }
    }

    pub(crate) fn ed25519(id: &'static str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
        Self {
            id,
            private: Private::Ed25519(pair),
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.private {
            Private::Rsa(_) => "RS256",
            Private::P256(_) => "ES256",
            Private::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key as a JWK.
    pub(crate) fn public(&self) -> Value {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.private {
            Private::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": part(&public.n), "e": part(&public.e)})
            }
            Private::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..])})
            }
            Private::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": part(pair.public_key().as_ref())})
            }
        };
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Private::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"});
        signed(&header, claims, |message| self.sign(message))
    }
}

/// A token with any header, signed by anything.
pub(crate) fn signed(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}
