//! HTTP/1.1 to slurmrestd, by hand: over a unix socket or TCP, with connections that are kept,
//! and with the one distinction that matters here and that no client library makes: whether
//! a request that failed had been sent.
//!
//! Left out: TLS, redirections, chunked answers. slurmrestd 22.05 has none of them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, getsockopt, recv, sockopt};

/// Most bytes of an answer; the description of the API is the largest, about 1 MiB.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Most bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// Most connections that are kept for the next request.
const MAX_KEPT: usize = 16;

/// Where slurmrestd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A unix socket, whose server must run as this process's user or as root.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is neither unix:/PATH nor ADDRESS:PORT");
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(expected()),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| expected())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server cannot have seen the whole request.
    #[error("nothing was sent to slurmrestd at {place}: {source}")]
    NotSent {
        /// Where it should be.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The request was sent; what became of it is not known.
    #[error("slurmrestd took the request and did not answer: {0}")]
    Lost(io::Error),
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// One request; headers are whole lines, each with its end.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) headers: String,
    pub(super) body: &'a [u8],
}

/// Connections to one server.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    limit: Duration,
    kept: Mutex<Vec<Stream>>,
}

impl Client {
    pub(super) fn new(place: Place, limit: Duration) -> Self {
        Self {
            place,
            limit,
            kept: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Sends one request and reads its answer, within the limit for both.
    pub(super) fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.limit;
        let not_sent = |source| Failure::NotSent {
            place: self.place.clone(),
            source,
        };
        let mut stream = self.connection(deadline).map_err(not_sent)?;
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{}\r\n",
            request.method,
            request.path,
            request.body.len(),
            request.headers
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body);
        // A server that lacks the end of a request cannot act on it.
        stream.write_all(&bytes, deadline).map_err(not_sent)?;
        let (answer, keep) = stream.read_answer(deadline).map_err(Failure::Lost)?;
        if keep {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < MAX_KEPT {
                kept.push(stream);
            }
        }
        Ok(answer)
    }

    /// A connection that the server has not closed, as far as can be known; a new one if none.
    fn connection(&self, deadline: Instant) -> io::Result<Stream> {
        loop {
            let kept = self
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            match kept {
                Some(stream) if stream.is_quiet() => return Ok(stream),
                Some(_) => {}
                None => return Stream::connect(&self.place, deadline),
            }
        }
    }
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(place: &Place, deadline: Instant) -> io::Result<Self> {
        match place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                let server = getsockopt(&stream, sockopt::PeerCredentials)?.uid();
                let own = nix::unistd::geteuid().as_raw();
                // Another user's server would read our jobs and run them as somebody else.
                if server != own && server != 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!("its server runs as uid {server}, not as {own} or root"),
                    ));
                }
                Ok(Self::Unix(stream))
            }
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, left(deadline)?)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    fn fd(&self) -> RawFd {
        match self {
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tcp(stream) => stream.as_raw_fd(),
        }
    }

    /// Whether nothing waits to be read: neither the end of the connection nor a stray answer.
    fn is_quiet(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(
            recv(self.fd(), &mut [0], flags),
            Err(nix::errno::Errno::EAGAIN)
        )
    }

    fn write_all(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let limit = Some(left(deadline)?);
            let written = match self {
                Self::Unix(stream) => {
                    stream.set_write_timeout(limit)?;
                    stream.write(rest)
                }
                Self::Tcp(stream) => {
                    stream.set_write_timeout(limit)?;
                    stream.write(rest)
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends what comes next; the end of the connection is an error.
    fn read_more(&mut self, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        loop {
            let limit = Some(left(deadline)?);
            let read = match self {
                Self::Unix(stream) => {
                    stream.set_read_timeout(limit)?;
                    stream.read(&mut chunk)
                }
                Self::Tcp(stream) => {
                    stream.set_read_timeout(limit)?;
                    stream.read(&mut chunk)
                }
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    bytes.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads one answer; says whether the connection may be used again.
    fn read_answer(&mut self, deadline: Instant) -> io::Result<(Answer, bool)> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = find(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > MAX_HEAD_BYTES {
                return Err(odd("a head without an end"));
            }
            self.read_more(&mut bytes, deadline)?;
        };
        let head = Head::parse(&bytes[..end])?;
        while bytes.len() < end + head.length {
            self.read_more(&mut bytes, deadline)?;
        }
        let keep = head.keep && bytes.len() == end + head.length;
        let body = bytes[end..end + head.length].to_vec();
        let status = head.status;
        Ok((Answer { status, body }, keep))
    }
}

/// What of an answer's head is used.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    keep: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| odd("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| {
            let rest = line.strip_prefix("HTTP/1.")?;
            rest.split(' ').nth(1)?.parse().ok()
        });
        let status = status.ok_or_else(|| odd("no status"))?;
        let (mut length, mut keep) = (None, true);
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().map_err(|_| odd("no number as its length"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(odd("chunks"));
            } else if name.eq_ignore_ascii_case("connection") {
                keep = !value.eq_ignore_ascii_case("close");
            }
        }
        let length = length.ok_or_else(|| odd("no length"))?;
        if length > MAX_BODY_BYTES {
            return Err(odd("more than 16 MiB"));
        }
        Ok(Self {
            status,
            length,
            keep,
        })
    }
}

fn odd(found: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("its answer has {found}"),
    )
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
