//! The node as a whole: CPU, memory and network counters.

use std::path::Path;

use crate::text::{keyed, lines, number, read_into, read_number, words};
use crate::{Roots, UNKNOWN, add};

/// Clock ticks in /proc/stat are always hundredths of a second to user space on Linux.
const TICK_NS: u64 = 10_000_000;

/// `type` of an InfiniBand network device (`ARPHRD_INFINIBAND`).
const INFINIBAND_TYPE: u64 = 32;

/// `type` of an Ethernet device (`ARPHRD_ETHER`).
pub(crate) const ETHERNET_TYPE: u64 = 1;

/// Bytes in a unit of InfiniBand's `port_*_data`.
pub(crate) const INFINIBAND_WORD_BYTES: u64 = 4;

/// How the network figures are obtained.
pub const NETWORK_METHOD: &str =
    "node traffic: all network devices but loopback, InfiniBand ports by their own counters";

/// One reading of the node; counters are cumulative since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeUse {
    /// Not idle, over all CPUs.
    pub cpu_busy_ns: u64,
    /// All time, over all CPUs.
    pub cpu_total_ns: u64,
    /// Not available now.
    pub memory_used_bytes: u64,
    /// Installed.
    pub memory_total_bytes: u64,
    /// Received.
    pub net_rx_bytes: u64,
    /// Sent.
    pub net_tx_bytes: u64,
}

/// Reads the node.
#[must_use]
pub fn read(roots: &Roots, buffer: &mut Vec<u8>) -> NodeUse {
    let (cpu_busy_ns, cpu_total_ns) = read_into(&roots.proc.join("stat"), buffer)
        .and_then(parse_cpu)
        .unwrap_or((UNKNOWN, UNKNOWN));
    let (memory_used_bytes, memory_total_bytes) = read_into(&roots.proc.join("meminfo"), buffer)
        .and_then(parse_memory)
        .unwrap_or((UNKNOWN, UNKNOWN));
    let (net_rx_bytes, net_tx_bytes) = read_network(roots, buffer);
    NodeUse {
        cpu_busy_ns,
        cpu_total_ns,
        memory_used_bytes,
        memory_total_bytes,
        net_rx_bytes,
        net_tx_bytes,
    }
}

/// The first line of /proc/stat. Time of guests is within user time already.
fn parse_cpu(text: &[u8]) -> Option<(u64, u64)> {
    const IDLE: usize = 3;
    const WAITING: usize = 4;
    let mut fields = words(lines(text).next()?);
    if fields.next()? != b"cpu" {
        return None;
    }
    let (mut busy, mut total) = (0_u64, 0_u64);
    let mut count = 0;
    for (index, field) in fields.take(8).enumerate() {
        let time_ns = number(field)?.saturating_mul(TICK_NS);
        total = add(total, time_ns);
        if index != IDLE && index != WAITING {
            busy = add(busy, time_ns);
        }
        count += 1;
    }
    (count > IDLE).then_some((busy, total))
}

fn parse_memory(text: &[u8]) -> Option<(u64, u64)> {
    let total = keyed(text, b"MemTotal")?.checked_mul(1024)?;
    let available = keyed(text, b"MemAvailable")?.checked_mul(1024)?;
    Some((total.saturating_sub(available), total))
}

fn read_network(roots: &Roots, buffer: &mut Vec<u8>) -> (u64, u64) {
    let devices = roots.sys.join("class/net");
    let ports = infiniband(&roots.sys.join("class/infiniband"), buffer);
    let mut types = Vec::new();
    let Some(text) = read_into(&roots.proc.join("net/dev"), buffer) else {
        return ports.unwrap_or((UNKNOWN, UNKNOWN));
    };
    let (mut received, mut sent) = ports.unwrap_or((0, 0));
    for (name, device_received, device_sent) in parse_net_dev(text) {
        // What IP moved over InfiniBand is in the port's counters already.
        let mut kind = || read_number(&devices.join(name).join("type"), &mut types);
        if ports.is_some() && name.starts_with("ib") && kind() == Some(INFINIBAND_TYPE) {
            continue;
        }
        received = add(received, device_received);
        sent = add(sent, device_sent);
    }
    (received, sent)
}

/// Devices of /proc/net/dev but loopback: name, bytes received, bytes sent.
pub(crate) fn parse_net_dev(text: &[u8]) -> impl Iterator<Item = (&str, u64, u64)> {
    lines(text).skip(2).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(line[..colon].trim_ascii()).ok()?;
        let mut fields = words(&line[colon + 1..]);
        let received = number(fields.next()?)?;
        let sent = number(fields.nth(7)?)?;
        (name != "lo").then_some((name, received, sent))
    })
}

/// Sums over InfiniBand ports; `None` if there are none.
fn infiniband(root: &Path, buffer: &mut Vec<u8>) -> Option<(u64, u64)> {
    let mut sum: Option<(u64, u64)> = None;
    for device in std::fs::read_dir(root).ok()?.flatten() {
        let Ok(ports) = std::fs::read_dir(device.path().join("ports")) else {
            continue;
        };
        for port in ports.flatten() {
            let layer = read_into(&port.path().join("link_layer"), buffer);
            // RoCE ports count in their Ethernet device.
            if layer.is_none_or(|name| name.trim_ascii() != b"InfiniBand") {
                continue;
            }
            let mut counter = |name: &str| {
                read_number(&port.path().join("counters").join(name), buffer)
                    .map_or(UNKNOWN, |words| words.saturating_mul(INFINIBAND_WORD_BYTES))
            };
            let (received, sent) = (counter("port_rcv_data"), counter("port_xmit_data"));
            let (known_received, known_sent) = sum.unwrap_or((0, 0));
            sum = Some((add(known_received, received), add(known_sent, sent)));
        }
    }
    sum
}
