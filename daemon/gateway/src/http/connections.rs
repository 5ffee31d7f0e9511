//! Connections: taken up to a limit, by TLS where the site has it, each in a task of its own that
//! ends with it, and all of them within a time once the gateway is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use super::admit::Peer;
use super::stream::{HangUp, watch_ledger};
use super::{Front, router};
use crate::config::Limits;
use crate::identity::claimed_by;

/// How long open requests may take to end once the gateway was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Most headers of a request, and most bytes of them.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Serves until `stop` says so, then lets open requests end.
pub async fn serve(mut listener: TcpListener, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    tokio::spawn(watch_ledger(Arc::clone(&front)));
    let router = router(Arc::clone(&front));
    let stopped = stop.clone();
    let attend = |stream: TcpStream, address| {
        let _ = stream.set_nodelay(true);
        let (front, router, stop) = (Arc::clone(&front), router.clone(), stopped.clone());
        Some(async move { meet(stream, address, &front, router, stop).await })
    };
    let most = front.shared.config.limits.connections;
    let open = accept_all(&mut listener, most, attend, &mut stop).await;
    drop(listener);
    open.drain().await;
}

/// Takes connections until `stop` says so, `most` at a time, each attended by a task of its own; what
/// `attend` has no answer for is hung up on.
pub(crate) async fn accept_all<L: Listener, F>(
    listener: &mut L,
    most: usize,
    attend: impl Fn(L::Io, L::Addr) -> Option<F>,
    stop: &mut watch::Receiver<bool>,
) -> Open
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stop.changed() => break,
        };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        if let Some(attended) = attend(stream, address) {
            tokio::spawn(async move {
                let _place = place;
                attended.await;
            });
        }
    }
    Open { places, most }
}

/// Connections that are still attended.
pub(crate) struct Open {
    places: Arc<Semaphore>,
    most: usize,
}

impl Open {
    /// Waits until they end, for a time.
    pub(crate) async fn drain(self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(DRAIN, self.places.acquire_many(all)).await;
        if ended.is_err() {
            warn!("some requests did not end in time");
        }
    }
}

/// Finds out who is at the other end, and answers it.
async fn meet(
    stream: TcpStream,
    address: SocketAddr,
    front: &Front,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let limits = front.shared.config.limits;
    let Some(tls) = &front.tls else {
        return answer(stream, Peer::new(address), router, &limits, stop).await;
    };
    let limit = Duration::from_millis(limits.header_ms);
    let met = tokio::select! {
        met = tokio::time::timeout(limit, tls.current().accept(stream)) => met,
        _ = stop.changed() => return,
    };
    match met {
        Ok(Ok(stream)) => {
            let peer = peer_of(&stream, address);
            answer(stream, peer, router, &limits, stop).await;
        }
        Ok(Err(error)) => info!(%address, %error, "a connection by TLS was refused"),
        Err(_) => debug!(%address, "a connection by TLS was not made in time"),
    }
}

/// The other end of a connection by TLS, with what its certificate says.
fn peer_of(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Peer {
    let certificates = stream.get_ref().1.peer_certificates();
    let own = certificates.and_then(|all| all.first());
    Peer {
        certificate: own.and_then(|own| claimed_by(own)).map(Arc::new),
        ..Peer::new(address)
    }
}

/// Answers the requests of a connection until either side ends it; `who` is at its other end, and
/// found among each request's extensions.
pub(crate) async fn answer<S, W>(
    stream: S,
    who: W,
    router: Router,
    limits: &Limits,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    W: Clone + Send + Sync + 'static,
{
    let routes = TowerToHyperService::new(router);
    let hang_up = HangUp::default();
    let given = hang_up.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(given.clone());
        request.extensions_mut().insert(who.clone());
        routes.call(request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_ms))
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = hang_up.0.notified() => return,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
