//! The plugin API at a Unix socket, for an API server of interLink on this machine or in this pod.
//!
//! Who may ask is decided by the peer's uid, as the kernel tells it: no token is needed, and nobody
//! else is answered. There is nothing but the plugin API here. Left out: a socket for anything else;
//! TLS, which a socket does not need.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Interlink;
use crate::http::connections::{accept_all, answer};
use crate::http::{Front, plugin_router};
use crate::identity::{Caller, How};

/// Most connections at once: one API server has a few.
const CONNECTIONS: usize = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else is there.
    #[error("{} is there already and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// Somebody listens there.
    #[error("somebody else listens at {}", .0.display())]
    Taken(PathBuf),
    /// The system refuses.
    #[error("cannot listen at {}", .path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

/// Listens where the settings say, in the place of a socket that was left behind.
///
/// # Errors
/// [`SocketError`].
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError::System {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        Ok(_) if Probe::connect(path).is_ok() => return Err(SocketError::Taken(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Everybody may connect; whom it answers is decided by uid.
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, open).map_err(failed)?;
    Ok(listener)
}

/// Serves the plugin API until `stop` says so, then takes the socket away and lets open requests end.
pub async fn serve(mut listener: UnixListener, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let Some(settings) = front.shared.config.interlink.clone() else {
        return;
    };
    info!(socket = ?settings.socket, "the plugin API listens");
    let stopped = stop.clone();
    let attend = |stream: UnixStream, _| {
        let caller = caller(&stream, &settings)?;
        let (front, stop) = (Arc::clone(&front), stopped.clone());
        Some(async move {
            let limits = front.shared.config.limits;
            answer(stream, caller, plugin_router(front), &limits, stop).await;
        })
    };
    let open = accept_all(&mut listener, CONNECTIONS, attend, &mut stop).await;
    drop(listener);
    if let Some(path) = &settings.socket {
        let _ = std::fs::remove_file(path);
    }
    open.drain().await;
}

/// Who is at the other end, if it may ask: this process's own user, or one that the site named.
fn caller(stream: &UnixStream, settings: &Interlink) -> Option<Caller> {
    let uid = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => {
            warn!(%error, "the kernel does not tell who is at the socket");
            return None;
        }
    };
    let own = nix::unistd::geteuid().as_raw();
    if uid != own && !settings.socket_uids.contains(&uid) {
        warn!(
            uid,
            "a user that interlink.socket_uids does not name is not answered"
        );
        return None;
    }
    // An API server speaks for all pods of its cluster.
    Some(Caller::of_site(format!("uid:{uid}"), How::Token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.sock");
        let first = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(SocketError::Taken(_))));
        drop(first);
        bind(&path).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(bind(&file), Err(SocketError::NoSocket(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(bind(&link), Err(SocketError::NoSocket(_))));
        let nowhere = folder.path().join("no/where");
        assert!(matches!(bind(&nowhere), Err(SocketError::System { .. })));
    }

    #[tokio::test]
    async fn only_named_users_are_answered() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let named = |uids: &[u32]| Interlink {
            socket_uids: uids.to_vec(),
            ..Interlink::default()
        };
        let found = caller(&one, &named(&[])).unwrap();
        assert_eq!(found.name, format!("uid:{own}"));
    }
}
