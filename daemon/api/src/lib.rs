//! The one contract between the SPANK plugin, the `mizar` command and `mizard`.
//!
//! A client connects to the daemon's unix socket, writes one [`Envelope`] as a line of JSON,
//! and reads one [`Response`] line. Each exchange is bounded in bytes ([`MAX_MESSAGE_BYTES`])
//! and in time (the client's deadline); the daemon closes the connection after its answer.
//!
//! Invariant: the client never blocks past its deadline, whatever the daemon does, because
//! one of the clients is a Slurm plugin inside a user's job.
//!
//! Left out on purpose: any decision. Who may send what is the daemon's to say (by the peer's
//! uid); what to do about a dead daemon is the caller's.

pub mod calls;
pub mod client;
pub mod message;
pub mod ring;

pub use client::{Client, ClientError};
pub use message::*;
pub use ring::RingOffer;

/// The protocol spoken here; a daemon refuses other numbers with [`ErrorCode::Version`].
pub const PROTOCOL_VERSION: u16 = 1;

/// The longest line either side accepts: a step of 512 tasks with their command fits.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Where `mizard` listens unless the site says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/mizar/mizard.sock";

/// Where the library for `--mizar=comm` lies unless the site says otherwise.
pub const DEFAULT_COMM_LIBRARY: &str = "/usr/local/lib/libmizar_comm.so";

/// Variable that names another socket for commands (never for the plugin).
pub const SOCKET_VARIABLE: &str = "MIZAR_SOCKET";
