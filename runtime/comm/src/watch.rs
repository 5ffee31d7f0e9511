//! Ranks that end early are noticed by the others, wherever they wait.
//!
//! MPI does not tell: a collective whose peer was killed waits for ever, unless the launcher
//! ends the job. So every rank keeps one TCP connection to rank 0, over which nothing is said
//! but a goodbye at the end; a connection that ends without one is a lost rank. Whoever runs
//! ranks calls [`Watch::start`] after [`world`](crate::world).
//!
//! Rank 0 tells the others port and token over the communicator, so a stranger that connects
//! is not taken for a rank. Where no connection can be made (a firewall between nodes) the
//! ranks run unwatched, as any MPI program does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{Communicator, Result};

/// A host that answers at all answers within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a rank that cannot reach the first keeps the others waiting.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// A connection must say who it is within this.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// A silent host is asked after so many seconds, then every second, so often: lost after 8 s.
const KEEP_ALIVE: (u32, u32, u32) = (4, 1, 4);

const TOKEN_BYTES: usize = 16;
const GOODBYE: u8 = b'.';

/// A rank that ended without a goodbye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRank {
    /// Which.
    pub rank: usize,
    /// The name of its host.
    pub host: String,
    /// Whether the caller is the one of those left that should tell the user.
    pub tells: bool,
}

/// Watches the other ranks until it is dropped.
#[derive(Debug)]
pub struct Watch {
    /// Its end tells the thread that the run is over.
    over: Option<UnixStream>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What rank 0 tells the others.
struct Invitation {
    port: u16,
    token: [u8; TOKEN_BYTES],
    addresses: Vec<IpAddr>,
}

impl Watch {
    /// Begins. Collective over `comm`. `on_lost` is called at most once, on a thread of the
    /// watch; it is expected to end the process ([`end_process`]), because the thread that
    /// computes may be waiting for the lost rank.
    ///
    /// # Errors
    /// [`CommError`](crate::CommError) if the ranks cannot even exchange addresses.
    pub fn start(
        comm: &dyn Communicator,
        on_lost: impl FnOnce(LostRank) + Send + 'static,
    ) -> Result<Self> {
        let mut watch = Self {
            over: None,
            thread: None,
        };
        if comm.size() == 1 {
            return Ok(watch);
        }
        let names = comm.all_gather(host_name().as_bytes())?;
        let hosts: Vec<String> = names.iter().map(|name| lossy(name)).collect();
        let listener = (comm.rank() == 0).then(listen).flatten();
        let mut bytes = match &listener {
            Some((_, invitation)) => invitation.to_bytes(),
            None => Vec::new(),
        };
        comm.broadcast(0, &mut bytes)?;
        // Where there is none, no rank has one.
        let Some(invitation) = Invitation::from_bytes(&bytes) else {
            return Ok(watch);
        };
        let (rank, size) = (comm.rank(), comm.size());
        let (connected, has_connected) = mpsc::channel();
        if let Ok((ours, over)) = UnixStream::pair() {
            let thread = std::thread::Builder::new().name("watch".to_owned());
            let body = move || match listener {
                Some((listener, invitation)) => {
                    // It accepts whoever comes, so there is nothing to wait for.
                    drop(connected);
                    watch_all(&listener, &invitation, size, &hosts, &over, on_lost);
                }
                None => {
                    if let Some(stream) = connect(&invitation, rank) {
                        let _ = connected.send(());
                        watch_first(stream, rank, &hosts, &over, on_lost);
                    }
                }
            };
            watch.over = Some(ours);
            watch.thread = thread.spawn(body).ok();
        }
        // Whoever is lost from here on is noticed: a rank that connected only after the first
        // had ended would find nobody there and run unwatched.
        let _ = has_connected.recv_timeout(CONNECTED_WITHIN);
        comm.barrier()?;
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Ends the process at once, from any thread, without what libraries do at exit: they could
/// wait for the thread that waits for the lost rank.
pub fn end_process(code: i32) -> ! {
    ffi::exit(code)
}

impl Invitation {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.port.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.token);
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        bytes.extend(addresses.collect::<Vec<_>>().join(" ").bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (port, rest) = bytes.split_first_chunk::<2>()?;
        let (token, rest) = rest.split_first_chunk::<TOKEN_BYTES>()?;
        let addresses = lossy(rest);
        let addresses = addresses
            .split(' ')
            .map(str::parse)
            .collect::<std::result::Result<_, _>>();
        Some(Self {
            port: u16::from_le_bytes(*port),
            token: *token,
            addresses: addresses.ok()?,
        })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name.and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// Opens the port and lists where it can be reached; `None` where that is not possible.
fn listen() -> Option<(TcpListener, Invitation)> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    listener.set_nonblocking(true).ok()?;
    let token = crate::random::bytes().ok()?;
    let of_interface = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        Some(IpAddr::V4(address.as_sockaddr_in()?.ip()))
    };
    let mut addresses: Vec<IpAddr> = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces.filter_map(of_interface).collect(),
        Err(_) => Vec::new(),
    };
    // Ranks of one host need no network.
    addresses.sort_by_key(|address| !address.is_loopback());
    addresses.dedup();
    let port = listener.local_addr().ok()?.port();
    let invitation = Invitation {
        port,
        token,
        addresses,
    };
    Some((listener, invitation))
}

/// Rank 0: takes the connections of all others and waits for one to end.
fn watch_all(
    listener: &TcpListener,
    invitation: &Invitation,
    size: usize,
    hosts: &[String],
    over: &UnixStream,
    on_lost: impl FnOnce(LostRank),
) {
    let mut peers: BTreeMap<usize, TcpStream> = BTreeMap::new();
    while !wait(
        over,
        peers
            .values()
            .map(|peer| peer as &dyn AsFd)
            .chain([listener as &dyn AsFd]),
    ) {
        if let Ok((stream, _)) = listener.accept()
            && let Some(rank) = greeted(&stream, &invitation.token, size)
        {
            keep_alive(&stream);
            let _ = stream.set_nonblocking(true);
            peers.insert(rank, stream);
        }
        let mut lost = None;
        peers.retain(|&rank, peer| match ended(peer) {
            None => true,
            Some(well) => {
                lost = lost.or((!well).then_some(rank));
                false
            }
        });
        if let Some(rank) = lost {
            let host = hosts[rank].clone();
            return on_lost(LostRank {
                rank,
                host,
                tells: true,
            });
        }
    }
    peers.values_mut().for_each(|peer| {
        let _ = peer.write_all(&[GOODBYE]);
    });
}

/// Others: wait for rank 0, to which they are connected, to end.
fn watch_first(
    mut stream: TcpStream,
    rank: usize,
    hosts: &[String],
    over: &UnixStream,
    on_lost: impl FnOnce(LostRank),
) {
    keep_alive(&stream);
    let _ = stream.set_nonblocking(true);
    while !wait(over, [&stream as &dyn AsFd]) {
        match ended(&mut stream) {
            None => {}
            Some(true) => return,
            Some(false) => {
                return on_lost(LostRank {
                    rank: 0,
                    host: hosts[0].clone(),
                    tells: rank == 1,
                });
            }
        }
    }
    let _ = stream.write_all(&[GOODBYE]);
}

/// Waits until one of them can be read, and tells whether the run is over.
fn wait<'a>(over: &UnixStream, others: impl IntoIterator<Item = &'a dyn AsFd>) -> bool {
    let readable = |stream| PollFd::new(stream, PollFlags::POLLIN);
    let mut waited = vec![readable(over.as_fd())];
    waited.extend(others.into_iter().map(|other| readable(other.as_fd())));
    // An interrupted wait tells nothing: the caller looks and waits again.
    let _ = poll(&mut waited, PollTimeout::NONE);
    waited[0].revents().is_some_and(|events| !events.is_empty())
}

fn connect(invitation: &Invitation, rank: usize) -> Option<TcpStream> {
    let mut greeting = invitation.token.to_vec();
    greeting.extend_from_slice(&(rank as u32).to_le_bytes());
    invitation.addresses.iter().find_map(|&address| {
        let address = SocketAddr::new(address, invitation.port);
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
        stream.set_read_timeout(Some(GREETING_TIMEOUT)).ok()?;
        stream.write_all(&greeting).ok()?;
        // Another program on that port of another host would not answer so.
        let mut answer = [0; TOKEN_BYTES];
        stream.read_exact(&mut answer).ok()?;
        (answer == invitation.token).then_some(stream)
    })
}

/// Who a new connection is, if it knows the token.
fn greeted(mut stream: &TcpStream, token: &[u8; TOKEN_BYTES], size: usize) -> Option<usize> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT)).ok()?;
    let mut greeting = [0; TOKEN_BYTES + 4];
    stream.read_exact(&mut greeting).ok()?;
    let (found, rank) = greeting.split_first_chunk::<TOKEN_BYTES>()?;
    let rank = u32::from_le_bytes(rank.try_into().ok()?) as usize;
    if found != token || rank == 0 || rank >= size {
        return None;
    }
    stream.write_all(token).ok()?;
    Some(rank)
}

/// Whether a connection ended, and if so, whether with a goodbye.
fn ended(stream: &mut TcpStream) -> Option<bool> {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => Some(false),
        Ok(_) => Some(byte[0] == GOODBYE),
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => None,
            _ => Some(false),
        },
    }
}

/// A host that vanished without a word is noticed too. Best effort.
fn keep_alive(stream: &TcpStream) {
    let (idle, interval, count) = KEEP_ALIVE;
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &idle);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &interval);
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &count);
}

mod ffi {
    #![allow(
        unsafe_code,
        reason = "the standard library's exit runs handlers of C libraries"
    )]

    pub(super) fn exit(code: i32) -> ! {
        // SAFETY: `_exit` may be called at any time; it does not return.
        unsafe { libc::_exit(code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_threads;

    #[test]
    fn an_invitation_survives_its_bytes() {
        let invitation = Invitation {
            port: 4242,
            token: [7; TOKEN_BYTES],
            addresses: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 1, 2, 3])],
        };
        let back = Invitation::from_bytes(&invitation.to_bytes()).unwrap();
        assert_eq!((back.port, back.token), (4242, [7; TOKEN_BYTES]));
        assert_eq!(back.addresses, invitation.addresses);
        assert!(Invitation::from_bytes(&[1, 2, 3]).is_none());
    }

    #[test]
    fn ranks_that_say_goodbye_are_not_lost() {
        let losses = run_threads(3, |comm| {
            let (tell, told) = mpsc::channel();
            let watch = Watch::start(comm, move |lost| tell.send(lost).unwrap()).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            comm.barrier().unwrap();
            drop(watch);
            told.try_recv().ok()
        });
        assert_eq!(losses, [None, None, None]);
    }

    /// A job of a second must not take two: ending once waited for the next look.
    #[test]
    fn the_end_is_not_waited_for() {
        let waited = run_threads(2, |comm| {
            let watch = Watch::start(comm, |_| {}).unwrap();
            std::thread::sleep(Duration::from_millis(10));
            comm.barrier().unwrap();
            let start = std::time::Instant::now();
            drop(watch);
            start.elapsed()
        });
        let longest = waited.into_iter().max().unwrap();
        assert!(longest < Duration::from_millis(150), "{longest:?}");
    }

    #[test]
    fn a_stranger_and_a_rank_that_vanishes_are_told_apart() {
        let (listener, invitation) = listen().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], invitation.port));
        let invited = Invitation::from_bytes(&invitation.to_bytes()).unwrap();
        let (tell, told) = mpsc::channel();
        let (_running, over) = UnixStream::pair().unwrap();
        let hosts: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let thread = std::thread::spawn(move || {
            watch_all(&listener, &invitation, 3, &hosts, &over, move |lost| {
                tell.send(lost).unwrap();
            });
        });
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(&[0; TOKEN_BYTES + 4]).unwrap();
        drop(stranger);
        let mut well = connect(&invited, 1).unwrap();
        let vanishing = connect(&invited, 2).unwrap();
        well.write_all(&[GOODBYE]).unwrap();
        assert!(told.recv_timeout(Duration::from_millis(600)).is_err());
        drop(vanishing);
        let lost = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!((lost.rank, lost.host.as_str(), lost.tells), (2, "c", true));
        thread.join().unwrap();
    }
}
