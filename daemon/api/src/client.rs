//! A client that keeps its deadline whatever the daemon does.
//!
//! Blocking, without threads: the SPANK plugin runs it inside slurmstepd.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, send, socket,
};

use crate::{Envelope, ErrorCode, MAX_MESSAGE_BYTES, PROTOCOL_VERSION, Request, Response};

/// Why an exchange with `mizard` did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("mizard does not answer at {socket}")]
    Unreachable {
        /// The socket tried.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The deadline passed.
    #[error("mizard at {socket} did not answer within {} ms", .limit.as_millis())]
    Late {
        /// The socket tried.
        socket: PathBuf,
        /// The deadline.
        limit: Duration,
    },
    /// The answer is not of this protocol.
    #[error("mizard at {socket} answered something unreadable")]
    Unreadable {
        /// The socket tried.
        socket: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The request is longer than [`MAX_MESSAGE_BYTES`].
    #[error("the request to mizard is {bytes} bytes long; the limit is {MAX_MESSAGE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The daemon answered with an error.
    #[error("mizard refused: {message}")]
    Refused {
        /// Whose fault.
        code: ErrorCode,
        /// What it said.
        message: String,
    },
}

/// A way to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    limit: Duration,
}

impl Client {
    /// A client of the daemon at `socket` whose every exchange ends within `limit`.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>, limit: Duration) -> Self {
        Self {
            socket: socket.into(),
            limit,
        }
    }

    /// The socket it speaks to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks and waits for the answer; [`Response::Error`] becomes [`ClientError::Refused`].
    ///
    /// # Errors
    /// [`ClientError`]; never later than the limit.
    pub fn ask(&self, request: Request) -> Result<Response, ClientError> {
        let deadline = Instant::now() + self.limit;
        let mut stream = self.send_until(request, deadline)?;
        let mut line = Vec::new();
        let mut buffer = [0_u8; 4096];
        while !line.ends_with(b"\n") && line.len() <= MAX_MESSAGE_BYTES {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => line.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(&stream, PollFlags::POLLIN, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.unreachable(source)),
            }
        }
        match serde_json::from_slice(&line) {
            Ok(Response::Error { code, message }) => Err(ClientError::Refused { code, message }),
            Ok(response) => Ok(response),
            Err(source) => Err(ClientError::Unreadable {
                socket: self.socket.clone(),
                source,
            }),
        }
    }

    /// Sends without waiting for an answer.
    ///
    /// # Errors
    /// [`ClientError`] if the request could not be handed to the socket within the limit.
    pub fn tell(&self, request: Request) -> Result<(), ClientError> {
        self.send_until(request, Instant::now() + self.limit)
            .map(drop)
    }

    fn send_until(&self, request: Request, deadline: Instant) -> Result<UnixStream, ClientError> {
        let envelope = Envelope {
            version: PROTOCOL_VERSION,
            request,
        };
        let mut line = serde_json::to_vec(&envelope).expect("messages have only string keys");
        line.push(b'\n');
        if line.len() > MAX_MESSAGE_BYTES {
            return Err(ClientError::TooLong { bytes: line.len() });
        }
        if self.limit.is_zero() {
            return Err(self.late());
        }
        let stream = self.connect_until(deadline)?;
        let mut sent = 0;
        while sent < line.len() {
            // Without MSG_NOSIGNAL a daemon that hangs up would kill a host program that, unlike
            // Rust's own, has not set SIGPIPE aside: slurmstepd.
            match send(stream.as_raw_fd(), &line[sent..], MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => self.wait(&stream, PollFlags::POLLOUT, deadline)?,
                Err(Errno::EINTR) => {}
                Err(code) => return Err(self.unreachable(code.into())),
            }
        }
        Ok(stream)
    }

    /// Connects without blocking: a full backlog answers EAGAIN, which is retried until the
    /// deadline, because a hung daemon's backlog fills up.
    fn connect_until(&self, deadline: Instant) -> Result<UnixStream, ClientError> {
        let address = UnixAddr::new(&self.socket).map_err(|e| self.unreachable(e.into()))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .map_err(|e| self.unreachable(e.into()))?;
        let stream = UnixStream::from(fd);
        loop {
            match connect(stream.as_raw_fd(), &address) {
                Ok(()) => return Ok(stream),
                Err(Errno::EAGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::EAGAIN) => return Err(self.late()),
                Err(Errno::EINPROGRESS) => {
                    self.wait(&stream, PollFlags::POLLOUT, deadline)?;
                    return match getsockopt(&stream, SocketError) {
                        Ok(0) => Ok(stream),
                        Ok(code) => Err(self.unreachable(io::Error::from_raw_os_error(code))),
                        Err(code) => Err(self.unreachable(code.into())),
                    };
                }
                Err(Errno::EINTR) => {}
                Err(code) => return Err(self.unreachable(code.into())),
            }
        }
    }

    /// Waits for what only the daemon can bring about. The deadline is for waiting alone: a
    /// process that got no CPU until it had passed still takes what is there, at no cost.
    fn wait(
        &self,
        stream: &UnixStream,
        events: PollFlags,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        use std::os::fd::AsFd;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left_ms = left.as_micros().div_ceil(1000);
            let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(stream.as_fd(), events)], timeout) {
                Ok(0) => return Err(self.late()),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(code) => return Err(self.unreachable(code.into())),
            }
        }
    }

    fn late(&self) -> ClientError {
        ClientError::Late {
            socket: self.socket.clone(),
            limit: self.limit,
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable {
            socket: self.socket.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn listener() -> (tempfile::TempDir, PathBuf, UnixListener) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mizard.sock");
        let listener = UnixListener::bind(&path).unwrap();
        (folder, path, listener)
    }

    #[test]
    fn a_hung_daemon_costs_no_more_than_the_limit() {
        let (_folder, path, _listener) = listener();
        let client = Client::new(&path, Duration::from_millis(40));
        let start = Instant::now();
        // The backlog takes some; past it connect() answers EAGAIN. All must end in time.
        for _ in 0..5 {
            assert!(matches!(
                client.ask(Request::Ping),
                Err(ClientError::Late { .. })
            ));
        }
        assert!(
            start.elapsed() < Duration::from_millis(5 * 40 + 200),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn time_without_a_cpu_costs_no_message() {
        let (_folder, path, daemon) = listener();
        // As after a long while off the CPU: the deadline has passed, nothing needs waiting.
        let client = Client::new(&path, Duration::from_nanos(1));
        client.tell(Request::Ping).unwrap();
        let (mut stream, _) = daemon.accept().unwrap();
        let mut line = String::new();
        stream.read_to_string(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{line}");
        assert!(matches!(
            client.ask(Request::Ping),
            Err(ClientError::Late { .. })
        ));
        let spent = Client::new(&path, Duration::ZERO);
        assert!(matches!(
            spent.tell(Request::Ping),
            Err(ClientError::Late { .. })
        ));
    }

    #[test]
    fn a_stale_socket_and_a_missing_one_are_unreachable_at_once() {
        let (folder, path, daemon) = listener();
        drop(daemon);
        for socket in [path, folder.path().join("none.sock")] {
            let start = Instant::now();
            let answer = Client::new(&socket, Duration::from_secs(5)).ask(Request::Ping);
            assert!(
                matches!(answer, Err(ClientError::Unreachable { .. })),
                "{answer:?}"
            );
            assert!(start.elapsed() < Duration::from_secs(1));
        }
    }

    #[test]
    fn an_answer_of_garbage_or_nothing_is_unreadable() {
        for garbage in ["", "{}\n", "not json\n"] {
            let (_folder, path, daemon) = listener();
            let serve = std::thread::spawn(move || {
                let (mut stream, _) = daemon.accept().unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(garbage.as_bytes()).unwrap();
            });
            let answer = Client::new(&path, Duration::from_secs(5)).ask(Request::Ping);
            assert!(
                matches!(answer, Err(ClientError::Unreadable { .. })),
                "{answer:?}"
            );
            serve.join().unwrap();
        }
    }

    #[test]
    fn a_refusal_carries_code_and_message() {
        let (_folder, path, daemon) = listener();
        let serve = std::thread::spawn(move || {
            let (mut stream, _) = daemon.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            let envelope: Envelope = serde_json::from_slice(&request[..count]).unwrap();
            assert_eq!(
                envelope,
                Envelope {
                    version: PROTOCOL_VERSION,
                    request: Request::Ping
                }
            );
            let refusal = Response::Error {
                code: ErrorCode::Denied,
                message: "not yours".to_owned(),
            };
            serde_json::to_writer(&mut stream, &refusal).unwrap();
            stream.write_all(b"\n").unwrap();
        });
        let answer = Client::new(&path, Duration::from_secs(5)).ask(Request::Ping);
        assert!(
            matches!(&answer, Err(ClientError::Refused { code: ErrorCode::Denied, message }) if message == "not yours"),
            "{answer:?}"
        );
        serve.join().unwrap();
    }
}
