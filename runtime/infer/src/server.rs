//! A server that keeps models ready: KServe's protocol, version 2, over a unix socket or TCP, with HTTP
//! and gRPC at one address.
//!
//! A job step of its user: it loads what the user may read, and answers nobody else. A unix
//! socket has mode 0600 and the peer's uid is checked besides; TCP is for loopback addresses, any
//! other needs a token. Each model has a thread and a queue; requests that wait are run together.
//!
//! Files are loaded on threads of their own while other models answer.
//!
//! **Invariant:** nothing grows without bound: bodies, queues, connections and the memory of
//! models have limits, and a client that is slow loses its connection.
//!
//! Left out: streams of gRPC, and models that differ by version: a version is the digest of the file.

mod engine;
mod grpc;
mod held;
mod proto;
mod routes;
mod store;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::Loader;
use routes::{Front, Reach};
use store::Store;
pub use store::StoreError;

/// How long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Requests of one connection of HTTP/2 at a time, and how often a silent one is asked whether it lives.
const STREAMS_MAX: u32 = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long open requests may take after the server was told to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// After a connection that could not be accepted: descriptors may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a request waits for others to run with.
    pub latency: Duration,
    /// Items that run together at most.
    pub batch: usize,
    /// Requests that wait for each model.
    pub queue: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_limit: Duration,
    /// Bytes of all models; the one used longest ago goes first.
    pub memory_bytes: u64,
    /// How long a request waits for a model that is being loaded.
    pub load_limit: Duration,
    /// Connections at once.
    pub connections: usize,
    /// What a client over TCP must bring.
    pub token: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(2),
            batch: 64,
            queue: 256,
            body_bytes: 64 << 20,
            body_limit: Duration::from_secs(30),
            memory_bytes: 4 << 30,
            load_limit: Duration::from_secs(30),
            connections: 256,
            token: None,
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket's path.
    Unix(PathBuf),
    /// An address and port; port 0 is any that is free.
    Tcp(SocketAddr),
}

impl Address {
    /// An address with a port is TCP, all else a path.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let localhost = text.replace("localhost:", "127.0.0.1:");
        match localhost.parse() {
            Ok(address) => Self::Tcp(address),
            Err(_) => Self::Unix(text.into()),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket or port cannot be had.
    #[error("cannot {action} {address}")]
    Listen {
        /// What was tried.
        action: &'static str,
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else has the name.
    #[error("{} is no socket: give another path", .0.display())]
    NoSocket(PathBuf),
    /// Another server has it.
    #[error("another server listens at {}: end it, or give another path", .0.display())]
    Taken(PathBuf),
    /// Others could reach it.
    #[error(
        "{0} can be reached from other machines: give a file with a token (--token-file), or listen \
         at 127.0.0.1"
    )]
    Open(SocketAddr),
    /// A model that was to be ready is not.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// The system gives no threads or signals.
    #[error("the server cannot run")]
    System(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT; then open requests end first. `listening` is told the address
/// once all models are ready.
///
/// # Errors
/// [`ServeError`], before anything is served.
pub fn serve(
    address: &Address,
    models: &[PathBuf],
    loader: Loader,
    settings: Settings,
    listening: impl FnOnce(&str),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(ServeError::System)?;
    let store = Arc::new(Store::new(loader, settings.clone()));
    runtime.block_on(async {
        for model in models {
            let name = routes::name_of(model);
            store.load_patiently(&name, model).await?;
        }
        let mut term = signal(SignalKind::terminate()).map_err(ServeError::System)?;
        let mut int = signal(SignalKind::interrupt()).map_err(ServeError::System)?;
        let (stop, stopped) = watch::channel(false);
        let ending = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            let _ = stop.send(true);
        };
        match address {
            Address::Unix(path) => {
                let listener = bind(path)?;
                listening(&path.display().to_string());
                let front = Front::new(store, settings, Reach::Owner, stopped.clone());
                let own = nix::unistd::geteuid().as_raw();
                let accept = async || loop {
                    let (stream, _) = listener.accept().await?;
                    // The mode keeps others out; this does so where modes are not looked at.
                    if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
                        return Ok(stream);
                    }
                };
                tokio::join!(ending, accept_all(accept, front, stopped));
                let _ = std::fs::remove_file(path);
                Ok(())
            }
            Address::Tcp(address) => {
                if !address.ip().is_loopback() && settings.token.is_none() {
                    return Err(ServeError::Open(*address));
                }
                let failed = |source| ServeError::Listen {
                    action: "listen at",
                    address: address.to_string(),
                    source,
                };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let own = listener.local_addr().map_err(failed)?;
                listening(&own.to_string());
                let front = Front::new(store, settings, Reach::Network, stopped.clone());
                let accept = async || {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    Ok(stream)
                };
                tokio::join!(ending, accept_all(accept, front, stopped));
                Ok(())
            }
        }
    })
}

/// The socket, for its owner alone; one that nobody listens at is replaced.
fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |action| {
        let address = path.display().to_string();
        move |source| ServeError::Listen {
            action,
            address,
            source,
        }
    };
    match std::fs::symlink_metadata(path) {
        Ok(status) if !status.file_type().is_socket() => {
            return Err(ServeError::NoSocket(path.to_owned()));
        }
        Ok(_) => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(ServeError::Taken(path.to_owned()));
            }
            std::fs::remove_file(path).map_err(failed("replace"))?;
        }
        Err(_) => {}
    }
    // From its first moment the socket is the owner's alone.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener.map_err(failed("listen at"))?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(failed("protect"))?;
    Ok(listener)
}

/// Accepts until told to stop, then waits for what is open.
async fn accept_all<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    front: Arc<Front>,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connections = front.settings().connections;
    let places = Arc::new(Semaphore::new(connections));
    let router: Router = routes::router(front);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stopped.changed() => break,
        };
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            _ = stopped.changed() => break,
        };
        let Ok(stream) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            let _place = place;
            answer(stream, router, stopped).await;
        });
    }
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN_LIMIT, places.acquire_many(all)).await;
}

/// Answers the requests of a connection, HTTP/1 or HTTP/2, until it ends or the server does.
async fn answer<S>(stream: S, router: Router, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        service.call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let first = tokio::time::sleep(HEAD_LIMIT);
    tokio::pin!(first);
    // A client that breaks off is its own loss.
    let _ = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            // Which protocol it is takes as long as the client likes; its first request does not.
            () = first.as_mut(), if !first.is_elapsed() => {
                if !begun.load(Ordering::Relaxed) {
                    break Ok(());
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_ports_are_tcp_and_all_else_is_a_path() {
        let tcp = Address::Tcp("127.0.0.1:80".parse().unwrap());
        assert_eq!(Address::parse("127.0.0.1:80"), tcp);
        assert_eq!(Address::parse("localhost:80"), tcp);
        assert_eq!(
            Address::parse("/tmp/a.sock"),
            Address::Unix("/tmp/a.sock".into())
        );
    }
}
