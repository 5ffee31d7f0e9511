//! Counters of each network device and network file system of the node: who carried what, and
//! what held it up.
//!
//! Beside the sums of [`machine`](crate::machine), which every sample has. Counters are those of
//! the node, of all its jobs together, cumulative since the device or the mount began. Each is
//! named by class, device and quantity.

use std::path::{Path, PathBuf};

use crate::text::{lines, number, read_into, read_number, words};
use crate::{Roots, machine};

/// Counters that are read of one node; a node of more devices than that is not believed.
const MAX_COUNTERS: usize = 512;

/// Counters of an InfiniBand port: file, quantity, unit, factor.
const PORT_COUNTERS: [(&str, &str, &str, u64); 5] = [
    (
        "port_rcv_data",
        "received",
        "bytes",
        machine::INFINIBAND_WORD_BYTES,
    ),
    (
        "port_xmit_data",
        "sent",
        "bytes",
        machine::INFINIBAND_WORD_BYTES,
    ),
    ("port_xmit_wait", "waited to send", "ticks", 1),
    ("port_rcv_errors", "receive errors", "packets", 1),
    ("link_downed", "link lost", "times", 1),
];

/// Counters of RDMA over Ethernet that tell of congestion, by their file in `hw_counters`; each
/// maker has some.
const ROCE_COUNTERS: [(&str, &str); 7] = [
    ("tx_rdma_retx_pkts", "sent again"),
    ("packet_seq_err", "out of sequence"),
    ("out_of_sequence", "out of sequence"),
    ("local_ack_timeout_err", "acknowledgements late"),
    ("rp_cnp_handled", "slowed down by congestion"),
    ("np_cnp_sent", "congestion told"),
    ("rnr_nak_retry_err", "receiver not ready"),
];

/// One counter and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `ethernet`, `infiniband`, `roce`, `slingshot`, `lustre` or `nfs`.
    pub class: &'static str,
    /// The device (`eth0`, `mlx5_0:1`, `cxi0`) or file system (`scratch`, `server:/home`).
    pub device: String,
    /// `received`, `sent`, `read`, `written` or what else is counted.
    pub quantity: &'static str,
    /// `bytes`, `packets`, `ticks` or `times`.
    pub unit: &'static str,
    /// Cumulative.
    pub value: u64,
}

/// Reads all counters there are. Nothing here is kept open: devices and mounts come and go.
#[must_use]
pub fn read(roots: &Roots, buffer: &mut Vec<u8>) -> Vec<Counter> {
    let mut found = Vec::new();
    ethernet(roots, buffer, &mut found);
    infiniband(&roots.sys.join("class/infiniband"), buffer, &mut found);
    slingshot(&roots.sys.join("class/cxi"), buffer, &mut found);
    // Older and newer releases of Lustre.
    lustre(&roots.proc.join("fs/lustre/llite"), buffer, &mut found);
    lustre(
        &roots.sys.join("kernel/debug/lustre/llite"),
        buffer,
        &mut found,
    );
    nfs(&roots.proc.join("self/mountstats"), &mut found);
    found.truncate(MAX_COUNTERS);
    found
}

fn push(
    found: &mut Vec<Counter>,
    class: &'static str,
    device: &str,
    (quantity, unit): (&'static str, &'static str),
    value: Option<u64>,
) {
    let Some(value) = value else { return };
    let device = device.to_owned();
    // A second path to the same thing.
    let is_known = found
        .iter()
        .any(|known| (known.class, known.quantity) == (class, quantity) && known.device == device);
    if !is_known {
        found.push(Counter {
            class,
            device,
            quantity,
            unit,
            value,
        });
    }
}

/// Devices with hardware behind them: what runs over a bridge or a container's pair is counted
/// there already.
fn ethernet(roots: &Roots, buffer: &mut Vec<u8>, found: &mut Vec<Counter>) {
    let devices = roots.sys.join("class/net");
    let Some(text) = read_into(&roots.proc.join("net/dev"), buffer) else {
        return;
    };
    let read: Vec<(String, u64, u64)> = machine::parse_net_dev(text)
        .map(|(name, received, sent)| (name.to_owned(), received, sent))
        .collect();
    for (name, received, sent) in read {
        let place = devices.join(&name);
        let kind = read_number(&place.join("type"), buffer);
        if kind != Some(machine::ETHERNET_TYPE) || !place.join("device").exists() {
            continue;
        }
        push(
            found,
            "ethernet",
            &name,
            ("received", "bytes"),
            Some(received),
        );
        push(found, "ethernet", &name, ("sent", "bytes"), Some(sent));
    }
}

fn infiniband(root: &Path, buffer: &mut Vec<u8>, found: &mut Vec<Counter>) {
    for (name, device) in entries(root) {
        for (port, place) in entries(&device.join("ports")) {
            let layer = read_into(&place.join("link_layer"), buffer);
            let is_infiniband = layer.is_some_and(|name| name.trim_ascii() == b"InfiniBand");
            let label = format!("{name}:{port}");
            if !is_infiniband {
                for (file, quantity) in ROCE_COUNTERS {
                    let value = read_number(&place.join("hw_counters").join(file), buffer);
                    push(found, "roce", &label, (quantity, "packets"), value);
                }
                continue;
            }
            for (file, quantity, unit, factor) in PORT_COUNTERS {
                let value = read_number(&place.join("counters").join(file), buffer)
                    .map(|value| value.saturating_mul(factor));
                push(found, "infiniband", &label, (quantity, unit), value);
            }
        }
    }
}

/// Slingshot counts packets by their size; times the least size of each class they are a lower
/// bound of the bytes.
fn slingshot(root: &Path, buffer: &mut Vec<u8>, found: &mut Vec<Counter>) {
    for (name, device) in entries(root) {
        let mut sums = [None::<u64>; 2];
        for (file, path) in entries(&device.join("device/telemetry")) {
            for (sum, prefix) in sums.iter_mut().zip(["hni_rx_ok_", "hni_tx_ok_"]) {
                let Some(size) = file.strip_prefix(prefix) else {
                    continue;
                };
                let least = number(size.split('_').next().unwrap_or_default().as_bytes());
                // `count@seconds.nanoseconds`
                let count = read_into(&path, buffer)
                    .and_then(|text| text.split(|byte| *byte == b'@').next())
                    .and_then(|count| number(count.trim_ascii()));
                if let (Some(least), Some(count)) = (least, count) {
                    let bytes = least.saturating_mul(count);
                    *sum = Some(sum.unwrap_or(0).saturating_add(bytes));
                }
            }
        }
        let [received, sent] = sums;
        push(
            found,
            "slingshot",
            &name,
            ("received, at least", "bytes"),
            received,
        );
        push(found, "slingshot", &name, ("sent, at least", "bytes"), sent);
    }
}

/// `read_bytes <samples> samples [bytes] <least> <most> <sum>`
fn lustre(root: &Path, buffer: &mut Vec<u8>, found: &mut Vec<Counter>) {
    const SUM: usize = 6;
    for (mount, place) in entries(root) {
        // `<file system>-<address of the superblock>`
        let name = mount
            .rsplit_once('-')
            .map_or(mount.as_str(), |(name, _)| name);
        let Some(text) = read_into(&place.join("stats"), buffer) else {
            continue;
        };
        let sum = |key: &[u8]| {
            let line = lines(text).find(|line| words(line).next() == Some(key))?;
            words(line).nth(SUM).and_then(number)
        };
        let (read, written) = (sum(b"read_bytes"), sum(b"write_bytes"));
        push(found, "lustre", name, ("read", "bytes"), read);
        push(found, "lustre", name, ("written", "bytes"), written);
    }
}

/// `device SERVER:/PATH mounted on PLACE with fstype nfs4 …`, and further on
/// `bytes: <read> <written> <direct read> <direct written> <from server> <to server> …`
fn nfs(path: &Path, found: &mut Vec<Counter>) {
    const FROM_SERVER: usize = 5;
    let mut buffer = Vec::new();
    let Some(text) = crate::text::read_long(path, &mut buffer) else {
        return;
    };
    let mut mount: Option<String> = None;
    for line in lines(text) {
        let fields: Vec<&[u8]> = words(line).collect();
        match fields.as_slice() {
            [
                b"device",
                device,
                b"mounted",
                b"on",
                _,
                b"with",
                b"fstype",
                kind,
                ..,
            ] => {
                let is_nfs = kind.starts_with(b"nfs");
                mount = is_nfs.then(|| String::from_utf8_lossy(device).into_owned());
            }
            [b"bytes:", ..] => {
                let Some(mount) = &mount else { continue };
                let value = |index: usize| fields.get(index).copied().and_then(number);
                push(found, "nfs", mount, ("read", "bytes"), value(FROM_SERVER));
                push(
                    found,
                    "nfs",
                    mount,
                    ("written", "bytes"),
                    value(FROM_SERVER + 1),
                );
            }
            _ => {}
        }
    }
}

/// Names and paths in a folder, in the order of the names; none if it is not there.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = listed
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .take(MAX_COUNTERS)
        .collect();
    entries.sort();
    entries
}
