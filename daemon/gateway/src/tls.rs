//! TLS at the gateway's own socket: the table `[tls]`, its certificate and key, and the authorities
//! whose client certificates prove who calls ([`crate::identity::certificate`] reads them).
//!
//! With `client_ca` a connection without a certificate of these authorities is refused before a
//! request is read. SIGHUP reads the files anew; if they are not good, those from before go on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use mizar_http::{TrustError, certificates};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::config::{ConfigError, read_secret};

/// The table `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those between it and an authority, in PEM form.
    pub cert: PathBuf,
    /// Its key, in PEM form, readable by its owner only.
    pub key: PathBuf,
    /// Authorities of client certificates, in PEM form; without it none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates.
    #[error(transparent)]
    Certificates(#[from] TrustError),
    /// The key is none.
    #[error("cannot read a key in PEM form from {}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// The key's file.
    #[error(transparent)]
    Key(#[from] ConfigError),
    /// Certificate and key do not fit, or cannot be used.
    #[error("cannot use these certificates and this key")]
    Unusable(#[from] rustls::Error),
    /// The authorities cannot be used.
    #[error("cannot use these authorities")]
    Authorities(#[from] VerifierBuilderError),
}

impl Tls {
    /// Resolves its paths against the configuration's folder.
    pub fn resolve(&mut self, folder: &Path) {
        let paths = [&mut self.cert, &mut self.key].into_iter();
        for path in paths.chain(&mut self.client_ca) {
            *path = folder.join(&path);
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(&self) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.cert)?;
        let key = read_secret("tls.key", &self.key)?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|source| TlsError::Pem {
                path: self.key.clone(),
                source,
            })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A certificate is verified at each connection, or what was revoked goes on for hours.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// What new connections are met with.
pub struct Acceptor {
    settings: Tls,
    current: RwLock<TlsAcceptor>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(settings: Tls) -> Result<Self, TlsError> {
        let current = RwLock::new(TlsAcceptor::from(Arc::new(settings.load()?)));
        Ok(Self { settings, current })
    }

    /// What the next connection is met with.
    #[must_use]
    pub fn current(&self) -> TlsAcceptor {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the files anew; what was read before goes on if they are not good.
    pub fn reload(&self) {
        match self.settings.load() {
            Ok(config) => {
                let next = TlsAcceptor::from(Arc::new(config));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
                tracing::info!("the certificates were read anew");
            }
            Err(error) => {
                let error = mizar_core::chain(&error);
                tracing::error!(%error, "the certificates from before are kept");
            }
        }
    }
}
