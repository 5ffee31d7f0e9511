//! Hands the ring to the daemon: memory that cannot shrink, as a file descriptor beside one
//! line. The daemon's answer is not waited for.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use mizar_api::ring::{RING_BYTES, Ring, RingOffer};
use mizar_api::{Envelope, PROTOCOL_VERSION, Request, SOCKET_VARIABLE};
use mizar_core::ids::{JobId, Rank, StepId};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    setsockopt, socket,
};
use nix::sys::stat::fstat;
use nix::sys::time::{TimeVal, TimeValLike};

use crate::ffi::memory;

/// What one offer may take: the daemon's queue may be full. Two such waits are possible
/// (connect, send), and together they stay below 50 ms.
const WAIT_MS: i64 = 20;

/// Where a task's rank stands, most trusted first; MPI itself goes before all.
const RANK_VARIABLES: [&str; 4] = [
    "SLURM_PROCID",
    "PMIX_RANK",
    "PMI_RANK",
    "OMPI_COMM_WORLD_RANK",
];

/// A ring that was offered, and can be again.
#[derive(Clone, Debug)]
pub(crate) struct Offered(Arc<Place>);

#[derive(Debug)]
struct Place {
    socket: PathBuf,
    line: Vec<u8>,
    memory: OwnedFd,
    /// Device and number: a program may close descriptors that it did not open.
    identity: (u64, u64),
}

/// Makes a ring, which `prepare` makes readable, and offers it; `None` without Mizar's
/// environment or a daemon that takes it.
pub(crate) fn first(prepare: impl FnOnce(&Ring)) -> Option<(&'static Ring, Offered)> {
    let socket = PathBuf::from(std::env::var_os(SOCKET_VARIABLE)?);
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let job = JobId(number("MIZAR_JOB_ID")?);
    let step: StepId = std::env::var("MIZAR_STEP_ID").ok()?.parse().ok()?;
    let rank = RANK_VARIABLES
        .iter()
        .find_map(|name| number(name))
        .map(Rank);
    let request = Request::Ring(RingOffer { job, step, rank });
    let envelope = Envelope {
        version: PROTOCOL_VERSION,
        request,
    };
    let mut line = serde_json::to_vec(&envelope).ok()?;
    line.push(b'\n');
    let memory = make_memory().ok()?;
    let status = fstat(&memory).ok()?;
    let ring = memory::map_ring(&memory)?;
    prepare(ring);
    let offered = Offered(Arc::new(Place {
        socket,
        line,
        memory,
        identity: (status.st_dev, status.st_ino),
    }));
    offered.send().ok()?;
    Some((ring, offered))
}

fn make_memory() -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"mizar-ring", flags)?;
    nix::unistd::ftruncate(&memory, RING_BYTES as i64)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memory)
}

impl Offered {
    /// Offers it again; a daemon that has it already takes no notice.
    pub(crate) fn again(&self) {
        let is_ours = fstat(&self.0.memory)
            .is_ok_and(|status| (status.st_dev, status.st_ino) == self.0.identity);
        if is_ours {
            // Without a daemon now: there may be one at the next time.
            let _ = self.send();
        }
    }

    fn send(&self) -> nix::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        setsockopt(&stream, SendTimeout, &TimeVal::milliseconds(WAIT_MS))?;
        let address = UnixAddr::new(&self.0.socket)?;
        connect(stream.as_raw_fd(), &address)?;
        let descriptors = [self.0.memory.as_raw_fd()];
        sendmsg::<UnixAddr>(
            stream.as_raw_fd(),
            &[IoSlice::new(&self.0.line)],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
    }
}
