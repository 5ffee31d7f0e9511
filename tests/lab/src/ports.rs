//! A block of TCP ports for one lab, so that labs of several processes do not meet.
//!
//! The block is claimed by binding an abstract unix socket named after it: the kernel drops
//! the claim when the owner dies, whatever kills it, and no lock file stays behind.

use crate::LabError;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Ports in a block: slurmctld, slurmdbd, slurmrestd, a few for daemons of the test, one per node.
pub(crate) const BLOCK: u16 = 96;
/// Ports of a block that belong to no node.
const SERVICES: u16 = 16;
/// The first block; blocks end below the kernel's usual range of ephemeral ports (32768).
const FIRST: u16 = 17_000;
const BLOCKS: u16 = 160;

/// A claimed block of ports, given back when dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    base: u16,
    _claim: UnixListener,
}

impl Ports {
    /// Claims a block of which `nodes` node ports and all service ports are free.
    pub(crate) fn claim(nodes: u32) -> Result<Self, LabError> {
        // Different processes begin at different blocks, so that they rarely contend.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for step in 0..BLOCKS {
            let base = FIRST + (start + step) % BLOCKS * BLOCK;
            let name = format!("mizar-lab-ports-{base}");
            let Ok(address) = SocketAddr::from_abstract_name(name) else {
                continue;
            };
            let Ok(claim) = UnixListener::bind_addr(&address) else {
                continue;
            };
            let needed = SERVICES + u16::try_from(nodes).unwrap_or(BLOCK - SERVICES);
            let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if (base..base + needed).all(free) {
                return Ok(Self {
                    base,
                    _claim: claim,
                });
            }
        }
        Err(LabError::NoPorts { block: BLOCK })
    }

    pub(crate) fn controller(&self) -> u16 {
        self.base
    }

    pub(crate) fn database(&self) -> u16 {
        self.base + 1
    }

    /// The port of the slurmrestd that wants tokens.
    pub(crate) fn rest(&self) -> u16 {
        self.base + 2
    }

    /// A port that the lab itself does not use, for a daemon of a test.
    pub(crate) fn spare(&self, index: u16) -> u16 {
        self.base + 3 + index % (SERVICES - 3)
    }

    /// The port of the first node's slurmd; the others follow it.
    pub(crate) fn first_node(&self) -> u16 {
        self.base + SERVICES
    }
}

/// The most nodes that a block has ports for.
pub(crate) const MOST_NODES: u32 = (BLOCK - SERVICES) as u32;
