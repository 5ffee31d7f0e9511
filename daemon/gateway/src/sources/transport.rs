//! A connection to a broker that no library makes for us: TCP, and TLS over it where it is asked
//! for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use mizar_core::chain;

/// Longest connecting, with the handshake of TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Both halves of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whom a connection by TLS trusts.
pub(super) struct Tls<'a> {
    /// Certificates that are trusted besides the system's.
    pub(super) ca_file: Option<&'a Path>,
}

/// Connects, by TLS if `tls` is given.
pub(super) async fn connect(
    (host, port): (&str, u16),
    tls: Option<Tls<'_>>,
) -> Result<Box<dyn Stream>, String> {
    match tokio::time::timeout(CONNECT_LIMIT, open((host, port), tls)).await {
        Ok(connected) => connected,
        Err(_) => Err("does not answer".to_owned()),
    }
}

async fn open((host, port): (&str, u16), tls: Option<Tls<'_>>) -> Result<Box<dyn Stream>, String> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    // A peer that vanished is noticed in the end even where nothing is sent.
    setsockopt(&stream, sockopt::KeepAlive, &true).map_err(|error| error.to_string())?;
    let Some(tls) = tls else {
        return Ok(Box::new(stream));
    };
    let trust = mizar_http::trust(tls.ca_file).map_err(|error| chain(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::new(trust)).connect(name, stream);
    match connected.await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(format!("no connection by TLS: {error}")),
    }
}
