//! The socket: accepts, learns the peer's uid from the kernel, reads one bounded line in
//! bounded time, answers, closes.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mizar_api::{ErrorCode, MAX_MESSAGE_BYTES, Response};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use crate::rings::ffi::receive;
use crate::serve::{Peer, Service};
use crate::shared::Shared;

/// A client that has not sent its line, or taken its answer, by then is dropped.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(2);

/// The longest line of an ordinary user: a path with every byte escaped fits. What connections
/// hold in memory is bounded by this and not by what a step's registration may need.
const MAX_USER_MESSAGE_BYTES: usize = 32 << 10;

/// After a failed accept (no file descriptors left): not at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("another mizard answers at {0}; stop it, or give this one another `socket`")]
    Taken(PathBuf),
    #[error("{0} exists and is no socket; remove it, or configure another `socket`")]
    NoSocket(PathBuf),
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Binds the socket, replacing one that nobody listens at.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| SocketError::Io {
            action,
            path,
            source,
        }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(status) if !status.file_type().is_socket() => {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        Ok(_) => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(SocketError::Taken(path.to_owned()));
            }
            std::fs::remove_file(path).map_err(failed("replace"))?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen at"))?;
    // Everybody may connect; what they may ask is decided by uid.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(failed("open to all users"))?;
    Ok(listener)
}

/// Connections open now, by user.
#[derive(Default)]
struct Open {
    total: usize,
    by_uid: HashMap<u32, usize>,
}

/// A place among the open connections, given back on drop.
struct Place {
    open: Arc<Mutex<Open>>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.by_uid.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                open.by_uid.remove(&self.uid);
            }
        }
    }
}

/// Serves until the runtime is dropped.
pub(crate) async fn serve(listener: UnixListener, service: Arc<Service>, shared: Arc<Shared>) {
    let open = Arc::new(Mutex::new(Open::default()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(peer) = stream.peer_cred() else {
            continue;
        };
        let peer = Peer {
            uid: peer.uid(),
            pid: peer.pid(),
        };
        let uid = peer.uid;
        match place(&open, uid, &service, &shared) {
            Some(place) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    // A client that is late or gone is its own loss.
                    let _ = tokio::time::timeout(EXCHANGE_LIMIT, exchange(stream, peer, &service))
                        .await;
                    drop(place);
                });
            }
            None => {
                shared
                    .counters
                    .refused_connections
                    .fetch_add(1, Ordering::Relaxed);
                refuse(&stream);
            }
        }
    }
}

/// A place for one more connection, unless the daemon's or the user's are taken. A share is
/// kept for administrators, so that no user's clients keep the plugin out.
fn place(open: &Arc<Mutex<Open>>, uid: u32, service: &Service, shared: &Shared) -> Option<Place> {
    let config = &shared.config;
    let mut now = open.lock().unwrap_or_else(PoisonError::into_inner);
    let mine = now.by_uid.get(&uid).copied().unwrap_or(0);
    let admin = service.is_admin(uid);
    let users_share = config.max_connections - config.max_connections.div_ceil(4);
    let limit = if admin {
        config.max_connections
    } else {
        users_share
    };
    if now.total >= limit || (!admin && mine >= config.max_user_connections) {
        return None;
    }
    now.total += 1;
    *now.by_uid.entry(uid).or_default() += 1;
    Some(Place {
        open: Arc::clone(open),
        uid,
    })
}

fn refuse(stream: &UnixStream) {
    let message = "too many connections; try again later".to_owned();
    let answer = encode(&Response::Error {
        code: ErrorCode::Limit,
        message,
    });
    // Never waits: the answer fits into an empty socket buffer.
    let _ = stream.try_write(&answer);
}

async fn exchange(mut stream: UnixStream, peer: Peer, service: &Service) -> io::Result<()> {
    let limit = if service.is_admin(peer.uid) {
        MAX_MESSAGE_BYTES
    } else {
        MAX_USER_MESSAGE_BYTES
    };
    let mut line = Vec::new();
    let mut block = [0; 8192];
    let mut file = None;
    let answer = loop {
        let socket = stream.as_raw_fd();
        let count = stream
            .async_io(Interest::READABLE, || {
                receive(socket, &mut block, &mut file)
            })
            .await?;
        if count == 0 {
            return Ok(());
        }
        let end = block[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&block[..end.unwrap_or(count)]);
        if line.len() > limit {
            let message = format!("the request is longer than {limit} bytes");
            break Response::Error {
                code: ErrorCode::Limit,
                message,
            };
        }
        if end.is_some() {
            break service.answer(&line, peer, file.take());
        }
    };
    stream.write_all(&encode(&answer)).await?;
    stream.shutdown().await
}

fn encode(answer: &Response) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).expect("messages have only string keys");
    line.push(b'\n');
    line
}
