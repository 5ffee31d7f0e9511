//! How Mizar asks servers: by which client ([`agent`]), whom it trusts ([`tls`]), how names stand in a URL ([`escaped`]), and
//! how a request to S3 is signed ([`s3`]).
//!
//! Called by whatever speaks to a server: the array engine's remote files, the report's MLflow
//! export, the gateway's supervisor. Each keeps its own deadlines, retries and errors.

pub mod s3;

use std::sync::Arc;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// A client that says who it is, trusts [`tls`] and gives refusals as answers. Its user adds
/// limits of time.
#[must_use]
pub fn agent() -> ConfigBuilder<ureq::typestate::AgentScope> {
    Agent::config_builder()
        .tls_config(tls())
        .http_status_as_error(false)
        .user_agent(concat!("mizar/", env!("CARGO_PKG_VERSION")))
}

/// Trust in the authorities of the system (`SSL_CERT_FILE` names others), by rustls with ring.
#[must_use]
pub fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned());
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(certificates.collect())))
        .build()
}

/// Text with the bytes that are not allowed as `%XX`.
#[must_use]
pub fn escaped(text: &str, is_allowed: fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_allowed(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The bytes that never need to be escaped.
#[must_use]
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Those of a path.
#[must_use]
pub fn is_unreserved_or_slash(byte: u8) -> bool {
    is_unreserved(byte) || byte == b'/'
}
