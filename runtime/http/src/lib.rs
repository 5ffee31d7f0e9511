//! How Mizar asks servers: by which client ([`agent`]), whom it trusts ([`tls`], [`trust`], [`certificates`]), how
//! names stand in a URL ([`escaped`]), and how a request to S3 and its like is signed ([`s3`]).
//!
//! Called by whatever speaks to a server: the array engine's remote files, the report's MLflow
//! export, the gateway's supervisor and its sources. Each keeps its own deadlines, retries and errors.

pub mod s3;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
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

/// Why no connection by TLS can be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of certificates.
    #[error("cannot read certificates in PEM form from {}", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// The file is there and holds none.
    #[error("{} holds no certificate in PEM form", .path.display())]
    None {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library.
    #[error("cannot use these certificates")]
    Tls(#[from] rustls::Error),
}

/// The certificates in a file in PEM form, of which there must be one at least.
///
/// # Errors
/// [`TrustError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unreadable = |source| TrustError::Certificates {
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(TrustError::None {
            path: path.to_owned(),
        }),
        false => Ok(found),
    }
}

/// The same trust for what speaks over its own sockets, and in the certificates of a file.
///
/// # Errors
/// [`TrustError`].
pub fn trust(more: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in more.map(certificates).transpose()?.unwrap_or_default() {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let missing = trust(Some(Path::new("/nosuch.pem"))).unwrap_err();
        assert!(missing.to_string().contains("/nosuch.pem"));
        let none = trust(Some(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/Cargo.toml"
        ))));
        assert!(
            none.unwrap_err()
                .to_string()
                .contains("holds no certificate")
        );
        assert!(trust(None).is_ok());
    }
}
